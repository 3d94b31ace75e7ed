//! How much one source may ask for.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, Caller, TestApp, answer};

/// A registration that fails, but not for its number: loopback may not be connected to.
async fn register(app: &TestApp, forwarded_for: &[&str]) -> Answer {
    let mut request = app.stranger().request("POST", "/account/register");
    for value in forwarded_for {
        request = request.header("x-forwarded-for", *value);
    }
    let body = json!({ "access_token": "t", "matrix_server_name": "127.0.0.1" });
    answer(request.json(&body)).await
}

fn is_limited(answer: &Answer) -> bool {
    if answer.status != 429 {
        return false;
    }
    answer.refused(429, "M_LIMIT_EXCEEDED");
    true
}

/// The refusal's `retry_after_ms`, which fits its `Retry-After`.
fn retry_after_ms(answer: &Answer) -> u64 {
    let millis = answer.refused(429, "M_LIMIT_EXCEEDED")["retry_after_ms"].as_u64().unwrap();
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert_eq!(seconds, millis.div_ceil(1000));
    millis
}

async fn request_token(caller: &Caller<'_>, email: &str, from: &str) -> Answer {
    // Another secret is another session, for which another mail is sent.
    let body = json!({ "email": email, "client_secret": from, "send_attempt": 1 });
    let request = caller.request("POST", "/validate/email/requestToken");
    answer(request.header("x-forwarded-for", from).json(&body)).await
}

#[tokio::test]
async fn a_client_registers_only_so_often() {
    let app = TestApp::with("limits.register_per_client = '2 per 1m'").await;
    for _ in 0..2 {
        register(&app, &["192.0.2.1"]).await.refused(502, "M_UNKNOWN");
    }
    assert_eq!(retry_after_ms(&register(&app, &["192.0.2.1"]).await), 30_000);
    // Somebody else is not concerned.
    assert!(!is_limited(&register(&app, &["192.0.2.2"]).await));
    // The allowance comes back bit by bit.
    app.clock.advance(Duration::from_secs(10));
    assert_eq!(retry_after_ms(&register(&app, &["192.0.2.1"]).await), 20_000);
    app.clock.advance(Duration::from_millis(19_001));
    let refused = register(&app, &["192.0.2.1"]).await;
    assert_eq!((retry_after_ms(&refused), refused.header("retry-after")), (999, "1"));
    app.clock.advance(Duration::from_millis(999));
    assert!(!is_limited(&register(&app, &["192.0.2.1"]).await));
    assert!(is_limited(&register(&app, &["192.0.2.1"]).await));
    app.clock.advance(Duration::from_hours(1));
    let hits = [(); 3].map(|()| register(&app, &["192.0.2.1"]));
    let hits = futures_util::future::join_all(hits).await;
    assert_eq!(hits.iter().filter(|hit| is_limited(hit)).count(), 1);
}

#[tokio::test]
async fn seconds_are_rounded_up() {
    let app = TestApp::with("limits.register_per_client = '3 per 10s'").await;
    for _ in 0..3 {
        register(&app, &[]).await.refused(502, "M_UNKNOWN");
    }
    let refused = register(&app, &[]).await;
    assert!((3333..=3334).contains(&retry_after_ms(&refused)), "{}", refused.body);
    assert_eq!(refused.header("retry-after"), "4");
    // Whoever waits as long as told is served.
    app.clock.advance(Duration::from_millis(retry_after_ms(&refused)));
    assert!(!is_limited(&register(&app, &[]).await));
}

#[tokio::test]
async fn what_is_malformed_does_not_count() {
    let app = TestApp::with("limits.register_per_client = '1 per 1h'").await;
    for _ in 0..3 {
        app.stranger().post("/account/register", json!({})).await.refused(400, "M_MISSING_PARAMS");
    }
    assert!(!is_limited(&register(&app, &[]).await));
    assert!(is_limited(&register(&app, &[]).await));
}

#[tokio::test]
async fn a_client_is_who_the_trusted_proxy_says() {
    let app = TestApp::with("limits.register_per_client = '1 per 1h'").await;
    assert!(!is_limited(&register(&app, &["192.0.2.1"]).await));
    // What a client writes itself stands before what the proxy adds.
    for forged in [
        vec!["203.0.113.5, 192.0.2.1"],
        vec!["203.0.113.6", "192.0.2.1"],
        vec!["garbage, 192.0.2.1"],
        vec!["192.0.2.1, 127.0.0.1"],
        vec!["::ffff:192.0.2.1"],
        vec![" 192.0.2.1 "],
    ] {
        assert!(is_limited(&register(&app, &forged).await), "{forged:?}");
    }
    assert!(!is_limited(&register(&app, &["192.0.2.1, 192.0.2.9"]).await));
}

