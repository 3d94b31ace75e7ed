//! Directories of the type `ldap`, by a real slapd on loopback.
#![expect(clippy::unwrap_used, reason = "a test stops where it can't go on")]
#![expect(clippy::indexing_slicing, reason = "a test stops where it can't go on")]
#![expect(clippy::print_stdout, reason = "a test tells what it has measured")]

#[path = "../support/authority.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod authority;
mod bindery;
#[path = "../support/database.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod database;
#[path = "../support/port.rs"]
mod port;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/slapd.rs"]
mod slapd;
mod world;

mod copies;
mod crowd;
mod found;
mod groups;
mod hostile;
mod logins;
mod people;
mod servers;
