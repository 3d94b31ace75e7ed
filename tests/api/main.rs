//! The server through its front door: each test talks HTTP to a server of its own, on a database
//! of its own.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that can't set itself up, or doesn't find what it looks for, fails"
)]

mod account;
mod agreement;
mod allowance;
mod association;
mod body;
mod directory;
mod edge;
mod harness;
mod index;
mod invite;
mod limit;
mod login;
mod lookup;
mod medium;
mod metrics;
mod onbind;
mod openid;
mod outbox;
mod page;
mod pepper;
mod phone;
mod public;
mod replication;
mod rotation;
mod session;
mod sms_abuse;
mod sql_directory;
mod terms;
mod unbind;
mod user_directory;
mod v1;
mod well_known;
mod words;

#[path = "../support/authority.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod authority;
#[path = "../support/database.rs"]
mod database;
#[path = "../support/directory.rs"]
mod directories;
#[path = "../support/dns.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod dns;
#[path = "../support/gateway.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod gateway;
#[path = "../support/homeserver.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod homeserver;
#[path = "../support/smtp.rs"]
mod smtp;
