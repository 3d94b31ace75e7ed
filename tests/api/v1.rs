//! API v1, as far as a homeserver delegates validation to it: without accounts, where it is
//! switched on.

use serde_json::{Value, json};

use bindery::matrix::signing::verifies;

use crate::{
    gateway::Gateway,
    harness::{PUBLIC_KEY, TestApp},
};

const V1: &str = "/_matrix/identity/api/v1";

async fn start(toml: &str) -> (TestApp, Gateway) {
    let gateway = Gateway::start().await;
    (TestApp::with(&format!("{toml}\n{}", gateway.twilio_toml())).await, gateway)
}

fn number(client_secret: &str) -> Value {
    json!({
        "country": "GB", "phone_number": "07700900001",
        "client_secret": client_secret, "send_attempt": 1,
    })
}

#[tokio::test]
async fn it_is_not_there_unless_it_is_switched_on() {
    let (app, gateway) = start("limits.enabled = false").await;
    let stranger = app.stranger();
    for medium in ["msisdn", "email"] {
        let path = format!("{V1}/validate/{medium}/requestToken");
        stranger.post(&path, number("secret")).await.refused(404, "M_UNRECOGNIZED");
        let path = format!("{V1}/validate/{medium}/submitToken");
        stranger.post(&path, json!({})).await.refused(404, "M_UNRECOGNIZED");
        stranger.get(&path).await.refused(404, "M_UNRECOGNIZED");
    }
    for path in ["", "/3pid/getValidated3pid?sid=1&client_secret=a"] {
        stranger.get(&format!("{V1}{path}")).await.refused(404, "M_UNRECOGNIZED");
    }
    assert_eq!(gateway.messages().len(), 0);
}

#[tokio::test]
async fn a_homeserver_validates_a_number_without_an_account() {
    let (app, gateway) = start("limits.enabled = false\napi.v1.validate = true").await;
    let homeserver = app.stranger();
    assert_eq!(homeserver.get(V1).await.ok(), json!({}));
    let path = format!("{V1}/validate/msisdn/requestToken");
    let opened = homeserver.post(&path, number("secret")).await.ok();
    let read = format!(
        "{V1}/3pid/getValidated3pid?sid={}&client_secret=secret",
        opened["sid"].as_str().unwrap()
    );
    homeserver.get(&read).await.refused(400, "M_SESSION_NOT_VALIDATED");
    let text = gateway.messages().pop().unwrap().text;
    let code = text.split(' ').find(|word| word.bytes().all(|b| b.is_ascii_digit())).unwrap();
    let body = json!({ "sid": opened["sid"], "client_secret": "secret", "token": code });
    let submitted = homeserver.post(&format!("{V1}/validate/msisdn/submitToken"), body).await;
    assert_eq!(submitted.ok(), json!({ "success": true }));
    let validated = homeserver.get(&read).await.ok();
    assert_eq!(validated["medium"], "msisdn");
    assert_eq!(validated["address"], "447700900001");
    assert!(validated["validated_at"].is_i64());
}

#[tokio::test]
async fn it_serves_validation_and_nothing_else() {
    let (app, _gateway) = start("limits.enabled = false\napi.v1.validate = true").await;
    let stranger = app.stranger();
    for path in ["lookup?medium=email&address=a@b.example", "pubkey/ed25519:1"] {
        stranger.get(&format!("{V1}/{path}")).await.refused(404, "M_UNRECOGNIZED");
    }
    for path in ["bulk_lookup", "3pid/bind", "3pid/unbind", "store-invite", "sign-ed25519"] {
        stranger.post(&format!("{V1}/{path}"), json!({})).await.refused(404, "M_UNRECOGNIZED");
    }
    stranger
        .get(&format!("{V1}/validate/msisdn/requestToken"))
        .await
        .refused(405, "M_UNRECOGNIZED");
    // API v2 still wants an account.
    let path = "/validate/msisdn/requestToken";
    stranger.post(path, number("secret")).await.refused(401, "M_UNAUTHORIZED");
}

#[tokio::test]
async fn a_homeserver_asks_for_all_its_users_where_it_is_exempt() {
    let limits = "[limits]\nrequest_token_per_client = '1 per 1h'\nsms_per_network = '1 per 1h'\n\
                  request_token_per_address = '9 per 1h'\nsms_per_address = '9 per 1h'";
    for (exempt, sent) in [("", 1), ("\nexempt_networks = ['127.0.0.0/8']", 3)] {
        let toml = format!("api.v1.validate = true\n{limits}{exempt}");
        let (app, gateway) = start(&toml).await;
        let path = format!("{V1}/validate/msisdn/requestToken");
        for secret in ["a", "b", "c"] {
            app.stranger().post(&path, number(secret)).await;
        }
        assert_eq!(gateway.messages().len(), sent, "{exempt}");
    }
}

const ALICE: &str = "@alice:hs.example";

