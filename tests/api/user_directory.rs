//! Searches for people at the homeserver and in directories.

use serde_json::{Value, json};

use crate::{
    harness::{Answer, answer},
    homeserver::Reply,
    login::Behind,
};

const PATH: &str = "/_matrix/client/v3/user_directory/search";

const ON: &str = "limits.enabled = false\nuser_directory.enabled = true";

async fn search(behind: &Behind, body: Value) -> Answer {
    let request = behind.app.stranger().request("POST", PATH).bearer_auth("a-token");
    answer(request.header("accept-encoding", "gzip").json(&body)).await
}

fn person(mxid: &str, name: &str) -> Value {
    json!({ "user_id": mxid, "display_name": name })
}

fn found(people: &[Value], limited: bool) -> Reply {
    let body = json!({ "results": people, "limited": limited }).to_string();
    Reply::with("Content-Type: application/json\r\nAccess-Control-Allow-Origin: *\r\n", body)
}

#[tokio::test]
async fn the_homeserver_is_asked_with_the_access_token() {
    let behind = Behind::with("", ON).await;
    behind.homeserver.set_reply(PATH, found(&[person("@bob:hs.example", "Bob")], false));
    let body = json!({ "search_term": "bo", "limit": 5 });
    let answer = search(&behind, body.clone()).await;
    assert_eq!(
        answer.ok(),
        json!({ "results": [person("@bob:hs.example", "Bob")], "limited": false })
    );
    assert_eq!(answer.headers.get_all("access-control-allow-origin").iter().count(), 1);
    let sent = behind.last();
    assert_eq!(sent.headers["authorization"], "Bearer a-token");
    assert!(!sent.headers.contains_key("accept-encoding"));
    assert_eq!(serde_json::from_slice::<Value>(&sent.body).unwrap(), body);
}

#[tokio::test]
async fn what_the_homeserver_refuses_is_refused() {
    let behind = Behind::with("", ON).await;
    let body = r#"{"errcode":"M_UNKNOWN_TOKEN","error":"Invalid access token","soft_logout":true}"#;
    let headers = "Content-Type: application/json\r\nWWW-Authenticate: x\r\n".to_owned();
    behind.homeserver.set_reply(PATH, Reply::Full(401, headers, body.to_owned()));
    let refused = search(&behind, json!({ "search_term": "bo" })).await;
    assert_eq!((refused.status, &*refused.body), (401, body));
    assert_eq!(refused.header("www-authenticate"), "x");
    // What is no search is the homeserver's to refuse as well.
    assert_eq!(search(&behind, json!([])).await.status, 401);
    behind.homeserver.set_reply(PATH, Reply::new(200, "nonsense"));
    assert_eq!(search(&behind, json!({ "search_term": "bo" })).await.body, "nonsense");
}

#[tokio::test]
async fn switched_off_it_goes_through() {
    let behind = Behind::start().await;
    behind.homeserver.set_reply(PATH, Reply::new(200, "anything"));
    assert_eq!(search(&behind, json!({ "search_term": "bo" })).await.body, "anything");
}
