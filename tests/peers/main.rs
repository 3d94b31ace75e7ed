//! Identity servers that ask each other, over real DNS, TCP and TLS on loopback.
#![expect(clippy::unwrap_used, reason = "a test stops where it can't go on")]
#![expect(clippy::indexing_slicing, reason = "a test stops where it can't go on")]

#[path = "../support/authority.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod authority;
#[path = "../support/database.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod database;
#[path = "../support/dns.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod dns;
#[path = "../support/homeserver.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod homeserver;
mod world;

mod dealings;
mod found;
mod handed_on;
mod many;
mod refused;
mod refusing;
mod signed;
