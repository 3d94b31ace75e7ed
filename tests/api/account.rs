//! Registering with an OpenID token, and what access tokens open.

use serde_json::{Value, json};

use crate::{
    dns::FakeDns,
    harness::{Answer, TestApp},
    homeserver::{Ca, FakeHomeserver, Reply, own_loopback},
};

const USERINFO: &str = "/_matrix/federation/v1/openid/userinfo";

/// A server that may ask homeservers on loopback, whom it finds by DNS.
struct World {
    app: TestApp,
    dns: FakeDns,
    ca: Ca,
}

impl World {
    async fn start() -> Self {
        Self::with("").await
    }

    async fn with(toml: &str) -> Self {
        Self::guarded(&format!("federation.allow_networks = ['127.0.0.0/8']\n{toml}")).await
    }

    /// A server that may not connect to loopback.
    async fn guarded(toml: &str) -> Self {
        let (dns, ca) = (FakeDns::start().await, Ca::new());
        let toml = format!(
            "limits.enabled = false\ndns.nameservers = ['{}']\nfederation.ca_file = '{}'\n{toml}",
            dns.address(),
            ca.file().display()
        );
        Self { app: TestApp::with(&toml).await, dns, ca }
    }

    /// A homeserver at hs.example, and its name with the port.
    async fn homeserver(&self) -> (FakeHomeserver, String) {
        let homeserver = FakeHomeserver::start(&self.ca, &["hs.example"]).await;
        self.dns.host("hs.example", &["127.0.0.1"]);
        let name = homeserver.name("hs.example");
        (homeserver, name)
    }

    async fn register(&self, token: &str, server: &str) -> Answer {
        let body = json!({ "access_token": token, "matrix_server_name": server });
        self.register_with(body).await
    }

    async fn register_with(&self, body: Value) -> Answer {
        self.app.stranger().post("/account/register", body).await
    }
}

#[tokio::test]
async fn whom_the_homeserver_vouches_for_gets_an_account() {
    let world = World::start().await;
    let (homeserver, name) = world.homeserver().await;
    homeserver.set_user("openid+token", &format!("@alice:{name}"));
    let registered = world
        .register_with(json!({
            "access_token": "openid+token",
            "token_type": "Bearer",
            "matrix_server_name": name,
            "expires_in": 3600,
        }))
        .await
        .ok();
    let token = registered["token"].as_str().unwrap();
    assert_eq!(registered, json!({ "token": token, "access_token": token }));
    let account = world.app.holder(token).get("/account").await.ok();
    assert_eq!(account, json!({ "user_id": format!("@alice:{name}") }));
    let asked: Vec<String> = homeserver.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(asked, [format!("{USERINFO}?access_token=openid%2Btoken")]);
}

#[tokio::test]
async fn a_homeserver_is_found_by_its_service_record() {
    let world = World::start().await;
    let address = own_loopback();
    let homeserver =
        FakeHomeserver::start_at(&world.ca, &["hs.example"], (address, 0).into()).await;
    homeserver.set_user("t", "@alice:hs.example");
    // No well-known document: nothing listens on port 443 of that address.
    world.dns.host("hs.example", &[&address.to_string()]);
    world.dns.host("matrix.example", &[&address.to_string()]);
    let target = (10, 0, homeserver.address().port(), "matrix.example");
    world.dns.service("_matrix-fed._tcp.hs.example", &[target]);
    let registered = world.register("t", "hs.example").await.ok();
    let alice = world.app.holder(registered["token"].as_str().unwrap());
    assert_eq!(alice.get("/account").await.ok()["user_id"], "@alice:hs.example");
}

#[tokio::test]
async fn each_registration_gives_a_token_of_its_own() {
    let world = World::start().await;
    let (homeserver, name) = world.homeserver().await;
    homeserver.set_user("t", &format!("@alice:{name}"));
    let first = world.register("t", &name).await.ok()["token"].clone();
    let second = world.register("t", &name).await.ok()["token"].clone();
    assert_ne!(first, second);
    for token in [first, second] {
        world.app.holder(token.as_str().unwrap()).get("/account").await.ok();
    }
}

#[tokio::test]
async fn a_token_that_the_homeserver_refuses_gives_no_account() {
    let world = World::start().await;
    let (_homeserver, name) = world.homeserver().await;
    world.register("unknown", &name).await.refused(401, "M_UNAUTHORIZED");
    world.register("", &name).await.refused(401, "M_UNAUTHORIZED");
}

