//! Who is named in which way, and what the homeserver hears of it.

use serde_json::{Value, json};

use super::{ALICE, Behind, EMAIL, PASSWORD, by_email, with_identifier};
use crate::{
    gateway::Gateway,
    homeserver::{FakeHomeserver, Reply},
};

#[tokio::test]
async fn who_names_an_address_of_theirs_logs_in() {
    let behind = Behind::start().await;
    behind.alice_owns(EMAIL).await;
    for address in [EMAIL, "Alice@Example.ORG"] {
        let logged_in = behind.log_in(&by_email(address, PASSWORD)).await;
        assert_eq!(logged_in.status, 200, "{}", logged_in.body);
        assert!(logged_in.body.contains(ALICE));
        assert_eq!(behind.last_user(), ALICE);
    }
    let wrong = behind.log_in(&by_email(EMAIL, "wrong")).await;
    wrong.refused(403, "M_FORBIDDEN");
    assert_eq!(behind.last_user(), ALICE);
}

#[tokio::test]
async fn a_number_is_read_in_all_its_spellings() {
    let texts = Gateway::start().await;
    let toml = format!("limits.enabled = false\n{}", texts.twilio_toml());
    let behind = Behind::with("", &toml).await;
    let alice = behind.app.account(ALICE).await;
    let asked = json!({ "country": "GB", "phone_number": "07700 900001", "client_secret": "s",
                        "send_attempt": 1 });
    let sid = alice.post("/validate/msisdn/requestToken", asked).await.ok()["sid"].clone();
    let text = texts.messages().pop().unwrap().text;
    let code = text.split(' ').find(|word| word.bytes().all(|b| b.is_ascii_digit())).unwrap();
    let mut body = json!({ "sid": sid, "client_secret": "s", "token": code, "mxid": ALICE });
    alice.post("/validate/msisdn/submitToken", body.clone()).await.ok();
    body.as_object_mut().unwrap().remove("token");
    alice.post("/3pid/bind", body).await.ok();
    for identifier in [
        json!({ "type": "m.id.phone", "country": "GB", "phone": "07700 900001" }),
        json!({ "type": "m.id.phone", "country": "DE", "phone": "+44 (0)7700 900001" }),
        json!({ "type": "m.id.phone", "country": "GB", "number": "447700900001" }),
        json!({ "type": "m.id.thirdparty", "medium": "msisdn", "address": "447700900001" }),
    ] {
        let logged_in = behind.log_in(&with_identifier(&identifier, PASSWORD)).await;
        assert_eq!(logged_in.status, 200, "{identifier}: {}", logged_in.body);
        assert_eq!(behind.last_user(), ALICE);
    }
}

#[tokio::test]
async fn what_stood_for_identifiers_before_is_understood() {
    let behind = Behind::with(", login_by_address = true", "limits.enabled = false").await;
    behind.alice_owns(EMAIL).await;
    for body in [
        json!({ "medium": "email", "address": EMAIL }),
        json!({ "medium": "email", "address": EMAIL, "user": "someone" }),
        json!({ "user": EMAIL }),
        json!({ "identifier": { "type": "m.id.user", "user": EMAIL } }),
        json!({ "identifier": { "type": "m.id.user", "user": EMAIL }, "user": EMAIL }),
    ] {
        let mut body = body;
        body["type"] = json!("m.login.password");
        body["password"] = json!(PASSWORD);
        body["device_id"] = json!("DEVICE");
        let logged_in = behind.log_in(&body).await;
        assert_eq!(logged_in.status, 200, "{body}: {}", logged_in.body);
        let sent: Value = serde_json::from_slice(&behind.last().body).unwrap();
        let identifier = json!({ "type": "m.id.user", "user": ALICE });
        let expected = json!({ "type": "m.login.password", "password": PASSWORD,
                               "device_id": "DEVICE", "identifier": identifier });
        assert_eq!(sent, expected);
    }
}

#[tokio::test]
async fn an_address_in_a_user_names_place_is_left_alone_unless_it_is_asked_for() {
    let behind = Behind::start().await;
    behind.alice_owns(EMAIL).await;
    let body = with_identifier(&json!({ "type": "m.id.user", "user": EMAIL }), PASSWORD);
    behind.log_in(&body).await.refused(403, "M_FORBIDDEN");
    assert_eq!(behind.last_user(), EMAIL);
}

#[tokio::test]
async fn all_other_logins_go_on_byte_by_byte() {
    let behind = Behind::with(", login_by_address = true", "limits.enabled = false").await;
    for body in [
        &*format!(
            r#" {{"type" : "m.login.password","identifier":{{"type":"m.id.user","user":"{ALICE}"}},
            "password":"{PASSWORD}" , "n": 1.0e1 }}"#
        ),
        r#"{"type":"m.login.password","user":"alice","password":"x"}"#,
        r#"{"type":"m.login.token","token":"a@b"}"#,
        r#"{"type":"m.login.password","identifier":{"type":"m.id.thirdparty"},"password":"x"}"#,
        r#"{"type":"m.login.password","identifier":{"type":"m.id.phone","phone":"1"},"password":"x"}"#,
        "no JSON",
        "[1]",
        "",
        "\u{feff}{}",
    ] {
        let answer = behind.app.stranger().post_raw(super::LOGIN, "text/plain", body).await;
        assert!([200, 403].contains(&answer.status), "{body}: {}", answer.body);
        let sent = behind.last();
        assert_eq!(String::from_utf8(sent.body).unwrap(), body);
        assert_eq!(sent.headers["content-type"], "text/plain");
    }
}

