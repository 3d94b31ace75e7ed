//! Bindery, a Matrix identity server.
//!
//! The map: floors, lowest first. A module imports only from floors below its own; modules on one
//! floor are strangers to each other. `tests/floors.rs` keeps it so.

// Floor 0: values and pure rules.
pub mod cause;
pub mod clock;
pub mod index;
pub mod metrics;
pub mod mutual_tls;
pub mod roots;
pub mod secret;
pub mod text;
/// The words of the Matrix specification as types: ids, canonical JSON, signatures, 3PIDs.
pub mod matrix {
    pub mod id;
    pub mod json;
    pub mod localpart;
    pub mod login;
    pub mod medium;
    pub mod phone;
    pub mod signing;
    pub mod threepid;
    pub mod x_matrix;
}
pub mod breaker;
pub mod rate_limit;
// Floor 1: what the operator says.
pub mod config;
// Floor 2: what people read.
pub mod messages;
// Floor 3: doors to the outside.
pub mod delivery;
pub mod directory;
pub mod federation;
pub mod homeserver;
pub mod store;
// Floor 4: the doors, gathered.
pub mod app;
/// Floor 5: what an identity server does.
pub mod service {
    pub mod account;
    pub mod allowance;
    pub mod association;
    pub mod credentials;
    pub mod directory;
    pub mod index;
    pub mod invite;
    pub mod login;
    pub mod lookup;
    pub mod onbind;
    pub mod openid;
    pub mod peers;
    pub mod pepper;
    pub mod push;
    pub mod replication;
    pub mod session;
    pub mod sms;
    pub mod user_directory;
}
// Floor 6: faces, and what goes on behind them.
pub mod http;
pub mod worker;
// Floor 7: the command.
pub mod cli;
