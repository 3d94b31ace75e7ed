//! Replication between servers that are neighbours, each with a certificate of one authority.

mod incoming;
mod outgoing;
mod partition;
mod refused;
mod set_aside;
mod village;
