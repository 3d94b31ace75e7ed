//! The pages and the mail as people see them: in Chromium, light and dark, on a phone.
//!
//! With `BINDERY_PICTURES=docs/pictures`, the pictures of the README are made anew.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that can't set itself up, or doesn't find what it looks for, fails"
)]

mod chromium;
mod confirm;
mod everyone;
mod front;
mod mail;
mod page;
mod pictures;
mod words;

#[path = "../support/database.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod database;
#[path = "../api/harness.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod harness;
#[path = "../support/smtp.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod smtp;

const ALICE: &str = "alice@example.org";

/// The width of a common phone, in CSS pixels.
const PHONE: u32 = 390;

/// The narrowest phone that is still about, and what WCAG 2.1 (1.4.10) asks for.
const NARROW: u32 = 320;
