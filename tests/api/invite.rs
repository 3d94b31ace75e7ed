//! Inviting people by e-mail: the invitation, its keys, its mail and its signature.

use serde_json::{Value, json};

use crate::harness::{Caller, PUBLIC_KEY, TestApp};

/// What Synapse sends for a room that it knows little of.
pub(crate) fn request(address: &str, sender: &str) -> Value {
    json!({
        "medium": "email",
        "address": address,
        "room_id": "!room:hs.example",
        "room_alias": "",
        "room_avatar_url": null,
        "room_join_rules": "invite",
        "room_name": "Gardening",
        "sender": sender,
        "sender_display_name": "Alice",
        "sender_avatar_url": null,
    })
}

/// Invites an address as @alice:hs.example.
pub(crate) async fn invited(alice: &Caller<'_>, address: &str) -> Value {
    alice.post("/store-invite", request(address, "@alice:hs.example")).await.ok()
}

/// The URL in the mail that signs for the invited.
fn sign_url(app: &TestApp, address: &str) -> url::Url {
    let link = app.last_mail_to(address).link;
    let (_, query) = link.split_once('?').unwrap();
    let found = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "signurl");
    found.unwrap().1.parse().unwrap()
}

fn query_of(url: &url::Url, name: &str) -> String {
    url.query_pairs().find(|(n, _)| n == name).unwrap().1.into_owned()
}

#[tokio::test]
async fn an_invitation_has_a_token_two_keys_and_a_name_that_hides_the_address() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let stored = invited(&alice, "Bob@Example.org").await;
    let base = &app.base;
    let token = stored["token"].as_str().unwrap();
    let ephemeral = stored["public_keys"][1]["public_key"].as_str().unwrap();
    assert_eq!(
        stored,
        json!({
            "token": token,
            "public_key": PUBLIC_KEY,
            "public_keys": [
                { "public_key": PUBLIC_KEY,
                  "key_validity_url": format!("{base}/_matrix/identity/v2/pubkey/isvalid") },
                { "public_key": ephemeral,
                  "key_validity_url": format!("{base}/_matrix/identity/v2/pubkey/ephemeral/isvalid") },
            ],
            "display_name": "b...@e...",
        })
    );
    let again = invited(&alice, "bob@example.org").await;
    assert_ne!(again["token"], stored["token"]);
    assert_ne!(again["public_keys"][1], stored["public_keys"][1]);
}

#[tokio::test]
async fn the_keys_of_an_invitation_are_valid_and_no_others() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let stored = invited(&alice, "bob@example.org").await;
    let ephemeral = stored["public_keys"][1]["public_key"].as_str().unwrap();
    let valid = async |path: &str, key: &str| {
        let key: String = url::form_urlencoded::byte_serialize(key.as_bytes()).collect();
        let path = format!("/pubkey/{path}?public_key={key}");
        app.stranger().get(&path).await.ok()["valid"].as_bool().unwrap()
    };
    assert!(valid("ephemeral/isvalid", ephemeral).await);
    assert!(valid("ephemeral/isvalid", &ephemeral.replace('+', "-").replace('/', "_")).await);
    assert!(valid("ephemeral/isvalid", &ephemeral.replace('+', " ")).await);
    assert!(!valid("ephemeral/isvalid", PUBLIC_KEY).await);
    assert!(!valid("isvalid", ephemeral).await);
    for garbage in ["", "x", "=", "\0"] {
        assert!(!valid("ephemeral/isvalid", garbage).await, "{garbage:?}");
    }
    app.stranger().get("/pubkey/ephemeral/isvalid").await.refused(400, "M_MISSING_PARAMS");
}

#[tokio::test]
async fn the_private_key_is_in_the_mail_and_nowhere_else() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let stored = invited(&alice, "bob@example.org").await;
    let url = sign_url(&app, "bob@example.org");
    let seed = bindery::matrix::signing::decode_base64(&query_of(&url, "private_key")).unwrap();
    let key = bindery::matrix::signing::SigningKey::from_seed(&seed.try_into().unwrap());
    let public = bindery::matrix::signing::encode_base64(&key.public());
    assert_eq!(stored["public_keys"][1]["public_key"], public);
    let private = query_of(&url, "private_key");
    assert!(!stored.to_string().contains(&private));
    assert!(!app.database.contents().contains(&private));
}

