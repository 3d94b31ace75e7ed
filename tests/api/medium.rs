//! A medium that the operator adds: staff badges, which a program of the company shows messages to.

use serde_json::{Value, json};

use crate::{
    gateway::{Answer as Told, Gateway, Received},
    harness::{TestApp, hash},
};

const ALICE: &str = "@alice:hs.example";

const REQUEST_TOKEN: &str = "/validate/org.example.badge/requestToken";

async fn start() -> (TestApp, Gateway) {
    let gateway = Gateway::start().await;
    let toml = format!(
        "limits.enabled = false\nlookup.algorithms = ['sha256', 'none']\n\
         [mediums.'org.example.badge']\npattern = '[a-z]{{2}}-[0-9]{{4}}'\n\
         [mediums.'org.example.badge'.http]\nurl = '{}/badges/{{{{ address }}}}'\nmethod = 'PUT'\n\
         secret = 'hush'\nheaders = {{ Authorization = 'Bearer {{{{ secret }}}}' }}\n\
         json = {{ text = '{{{{ text }}}}', token = '{{{{ token }}}}', link = '{{{{ link }}}}', \
         priority = 1 }}\n",
        gateway.url()
    );
    (TestApp::with(&toml).await, gateway)
}

fn request(address: &str) -> Value {
    json!({ "address": address, "client_secret": "secret", "send_attempt": "1" })
}

fn last(gateway: &Gateway) -> (Received, Value) {
    let request = gateway.requests().pop().unwrap();
    let body = serde_json::from_str(&request.body).unwrap();
    (request, body)
}

#[tokio::test]
async fn an_address_of_it_is_validated_bound_found_and_unbound_like_any_other() {
    let (app, gateway) = start().await;
    let alice = app.account(ALICE).await;
    let opened = alice.post(REQUEST_TOKEN, request("AB-0123")).await.ok();
    let (sent, body) = last(&gateway);
    assert_eq!((&*sent.method, &*sent.target), ("PUT", "/badges/ab-0123"));
    assert_eq!(sent.headers["authorization"], "Bearer hush");
    assert_eq!(body["priority"], 1);
    let code = body["token"].as_str().unwrap();
    assert!(code.len() == 6 && body["text"].as_str().unwrap().contains(code), "{body}");
    let session = json!({ "sid": opened["sid"], "client_secret": "secret" });
    let mut submit = session.clone();
    submit["token"] = json!(code);
    let path = "/validate/org.example.badge/submitToken";
    assert_eq!(alice.post(path, submit).await.ok(), json!({ "success": true }));
    let mut bind = session.clone();
    bind["mxid"] = json!(ALICE);
    let bound = alice.post("/3pid/bind", bind).await.ok();
    assert_eq!(
        (&bound["medium"], &bound["address"]),
        (&json!("org.example.badge"), &json!("ab-0123"))
    );
    let pepper = alice.get("/hash_details").await.ok()["lookup_pepper"].clone();
    let pepper = pepper.as_str().unwrap();
    let hashed = hash("ab-0123", "org.example.badge", pepper);
    let look = async |algorithm: &str, text: &str| {
        let body = json!({ "algorithm": algorithm, "pepper": pepper, "addresses": [text] });
        alice.post("/lookup", body).await.ok()["mappings"][text].clone()
    };
    assert_eq!(look("sha256", &hashed).await, json!(ALICE));
    assert_eq!(look("none", "AB-0123 org.example.badge").await, json!(ALICE));
    assert_eq!(look("none", "AB-0123 badge").await, Value::Null);
    let mut unbind = session;
    unbind["mxid"] = json!(ALICE);
    unbind["threepid"] = json!({ "medium": "org.example.badge", "address": "AB-0123" });
    alice.post("/3pid/unbind", unbind).await.ok();
    assert_eq!(look("sha256", &hashed).await, Value::Null);
}

#[tokio::test]
async fn its_hashes_survive_a_new_pepper() {
    let (app, gateway) = start().await;
    let alice = app.account(ALICE).await;
    let opened = alice.post(REQUEST_TOKEN, request("ab-0123")).await.ok();
    let link = last(&gateway).1["link"].as_str().unwrap().to_owned();
    assert!(link.contains("/v2/validate/org.example.badge/submitToken?"), "{link}");
    assert_eq!(app.open(&link).await.status, 200);
    let bind = json!({ "sid": opened["sid"], "client_secret": "secret", "mxid": ALICE });
    alice.post("/3pid/bind", bind).await.ok();
    let before = alice.get("/hash_details").await.ok();
    app.clock.advance(std::time::Duration::from_hours(8 * 24));
    app.background().await;
    let alice = app.account(ALICE).await;
    let pepper = alice.get("/hash_details").await.ok()["lookup_pepper"].clone();
    assert_ne!(pepper, before["lookup_pepper"]);
    let pepper = pepper.as_str().unwrap();
    let hashed = hash("ab-0123", "org.example.badge", pepper);
    let body = json!({ "algorithm": "sha256", "pepper": pepper, "addresses": [hashed] });
    let found = alice.post("/lookup", body).await.ok();
    assert_eq!(found["mappings"][hashed], ALICE);
}

#[tokio::test]
async fn its_owner_is_invited_by_it() {
    let (app, gateway) = start().await;
    let alice = app.account(ALICE).await;
    let mut invite = crate::invite::request("AB-0123", ALICE);
    invite["medium"] = json!("org.example.badge");
    let stored = alice.post("/store-invite", invite.clone()).await.ok();
    let (sent, body) = last(&gateway);
    assert_eq!(sent.target, "/badges/ab-0123");
    let text = body["text"].as_str().unwrap();
    assert!(text.contains("Gardening") && text.contains("Alice"), "{text}");
    let link = body["link"].as_str().unwrap();
    assert!(link.starts_with("https://app.element.io/#/room/"), "{link}");
    assert!(link.contains("medium=org.example.badge&address=ab-0123"), "{link}");
    assert!(link.contains(stored["token"].as_str().unwrap()), "{link}");
    assert!(!stored["display_name"].as_str().unwrap().contains("0123"), "{stored}");
    // A message that can't be handed over leaves no invitation behind.
    gateway.answer_with(Told::Text(500, "down".to_owned()));
    alice.post("/store-invite", invite).await.refused(400, "M_SEND_ERROR");
}

#[tokio::test]
async fn what_is_no_address_of_it_is_refused_and_so_is_a_medium_that_nobody_added() {
    let (app, gateway) = start().await;
    let alice = app.account(ALICE).await;
    for address in ["", "ab-012", "xab-0123", "ab-0123 ", "a b", "ab-0123\nab-0123"] {
        let answer = alice.post(REQUEST_TOKEN, request(address)).await;
        // White space around an address is nobody's.
        if address == "ab-0123 " {
            answer.ok()
        } else {
            answer.refused(400, "M_INVALID_ADDRESS")
        };
    }
    assert_eq!(gateway.requests().len(), 1);
    alice.post(REQUEST_TOKEN, json!({})).await.refused(400, "M_MISSING_PARAMS");
    let unknown = "/validate/org.example.other/requestToken";
    alice.post(unknown, request("ab-0123")).await.refused(404, "M_UNRECOGNIZED");
    let mut invite = crate::invite::request("ab-0123", ALICE);
    invite["medium"] = json!("org.example.other");
    alice.post("/store-invite", invite).await.refused(400, "M_UNRECOGNIZED");
}
