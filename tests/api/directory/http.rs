//! Services that speak the JSON of ma1sd's REST backend, and what holds for all directories.

use std::time::Duration;

use bindery::directory::{Directory, Purpose};
use serde_json::json;

use super::{BASE, at, find_plain};
use crate::{
    authority::Ca,
    directories::{FakePerson, FakeService, MA1SD, MXISD, Mood},
    harness::TestApp,
    invite::request,
};

fn person(localpart: &'static str, email: &'static str) -> FakePerson {
    FakePerson { localpart, name: "Anna Example", password: "geheim", email }
}

fn anna() -> Vec<FakePerson> {
    vec![person("anna", "anna@example.org")]
}

async fn with(service: &FakeService, more: &str) -> TestApp {
    TestApp::with(&format!("{BASE}{}", service.toml("intranet", more))).await
}

fn directory(app: &TestApp) -> &Directory {
    app.app.directories.get("intranet").unwrap()
}

#[tokio::test]
async fn people_are_found_in_plain_one_or_many_at_a_time() {
    let service = FakeService::start(vec![
        person("anna", "anna@example.org"),
        person("mxid:@bob:hs.example", "bob@example.org"),
        person("mxid:@eve:evil.example", "eve@example.org"),
    ]);
    let app = with(&service, "").await;
    let alice = app.account("@alice:hs.example").await;
    assert_eq!(find_plain(&alice, &["ANNA@example.org"]).await, [Some(at("anna"))]);
    assert_eq!(find_plain(&alice, &["nobody@example.org"]).await, [None]);
    let addresses = ["anna@example.org", "bob@example.org", "eve@example.org", "x@example.org"];
    assert_eq!(
        find_plain(&alice, &addresses).await,
        [Some(at("anna")), Some(at("bob")), None, None]
    );
    let paths: Vec<String> = service.asked().into_iter().map(|asked| asked.path).collect();
    let [single, bulk] = ["identity/single", "identity/bulk"].map(|path| format!("{MA1SD}{path}"));
    assert_eq!(paths, [single.clone(), single, bulk]);
    let asked = json!({ "lookup": { "medium": "email", "address": "anna@example.org" } });
    assert_eq!(service.asked()[0].body, asked);
}

#[tokio::test]
async fn whose_address_is_in_a_directory_needs_no_invitation() {
    let service = FakeService::start(anna());
    let app = with(&service, "").await;
    let alice = app.account("@alice:hs.example").await;
    let invite = request("anna@example.org", "@alice:hs.example");
    let refused = alice.post("/store-invite", invite).await.refused(400, "M_THREEPID_IN_USE");
    assert_eq!(refused["mxid"], "@anna:hs.example");
    // What is bound here goes first.
    let carol = app.account("@carol:hs.example").await;
    carol.bound("anna@example.org", "@carol:hs.example").await;
    assert_eq!(find_plain(&alice, &["anna@example.org"]).await, [Some(at("carol"))]);
    let invite = request("anna@example.org", "@alice:hs.example");
    let refused = alice.post("/store-invite", invite).await.refused(400, "M_THREEPID_IN_USE");
    assert_eq!(refused["mxid"], "@carol:hs.example");
}

#[tokio::test]
async fn older_services_are_found_at_their_older_paths() {
    let service = FakeService::at(MXISD, anna(), None);
    let app = with(&service, "").await;
    let alice = app.account("@alice:hs.example").await;
    for _ in 0..2 {
        assert_eq!(find_plain(&alice, &["anna@example.org"]).await, [Some(at("anna"))]);
    }
    let asked = service.asked();
    let is_old = asked.iter().map(|asked| asked.path.starts_with(MXISD)).collect::<Vec<_>>();
    assert_eq!(is_old, [false, true, true]);
    let toml = format!("{BASE}{}paths = 'ma1sd'\n", service.toml("intranet", ""));
    let app = TestApp::with(&toml).await;
    let alice = app.account("@alice:hs.example").await;
    assert_eq!(find_plain(&alice, &["anna@example.org"]).await, [None]);
}

#[tokio::test]
async fn a_service_is_shown_the_secret_and_the_headers_and_its_certificate_is_checked() {
    let ca = Ca::new();
    let service = FakeService::at(MA1SD, anna(), Some(ca.tls(&["127.0.0.1"])));
    let toml = service.toml("intranet", "").replace("http://", "https://");
    let more = format!(
        "secret = 'open sesame'\nheaders = {{ X-Org = 'example' }}\nca_file = '{}'\n",
        ca.file().display()
    );
    let app = TestApp::with(&format!("{BASE}{toml}{more}")).await;
    let alice = app.account("@alice:hs.example").await;
    assert_eq!(find_plain(&alice, &["anna@example.org"]).await, [Some(at("anna"))]);
    let headers = service.asked().pop().unwrap().headers;
    for (name, value) in [("authorization", "Bearer open sesame"), ("x-org", "example")] {
        assert!(headers.contains(&(name.to_owned(), value.to_owned())), "{headers:?}");
    }
    let app = TestApp::with(&format!("{BASE}{toml}")).await;
    let alice = app.account("@alice:hs.example").await;
    assert_eq!(find_plain(&alice, &["anna@example.org"]).await, [None]);
}

