//! Where clients and homeservers find the servers of a domain.

use serde_json::{Value, json};

use crate::harness::{Answer, TestApp, answer};

const ON: &str = "
[well_known]
enabled = true
homeserver_base_url = 'https://matrix.example.org/'
server = 'matrix.example.org:443'
extra_client = { 'org.matrix.msc4143.rtc_foci' = [{ type = 'livekit', n = 1 }] }
extra_server = { 'org.example.key' = true }
[limits]
enabled = false
";

async fn asked(app: &TestApp, path: &str, host: &str) -> Answer {
    answer(app.stranger().request("GET", path).header("host", host)).await
}

async fn server(app: &TestApp, host: &str) -> Value {
    asked(app, "/.well-known/matrix/server", host).await.ok()
}

#[tokio::test]
async fn clients_find_both_servers() {
    let app = TestApp::with(ON).await;
    let answer = asked(&app, "/.well-known/matrix/client", "example.org").await;
    assert_eq!(
        answer.ok(),
        json!({
            "m.homeserver": { "base_url": "https://matrix.example.org" },
            "m.identity_server": { "base_url": app.base },
            "org.matrix.msc4143.rtc_foci": [{ "type": "livekit", "n": 1 }],
        })
    );
    assert_eq!(answer.header("access-control-allow-origin"), "*");
}

#[tokio::test]
async fn who_asks_about_the_identity_servers_own_name_is_told_of_it() {
    let app = TestApp::with(ON).await;
    let configured = json!({ "m.server": "matrix.example.org:443", "org.example.key": true });
    for host in ["example.org", "example.org:8448", "www.example.org", "not a host"] {
        assert_eq!(server(&app, host).await, configured, "{host}");
    }
    let own = json!({ "m.server": app.base.strip_prefix("http://").unwrap() });
    for host in ["id.example.org", "ID.example.org", "id.example.org:443", "127.0.0.1"] {
        assert_eq!(server(&app, host).await, own, "{host}");
    }
}

#[tokio::test]
async fn without_a_server_to_tell_of_nothing_is_told_of_other_names() {
    let app = TestApp::with(&ON.replace("\nserver", "\n#").replace("extra_server", "#")).await;
    let path = "/.well-known/matrix/server";
    asked(&app, path, "example.org").await.refused(404, "M_UNRECOGNIZED");
    server(&app, "id.example.org").await;
}

#[tokio::test]
async fn switched_off_there_is_only_the_own_name() {
    let app = TestApp::start().await;
    let path = "/.well-known/matrix/client";
    asked(&app, path, "example.org").await.refused(404, "M_UNRECOGNIZED");
    let own = json!({ "m.server": app.base.strip_prefix("http://").unwrap() });
    assert_eq!(server(&app, "example.org").await, own);
}
