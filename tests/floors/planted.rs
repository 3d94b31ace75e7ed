//! Faults planted into a small sound crate, so that the reader is known to find them.

use std::{collections::BTreeMap, path::PathBuf};

use super::faults;

/// The faults of a small sound crate in which `path` holds `text`.
fn planted(path: &str, text: &str) -> Vec<String> {
    let mut files: BTreeMap<PathBuf, String> = [
        ("lib.rs", "pub mod clock; pub mod matrix { pub mod id; } pub mod store; pub mod http;"),
        ("clock.rs", "pub struct Clock;"),
        ("matrix/id.rs", "pub struct Id;"),
        ("store.rs", "pub mod accounts; pub mod invites; use crate::matrix::id::Id;"),
        ("store/accounts.rs", "use diesel::prelude::*; use super::invites; use crate::clock;"),
        ("store/invites.rs", "use super::accounts::{self, Account};"),
        ("service/lookup.rs", "use crate::{clock::Clock, store::{self, accounts}};"),
        ("service/invite.rs", "fn rule() { crate::store::invites::all(); }"),
        ("http.rs", "mod error; mod lookup; pub use error::ApiError;"),
        ("http/error.rs", "use actix_web::HttpResponse; use crate::service::{self, invite};"),
        ("http/lookup.rs", "use super::ApiError; #[cfg(test)] mod tests { use super::*; }"),
        ("worker.rs", "use crate::service::invite;"),
        ("main.rs", "fn main() { bindery::http::run(); }"),
    ]
    .map(|(path, text)| (PathBuf::from(path), text.to_owned()))
    .into();
    files.insert(path.into(), text.to_owned());
    faults(&files).into_iter().collect()
}

#[test]
fn a_sound_crate_has_no_faults() {
    assert_eq!(planted("worker.rs", "use crate::service::invite;"), Vec::<String>::new());
}

#[test]
fn an_upward_import_is_found_however_it_is_written() {
    for text in [
        "use crate::http::ApiError;",
        "use crate::{clock::Clock, matrix::{id, id::Id}, http::{self, error}};",
        "use super::super::http;",
        "use super::super::{clock, http::ApiError as Refusal};",
        "fn f() { crate::http::run(); }",
        "fn f(e: crate::http::ApiError) {}",
        "fn f() { use crate::http; }",
        "mod inner { use super::super::super::http; }",
        "fn f() { vec![1, g(crate::http::run)]; }",
        "macro_rules! m { () => { $crate::http::run() } }",
        "macro_rules! m { () => { use $crate::{clock, http::run}; } }",
        "#[serde_with(as = crate::http::ApiError)] struct S;",
        "use bindery::http;",
        "impl From<crate::http::ApiError> for S {}",
        "extern crate http;\nuse crate::http;",
    ] {
        let faults = planted("store/accounts.rs", text);
        assert!(
            faults.iter().any(|fault| fault.starts_with("store::accounts imports http")),
            "{text}: {faults:?}"
        );
    }
}

#[test]
fn a_name_for_the_root_is_found() {
    for text in ["use crate as root; use root::http;", "use super::super as root;"] {
        let faults = planted("store/accounts.rs", text);
        assert!(faults.contains(&"store::accounts imports the root".to_owned()), "{faults:?}");
    }
}

#[test]
fn modules_of_one_floor_are_strangers() {
    let found = planted("worker.rs", "use crate::http::ApiError;");
    assert_eq!(found, ["worker imports http"]);
}

#[test]
fn what_a_folder_stands_on_does_not_stand_on_the_folder() {
    assert_eq!(planted("http/lookup.rs", "use super::error::ApiError;"), Vec::<String>::new());
    let found = planted("http/error.rs", "use super::lookup::Mappings;");
    assert_eq!(found, ["http::error imports its sibling http::lookup"]);
}

#[test]
fn files_of_one_folder_do_not_know_each_other() {
    for text in [
        "use super::invite;",
        "use crate::service::invite::rule;",
        "use crate::service; fn f() { service::invite::rule(); }",
        "use crate::service as rules; fn f() { rules::invite::rule(); }",
        "use crate::service::*; fn f() { super::invite::rule(); }",
        "#[cfg(test)] mod tests { use super::super::invite; }",
        "use crate::service; #[cfg(test)] mod tests { use super::*; use service::invite; }",
    ] {
        let found = planted("service/lookup.rs", text);
        assert_eq!(found, ["service::lookup imports its sibling service::invite"], "{text}");
    }
}

#[test]
fn a_foreign_crate_beyond_its_border_is_found() {
    for text in [
        "use diesel::prelude::*;",
        "use ::diesel as tables;",
        "use {serde::Serialize, diesel};",
        "extern crate diesel;",
        "fn f() -> diesel::QueryResult<()> {}",
        "#[derive(Debug, diesel::Queryable)] struct Row;",
        "#[diesel::derive] struct Row;",
        "fn f() { vec![diesel::insert_into(t)]; }",
    ] {
        let found = planted("service/lookup.rs", text);
        assert_eq!(found, ["service::lookup names diesel"], "{text}");
    }
    assert_eq!(planted("http/error.rs", "use askama::Template;"), ["http::error names askama"]);
    assert_eq!(planted("messages/sample.rs", "use askama::Template;"), Vec::<String>::new());
}

#[test]
fn a_module_without_a_floor_is_found() {
    assert_eq!(planted("helpers.rs", ""), ["helpers stands on no floor"]);
}

#[test]
fn a_long_file_is_found() {
    assert_eq!(planted("worker.rs", &"\n".repeat(451)), ["worker.rs has 451 lines"]);
}

#[test]
fn a_map_out_of_order_is_found() {
    let found = planted("lib.rs", "pub mod store; pub mod clock;");
    assert_eq!(found, ["lib.rs does not declare the modules in floor order"]);
}