#[tokio::test]
async fn a_proxy_that_is_not_trusted_is_the_client() {
    let app = TestApp::with(
        "server.trusted_proxies = ['192.0.2.0/24']\nlimits.register_per_client = '1 per 1h'",
    )
    .await;
    assert!(!is_limited(&register(&app, &["198.51.100.1"]).await));
    for forged in ["198.51.100.2", "192.0.2.1", "::1", ""] {
        assert!(is_limited(&register(&app, &[forged]).await), "{forged}");
    }
}

#[tokio::test]
async fn the_last_address_that_no_trusted_proxy_has_is_the_clients() {
    let app = TestApp::with(
        "server.trusted_proxies = ['127.0.0.1/32', '10.0.0.0/8']\n\
         limits.register_per_client = '1 per 1h'",
    )
    .await;
    assert!(!is_limited(&register(&app, &["192.0.2.1, 10.1.2.3"]).await));
    assert!(is_limited(&register(&app, &["203.0.113.1, 192.0.2.1, 10.9.9.9, 10.1.2.3"]).await));
    assert!(!is_limited(&register(&app, &["192.0.2.1, 192.0.2.2, 10.1.2.3"]).await));
}

#[tokio::test]
async fn a_network_of_64_bits_is_one_client_where_addresses_are_ipv6() {
    let app = TestApp::with("limits.register_per_client = '1 per 1h'").await;
    assert!(!is_limited(&register(&app, &["2001:db8:1:2::1"]).await));
    assert!(is_limited(&register(&app, &["2001:db8:1:2:ffff:ffff:ffff:ffff"]).await));
    assert!(!is_limited(&register(&app, &["2001:db8:1:3::1"]).await));
    // IPv4 addresses are clients one by one, in either form.
    assert!(!is_limited(&register(&app, &["192.0.2.1"]).await));
    assert!(!is_limited(&register(&app, &["::ffff:192.0.2.2"]).await));
    assert!(is_limited(&register(&app, &["192.0.2.2"]).await));
}

#[tokio::test]
async fn a_client_asks_for_so_many_messages() {
    let app = TestApp::with("limits.request_token_per_client = '2 per 1h'").await;
    let (alice, bob) =
        (app.account("@alice:hs.example").await, app.account("@bob:hs.example").await);
    request_token(&alice, "a@example.org", "192.0.2.1").await.ok();
    request_token(&bob, "b@example.org", "192.0.2.1").await.ok();
    let refused = request_token(&bob, "c@example.org", "192.0.2.1").await;
    assert_eq!(retry_after_ms(&refused), 1_800_000);
    assert_eq!(app.mails(), 2);
    request_token(&bob, "c@example.org", "192.0.2.2").await.ok();
    app.clock.advance(Duration::from_mins(30));
    request_token(&alice, "d@example.org", "192.0.2.1").await.ok();
}

#[tokio::test]
async fn an_account_asks_for_so_many_messages() {
    let app = TestApp::with("limits.request_token_per_account = '2 per 1h'").await;
    let (phone, laptop) =
        (app.account("@alice:hs.example").await, app.account("@alice:hs.example").await);
    let bob = app.account("@bob:hs.example").await;
    request_token(&phone, "a@example.org", "192.0.2.1").await.ok();
    request_token(&laptop, "b@example.org", "192.0.2.2").await.ok();
    let refused = request_token(&phone, "c@example.org", "192.0.2.3").await;
    assert_eq!(retry_after_ms(&refused), 1_800_000);
    request_token(&bob, "c@example.org", "192.0.2.1").await.ok();
    app.clock.advance(Duration::from_mins(30));
    request_token(&laptop, "d@example.org", "192.0.2.1").await.ok();
}

#[tokio::test]
async fn an_address_gets_so_many_messages() {
    let app = TestApp::with("limits.request_token_per_address = '2 per 1h'").await;
    let (alice, bob) =
        (app.account("@alice:hs.example").await, app.account("@bob:hs.example").await);
    request_token(&alice, "victim@example.org", "192.0.2.1").await.ok();
    // In whichever spelling, from wherever.
    request_token(&bob, "Victim@Example.ORG", "192.0.2.2").await.ok();
    let refused = request_token(&bob, "VICTIM@example.org", "192.0.2.3").await;
    assert_eq!(retry_after_ms(&refused), 1_800_000);
    assert_eq!(app.mails(), 2);
    request_token(&bob, "other@example.org", "192.0.2.2").await.ok();
    app.clock.advance(Duration::from_mins(30));
    request_token(&alice, "victim@example.org", "192.0.2.1").await.ok();
}

