//! The command as an operator meets it: the real program, in folders and on databases of its own,
//! while all goes well and while it doesn't.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that can't set itself up, or doesn't find what it looks for, fails"
)]

mod cluster;
mod commands;
mod cursor;
mod death;
mod directory;
mod failover;
mod faults;
mod gateway;
mod log;
#[cfg(target_os = "linux")]
mod memory;
mod neighbours;
mod outage;
mod peers;
mod peers_refused;
mod peers_together;
mod process;
mod quarantine;
mod queries;
mod readme;
mod start;
mod stop;

#[path = "../support/authority.rs"]
mod authority;
#[path = "../support/database.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod database;
#[path = "../support/directory.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod directories;
#[path = "../support/dns.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod dns;
#[path = "../support/homeserver.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod homeserver;
#[path = "../support/port.rs"]
mod port;
#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/smtp.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod smtp;
