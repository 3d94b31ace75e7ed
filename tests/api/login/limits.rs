//! How often somebody may try.

use std::time::Duration;

use super::{ALICE, Behind, EMAIL, LOGIN, PASSWORD, by_email, with_identifier};
use crate::{harness::answer, homeserver::Reply};
use serde_json::json;

#[tokio::test]
async fn an_address_is_tried_so_often_known_or_unknown_and_however_it_is_written() {
    let behind = Behind::with("", "limits.login_per_address = '2 per 1h'").await;
    behind.alice_owns(EMAIL).await;
    let mut limited = Vec::new();
    for addresses in [[EMAIL, "ALICE@example.org"], ["bob@example.org", "Bob@Example.org"]] {
        for address in addresses {
            behind.log_in(&by_email(address, "wrong")).await.refused(403, "M_FORBIDDEN");
        }
        let asked = behind.homeserver.requests().len();
        let refused = behind.log_in(&by_email(addresses[0], PASSWORD)).await;
        refused.refused(429, "M_LIMIT_EXCEEDED");
        assert_eq!(refused.header("retry-after"), "1800");
        assert_eq!(refused.header("access-control-allow-origin"), "*");
        assert_eq!(refused.header("access-control-expose-headers"), "Retry-After");
        assert_eq!(behind.homeserver.requests().len(), asked);
        limited.push(refused.body);
    }
    assert_eq!(limited[0], limited[1]);
    // By user id it is the homeserver that counts.
    let body = with_identifier(&json!({ "type": "m.id.user", "user": ALICE }), PASSWORD);
    assert_eq!(behind.log_in(&body).await.status, 200);
}

#[tokio::test]
async fn an_address_is_tried_no_more_often_on_two_nodes_than_on_one() {
    let behind = Behind::with("", "limits.login_per_address = '3 per 30m'").await;
    let other = behind.second_node().await;
    behind.alice_owns(EMAIL).await;
    for address in [EMAIL, "nobody@example.org"] {
        let (wrong, right) = (by_email(address, "wrong"), by_email(address, PASSWORD));
        behind.log_in(&wrong).await.refused(403, "M_FORBIDDEN");
        other.stranger().post(LOGIN, wrong.clone()).await.refused(403, "M_FORBIDDEN");
        behind.log_in(&wrong).await.refused(403, "M_FORBIDDEN");
        for refused in
            [behind.log_in(&right).await, other.stranger().post(LOGIN, right.clone()).await]
        {
            refused.refused(429, "M_LIMIT_EXCEEDED");
            assert_eq!(refused.header("retry-after"), "600");
        }
    }
    // Whoever was tried in vain is not written down.
    assert!(!behind.app.database.contents().contains("nobody@example.org"));
    other.clock.advance(Duration::from_mins(10));
    assert_eq!(other.stranger().post(LOGIN, by_email(EMAIL, PASSWORD)).await.status, 200);
    behind.log_in(&by_email(EMAIL, PASSWORD)).await.refused(429, "M_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn a_client_tries_so_often_and_others_beside_it_too() {
    let behind = Behind::with("", "limits.login_per_client = '2 per 1h'").await;
    let from = async |client: &str, address: &str| {
        let request = behind.app.stranger().request("POST", LOGIN);
        let request = request.header("x-forwarded-for", client).json(&by_email(address, "x"));
        answer(request).await.status
    };
    assert_eq!(from("198.51.100.1", "a@example.org").await, 403);
    assert_eq!(from("198.51.100.1", "not an address").await, 403);
    assert_eq!(from("198.51.100.1", "c@example.org").await, 429);
    assert_eq!(from("198.51.100.2", "c@example.org").await, 403);
}

#[tokio::test]
async fn the_homeservers_own_limits_come_back_as_they_are() {
    let behind = Behind::start().await;
    behind.alice_owns(EMAIL).await;
    let headers = "Content-Type: application/json\r\nRetry-After: 7\r\nX-Odd: 1\r\n\
                   Access-Control-Allow-Origin: https://app.example\r\n";
    let body =
        r#"{"errcode":"M_LIMIT_EXCEEDED","error":"Too Many Requests","retry_after_ms":6543}"#;
    let reply = Reply::Full(429, headers.to_owned(), body.to_owned());
    behind.homeserver.set_reply(LOGIN, reply);
    let by_user = with_identifier(&json!({ "type": "m.id.user", "user": ALICE }), PASSWORD);
    for login in [by_email(EMAIL, "x"), by_email("b@example.org", "x"), by_user] {
        let refused = behind.log_in(&login).await;
        assert_eq!((refused.status, &*refused.body), (429, body));
        assert_eq!(refused.header("retry-after"), "7");
        assert_eq!(refused.header("x-odd"), "1");
        let origins = refused.headers.get_all("access-control-allow-origin");
        assert_eq!(origins.iter().collect::<Vec<_>>(), ["https://app.example"]);
        assert!(!refused.headers.contains_key("access-control-allow-methods"));
    }
}
