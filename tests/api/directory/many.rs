//! Ten thousand people.

use std::time::Duration;

use serde_json::{Value, json};

use super::{BASE, looked_up};
use crate::{
    directories::FakeProgram,
    harness::{Caller, TestApp, hash},
};

const PEOPLE: usize = 10_000;
const PAGE: usize = 1000;

fn page(number: usize) -> Value {
    let people: Vec<Value> = (number * PAGE..(number + 1) * PAGE)
        .map(|n| {
            json!({ "user": format!("user{n}"), "display_name": format!("User {n}"), "threepids": [
                { "medium": "email", "address": format!("User{n}@Example.org") },
                { "medium": "msisdn", "address": format!("+49 151 {:08}", 20_000_000 + n) },
            ] })
        })
        .collect();
    let next = (number + 1 < PEOPLE / PAGE).then(|| (number + 1).to_string());
    json!({ "people": people, "next": next })
}

async fn all_are_found(caller: &Caller<'_>, all: &[Vec<String>]) {
    for hashes in all {
        let found = looked_up(caller, "sha256", hashes).await;
        for (n, hash) in hashes.iter().enumerate() {
            assert_eq!(found[hash], format!("@user{n}:hs.example"), "{n}");
        }
    }
}

#[tokio::test]
async fn ten_thousand_people_are_copied_and_all_are_found() {
    let program = FakeProgram::new();
    for number in 0..PEOPLE / PAGE {
        let after = if number == 0 { String::new() } else { number.to_string() };
        program.answers(&format!("people{after}"), &page(number));
    }
    let app = TestApp::with(&format!("{BASE}{}", program.toml("staff", ""))).await;
    app.copy().await;
    let alice = app.account("@alice:hs.example").await;
    let details = alice.get("/hash_details").await.ok();
    let pepper = details["lookup_pepper"].as_str().unwrap();
    let emails = (0..PEOPLE).map(|n| hash(&format!("user{n}@example.org"), "email", pepper));
    let phones = (0..PEOPLE).map(|n| hash(&format!("49151{}", 20_000_000 + n), "msisdn", pepper));
    let all = [emails.collect::<Vec<_>>(), phones.collect()];
    all_are_found(&alice, &all).await;
    // So many are read into memory anew.
    assert!(app.app.index.is_complete_within(Duration::from_secs(20)).await);
    app.database.execute("DELETE FROM directory_hashes");
    app.settle().await;
    all_are_found(&alice, &all).await;
    // Once more: nothing has changed, and the old copy goes.
    app.clock.advance(Duration::from_hours(1));
    app.copy().await;
    assert_eq!(program.asked().len(), 2 * PEOPLE / PAGE);
}
