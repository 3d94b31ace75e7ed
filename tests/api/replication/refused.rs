//! What neighbours and others send and nobody believes.

use bindery::matrix::signing::SigningKey;
use serde_json::{Value, json};

use super::village::{Open, PUSH, Seat, Village, association, key, signed_by};
use crate::{authority::Ca, harness::TestApp};

const BOB: &str = "@bob:hs.example";

/// A server that believes the neighbour `b.test` about `b.example`.
struct Listener {
    app: TestApp,
    here: Seat,
    neighbour: Seat,
    _open: Open,
    village: Village,
}

impl Listener {
    async fn start() -> Self {
        let village = Village::new();
        let (here, neighbour) = (village.seat("a.test"), village.seat("b.test"));
        let believed = neighbour.believed("domains = ['b.example', 'xn--bcher-kva.example']");
        let app = TestApp::with(&here.config(&[believed])).await;
        let open = here.listen(&app);
        Self { app, here, neighbour, _open: open, village }
    }
}

/// Carol's association with something changed, signed by the neighbour.
fn with(field: &str, value: Value) -> Value {
    let mut one = association("carol@b.example", BOB, 0);
    one[field] = value;
    signed_by("b.test", &key(), &one)
}

#[tokio::test]
async fn what_cant_be_believed_goes_into_the_quarantine_and_the_rest_is_taken() {
    let world = Listener::start().await;
    let plain = association("carol@b.example", BOB, 0);
    let mut forged = signed_by("b.test", &key(), &plain);
    forged["mxid"] = json!("@mallory:hs.example");
    let good = |address: &str| signed_by("b.test", &key(), &association(address, BOB, 0));
    let signature = "no signature of the neighbour with one of its configured keys verifies";
    let domain = "the neighbour may not speak for this address (`domains`)";
    let cases = [
        ("1", forged, signature),
        ("2", signed_by("b.test", &SigningKey::generate(), &plain), signature),
        ("3", signed_by("c.test", &key(), &plain), signature),
        ("4", plain.clone(), signature),
        ("5", good("carol@elsewhere.example"), domain),
        ("6", good("carol@sub.b.example"), domain),
        ("7", with("medium", json!("msisdn")), "Not a phone number"),
        ("8", with("medium", json!("x.badge")), domain),
        ("9", good("carol"), "An e-mail address has the form"),
        ("10", with("mxid", json!("carol")), "`mxid` is missing"),
        ("11", with("ts", json!("soon")), "`ts` is missing"),
        ("12", with("not_after", Value::Null), "`not_after` is missing"),
        ("13", with("address", json!(7)), "`address` is missing"),
        ("14", with("medium", json!("")), "empty or too long"),
        ("15", json!("nonsense"), "it is no JSON object"),
        ("16", json!(null), "it is no JSON object"),
        ("x", good("carol@b.example"), "its number is no whole number"),
    ];
    for (id, one, reason) in &cases {
        let dave = good(&format!("dave{id}@b.example"));
        let answer = world.neighbour.push(&world.here, json!({ *id: one, "1000": dave })).await;
        assert_eq!(answer.ok(), json!({ "success": true }), "{id}");
        let kept = world.app.quarantined().await;
        assert!(kept.last().unwrap().contains(reason), "{id}: {kept:?}");
        let dave = world.app.who_is(&format!("dave{id}@b.example")).await;
        assert_eq!(dave.as_deref(), Some(BOB), "{id}");
    }
    assert_eq!(world.app.who_is("carol@b.example").await, None);
    assert_eq!(world.app.quarantined().await.len(), cases.len());
    let count = i64::try_from(cases.len()).unwrap();
    assert_eq!(world.app.received("b.test").await, [count, 0, count]);
}

#[tokio::test]
async fn what_is_sent_again_and_well_leaves_the_quarantine() {
    let world = Listener::start().await;
    let plain = association("carol@b.example", BOB, 0);
    for _ in 0..2 {
        world.neighbour.push(&world.here, json!({ "1": plain })).await.ok();
    }
    assert_eq!(world.app.quarantined().await.len(), 1);
    let signed = world.neighbour.signed(&plain);
    world.neighbour.push(&world.here, json!({ "1": signed })).await.ok();
    assert_eq!(world.app.quarantined().await.len(), 0);
    assert_eq!(world.app.who_is("carol@b.example").await.as_deref(), Some(BOB));
}

#[tokio::test]
async fn text_that_is_no_push_is_answered_with_success_and_kept() {
    let world = Listener::start().await;
    for text in ["", "nonsense", "[]", r#"{"sgAssocs":7}"#, "{\"\0\":1}"] {
        let answer = world.neighbour.push_text(&world.here, text).await;
        assert_eq!(answer.ok(), json!({ "success": true }), "{text}");
    }
    assert_eq!(world.app.quarantined().await, ["the request is no push in JSON"]);
    // Python writes such halves of characters, which no JSON library of ours reads.
    let good = world.neighbour.signed(&association("carol@b.example", BOB, 0));
    let text = format!(r#"{{"sgAssocs":{{"1":{{"medium":"\ud800"}},"2":{good}}}}}"#);
    world.neighbour.push_text(&world.here, &text).await.ok();
    assert_eq!(world.app.who_is("carol@b.example").await.as_deref(), Some(BOB));
    assert_eq!(world.app.quarantined().await.len(), 2);
}

#[tokio::test]
async fn a_domain_is_the_same_in_both_spellings() {
    let world = Listener::start().await;
    let one = world.neighbour.signed(&association("carol@bücher.example", BOB, 0));
    world.neighbour.push(&world.here, json!({ "1": one })).await.ok();
    assert_eq!(world.app.who_is("carol@bücher.example").await.as_deref(), Some(BOB));
}

#[tokio::test]
async fn who_is_no_neighbour_by_the_name_in_their_certificate_is_turned_away() {
    let world = Listener::start().await;
    let one = world.neighbour.signed(&association("carol@b.example", BOB, 0));
    for names in [&["c.test"][..], &[], &["b.test", "c.test"], &["B.test"]] {
        let stranger = world.village.seat_of(names, &world.village.ca);
        let answer = stranger.push(&world.here, json!({ "1": one })).await;
        answer.refused(403, "M_UNKNOWN_PEER");
    }
    assert_eq!(world.app.who_is("carol@b.example").await, None);
    assert_eq!(world.app.received("b.test").await, [0, 0, 0]);
}

#[tokio::test]
async fn who_has_no_certificate_of_the_authorities_is_not_talked_to() {
    let world = Listener::start().await;
    let other = Ca::new();
    let stranger = world.village.seat_of(&["b.test"], &other);
    let url = format!("{}{PUSH}", world.here.url);
    assert!(stranger.client().post(&url).body("{}").send().await.is_err());
    let ca = reqwest::Certificate::from_pem(&std::fs::read(world.village.ca.file()).unwrap());
    let nobody = reqwest::Client::builder().tls_certs_only([ca.unwrap()]).no_proxy();
    assert!(nobody.build().unwrap().post(&url).body("{}").send().await.is_err());
}

#[tokio::test]
async fn neighbours_and_clients_have_doors_of_their_own() {
    let world = Listener::start().await;
    world.app.stranger().post(PUSH, json!({})).await.refused(404, "M_UNRECOGNIZED");
    let client = world.neighbour.client();
    let asked = client.get(format!("{}/_matrix/identity/versions", world.here.url));
    crate::harness::answer(asked).await.refused(404, "M_UNRECOGNIZED");
    let asked = client.get(format!("{}{PUSH}", world.here.url));
    crate::harness::answer(asked).await.refused(405, "M_UNRECOGNIZED");
}
