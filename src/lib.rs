//! Bindery, a Matrix identity server.
//!
//! The map: floors, lowest first. A module imports only from floors below its own; modules on one
//! floor are strangers to each other. `tests/floors.rs` keeps it so.

// Floor 0: values and pure rules.
pub mod clock;
pub mod secret;
/// The words of the Matrix specification as types: ids, canonical JSON, signatures, 3PIDs.
pub mod matrix {
    pub mod id;
    pub mod json;
    pub mod signing;
    pub mod threepid;
}
// Floor 1: what the operator says.
pub mod config;
// Floor 2: doors to the outside.
pub mod delivery;
pub mod federation;
