//! Limits that protect somebody else than who asks: all nodes on a database have them together.

use std::time::Duration;

use bindery::{
    clock::Clock,
    config::Rate,
    service,
    store::{StoreError, allowances},
};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    harness::{Answer, Caller, TestApp},
    invite,
};

const VICTIM: &str = "victim@example.org";

fn wait_ms(refused: &Answer) -> u64 {
    refused.refused(429, "M_LIMIT_EXCEEDED")["retry_after_ms"].as_u64().unwrap()
}

/// A caller on each of two nodes.
async fn callers<'a>(one: &'a TestApp, other: &'a TestApp) -> [Caller<'a>; 2] {
    [one.account("@alice:hs.example").await, other.account("@bob:hs.example").await]
}

#[tokio::test]
async fn two_nodes_send_an_address_no_more_mails_than_one() {
    let toml = "limits.request_token_per_address = '3 per 1h'";
    let one = TestApp::with(toml).await;
    let other = one.beside(toml).await;
    let [alice, bob] = callers(&one, &other).await;
    alice.request_token(VICTIM, "a", 1).await.ok();
    bob.request_token(VICTIM, "b", 1).await.ok();
    alice.request_token("Victim@Example.org", "c", 1).await.ok();
    for caller in [&alice, &bob] {
        let refused = caller.request_token(VICTIM, "d", 1).await;
        assert_eq!(wait_ms(&refused), 1_200_000);
    }
    assert_eq!(one.mails(), 3);
    // Nobody else has less for it.
    bob.request_token("other@example.org", "e", 1).await.ok();
    // It comes back bit by bit, and for both together.
    one.clock.advance(Duration::from_millis(1_199_999));
    assert_eq!(wait_ms(&bob.request_token(VICTIM, "f", 1).await), 1);
    one.clock.advance(Duration::from_millis(1));
    bob.request_token(VICTIM, "f", 1).await.ok();
    assert_eq!(wait_ms(&alice.request_token(VICTIM, "g", 1).await), 1_200_000);
    one.clock.advance(Duration::from_hours(1));
    for secret in ["h", "i", "j"] {
        alice.request_token(VICTIM, secret, 1).await.ok();
    }
    assert_eq!(wait_ms(&bob.request_token(VICTIM, "k", 1).await), 1_200_000);
}

#[tokio::test]
async fn a_restart_gives_nothing_back() {
    let toml = "limits.request_token_per_address = '2 per 1h'";
    let before = TestApp::with(toml).await;
    let alice = before.account("@alice:hs.example").await;
    for secret in ["a", "b"] {
        alice.request_token(VICTIM, secret, 1).await.ok();
    }
    let token = alice.token.clone().unwrap();
    let after = before.beside(toml).await;
    drop(before);
    after.background().await;
    let alice = after.holder(&token);
    assert_eq!(wait_ms(&alice.request_token(VICTIM, "c", 1).await), 1_800_000);
    after.clock.advance(Duration::from_mins(30));
    alice.request_token(VICTIM, "c", 1).await.ok();
}

#[tokio::test]
async fn two_nodes_take_no_more_tokens_of_a_session_than_one() {
    let toml = "limits.submit_token_per_session = '3 per 1m'";
    let one = TestApp::with(toml).await;
    let other = one.beside(toml).await;
    let [alice, bob] = callers(&one, &other).await;
    let mut sessions = Vec::new();
    for email in [VICTIM, "other@example.org"] {
        let sid = alice.request_token(email, "a", 1).await.ok()["sid"].clone();
        sessions.push(json!({ "sid": sid, "client_secret": "a", "token": "wrong" }));
    }
    let submit = async |caller: &Caller<'_>, body: &Value| {
        caller.post("/validate/email/submitToken", body.clone()).await
    };
    for caller in [&alice, &bob, &alice] {
        submit(caller, &sessions[0]).await.refused(400, "M_TOKEN_INCORRECT");
    }
    for caller in [&bob, &alice] {
        assert_eq!(wait_ms(&submit(caller, &sessions[0]).await), 20_000);
    }
    submit(&bob, &sessions[1]).await.refused(400, "M_TOKEN_INCORRECT");
    one.clock.advance(Duration::from_secs(20));
    let mut right = sessions[0].clone();
    right["token"] = json!(one.last_mail_to(VICTIM).token);
    submit(&bob, &right).await.ok();
}

#[tokio::test]
async fn two_nodes_invite_an_address_no_more_often_than_one() {
    let toml = "limits.invite_per_address = '2 per 1h'";
    let one = TestApp::with(toml).await;
    let other = one.beside(toml).await;
    let [alice, bob] = callers(&one, &other).await;
    invite::invited(&alice, VICTIM).await;
    let by_bob = invite::request(VICTIM, "@bob:hs.example");
    bob.post("/store-invite", by_bob.clone()).await.ok();
    assert_eq!(wait_ms(&bob.post("/store-invite", by_bob.clone()).await), 1_800_000);
    one.clock.advance(Duration::from_mins(30));
    bob.post("/store-invite", by_bob).await.ok();
    let by_alice = invite::request(VICTIM, "@alice:hs.example");
    assert_eq!(wait_ms(&alice.post("/store-invite", by_alice).await), 1_800_000);
}