#[tokio::test]
async fn the_mail_links_to_the_web_client_with_what_element_needs() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let mut body = request("bob@example.org", "@alice:hs.example");
    body["room_id"] = json!("!dXnp/1+ä");
    body["room_avatar_url"] = json!("mxc://hs.example/abc");
    body["guest_access_token"] = json!("guest token");
    alice.post("/store-invite", body).await.ok();
    let mail = app.last_mail_to("bob@example.org");
    let (client, query) = mail.link.split_once('?').unwrap();
    assert_eq!(client, "https://app.element.io/#/room/%21dXnp%2F1%2B%C3%A4");
    let query: Value = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name != "signurl")
        .map(|(name, value)| (name.into_owned(), Value::from(value)))
        .collect();
    assert_eq!(
        query,
        json!({
            "email": "bob@example.org",
            "room_name": "Gardening",
            "room_avatar_url": "mxc://hs.example/abc",
            "inviter_name": "Alice",
            "guest_access_token": "guest token",
        })
    );
    let kept = app.database.contents();
    assert!(kept.contains("Gardening") && !kept.contains("guest token"), "{kept}");
    // Names and ids are kept from becoming links.
    let text = mail.text.replace('\u{2060}', "");
    assert!(text.contains("Alice") && text.contains("@alice:hs.example"), "{text}");
}

#[tokio::test]
async fn only_web_clients_that_the_operator_trusts_are_linked_to() {
    let app = TestApp::with(
        "limits.enabled = false\ninvites.web_client = 'https://chat.example.org/'\n\
         invites.other_web_clients = ['https://other.example.org']",
    )
    .await;
    let alice = app.account("@alice:hs.example").await;
    for (wished, linked) in [
        ("https://other.example.org/", "https://other.example.org/#/room/"),
        ("https://evil.example", "https://chat.example.org/#/room/"),
    ] {
        let mut body = request("bob@example.org", "@alice:hs.example");
        body["org.matrix.web_client_location"] = json!(wished);
        alice.post("/store-invite", body).await.ok();
        let link = app.last_mail_to("bob@example.org").link;
        assert!(link.starts_with(linked), "{link}");
    }
}

#[tokio::test]
async fn who_is_bound_is_not_invited_but_named() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let bob = app.account("@bob:hs.example").await;
    bob.bound("bob@example.org", "@bob:hs.example").await;
    let mails = app.mails();
    let body = request("BOB@example.org", "@alice:hs.example");
    let refused = alice.post("/store-invite", body).await.refused(400, "M_THREEPID_IN_USE");
    assert_eq!(refused["mxid"], "@bob:hs.example");
    assert_eq!(app.mails(), mails);
}

#[tokio::test]
async fn an_invitation_that_makes_no_sense_is_refused() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let with = |name: &str, value: Value| {
        let mut body = request("bob@example.org", "@alice:hs.example");
        body[name] = value;
        body
    };
    for (body, status, errcode) in [
        (with("medium", json!("msisdn")), 400, "M_INVALID_ADDRESS"),
        (with("medium", json!("pigeon")), 400, "M_UNRECOGNIZED"),
        (with("medium", json!(null)), 400, "M_MISSING_PARAMS"),
        (with("address", json!("bob")), 400, "M_INVALID_EMAIL"),
        (with("address", json!(null)), 400, "M_MISSING_PARAMS"),
        (with("room_id", json!("")), 400, "M_INVALID_PARAM"),
        (with("room_id", json!("!a\u{0}b")), 400, "M_INVALID_PARAM"),
        (with("room_id", json!(null)), 400, "M_MISSING_PARAMS"),
        (with("sender", json!("alice")), 400, "M_INVALID_PARAM"),
        (with("sender", json!("@mallory:hs.example")), 403, "M_UNAUTHORIZED"),
    ] {
        alice.post("/store-invite", body).await.refused(status, errcode);
    }
    let mut phone = with("medium", json!("msisdn"));
    phone["address"] = json!("447700900001");
    alice.post("/store-invite", phone).await.refused(400, "M_UNRECOGNIZED");
    let body = request("bob@example.org", "@alice:hs.example");
    app.stranger().post("/store-invite", body).await.refused(401, "M_UNAUTHORIZED");
    assert_eq!(app.mails(), 0);
}

#[tokio::test]
async fn an_invitation_whose_mail_can_not_be_sent_is_none() {
    use crate::smtp::{Behaviour, Trouble};
    let trouble = Some(("RCPT", Trouble::Says("550 5.1.1 no such user")));
    let behaviour = Behaviour { trouble, ..Behaviour::default() };
    let app = TestApp::with_smtp("limits.enabled = false", behaviour).await;
    let alice = app.account("@alice:hs.example").await;
    let body = request("bob@example.org", "@alice:hs.example");
    alice.post("/store-invite", body).await.refused(400, "M_EMAIL_SEND_ERROR");
    let left = app.app.store.read::<_, bindery::store::StoreError>(bindery::store::invites::list);
    assert!(left.await.unwrap().is_empty());
}