#[tokio::test]
async fn searches_go_by_name_and_by_address() {
    let service = FakeService::start(vec![
        FakePerson { name: "Anna", ..person("anna", "xyz@example.org") },
        FakePerson { name: "Bob", ..person("bob", "anna@example.org") },
        FakePerson { name: "Carol", ..person("carol", "carol@example.org") },
    ]);
    let app = with(&service, "").await;
    let found = app.app.directories.search("ann", 10).await;
    let mxids: Vec<&str> = found.people.iter().map(|person| person.mxid.as_str()).collect();
    assert_eq!((mxids, found.limited), (vec!["@anna:hs.example", "@bob:hs.example"], false));
    let cut = app.app.directories.search("ann", 1).await;
    assert_eq!((cut.people.len(), cut.limited), (1, true));
}

#[tokio::test]
async fn a_directory_that_fails_is_left_out_and_left_alone_until_it_is_tried_again() {
    let service = FakeService::start(anna());
    let other = FakeService::start(vec![person("bob", "bob@example.org")]);
    let toml = format!("{BASE}{}{}", service.toml("intranet", ""), other.toml("other", ""));
    let app = TestApp::with(&toml).await;
    let alice = app.account("@alice:hs.example").await;
    let addresses = ["anna@example.org", "bob@example.org"];
    service.set_mood(Mood::Says(500, "anna@example.org".to_owned()));
    for _ in 0..5 {
        assert_eq!(find_plain(&alice, &addresses).await, [None, Some(at("bob"))]);
    }
    assert_eq!(service.asked().len(), 3);
    let metrics = alice.get("/metrics").await.body;
    for line in [
        "bindery_directory_failing{directory=\"intranet\"} 1",
        "bindery_directory_failing{directory=\"other\"} 0",
        "bindery_directory_questions_total{directory=\"intranet\",question=\"find\",outcome=\"failed\"} 3",
        "bindery_directory_questions_total{directory=\"intranet\",question=\"find\",outcome=\"skipped\"} 2",
        "bindery_directory_questions_total{directory=\"other\",question=\"find\",outcome=\"answered\"} 5",
    ] {
        assert!(metrics.lines().any(|told| told == line), "{line}: {metrics}");
    }
    service.set_mood(Mood::Well);
    app.clock.advance(Duration::from_secs(30));
    assert_eq!(find_plain(&alice, &addresses).await, [Some(at("anna")), Some(at("bob"))]);
    let metrics = alice.get("/metrics").await.body;
    assert!(metrics.contains("bindery_directory_failing{directory=\"intranet\"} 0\n"), "{metrics}");
}

#[tokio::test]
async fn a_directory_that_is_slow_costs_no_more_than_its_deadline() {
    let service = FakeService::start(anna());
    service.set_mood(Mood::Slow(Duration::from_mins(1)));
    let toml = service.toml("intranet", "").replace("'5s'", "'200ms'");
    let app = TestApp::with(&format!("{BASE}{toml}")).await;
    let alice = app.account("@alice:hs.example").await;
    let began = std::time::Instant::now();
    assert_eq!(find_plain(&alice, &["anna@example.org"]).await, [None]);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn no_more_questions_are_on_their_way_than_the_operator_allows() {
    let service = FakeService::start(anna());
    service.set_mood(Mood::Slow(Duration::from_millis(20)));
    let app = with(&service, "max_connections = 2").await;
    let threepids = [bindery::matrix::threepid::ThreePid::email("anna@example.org").unwrap()];
    let asked = (0..10).map(|_| directory(&app).find(&threepids));
    for found in futures_util::future::join_all(asked).await {
        assert_eq!(found.unwrap().len(), 1);
    }
    assert_eq!((service.asked().len(), service.most_at_once()), (10, 2));
}

#[tokio::test]
async fn answers_of_any_kind_are_failures_and_no_more() {
    let service = FakeService::start(anna());
    let app = with(&service, "").await;
    let alice = app.account("@alice:hs.example").await;
    for (status, text) in [
        (200, "anna@example.org"),
        (200, ""),
        (200, "[]"),
        (200, r#"{"lookup": 7}"#),
        (200, r#"{"lookup": {"medium": "email", "address": "anna@example.org", "id": 1}}"#),
        (302, ""),
        (401, "{}"),
        (503, "{}"),
    ] {
        service.set_mood(Mood::Says(status, text.to_owned()));
        assert_eq!(find_plain(&alice, &["anna@example.org"]).await, [None], "{text}");
        let threepids = [bindery::matrix::threepid::ThreePid::email("anna@example.org").unwrap()];
        app.clock.advance(Duration::from_hours(2));
        let error = directory(&app).find(&threepids).await.unwrap_err().to_string();
        assert!(!error.contains("anna@"), "{error}");
        app.clock.advance(Duration::from_hours(2));
    }
    service.set_mood(Mood::Says(200, "x".repeat(5 * 1024 * 1024)));
    assert_eq!(find_plain(&alice, &["anna@example.org"]).await, [None]);
}

#[tokio::test]
async fn a_directory_is_asked_only_for_what_it_is_there_for() {
    let service = FakeService::start(anna());
    let app = with(&service, "identities = false\nsearch = false").await;
    let alice = app.account("@alice:hs.example").await;
    assert_eq!(find_plain(&alice, &["anna@example.org"]).await, [None]);
    assert!(app.app.directories.search("anna", 10).await.people.is_empty());
    assert!(service.asked().is_empty());
    let threepid = bindery::matrix::threepid::ThreePid::email("anna@example.org").unwrap();
    let found = app.app.directories.find(std::slice::from_ref(&threepid), Purpose::Login).await;
    assert_eq!(json!(found[&threepid]), "@anna:hs.example");
}
