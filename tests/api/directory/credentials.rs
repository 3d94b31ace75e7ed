//! Whether a password is right, for Synapse's REST password provider.

use std::{net::TcpListener, time::Duration};

use serde_json::{Value, json};

use super::BASE;
use crate::{
    directories::{FakePerson, FakeService, Mood},
    harness::{Answer, TestApp, answer},
};

const CHECK: &str = "/_matrix-internal/identity/v1/check_credentials";
const ANNA: &str = "@anna:hs.example";

fn service() -> FakeService {
    FakeService::start(vec![FakePerson {
        localpart: "anna",
        name: "Anna Example",
        password: "geheim",
        email: "anna@example.org",
    }])
}

fn configuration(service: &FakeService, base: &str) -> String {
    let toml = service.toml("intranet", "");
    format!("{base}credentials.secret = 'open sesame'\n{toml}")
}

async fn with(service: &FakeService, base: &str) -> TestApp {
    TestApp::with(&configuration(service, base)).await
}

/// A second node.
async fn beside(app: &TestApp, service: &FakeService, base: &str) -> TestApp {
    app.beside(&configuration(service, base)).await
}

async fn ask(app: &TestApp, body: &Value) -> Answer {
    answer(app.holder("open sesame").request("POST", CHECK).json(body)).await
}

async fn check(app: &TestApp, id: &str, password: &str) -> bool {
    let answer = ask(app, &json!({ "user": { "id": id, "password": password } })).await.ok();
    let is_right = answer["auth"]["success"].as_bool().unwrap();
    if !is_right {
        assert_eq!(answer, json!({ "auth": { "success": false } }));
    }
    is_right
}

#[tokio::test]
async fn a_right_password_tells_who_it_is_and_a_wrong_one_nothing() {
    let service = service();
    let app = with(&service, BASE).await;
    let body = json!({ "user": { "id": ANNA, "password": "geheim" } });
    assert_eq!(
        ask(&app, &body).await.ok(),
        json!({ "auth": {
            "success": true,
            "mxid": ANNA,
            "display_name": "Anna Example",
            "profile": {
                "display_name": "Anna Example",
                "three_pids": [{ "medium": "email", "address": "anna@example.org" }],
            },
        } })
    );
    assert!(check(&app, "@Anna:hs.example", "geheim").await);
    for (id, password) in [(ANNA, "Geheim"), (ANNA, "geheim "), ("@bob:hs.example", "geheim")] {
        assert!(!check(&app, id, password).await, "{id} {password}");
    }
}

#[tokio::test]
async fn what_can_not_be_right_reaches_no_directory() {
    let service = service();
    let app = with(&service, BASE).await;
    for id in
        ["anna", "@anna", "@anna:other.example", "", "@an na:hs.example", "@anna\r\n:hs.example"]
    {
        assert!(!check(&app, id, "geheim").await, "{id}");
    }
    assert!(!check(&app, ANNA, "").await);
    for body in [
        json!({}),
        json!([]),
        json!({ "user": { "id": ANNA } }),
        json!({ "user": { "id": ANNA, "password": null } }),
        json!({ "user": { "id": 7, "password": "geheim" } }),
    ] {
        assert_eq!(ask(&app, &body).await.ok(), json!({ "auth": { "success": false } }), "{body}");
    }
    assert!(service.asked().is_empty());
}

#[tokio::test]
async fn the_secret_has_to_be_shown() {
    let service = service();
    let app = with(&service, BASE).await;
    let body = json!({ "user": { "id": ANNA, "password": "geheim" } });
    for caller in [app.stranger(), app.holder("open"), app.account(ANNA).await] {
        let refused = answer(caller.request("POST", CHECK).json(&body)).await;
        refused.refused(401, "M_UNAUTHORIZED");
    }
    let query = format!("{CHECK}?access_token=open%20sesame");
    answer(app.stranger().request("POST", &query).json(&body)).await.refused(401, "M_UNAUTHORIZED");
    let without = TestApp::with(&format!("{BASE}{}", service.toml("intranet", ""))).await;
    let refused = answer(without.holder("open sesame").request("POST", CHECK).json(&body)).await;
    refused.refused(404, "M_UNRECOGNIZED");
    assert!(service.asked().is_empty());
}

#[tokio::test]
async fn a_listener_of_its_own_serves_this_question_and_no_other() {
    let service = service();
    let toml = service.toml("intranet", "");
    let app = TestApp::with(&format!("{BASE}credentials.listen = ['127.0.0.1:0']\n{toml}")).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let server = bindery::http::serve_credentials(&app.app, vec![listener]).unwrap();
    let handle = server.handle();
    tokio::spawn(server);
    let body = json!({ "user": { "id": ANNA, "password": "geheim" } });
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let checked = answer(client.post(format!("{base}{CHECK}")).json(&body)).await.ok();
    assert_eq!(checked["auth"]["success"], true);
    let other = client.get(format!("{base}/_matrix/identity/versions"));
    answer(other).await.refused(404, "M_UNRECOGNIZED");
    handle.stop(false).await;
}

#[tokio::test]
async fn who_tries_too_many_wrong_passwords_is_locked_out_for_a_while_that_doubles() {
    let service = service();
    let app = with(&service, BASE).await;
    for _ in 0..5 {
        assert!(!check(&app, ANNA, "wrong").await);
    }
    assert!(!check(&app, ANNA, "geheim").await);
    assert_eq!(service.asked().len(), 5);
    app.clock.advance(Duration::from_secs(30));
    assert!(!check(&app, ANNA, "wrong").await);
    app.clock.advance(Duration::from_secs(30));
    assert!(!check(&app, ANNA, "geheim").await);
    app.clock.advance(Duration::from_secs(30));
    assert!(check(&app, ANNA, "geheim").await);
    assert!(!check(&app, ANNA, "wrong").await);
    assert!(check(&app, ANNA, "geheim").await);
}

