//! Bindery beside a real Sydent: the binary as an operator starts it, a Sydent, and between them
//! DNS and TLS. What counts is what people find at either of the two.
//!
//! `tests/run sydent` makes the Python environment that holds the Sydent, and runs this.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that can't set itself up, or doesn't find what it looks for, fails"
)]
#![expect(clippy::print_stdout, reason = "why a test failed often stands in a server's log")]

mod asking;
mod bindery;
mod front;
mod person;
mod replication;
mod server;
mod world;

#[path = "../support/authority.rs"]
mod authority;
#[path = "../support/client.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod client;
#[path = "../support/dns.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod dns;
#[path = "../support/homeserver.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod homeserver;
#[path = "../support/port.rs"]
mod port;
#[path = "../support/process.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod process;
#[path = "../support/smtp.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod smtp;

/// A file of the environment that holds the programs of others.
fn environment(file: &str) -> std::path::PathBuf {
    let folder = std::env::var_os("TEST_SYDENT").unwrap_or_else(|| {
        panic!("TEST_SYDENT names no folder with Sydent: run `tests/run sydent`")
    });
    std::path::Path::new(&folder).join(file)
}