#[tokio::test]
async fn only_a_user_of_the_homeserver_itself_gets_an_account() {
    let world = World::start().await;
    let (homeserver, name) = world.homeserver().await;
    let port = homeserver.address().port();
    for sub in [
        "@alice:victim.example".to_owned(),
        "@alice:hs.example".to_owned(),
        format!("@alice:HS.EXAMPLE:{port}"),
        format!("@alice:victim.example:{name}"),
        format!("@alice:{name}\0"),
        format!("alice:{name}"),
        format!("@al\0ice:{name}"),
        "@alice".to_owned(),
        String::new(),
    ] {
        homeserver.set_user("t", &sub);
        let refused = world.register("t", &name).await.refused(401, "M_UNAUTHORIZED");
        assert_eq!(refused.get("token"), None, "{sub}");
    }
}

#[tokio::test]
async fn the_homeserver_must_answer_200_whatever_else_it_says() {
    let world = World::start().await;
    let (homeserver, name) = world.homeserver().await;
    let good = json!({ "sub": format!("@alice:{name}") }).to_string();
    for (status, ours, errcode) in [
        (201, 502, "M_UNKNOWN"),
        (302, 502, "M_UNKNOWN"),
        (400, 401, "M_UNAUTHORIZED"),
        (403, 401, "M_UNAUTHORIZED"),
        (404, 401, "M_UNAUTHORIZED"),
        (500, 502, "M_UNKNOWN"),
        (503, 502, "M_UNKNOWN"),
    ] {
        homeserver.set_reply(USERINFO, Reply::new(status, good.clone()));
        let refused = world.register("t", &name).await.refused(ours, errcode);
        assert_eq!(refused.get("token"), None, "{status}");
    }
    for body in ["", "{}", "[]", "null", r#"{"sub":1}"#, "<html>"] {
        homeserver.set_reply(USERINFO, Reply::new(200, body));
        world.register("t", &name).await.refused(502, "M_UNKNOWN");
    }
}

#[tokio::test]
async fn a_homeserver_that_cannot_be_reached_is_a_bad_gateway() {
    let world = World::start().await;
    let (homeserver, name) = world.homeserver().await;
    let stranger = Ca::new();
    let imposter = FakeHomeserver::start(&stranger, &["hs.example"]).await;
    let other = FakeHomeserver::start(&world.ca, &["other.example"]).await;
    for fake in [&imposter, &other] {
        fake.set_user("t", &format!("@alice:{}", fake.name("hs.example")));
    }
    drop(homeserver);
    for server in [
        name.as_str(),
        "nowhere.example:8448",
        "hs.example:0",
        // An untrusted authority, and a certificate for another name.
        &imposter.name("hs.example"),
        &other.name("hs.example"),
    ] {
        let refused = world.register("t", server).await.refused(502, "M_UNKNOWN");
        // What went wrong inside is for the log.
        assert!(!refused["error"].as_str().unwrap().contains("certificate"), "{refused}");
    }
    assert!(imposter.requests().is_empty() && other.requests().is_empty());
}

#[tokio::test]
async fn a_homeserver_that_is_too_slow_is_a_gateway_timeout() {
    let world = World::with("federation.timeout = '300ms'").await;
    let (homeserver, name) = world.homeserver().await;
    homeserver.set_reply(USERINFO, Reply::Silence);
    world.register("t", &name).await.refused(504, "M_UNKNOWN");
}

