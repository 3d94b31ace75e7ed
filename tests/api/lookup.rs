//! Looking up who is behind an address.

use bindery::{
    matrix::{medium::Mediums, threepid::ThreePid},
    store::{
        StoreError,
        associations::{self, Association},
        peppers,
    },
};
use serde_json::{Value, json};

use crate::harness::{Answer, Caller, START_MS, TestApp, hash};

const ALICE: &str = "@alice:hs.example";

const WITH_NONE: &str = "limits.enabled = false\nlookup.algorithms = ['sha256', 'none']";

/// Binds each address to a user, without the validation that takes a mail each.
async fn bind_all(app: &TestApp, pairs: Vec<(ThreePid, String)>) {
    let work = move |tx: &mut bindery::store::Tx<'_>| {
        let pepper = peppers::hold_current(tx)?.unwrap();
        for (threepid, mxid) in pairs {
            let association = Association {
                threepid,
                mxid: mxid.parse().unwrap(),
                ts: START_MS,
                not_before: START_MS,
                not_after: START_MS + 1000,
            };
            associations::bind(tx, &association, &pepper)?;
        }
        Ok::<_, StoreError>(())
    };
    app.app.store.write(work).await.unwrap();
    app.settle().await;
}

async fn bind_emails(app: &TestApp, addresses: &[&str]) {
    let pairs = addresses.iter().map(|a| (ThreePid::email(a).unwrap(), ALICE.to_owned()));
    bind_all(app, pairs.collect()).await;
}

async fn pepper(caller: &Caller<'_>) -> String {
    caller.get("/hash_details").await.ok()["lookup_pepper"].as_str().unwrap().to_owned()
}

async fn lookup(caller: &Caller<'_>, algorithm: &str, addresses: &[String]) -> Answer {
    let pepper = pepper(caller).await;
    let body = json!({ "algorithm": algorithm, "pepper": pepper, "addresses": addresses });
    caller.post("/lookup", body).await
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().copied().map(str::to_owned).collect()
}

#[tokio::test]
async fn hash_details_name_the_pepper_and_the_algorithms() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    let details = alice.get("/hash_details").await.ok();
    let pepper = details["lookup_pepper"].as_str().unwrap();
    assert_eq!(details, json!({ "lookup_pepper": pepper, "algorithms": ["sha256"] }));
    assert!(!pepper.is_empty() && pepper.bytes().all(|b| b.is_ascii_alphanumeric()), "{pepper}");
    app.stranger().get("/hash_details").await.refused(401, "M_UNAUTHORIZED");
    // As Synapse asks.
    let query = format!("/hash_details?access_token={}", alice.token.as_ref().unwrap());
    assert_eq!(app.stranger().get(&query).await.ok(), details);
}

#[tokio::test]
async fn hashes_are_those_of_the_known_vectors() {
    let app = TestApp::start().await;
    app.database.execute("UPDATE peppers SET pepper = 'matrixrocks'");
    app.settle().await;
    let vectors = [
        ("alice@example.com", "email", "4kenr7N9drpCJ4AfalmlGQVsOn3o2RHjkADUpXJWZUc"),
        ("bob@example.com", "email", "LJwSazmv46n0hlMlsb_iYxI0_HXEqy_yj6Jm636cdT8"),
        ("18005552067", "msisdn", "nlo35_T5fzSGZzJApqu8lgIudJvmOQtDaHtr-I4rU7I"),
        ("carl@example.com", "email", "jDh2YLwYJg3vg9pEn3kaaXAP9jx-LlcotoH51Zgb9MA"),
        ("denny@example.com", "email", "2tZto1arl2fUYtF6tQPJND69il3xke9OBlgFgnUt2ww"),
        ("12345678910", "msisdn", "S11EvvwnUWBDZtI4MTRKgVuiRx76Z9HnkbyRlWkBqJs"),
        ("Strauß@example.com", "email", "Wvo9OL_UvrDZsRecvnhshdTeilXXGbhk0J5l5rX55Ok"),
    ];
    let mut expected = json!({});
    let mut pairs = Vec::new();
    for (number, (address, medium, hash)) in vectors.iter().enumerate() {
        let mxid = format!("@user{number}:hs.example");
        expected[hash] = json!(mxid);
        pairs.push((Mediums::default().threepid(medium, address).unwrap(), mxid));
    }
    bind_all(&app, pairs).await;
    let hashes: Vec<&str> = vectors.iter().map(|(.., hash)| *hash).collect();
    let alice = app.account(ALICE).await;
    let found = lookup(&alice, "sha256", &owned(&hashes)).await.ok();
    assert_eq!(found, json!({ "mappings": expected }));
}

