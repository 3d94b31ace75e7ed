//! A neighbour that refuses something, and the operator who passes over it.

use bindery::matrix::json::Object;
use serde_json::{Value, json};

use crate::{
    authority::Ca,
    homeserver::{FakeHomeserver, Reply},
    process::{Home, Person, until},
};

const PUSH: &str = "/_matrix/identity/replicate/v1/push";

/// A home whose server tells `neighbour`, which is called b.test.
fn home(ca: &Ca, neighbour: &FakeHomeserver) -> Home {
    let home = Home::with(&format!(
        "[[peers.replicate]]\nname = 'b.test'\nurl = 'https://{}'\n\
         keys = ['ed25519:0 XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI']\n\
         [replication]\ncertificate = 'a.crt'\nkey = 'a.key'\nca_file = '{}'\n",
        neighbour.address(),
        ca.file().display()
    ));
    let (certificate, key) = ca.pem_of(&["a.test"]);
    std::fs::write(home.path().join("a.crt"), certificate).unwrap();
    std::fs::write(home.path().join("a.key"), key).unwrap();
    home
}

/// The numbers in the last request.
fn last(neighbour: &FakeHomeserver) -> Vec<String> {
    let Some(request) = neighbour.requests().pop() else { return Vec::new() };
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let all: &Object = body["sgAssocs"].as_object().unwrap();
    all.keys().cloned().collect()
}

#[tokio::test]
async fn what_a_neighbour_refuses_is_shown_set_aside_and_told_again() {
    let ca = Ca::new();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let neighbour = FakeHomeserver::start(&ca, &["127.0.0.1"]).await;
    let refusal = json!({ "errcode": "M_VERIFICATION_FAILED", "failed_ids": ["1"] });
    neighbour.set_reply(PUSH, Reply::new(400, refusal.to_string()));
    let home = home(&ca, &neighbour);
    // On PostgreSQL it is there, and empty.
    let listed = home.run(&["peers", "list"]).ok();
    let unknown = "\ntold\tunknown: there is no database ";
    assert!(home.database.is_postgres() || listed.contains(unknown), "{listed}");
    let server = home.serve().await;
    let you = Person::of(&home, &server);
    let emails = ["one@a.test", "two@a.test", "three@a.test"].map(str::to_owned);
    let sessions = you.validated(&home, &emails).await;
    for session in &sessions[..2] {
        you.bind(session).await.ok();
    }
    until("both were told", async || (last(&neighbour) == ["1", "2"]).then_some(())).await;
    let shown = until("the refusal", async || {
        let shown = home.run(&["peers", "cursor", "b.test"]).ok();
        shown.contains(", told again\t").then_some(shown)
    })
    .await;
    for words in [
        "neighbour: b.test\ntold: 0 of 2\nnext: 1\tbound\temail one@a.test\ndue: ",
        "\nlast error: it answers with status 400: {\\\"errcode\\\":\\\"M_VERIFICATION_FAILED\\\"",
        "\n1\tbound\temail one@a.test\trefused ",
    ] {
        assert!(shown.contains(words), "{words}\nisn't in\n{shown}");
    }
    assert_eq!(home.run(&["peers", "cursor", "b.test", "--skip"]).ok(), "Set aside: 1.\n");
    neighbour.set_reply(PUSH, Reply::new(200, r#"{"success":true}"#));
    let list = until("the other is told", async || {
        let list = home.run(&["peers", "list"]).ok();
        list.contains("\ntold\tb.test\t2 of 2\tset aside 1\tfailed 0\tdue now\t-\n").then_some(list)
    });
    list.await;
    assert_eq!(last(&neighbour), ["2"]);
    let again = home.run(&["peers", "cursor", "b.test", "--retry"]).ok();
    assert_eq!(again, "Told again: 1.\n");
    you.bind(&sessions[2]).await.ok();
    until("it is told again", async || (last(&neighbour) == ["1", "3"]).then_some(())).await;

    let nothing = home.run(&["peers", "cursor", "b.test", "--skip", "2"]).failed(1);
    assert_eq!(nothing, "bindery: no entry 2 is to be told\n");
    home.run(&["peers", "cursor", "b.test", "--retry", "3"]).failed(1);
    let unknown = home.run(&["peers", "cursor", "c.test"]).failed(1);
    assert!(unknown.starts_with("bindery: no neighbour c.test is told anything"), "{unknown}");
}