#[tokio::test]
async fn a_session_takes_so_many_tokens() {
    let app = TestApp::with("limits.submit_token_per_session = '3 per 1m'").await;
    let alice = app.account("@alice:hs.example").await;
    let opened = async |email: &str| {
        let opened = request_token(&alice, email, "192.0.2.1").await.ok();
        json!({ "sid": opened["sid"], "client_secret": "192.0.2.1", "token": "wrong" })
    };
    let (first, second) = (opened("a@example.org").await, opened("b@example.org").await);
    let submit = async |body: &Value| alice.post("/validate/email/submitToken", body.clone()).await;
    for _ in 0..2 {
        submit(&first).await.refused(400, "M_TOKEN_INCORRECT");
    }
    // The mailed link is counted with the others.
    let path = format!(
        "/validate/email/submitToken?client_secret=192.0.2.1&token=wrong&sid={}",
        first["sid"].as_str().unwrap()
    );
    assert_eq!(app.stranger().get(&path).await.status, 400);
    assert_eq!(retry_after_ms(&submit(&first).await), 20_000);
    let page = app.stranger().get(&path).await;
    assert_eq!((page.status, page.header("retry-after")), (429, "20"));
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    submit(&second).await.refused(400, "M_TOKEN_INCORRECT");
    app.clock.advance(Duration::from_secs(20));
    let mut right = first.clone();
    right["token"] = json!(app.last_mail_to("a@example.org").token);
    submit(&right).await.ok();
}

#[tokio::test]
async fn an_account_looks_up_so_many_addresses() {
    let app = TestApp::with(
        "lookup.max_addresses = 5\nlimits.lookup_addresses_per_account = '5 per 50s'",
    )
    .await;
    let (alice, bob) =
        (app.account("@alice:hs.example").await, app.account("@bob:hs.example").await);
    let pepper = alice.get("/hash_details").await.ok()["lookup_pepper"].clone();
    let lookup = async |caller: &Caller<'_>, count: usize| {
        let body =
            json!({ "algorithm": "sha256", "pepper": pepper, "addresses": vec!["x"; count] });
        caller.post("/lookup", body).await
    };
    lookup(&alice, 3).await.ok();
    // A refusal takes nothing away.
    assert_eq!(retry_after_ms(&lookup(&alice, 3).await), 10_000);
    lookup(&alice, 2).await.ok();
    assert_eq!(retry_after_ms(&lookup(&alice, 1).await), 10_000);
    // Nothing can always be asked for.
    lookup(&alice, 0).await.ok();
    lookup(&bob, 5).await.ok();
    app.clock.advance(Duration::from_secs(10));
    lookup(&alice, 1).await.ok();
    assert!(is_limited(&lookup(&alice, 1).await));
    app.clock.advance(Duration::from_secs(50));
    lookup(&alice, 5).await.ok();
}

#[tokio::test]
async fn a_client_looks_up_so_many_addresses_by_whichever_account() {
    let app = TestApp::with(
        "lookup.max_addresses = 5\nlimits.lookup_addresses_per_account = '5 per 1h'\n\
         limits.lookup_addresses_per_client = '8 per 80s'",
    )
    .await;
    let (alice, bob) =
        (app.account("@alice:hs.example").await, app.account("@bob:hs.example").await);
    let pepper = alice.get("/hash_details").await.ok()["lookup_pepper"].clone();
    let lookup = async |caller: &Caller<'_>, count: usize, from: &str| {
        let body =
            json!({ "algorithm": "sha256", "pepper": pepper, "addresses": vec!["x"; count] });
        let request = caller.request("POST", "/lookup").header("x-forwarded-for", from);
        answer(request.json(&body)).await
    };
    lookup(&alice, 5, "192.0.2.1").await.ok();
    // Over her own limit she takes nothing from those behind the same address.
    for _ in 0..5 {
        assert!(is_limited(&lookup(&alice, 1, "192.0.2.1").await));
    }
    lookup(&bob, 3, "192.0.2.1").await.ok();
    assert_eq!(retry_after_ms(&lookup(&bob, 1, "192.0.2.1").await), 10_000);
    lookup(&bob, 1, "192.0.2.2").await.ok();
    app.clock.advance(Duration::from_secs(10));
    let carol = app.account("@carol:hs.example").await;
    lookup(&carol, 1, "192.0.2.1").await.ok();
    assert!(is_limited(&lookup(&carol, 1, "192.0.2.1").await));
}

