//! What the log keeps to itself.

use serde_json::json;

use crate::process::{Home, MXID, Person, SECRET};

#[tokio::test]
async fn over_a_whole_flow_the_log_names_neither_addresses_nor_secrets() {
    for format in ["text", "json"] {
        let home = Home::with(&format!("log.format = '{format}'"));
        let mut server = home.serve().await;
        let person = Person::of(&home, &server);
        let email = ["someone@private.example".to_owned()];
        let bodies = person.validated(&home, &email).await;
        person.bind(&bodies[0]).await.ok();
        assert_eq!(person.find(&email).await, email);
        let invite = json!({ "medium": "email", "address": "guest@private.example",
            "room_id": "!room:example.org", "sender": MXID });
        let invite = person.post("/store-invite", &invite).await.ok();
        let invite_token = invite["token"].as_str().unwrap();
        // What is refused, and what nobody knows, is logged no louder.
        person.get("/_matrix/nowhere/someone@private.example?access_token=hush").await;
        person.request_token("no address of someone@private.example").await;
        let link = home.links()[&email[0]].clone();
        let token = link.split("token=").last().unwrap().to_owned();
        let session = bodies[0]["sid"].as_str().unwrap().to_owned();
        person.open(&link.replace(&token, "wrong")).await;
        person.get("/health/ready").await.ok();
        assert_eq!(person.get("/metrics").await.status, 200);
        server.signal("TERM");
        server.ended().await;

        let said = format!("{}{}", server.output(), server.log());
        assert!(said.contains("/_matrix/identity/v2/3pid/bind"), "{said}");
        for secret in [
            "private.example",
            "private_key",
            "hush",
            SECRET,
            &person.token,
            &token,
            &session,
            invite_token,
        ] {
            assert!(!said.contains(secret), "{secret} is in\n{said}");
        }
        assert!(!said.contains('\u{1b}'), "colours where no terminal is:\n{said}");
        assert!(!said.contains("actix"), "{said}");
        assert!(!said.contains("/health/"), "that all is well is no news:\n{said}");
        assert!(!said.contains("/metrics"), "that monitoring asks is no news:\n{said}");
        if format == "json" {
            for line in said.lines() {
                serde_json::from_str::<serde_json::Value>(line)
                    .unwrap_or_else(|error| panic!("{error}: {line}"));
            }
        }
    }
}
