//! Bindery beside a real homeserver: the binary as an operator starts it, a Synapse, TLS between
//! them, and people whose clients talk to both. What counts is what the clients see.
//!
//! `tests/run homeserver` makes the Python environment that holds the Synapse, and runs this.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that can't set itself up, or doesn't find what it looks for, fails"
)]
#![expect(clippy::print_stdout, reason = "why a test failed often stands in a server's log")]

mod account;
mod association;
mod bindery;
mod directory;
mod invite;
mod login;
mod msisdn;
mod person;
mod sdk;
mod synapse;
mod timing;
mod world;

#[path = "../support/client.rs"]
mod api;
#[path = "../support/authority.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod authority;
#[path = "../support/dns.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod dns;
#[path = "../support/gateway.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod gateway;
#[path = "../support/port.rs"]
mod port;
#[path = "../support/process.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod process;
#[path = "../support/proxy.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod proxy;
#[path = "../support/smtp.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod smtp;

/// A file of the environment that holds the programs of others.
fn environment(file: &str) -> std::path::PathBuf {
    let folder = std::env::var_os("TEST_HOMESERVER").unwrap_or_else(|| {
        panic!("TEST_HOMESERVER names no folder with Synapse: run `tests/run homeserver`")
    });
    std::path::Path::new(&folder).join(file)
}