#[tokio::test]
async fn only_what_is_known_is_in_the_answer() {
    let app = TestApp::start().await;
    bind_emails(&app, &["alice@example.org"]).await;
    let bob = app.account("@bob:hs.example").await;
    let pepper = pepper(&bob).await;
    let known = hash("alice@example.org", "email", &pepper);
    let asked = [known.clone(), hash("nobody@example.org", "email", &pepper), known.clone()];
    let found = lookup(&bob, "sha256", &asked).await.ok();
    assert_eq!(found, json!({ "mappings": { known: ALICE } }));
    assert_eq!(lookup(&bob, "sha256", &[]).await.ok(), json!({ "mappings": {} }));
}

#[tokio::test]
async fn what_is_no_hash_of_a_known_address_matches_nothing() {
    let app = TestApp::with(WITH_NONE).await;
    bind_emails(&app, &["alice@example.org"]).await;
    let bob = app.account("@bob:hs.example").await;
    let pepper = pepper(&bob).await;
    let known = hash("alice@example.org", "email", &pepper);
    let garbage = [
        "",
        " ",
        "\0",
        "alice@example.org email",
        &known[1..],
        &format!("{known}="),
        &format!("{known}A"),
        &format!(" {known}"),
        &known.to_lowercase(),
        &known.replace(['-', '_'], "+"),
        &"A".repeat(43),
        &"-".repeat(43),
        &"é".repeat(43),
        &"x".repeat(100_000),
        &hash("alice@example.org", "msisdn", &pepper),
        &hash("Alice@example.org", "email", &pepper),
        &hash("alice@example.org", "email", "other"),
    ]
    .map(str::to_owned);
    // A hash may happen to be its own lower case.
    let garbage: Vec<String> = garbage.into_iter().filter(|text| *text != known).collect();
    assert_eq!(lookup(&bob, "sha256", &garbage).await.ok(), json!({ "mappings": {} }));
}

#[tokio::test]
async fn plain_addresses_are_found_where_that_is_switched_on() {
    let app = TestApp::with(WITH_NONE).await;
    bind_emails(&app, &["strauss@example.org"]).await;
    let phone = ThreePid::msisdn("447700900001").unwrap();
    bind_all(&app, vec![(phone, "@phone:hs.example".to_owned())]).await;
    let bob = app.account("@bob:hs.example").await;
    assert_eq!(bob.get("/hash_details").await.ok()["algorithms"], json!(["sha256", "none"]));
    // Each spelling is answered under the text that was asked.
    let asked = owned(&[
        "strauss@example.org email",
        "STRAUSS@Example.org email",
        "strauß@example.org email",
        "447700900001 msisdn",
        "+44 7700 900001 msisdn",
        "nobody@example.org email",
    ]);
    let expected = json!({ "mappings": {
        "strauss@example.org email": ALICE,
        "STRAUSS@Example.org email": ALICE,
        "strauß@example.org email": ALICE,
        "447700900001 msisdn": "@phone:hs.example",
        "+44 7700 900001 msisdn": "@phone:hs.example",
    } });
    assert_eq!(lookup(&bob, "none", &asked).await.ok(), expected);
    let malformed = owned(&[
        "",
        " ",
        "email",
        " email",
        "strauss@example.org",
        "strauss@example.org  email",
        "strauss@example.org email ",
        "strauss@example.org Email",
        "strauss@example.org msisdn",
        "strauss@example.org telex",
        "email strauss@example.org",
        "strauss@example.org\temail",
        "<strauss@example.org> email",
        "strauss@example.org\0 email",
        "07700900001 msisdn",
        "447700900001 email",
    ]);
    assert_eq!(lookup(&bob, "none", &malformed).await.ok(), json!({ "mappings": {} }));
}