#[tokio::test]
async fn who_is_unknown_goes_on_as_somebody_who_does_not_exist() {
    let behind = Behind::start().await;
    behind.alice_owns(EMAIL).await;
    let known = behind.log_in(&by_email(EMAIL, "wrong")).await;
    let mut nobodies = Vec::new();
    for body in [
        by_email("bob@example.org", PASSWORD),
        by_email("no address", PASSWORD),
        with_identifier(&json!({ "type": "m.id.phone", "country": "GB", "phone": "12" }), "x"),
        with_identifier(
            &json!({ "type": "m.id.thirdparty", "medium": "pigeon", "address": "coo" }),
            "x",
        ),
    ] {
        let unknown = behind.log_in(&body).await;
        assert_eq!((unknown.status, &unknown.body), (known.status, &known.body));
        let names = |answer: &crate::harness::Answer| {
            answer.headers.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&unknown), names(&known));
        let nobody = behind.last_user();
        assert!(nobody.starts_with("@_") && nobody.ends_with(":hs.example"), "{nobody}");
        nobodies.push(nobody);
    }
    // Always the same for one address, for homeservers count failures by user.
    behind.log_in(&by_email("BOB@example.org", "again")).await;
    assert_eq!(behind.last_user(), nobodies[0]);
    nobodies.sort();
    nobodies.dedup();
    assert_eq!(nobodies.len(), 4);
}

#[tokio::test]
async fn only_what_was_bound_here_to_a_user_of_the_homeserver_logs_in() {
    let behind = Behind::start().await;
    // A user of another homeserver.
    let mallory = "@mallory:elsewhere.example";
    behind.app.account(mallory).await.bound(EMAIL, mallory).await;
    behind.log_in(&by_email(EMAIL, PASSWORD)).await.refused(403, "M_FORBIDDEN");
    assert!(behind.last_user().starts_with("@_"));
    // What a neighbour says.
    let sql = format!(
        "INSERT INTO peer_associations (origin, medium, address, origin_id, mxid, ts, not_before, \
         not_after, signed) VALUES ('id.neighbour.org', 'email', 'n@example.org', 1, '{ALICE}', 0, \
         0, 9000000000000000, NULL)"
    );
    behind.app.database.execute(&sql);
    behind.log_in(&by_email("n@example.org", PASSWORD)).await.refused(403, "M_FORBIDDEN");
    assert!(behind.last_user().starts_with("@_"));
    // What was bound, and is no more.
    let alice = behind.app.account(ALICE).await;
    let session = alice.validated("gone@example.org", "gone@example.org").await;
    let mut body = session.json();
    body["mxid"] = json!(ALICE);
    alice.post("/3pid/bind", body.clone()).await.ok();
    behind.log_in(&by_email("gone@example.org", PASSWORD)).await;
    assert_eq!(behind.last_user(), ALICE);
    body["threepid"] = json!({ "medium": "email", "address": "gone@example.org" });
    alice.post("/3pid/unbind", body).await.ok();
    behind.log_in(&by_email("gone@example.org", PASSWORD)).await.refused(403, "M_FORBIDDEN");
    assert!(behind.last_user().starts_with("@_"));
}

#[tokio::test]
async fn an_address_in_a_directory_logs_in_whom_it_belongs_to() {
    let directory = FakeHomeserver::start_plain().await;
    let toml = format!(
        "limits.enabled = false\n[[directories]]\nname = 'staff'\ntype = 'http'\n\
         mxid = '@{{uid}}:hs.example'\n[directories.http]\nbase_url = 'http://{}'\n",
        directory.address()
    );
    let behind = Behind::with("", &toml).await;
    let says = |address: &str, kind: &str, value: &str| {
        let id = json!({ "type": kind, "value": value });
        let lookup = json!({ "medium": "email", "address": address, "id": id });
        let reply = Reply::new(200, json!({ "lookup": lookup }).to_string());
        directory.set_reply("/_ma1sd/backend/api/v1/identity/single", reply);
    };
    says("a.smith@example.org", "localpart", "alice");
    assert_eq!(behind.log_in(&by_email("A.Smith@example.org", PASSWORD)).await.status, 200);
    assert_eq!(behind.last_user(), ALICE);
    // What was proved here goes before it.
    behind.alice_owns(EMAIL).await;
    says(EMAIL, "localpart", "bob");
    behind.log_in(&by_email(EMAIL, PASSWORD)).await;
    assert_eq!(behind.last_user(), ALICE);
    // A directory knows nothing of other homeservers' users.
    says("m@example.org", "mxid", "@mallory:elsewhere.example");
    behind.log_in(&by_email("m@example.org", PASSWORD)).await.refused(403, "M_FORBIDDEN");
    assert!(behind.last_user().starts_with("@_"));
}
