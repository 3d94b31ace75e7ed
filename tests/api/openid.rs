//! The server as the OpenID provider of its own user, as whom it registers with other identity
//! servers.

use std::time::Duration;

use bindery::{
    federation::{OpenIdToken, PeerAddress},
    service,
};
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp};

/// A token for registering with some peer.
async fn minted(app: &TestApp) -> OpenIdToken {
    let peer = PeerAddress::of_operator("https://is.example").unwrap();
    service::openid::mint(&app.app, &peer).await.unwrap()
}

/// Asks whose a token is, as a peer does.
async fn ask(app: &TestApp, token: &str) -> Answer {
    let path = "/_matrix/federation/v1/openid/userinfo";
    app.stranger().get(&format!("{path}?access_token={token}")).await
}

fn own_user() -> Value {
    json!({ "sub": "@_bindery:id.example.org" })
}

#[tokio::test]
async fn a_minted_token_is_the_servers_own_users_once() {
    let app = TestApp::start().await;
    let token = minted(&app).await;
    assert_eq!(token.matrix_server_name.as_str(), "id.example.org");
    assert_eq!(ask(&app, &token.access_token).await.ok(), own_user());
    ask(&app, &token.access_token).await.refused(401, "M_UNKNOWN_TOKEN");
    // Each has its own.
    let (one, two) = (minted(&app).await, minted(&app).await);
    assert_ne!(one.access_token, two.access_token);
    assert_eq!(ask(&app, &two.access_token).await.ok(), own_user());
    assert_eq!(ask(&app, &one.access_token).await.ok(), own_user());
}

#[tokio::test]
async fn of_many_who_ask_at_once_one_is_told() {
    let app = TestApp::start().await;
    let token = minted(&app).await.access_token;
    let asked = (0..20).map(|_| ask(&app, &token));
    let answers = futures_util::future::join_all(asked).await;
    let told = answers.iter().filter(|answer| answer.status == 200).count();
    let refused = answers.iter().filter(|answer| answer.status == 401).count();
    assert_eq!((told, refused), (1, 19));
}

#[tokio::test]
async fn a_token_holds_for_two_minutes() {
    let app = TestApp::start().await;
    let (token, late) = (minted(&app).await, minted(&app).await);
    assert_eq!(token.expires_in, Duration::from_mins(2));
    app.clock.advance(Duration::from_millis(119_999));
    assert_eq!(ask(&app, &token.access_token).await.ok(), own_user());
    app.clock.advance(Duration::from_millis(1));
    ask(&app, &late.access_token).await.refused(401, "M_UNKNOWN_TOKEN");
    // Its row goes when the next one comes.
    minted(&app).await;
    ask(&app, &late.access_token).await.refused(401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn any_node_answers_for_a_token_that_another_minted() {
    let app = TestApp::start().await;
    let other = app.beside("limits.enabled = false").await;
    let token = minted(&app).await;
    assert_eq!(ask(&other, &token.access_token).await.ok(), own_user());
    ask(&app, &token.access_token).await.refused(401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn nothing_else_is_such_a_token() {
    let app = TestApp::start().await;
    let account = app.account("@alice:example.org").await;
    for token in ["", "guessed", account.token.as_deref().unwrap()] {
        ask(&app, token).await.refused(401, "M_UNKNOWN_TOKEN");
    }
    let without = app.stranger().get("/_matrix/federation/v1/openid/userinfo").await;
    without.refused(401, "M_UNKNOWN_TOKEN");
    // Nor is it an access token, and the user has no way to use one at this server.
    let token = minted(&app).await.access_token;
    app.holder(&token).get("/account").await.refused(401, "M_UNAUTHORIZED");
}

#[tokio::test]
async fn the_database_holds_no_token_that_could_be_used() {
    let app = TestApp::start().await;
    let token = minted(&app).await.access_token;
    let folder = std::fs::read_dir(app.database.folder.path()).unwrap();
    for file in folder.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        let bytes = std::fs::read(&file).unwrap();
        let is_there = bytes.windows(token.len()).any(|window| window == token.as_bytes());
        assert!(!is_there, "{}", file.display());
    }
}

#[tokio::test]
async fn the_well_known_document_leads_peers_to_the_base_url_with_its_port() {
    let app = TestApp::start().await;
    let document = app.stranger().get("/.well-known/matrix/server").await.ok();
    let expected = app.base.strip_prefix("http://").unwrap();
    assert_eq!(document, json!({ "m.server": expected }));

    let toml = "[server]\nname = 'id.example.org'\nbase_url = 'https://id.example.org/prefix'";
    let mut config = bindery::config::Config::from_toml(toml).unwrap();
    assert_eq!(service::openid::place(&config.server), "id.example.org:443");
    config.server.base_url = "https://[::1]:8448".to_owned();
    assert_eq!(service::openid::place(&config.server), "[::1]:8448");
}