#[tokio::test]
async fn plain_addresses_are_not_found_by_default() {
    let app = TestApp::start().await;
    bind_emails(&app, &["alice@example.org"]).await;
    let bob = app.account("@bob:hs.example").await;
    let asked = owned(&["alice@example.org email"]);
    lookup(&bob, "none", &asked).await.refused(400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn an_unknown_algorithm_is_refused_before_the_pepper_is_looked_at() {
    let app = TestApp::with(WITH_NONE).await;
    let bob = app.account("@bob:hs.example").await;
    for algorithm in ["md5", "", "SHA256", "sha256 ", "None"] {
        let body = json!({ "algorithm": algorithm, "pepper": "wrong", "addresses": [] });
        let refused = bob.post("/lookup", body).await.refused(400, "M_INVALID_PARAM");
        assert_eq!(refused.get("lookup_pepper"), None);
        assert_eq!(refused.get("algorithm"), None);
    }
}

#[tokio::test]
async fn another_pepper_is_refused_and_the_current_one_named() {
    let app = TestApp::with(WITH_NONE).await;
    bind_emails(&app, &["alice@example.org"]).await;
    let bob = app.account("@bob:hs.example").await;
    let current = pepper(&bob).await;
    for algorithm in ["sha256", "none"] {
        for wrong in ["wrong", "", "\0", &current.to_lowercase(), &format!("{current} ")] {
            let asked = ["alice@example.org email"];
            let body = json!({ "algorithm": algorithm, "pepper": wrong, "addresses": asked });
            let refused = bob.post("/lookup", body).await.refused(400, "M_INVALID_PEPPER");
            assert_eq!(refused["lookup_pepper"], current);
            assert_eq!(refused["algorithm"], "sha256");
            assert_eq!(refused.get("mappings"), None);
        }
    }
}

#[tokio::test]
async fn a_lookup_takes_an_algorithm_a_pepper_and_addresses() {
    let app = TestApp::with(WITH_NONE).await;
    let bob = app.account("@bob:hs.example").await;
    let full =
        json!({ "algorithm": "sha256", "pepper": pepper(&bob).await, "addresses": [], "x": [1] });
    assert_eq!(bob.post("/lookup", full.clone()).await.ok(), json!({ "mappings": {} }));
    for name in ["algorithm", "pepper", "addresses"] {
        let mut body = full.clone();
        body.as_object_mut().unwrap().remove(name);
        bob.post("/lookup", body.clone()).await.refused(400, "M_MISSING_PARAMS");
        body[name] = Value::Null;
        bob.post("/lookup", body.clone()).await.refused(400, "M_MISSING_PARAMS");
        for wrong in [json!(1), json!({}), json!([1]), json!([null]), json!(true)] {
            body[name] = wrong;
            bob.post("/lookup", body.clone()).await.refused(400, "M_INVALID_PARAM");
        }
    }
    // The pepper is asked for even where nothing is hashed.
    let body = json!({ "algorithm": "none", "addresses": [] });
    bob.post("/lookup", body).await.refused(400, "M_MISSING_PARAMS");
    app.stranger().post("/lookup", full).await.refused(401, "M_UNAUTHORIZED");
}

#[tokio::test]
async fn too_many_addresses_are_refused() {
    let app = TestApp::with("limits.enabled = false\nlookup.max_addresses = 3").await;
    let bob = app.account("@bob:hs.example").await;
    lookup(&bob, "sha256", &owned(&["a", "b", "c"])).await.ok();
    let asked = owned(&["a", "b", "c", "c"]);
    lookup(&bob, "sha256", &asked).await.refused(400, "M_TOO_LARGE");
}

#[tokio::test]
async fn ten_thousand_addresses_are_looked_up_at_once() {
    let app = TestApp::start().await;
    let address = |number: usize| format!("user{number}@example.org");
    let mxid = |number: usize| format!("@user{number}:hs.example");
    let known = (0..10_000).step_by(4);
    let pairs = known.clone().map(|n| (ThreePid::email(&address(n)).unwrap(), mxid(n)));
    bind_all(&app, pairs.collect()).await;
    let bob = app.account("@bob:hs.example").await;
    let pepper = pepper(&bob).await;
    let hash_of = |number| hash(&address(number), "email", &pepper);
    let hashes: Vec<String> = (0..10_000).map(hash_of).collect();
    let found = lookup(&bob, "sha256", &hashes).await.ok();
    let expected: serde_json::Map<String, Value> =
        known.map(|n| (hash_of(n), json!(mxid(n)))).collect();
    assert_eq!(found["mappings"].as_object().unwrap().len(), 2500);
    assert_eq!(found["mappings"], Value::Object(expected));
    let one_more = [hashes, vec![String::new()]].concat();
    lookup(&bob, "sha256", &one_more).await.refused(400, "M_TOO_LARGE");
}

#[tokio::test]
async fn an_association_is_found_while_it_holds() {
    let app = TestApp::start().await;
    bind_emails(&app, &["alice@example.org"]).await;
    let bob = app.account("@bob:hs.example").await;
    assert_eq!(bob.find(&["alice@example.org"]).await, [Some(ALICE.to_owned())]);
    app.clock.advance(std::time::Duration::from_millis(999));
    assert_eq!(bob.find(&["alice@example.org"]).await, [Some(ALICE.to_owned())]);
    app.clock.advance(std::time::Duration::from_millis(1));
    assert_eq!(bob.find(&["alice@example.org"]).await, [None]);
}