#[tokio::test]
async fn who_is_locked_out_is_so_at_all_nodes_and_after_a_restart() {
    let service = service();
    let one = with(&service, BASE).await;
    let other = beside(&one, &service, BASE).await;
    let third = beside(&one, &service, BASE).await;
    for app in [&one, &other, &one, &other, &one] {
        assert!(!check(app, ANNA, "wrong").await);
    }
    assert_eq!(service.asked().len(), 5);
    drop(one);
    for app in [&other, &third] {
        assert!(!check(app, ANNA, "geheim").await);
    }
    assert_eq!(service.asked().len(), 5);
    third.clock.advance(Duration::from_secs(30));
    assert!(!check(&other, ANNA, "wrong").await);
    third.clock.advance(Duration::from_secs(59));
    third.background().await;
    assert!(!check(&third, ANNA, "geheim").await);
    third.clock.advance(Duration::from_secs(1));
    assert!(check(&third, ANNA, "geheim").await);
    // A right one makes up for all of it, at the other node as well.
    for _ in 0..4 {
        assert!(!check(&third, ANNA, "wrong").await);
    }
    assert!(check(&other, ANNA, "geheim").await);
    assert!(!check(&third, ANNA, "wrong").await);
    assert!(check(&other, ANNA, "geheim").await);
}

#[tokio::test]
async fn of_many_wrong_passwords_at_once_on_two_nodes_five_are_tried() {
    let service = service();
    let one = with(&service, BASE).await;
    let other = beside(&one, &service, BASE).await;
    let at_once = (0..30).map(|index| check(if index % 2 == 0 { &one } else { &other }, ANNA, "x"));
    assert!(futures_util::future::join_all(at_once).await.iter().all(|is_right| !is_right));
    assert_eq!(service.asked().len(), 5);
}

#[tokio::test]
async fn wrong_passwords_are_forgotten_after_a_day_of_rest() {
    let service = service();
    let app = with(&service, BASE).await;
    for _ in 0..4 {
        assert!(!check(&app, ANNA, "wrong").await);
    }
    app.clock.advance(Duration::from_hours(23));
    assert_eq!(bindery::service::credentials::forget_old(&app.app).await.unwrap(), 0);
    app.clock.advance(Duration::from_hours(1));
    assert_eq!(bindery::service::credentials::forget_old(&app.app).await.unwrap(), 1);
    for _ in 0..4 {
        assert!(!check(&app, ANNA, "wrong").await);
    }
    // Nor is anything counted of who got in.
    assert!(check(&app, ANNA, "geheim").await);
    app.clock.advance(Duration::from_hours(24));
    assert_eq!(bindery::service::credentials::forget_old(&app.app).await.unwrap(), 0);
}

#[tokio::test]
async fn nobody_gets_in_where_wrong_passwords_can_not_be_counted() {
    let service = service();
    let app = with(&service, BASE).await;
    app.database.execute("DROP TABLE wrong_passwords");
    let body = json!({ "user": { "id": ANNA, "password": "geheim" } });
    ask(&app, &body).await.refused(503, "M_UNKNOWN");
    assert!(service.asked().is_empty());
}

#[tokio::test]
async fn a_directory_that_fails_locks_nobody_out() {
    let service = service();
    let app = with(&service, BASE).await;
    service.set_mood(Mood::Says(500, String::new()));
    for _ in 0..8 {
        assert!(!check(&app, ANNA, "geheim").await);
        app.clock.advance(Duration::from_hours(2));
    }
    service.set_mood(Mood::Well);
    assert!(!check(&app, ANNA, "wrong").await);
    assert!(check(&app, ANNA, "geheim").await);
}

#[tokio::test]
async fn two_nodes_try_no_more_passwords_of_a_user_than_one() {
    let service = service();
    let base = "limits.credentials_per_user = '3 per 90s'\n";
    let one = with(&service, base).await;
    let other = beside(&one, &service, base).await;
    for app in [&one, &other, &one] {
        assert!(check(app, ANNA, "geheim").await);
    }
    assert!(!check(&other, ANNA, "geheim").await && !check(&one, ANNA, "geheim").await);
    one.clock.advance(Duration::from_secs(30));
    assert!(check(&other, ANNA, "geheim").await);
    assert!(!check(&one, ANNA, "geheim").await);
    // Nobody gets in where it isn't known how often they tried.
    one.clock.advance(Duration::from_mins(10));
    one.database.execute("DROP TABLE allowances");
    let body = json!({ "user": { "id": ANNA, "password": "geheim" } });
    ask(&one, &body).await.refused(503, "M_UNKNOWN");
}

#[tokio::test]
async fn many_passwords_of_one_user_or_client_are_too_many() {
    let service = service();
    let of_user = with(&service, "limits.credentials_per_user = '2 per 1m'\n").await;
    let of_client = with(&service, "limits.credentials_per_client = '2 per 1m'\n").await;
    for app in [of_user, of_client] {
        assert!(check(&app, ANNA, "geheim").await && check(&app, ANNA, "geheim").await);
        assert!(!check(&app, ANNA, "geheim").await);
        app.clock.advance(Duration::from_secs(30));
        assert!(check(&app, ANNA, "geheim").await);
    }
}