#[tokio::test]
async fn of_many_at_once_on_two_nodes_as_many_are_let_through_as_are_allowed() {
    let toml = "limits.request_token_per_address = '7 per 7h'\n\
                limits.request_token_per_account = '1000 per 1h'";
    let one = TestApp::with(toml).await;
    let other = one.beside(toml).await;
    let callers = callers(&one, &other).await;
    let secrets: Vec<_> = (0..50).map(|index| format!("secret{index}")).collect();
    let at_once = secrets
        .iter()
        .zip(callers.iter().cycle())
        .map(|(secret, caller)| caller.request_token(VICTIM, secret, 1));
    let answers = join_all(at_once).await;
    let (sent, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|one| one.status == 200);
    assert_eq!((sent.len(), one.mails()), (7, 7));
    for refused in refused {
        assert_eq!(wait_ms(refused), 3_600_000);
    }
}

#[tokio::test]
async fn who_asks_while_another_node_takes_the_last_one_waits_and_is_refused() {
    let toml = "limits.request_token_per_address = '2 per 2h'";
    let one = TestApp::with(toml).await;
    let other = one.beside(toml).await;
    let [alice, bob] = callers(&one, &other).await;
    alice.request_token(VICTIM, "a", 1).await.ok();
    let rate = Rate { count: 2.try_into().unwrap(), per: Duration::from_hours(2) };
    let address = format!("email {VICTIM}");
    let last = allowances::Allowance::new("request_token_per_address", &address, rate);
    let (store, now_ms) = (one.app.store.clone(), one.clock.now_ms());
    let (commit, committing) = std::sync::mpsc::channel();
    let (tell, taken) = tokio::sync::oneshot::channel();
    let taking = tokio::spawn(async move {
        let took = store.write(move |tx| {
            assert_eq!(allowances::take(tx, &last, now_ms)?, Ok(()));
            tell.send(()).unwrap();
            committing.recv().unwrap();
            Ok::<_, StoreError>(())
        });
        took.await.unwrap();
    });
    taken.await.unwrap();
    let mut asking = join_all(["b", "c", "d"].map(|secret| bob.request_token(VICTIM, secret, 1)));
    let early = tokio::time::timeout(Duration::from_millis(500), &mut asking).await;
    assert!(early.is_err(), "{early:?}");
    commit.send(()).unwrap();
    taking.await.unwrap();
    for refused in asking.await {
        assert_eq!(wait_ms(&refused), 3_600_000);
    }
    assert_eq!(one.mails(), 1);
}

#[tokio::test]
async fn what_the_database_can_not_count_is_not_let_through() {
    let one = TestApp::with("").await;
    let without = one.beside("limits.enabled = false").await;
    let [alice, bob] = callers(&one, &without).await;
    one.database.execute("DROP TABLE allowances");
    alice.request_token(VICTIM, "a", 1).await.refused(503, "M_UNKNOWN");
    assert_eq!(one.mails(), 0);
    // Where there are no limits, nobody asks the database for them.
    bob.request_token(VICTIM, "b", 1).await.ok();
}

#[tokio::test]
async fn a_time_that_no_clock_which_is_right_has_written_is_not_believed() {
    let toml = "limits.request_token_per_address = '1 per 1h'";
    let app = TestApp::with(toml).await;
    let alice = app.account("@alice:hs.example").await;
    alice.request_token(VICTIM, "a", 1).await.ok();
    // The clocks of two nodes may differ a little.
    app.database.execute("UPDATE allowances SET full_at = full_at + 60000");
    assert_eq!(wait_ms(&alice.request_token(VICTIM, "b", 1).await), 3_660_000);
    app.database.execute("UPDATE allowances SET full_at = full_at + 3600000");
    alice.request_token(VICTIM, "b", 1).await.ok();
    assert_eq!(wait_ms(&alice.request_token(VICTIM, "c", 1).await), 3_600_000);
}

#[tokio::test]
async fn allowances_that_are_whole_again_are_forgotten_however_many() {
    let app = TestApp::with("limits.request_token_per_address = '2 per 1h'").await;
    let alice = app.account("@alice:hs.example").await;
    let rate = Rate { count: 1.try_into().unwrap(), per: Duration::from_mins(10) };
    let now_ms = app.clock.now_ms();
    let taken = app.app.store.write(move |tx| {
        for index in 0..2100 {
            let one = allowances::Allowance::new("test", &index.to_string(), rate);
            assert_eq!(allowances::take(tx, &one, now_ms)?, Ok(()));
        }
        Ok::<_, StoreError>(())
    });
    taken.await.unwrap();
    for secret in ["a", "b"] {
        alice.request_token(VICTIM, secret, 1).await.ok();
    }
    app.clock.advance(Duration::from_mins(9));
    assert_eq!(service::allowance::forget_full(&app.app).await.unwrap(), 0);
    app.clock.advance(Duration::from_mins(1));
    assert_eq!(service::allowance::forget_full(&app.app).await.unwrap(), 2100);
    // The background forgets no more than that, and in the end all.
    app.background().await;
    assert_eq!(wait_ms(&alice.request_token(VICTIM, "c", 1).await), 1_200_000);
    app.clock.advance(Duration::from_hours(1));
    app.background().await;
    assert_eq!(service::allowance::forget_full(&app.app).await.unwrap(), 0);
    alice.request_token(VICTIM, "d", 1).await.ok();
}