#[tokio::test]
async fn addresses_inside_the_operators_network_are_not_connected_to() {
    let world = World::guarded("").await;
    let (homeserver, name) = world.homeserver().await;
    let port = homeserver.address().port();
    world.dns.host("mapped.example", &["::ffff:127.0.0.1"]);
    world.dns.host("zero.example", &["0.0.0.0"]);
    for server in [
        name,
        format!("127.0.0.1:{port}"),
        format!("0.0.0.0:{port}"),
        format!("[::1]:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("[::ffff:7f00:1]:{port}"),
        format!("mapped.example:{port}"),
        format!("zero.example:{port}"),
    ] {
        world.register("t", &server).await.refused(502, "M_UNKNOWN");
    }
    assert_eq!(homeserver.connections(), 0);
}

#[tokio::test]
async fn only_users_of_the_listed_homeservers_may_register() {
    let world = World::with("accounts.homeservers = ['school.example', 'hs.example:1']").await;
    let (homeserver, name) = world.homeserver().await;
    homeserver.set_user("t", &format!("@alice:{name}"));
    for server in [name.as_str(), "hs.example", "School.example", "school.example:8448"] {
        world.register("t", server).await.refused(403, "M_FORBIDDEN");
    }
    assert_eq!(homeserver.connections(), 0);
    assert!(world.dns.queries().is_empty());
    // The others are asked, and this one isn't there.
    world.register("t", "school.example").await.refused(502, "M_UNKNOWN");
}

#[tokio::test]
async fn a_registration_needs_a_token_and_the_name_of_a_server() {
    let world = World::start().await;
    for body in [
        json!({}),
        json!({ "access_token": "t" }),
        json!({ "matrix_server_name": "hs.example" }),
        json!({ "access_token": null, "matrix_server_name": "hs.example" }),
        json!({ "access_token": "t", "matrix_server_name": null }),
    ] {
        world.register_with(body).await.refused(400, "M_MISSING_PARAMS");
    }
    for body in [
        json!({ "access_token": 1, "matrix_server_name": "hs.example" }),
        json!({ "access_token": "t", "matrix_server_name": ["hs.example"] }),
    ] {
        world.register_with(body).await.refused(400, "M_INVALID_PARAM");
    }
    for server in [
        "",
        "hs example",
        "hs.example/path",
        "https://hs.example",
        "alice@hs.example",
        "hs.example:port",
        "hs.example:99999",
        "hs.example:",
        "hs_example",
        "[::1",
        "hs.example\r\nHost: other.example",
        "hs.example\0",
        "hs.exämple",
        &"a".repeat(300),
    ] {
        world.register("t", server).await.refused(400, "M_INVALID_PARAM");
    }
    assert!(world.dns.queries().is_empty());
}

#[tokio::test]
async fn tokens_are_stored_only_as_hashes() {
    let world = World::start().await;
    let (homeserver, name) = world.homeserver().await;
    homeserver.set_user("an-openid-token", &format!("@alice:{name}"));
    let token = world.register("an-openid-token", &name).await.ok()["token"].clone();
    let stored = world.app.database.contents();
    assert!(stored.contains(&format!("@alice:{name}")), "the right place was looked into");
    assert!(!stored.contains(token.as_str().unwrap()));
    assert!(!stored.contains("an-openid-token"));
}

#[tokio::test]
async fn an_access_token_counts_in_the_header_and_in_the_query() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let token = alice.token.clone().unwrap();
    let query = format!("/account?access_token={token}");
    let ask = async |path: &str, header: Option<String>| {
        let request = app.stranger().request("GET", path);
        let request = match header {
            Some(value) => request.header("authorization", value),
            None => request,
        };
        crate::harness::answer(request).await
    };
    for header in
        [format!("Bearer {token}"), format!("bearer {token}"), format!("BEARER  {token} ")]
    {
        assert_eq!(ask("/account", Some(header)).await.ok()["user_id"], "@alice:hs.example");
    }
    assert_eq!(ask(&query, None).await.ok()["user_id"], "@alice:hs.example");
    // The header wins, whichever is the good one.
    let unknown = "/account?access_token=unknown";
    ask(unknown, Some(format!("Bearer {token}"))).await.ok();
    ask(&query, Some("Bearer unknown".to_owned())).await.refused(401, "M_UNAUTHORIZED");
    for header in [
        format!("Basic {token}"),
        format!("X-Matrix {token}"),
        token.clone(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        String::new(),
        format!("Bearer {token} {token}"),
        format!("Bearer {}", token.to_uppercase()),
    ] {
        let refused = ask("/account", Some(header)).await.refused(401, "M_UNAUTHORIZED");
        assert!(!refused.to_string().contains(&token));
    }
    for path in [unknown, "/account?access_token=", "/account?Access_Token=x", "/account"] {
        ask(path, None).await.refused(401, "M_UNAUTHORIZED");
    }
}

#[tokio::test]
async fn whoever_logs_out_is_logged_out() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let elsewhere = app.account("@alice:hs.example").await;
    // Element Android sends no body at all.
    let request = alice.request("POST", "/account/logout");
    assert_eq!(crate::harness::answer(request).await.ok(), json!({}));
    alice.get("/account").await.refused(401, "M_UNAUTHORIZED");
    let again = alice.request("POST", "/account/logout");
    crate::harness::answer(again).await.refused(401, "M_UNKNOWN_TOKEN");
    // Others of the same user stay.
    elsewhere.get("/account").await.ok();
    assert_eq!(elsewhere.post("/account/logout", json!({})).await.ok(), json!({}));
    elsewhere.get("/account").await.refused(401, "M_UNAUTHORIZED");
}

#[tokio::test]
async fn logging_out_takes_a_token_and_no_particular_body() {
    let app = TestApp::start().await;
    app.stranger().post("/account/logout", json!({})).await.refused(401, "M_UNAUTHORIZED");
    app.holder("unknown").post("/account/logout", json!({})).await.refused(401, "M_UNKNOWN_TOKEN");
    for body in ["", "{", "[]", "null", "not json"] {
        let alice = app.account("@alice:hs.example").await;
        assert_eq!(alice.post_raw("/account/logout", "text/plain", body).await.ok(), json!({}));
    }
    let alice = app.account("@alice:hs.example").await;
    let query = format!("/account/logout?access_token={}", alice.token.unwrap());
    app.stranger().post(&query, json!({})).await.ok();
}
