//! An organisation's directories: who is found in them, by which way, and what happens when they fail.

mod copy;
mod credentials;
mod exec;
mod http;
mod many;

use serde_json::{Value, json};

use crate::harness::{Caller, hash};

/// What all configurations here begin with.
pub(crate) const BASE: &str = "limits.enabled = false\nlookup.algorithms = ['sha256', 'none']\n";

/// The user ids behind addresses that are looked up in plain.
async fn find_plain(caller: &Caller<'_>, addresses: &[&str]) -> Vec<Option<String>> {
    let asked: Vec<String> = addresses.iter().map(|address| format!("{address} email")).collect();
    let found = looked_up(caller, "none", &asked).await;
    asked.iter().map(|asked| found[asked].as_str().map(str::to_owned)).collect()
}

/// The user ids behind phone numbers that are looked up by hash.
async fn find_phones(caller: &Caller<'_>, numbers: &[&str]) -> Vec<Option<String>> {
    let details = caller.get("/hash_details").await.ok();
    let pepper = details["lookup_pepper"].as_str().unwrap();
    let asked: Vec<String> = numbers.iter().map(|it| hash(it, "msisdn", pepper)).collect();
    let found = looked_up(caller, "sha256", &asked).await;
    asked.iter().map(|asked| found[asked].as_str().map(str::to_owned)).collect()
}

async fn looked_up(caller: &Caller<'_>, algorithm: &str, asked: &[String]) -> Value {
    let details = caller.get("/hash_details").await.ok();
    let pepper = details["lookup_pepper"].as_str().unwrap();
    let body = json!({ "algorithm": algorithm, "pepper": pepper, "addresses": asked });
    caller.post("/lookup", body).await.ok()["mappings"].clone()
}

/// A user id at the homeserver of all directories here.
pub(crate) fn at(name: &str) -> String {
    format!("@{name}:hs.example")
}
