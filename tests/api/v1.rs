//! API v1, as far as a homeserver delegates validation to it: without accounts, where it is
//! switched on.

use serde_json::{Value, json};

use crate::{gateway::Gateway, harness::TestApp};

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