/// A server that answers lookups by API v1, where Alice bound `alice@example.org`.
async fn with_lookup(toml: &str) -> TestApp {
    let app = TestApp::with(&format!("api.v1.lookup = true\n{toml}")).await;
    app.account(ALICE).await.bound("alice@example.org", ALICE).await;
    app
}

#[tokio::test]
async fn a_neighbour_looks_up_a_signed_association_without_an_account() {
    let app = with_lookup("limits.enabled = false").await;
    let neighbour = app.stranger();
    assert_eq!(neighbour.get(V1).await.ok(), json!({}));
    let lookup = |query: &str| format!("{V1}/lookup?{query}");
    let found = neighbour.get(&lookup("medium=email&address=Alice%40Example.org")).await.ok();
    assert_eq!(found["mxid"], ALICE);
    assert_eq!(
        (&found["medium"], &found["address"]),
        (&json!("email"), &json!("alice@example.org"))
    );
    let key = bindery::matrix::signing::decode_base64(PUBLIC_KEY).unwrap().try_into().unwrap();
    let name = "id.example.org".parse().unwrap();
    assert!(verifies(found.as_object().unwrap(), &name, "ed25519:1", &key), "{found}");
    let served = neighbour.get(&format!("{V1}/pubkey/ed25519:1")).await.ok();
    assert_eq!(served, json!({ "public_key": PUBLIC_KEY }));
    let query = format!("public_key={}", PUBLIC_KEY.replace('+', "%2B"));
    for (path, valid) in [("isvalid", true), ("ephemeral/isvalid", false)] {
        let answer = neighbour.get(&format!("{V1}/pubkey/{path}?{query}")).await.ok();
        assert_eq!(answer, json!({ "valid": valid }), "{path}");
    }
    for query in [
        "medium=email&address=nobody@example.org",
        "medium=email&address=nonsense",
        "medium=badge&address=7",
        "medium=msisdn&address=alice@example.org",
    ] {
        assert_eq!(neighbour.get(&lookup(query)).await.ok(), json!({}), "{query}");
    }
    neighbour.get(&lookup("medium=email")).await.refused(400, "M_MISSING_PARAMS");
}

#[tokio::test]
async fn a_neighbour_looks_up_many_addresses_at_once() {
    let app = with_lookup("limits.enabled = false\nlookup.max_addresses = 4").await;
    let neighbour = app.stranger();
    let bulk = format!("{V1}/bulk_lookup");
    let asked = json!([
        ["email", "ALICE@example.org"],
        ["email", "nobody@example.org"],
        ["email", "nonsense"],
        ["email", "alice@example.org"]
    ]);
    let found = neighbour.post(&bulk, json!({ "threepids": asked })).await.ok();
    let expected =
        json!([["email", "ALICE@example.org", ALICE], ["email", "alice@example.org", ALICE]]);
    assert_eq!(found, json!({ "threepids": expected }));
    let none = neighbour.post(&bulk, json!({ "threepids": [] })).await.ok();
    assert_eq!(none, json!({ "threepids": [] }));
    for wrong in [json!({}), json!([["email"]]), json!([["email", 7]]), json!([[]])] {
        neighbour.post(&bulk, json!({ "threepids": wrong })).await.refused(400, "M_INVALID_PARAM");
    }
    neighbour.post(&bulk, json!({})).await.refused(400, "M_MISSING_PARAMS");
    let many = json!({ "threepids": vec![["email", "a@b.example"]; 5] });
    neighbour.post(&bulk, many).await.refused(400, "M_TOO_LARGE");
}

#[tokio::test]
async fn lookups_without_an_account_are_limited_by_client_and_have_their_own_switch() {
    let limits = "[limits]\nlookup_addresses_per_client = '3 per 1h'\n\
                  lookup_addresses_per_account = '9 per 1h'\n[lookup]\nmax_addresses = 3";
    let app = TestApp::with(&format!("api.v1.lookup = true\n{limits}")).await;
    let neighbour = app.stranger();
    let bulk = json!({ "threepids": [["email", "a@b.example"], ["email", "c@b.example"]] });
    neighbour.post(&format!("{V1}/bulk_lookup"), bulk.clone()).await.ok();
    let lookup = format!("{V1}/lookup?medium=email&address=a@b.example");
    neighbour.get(&lookup).await.ok();
    neighbour.get(&lookup).await.refused(429, "M_LIMIT_EXCEEDED");
    neighbour.post(&format!("{V1}/bulk_lookup"), bulk).await.refused(429, "M_LIMIT_EXCEEDED");
    // Nothing else of API v1 comes with it.
    let path = format!("{V1}/validate/email/requestToken");
    neighbour.post(&path, json!({})).await.refused(404, "M_UNRECOGNIZED");
    neighbour.post(&lookup, json!({})).await.refused(405, "M_UNRECOGNIZED");
}