#[tokio::test]
async fn the_mailed_url_signs_without_an_access_token() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let stored = invited(&alice, "bob@example.org").await;
    let mut url = sign_url(&app, "bob@example.org");
    url.query_pairs_mut().append_pair("mxid", "@bob:hs.example");
    let path = format!("{}?{}", url.path(), url.query().unwrap());
    for body in ["", "null", "{}"] {
        let signed = app.stranger().post_raw(&path, "application/json", body).await.ok();
        assert_eq!(signed["mxid"], "@bob:hs.example");
        assert_eq!(signed["sender"], "@alice:hs.example");
        assert_eq!(signed["token"], stored["token"]);
        let public = stored["public_keys"][1]["public_key"].as_str().unwrap();
        let public = bindery::matrix::signing::decode_base64(public).unwrap().try_into().unwrap();
        let server = "id.example.org".parse().unwrap();
        let object = signed.as_object().unwrap();
        assert_eq!(object.len(), 4);
        assert!(bindery::matrix::signing::verifies(object, &server, "ed25519:0", &public));
    }
}

#[tokio::test]
async fn the_specifications_form_of_signing_takes_an_access_token() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let stored = invited(&alice, "bob@example.org").await;
    let body = json!({
        "mxid": "@bob:hs.example",
        "token": stored["token"],
        "private_key": query_of(&sign_url(&app, "bob@example.org"), "private_key"),
    });
    app.stranger().post("/sign-ed25519", body.clone()).await.refused(401, "M_UNAUTHORIZED");
    let bob = app.account("@bob:hs.example").await;
    assert_eq!(bob.post("/sign-ed25519", body.clone()).await.ok()["token"], stored["token"]);
    let with = |name: &str, value: &str| {
        let mut body = body.clone();
        body[name] = json!(value);
        body
    };
    for (body, status, errcode) in [
        (with("token", "unknown"), 404, "M_UNRECOGNIZED"),
        (with("token", "not/a/token"), 400, "M_INVALID_PARAM"),
        (with("private_key", "short"), 400, "M_INVALID_PARAM"),
        (with("mxid", "bob"), 400, "M_INVALID_PARAM"),
        (json!({}), 400, "M_MISSING_PARAMS"),
    ] {
        bob.post("/sign-ed25519", body).await.refused(status, errcode);
    }
}

#[tokio::test]
async fn invitations_that_nobody_took_are_forgotten_but_their_keys_stay_valid() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let stored = invited(&alice, "bob@example.org").await;
    let url = sign_url(&app, "bob@example.org");
    let sign = format!("{}?{}&mxid=@bob:hs.example", url.path(), url.query().unwrap());
    let day = std::time::Duration::from_hours(24);
    app.clock.advance(day * 89);
    app.background().await;
    app.stranger().post_raw(&sign, "application/json", "").await.ok();
    app.clock.advance(day * 2);
    app.background().await;
    app.stranger().post_raw(&sign, "application/json", "").await.refused(404, "M_UNRECOGNIZED");
    let key = stored["public_keys"][1]["public_key"].as_str().unwrap().replace('+', "%2B");
    let path = format!("/pubkey/ephemeral/isvalid?public_key={key}");
    assert_eq!(app.stranger().get(&path).await.ok(), json!({ "valid": true }));
}

#[tokio::test]
async fn invitations_are_limited_by_account_and_by_address() {
    let app = TestApp::with(
        "limits = { invite_per_account = '3 per 1h', invite_per_address = '2 per 1h' }",
    )
    .await;
    let alice = app.account("@alice:hs.example").await;
    let bob = app.account("@bob:hs.example").await;
    invited(&alice, "carol@example.org").await;
    invited(&alice, "carol@example.org").await;
    let more = bob.post("/store-invite", request("carol@example.org", "@bob:hs.example")).await;
    more.refused(429, "M_LIMIT_EXCEEDED");
    invited(&alice, "dave@example.org").await;
    let more = request("erin@example.org", "@alice:hs.example");
    alice.post("/store-invite", more).await.refused(429, "M_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn invitations_are_limited_by_the_homeserver_that_asks() {
    let app = TestApp::with("limits = { invite_per_client = '2 per 1h' }").await;
    let invite = async |name: &str, from: &str| {
        let mxid = format!("@{name}:hs.example");
        let caller = app.account(&mxid).await;
        let body = request(&format!("{name}@example.org"), &mxid);
        let request = caller.request("POST", "/store-invite").header("x-forwarded-for", from);
        crate::harness::answer(request.json(&body)).await
    };
    invite("alice", "192.0.2.1").await.ok();
    invite("bob", "192.0.2.1").await.ok();
    invite("carol", "192.0.2.1").await.refused(429, "M_LIMIT_EXCEEDED");
    invite("carol", "192.0.2.2").await.ok();
}