#[tokio::test]
async fn who_is_over_the_limit_takes_nothing_from_others() {
    let app = TestApp::with(
        "limits.request_token_per_account = '1 per 1h'\n\
         limits.request_token_per_client = '2 per 1h'\n\
         limits.request_token_per_address = '2 per 1h'",
    )
    .await;
    let (mallory, alice) =
        (app.account("@mallory:hs.example").await, app.account("@alice:hs.example").await);
    let victim = "alice@example.org";
    request_token(&mallory, victim, "192.0.2.1").await.ok();
    for _ in 0..5 {
        assert!(is_limited(&request_token(&mallory, victim, "192.0.2.1").await));
    }
    // One is left behind the same address, and one for the victim.
    request_token(&alice, victim, "192.0.2.1").await.ok();
    let bob = app.account("@bob:hs.example").await;
    for _ in 0..5 {
        assert!(is_limited(&request_token(&bob, "bob@example.org", "192.0.2.1").await));
    }
    let carol = app.account("@carol:hs.example").await;
    request_token(&carol, "bob@example.org", "192.0.2.2").await.ok();
}

#[tokio::test]
async fn limits_outlive_the_rounds_of_the_background() {
    let app = TestApp::with("limits.register_per_client = '1 per 1h'").await;
    assert!(!is_limited(&register(&app, &[]).await));
    app.clock.advance(Duration::from_mins(59));
    app.background().await;
    assert!(is_limited(&register(&app, &[]).await));
    app.clock.advance(Duration::from_mins(1));
    app.background().await;
    assert!(!is_limited(&register(&app, &[]).await));
}

#[tokio::test]
async fn limits_can_be_switched_off() {
    let tight = "register_per_client = '1 per 1h'\nrequest_token_per_client = '1 per 1h'\n\
                 request_token_per_account = '1 per 1h'\nrequest_token_per_address = '1 per 1h'\n\
                 submit_token_per_session = '1 per 1h'\nlookup_addresses_per_account = '1 per 1h'\n\
                 lookup_addresses_per_client = '1 per 1h'";
    let app = TestApp::with(&format!("[limits]\nenabled = false\n{tight}")).await;
    let alice = app.account("@alice:hs.example").await;
    let pepper = alice.get("/hash_details").await.ok()["lookup_pepper"].clone();
    let lookup = json!({ "algorithm": "sha256", "pepper": pepper, "addresses": ["x", "y"] });
    for attempt in 1..=3 {
        assert!(!is_limited(&register(&app, &[]).await));
        alice.request_token("alice@example.org", "c", attempt).await.ok();
        alice.post("/lookup", lookup.clone()).await.ok();
    }
    assert_eq!(app.mails(), 3);
    let sid = alice.request_token("alice@example.org", "c", 3).await.ok()["sid"].clone();
    let token = app.last_mail_to("alice@example.org").token;
    let body = json!({ "sid": sid, "client_secret": "c", "token": token });
    for _ in 0..3 {
        alice.post("/validate/email/submitToken", body.clone()).await.ok();
    }
}

#[tokio::test]
async fn a_day_of_ordinary_use_meets_no_limit() {
    let app = TestApp::with("").await;
    let alice = app.account("@alice:hs.example").await;
    // A family behind one address sets up its devices.
    for _ in 0..20 {
        assert!(!is_limited(&register(&app, &["192.0.2.1"]).await));
    }
    // Somebody validates two addresses, and asks for one of the mails again, twice.
    for (email, attempt) in [("a@example.org", 1), ("b@example.org", 1)] {
        alice.request_token(email, "c", attempt).await.ok();
    }
    for attempt in 2..=3 {
        alice.request_token("a@example.org", "c", attempt).await.ok();
    }
    let pepper = alice.get("/hash_details").await.ok()["lookup_pepper"].clone();
    let contacts = vec!["x"; 1500];
    let body = json!({ "algorithm": "sha256", "pepper": pepper, "addresses": contacts });
    for _ in 0..30 {
        alice.post("/lookup", body.clone()).await.ok();
    }
}
