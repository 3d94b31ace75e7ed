//! Logging in with a 3PID: nginx in front, as docs/login.md has it, then Bindery, then Synapse.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::{
    api::{Answer, Api},
    person::PASSWORD,
    proxy::Proxy,
    sdk::Sdk,
    world::World,
};

const PAGE: &str = include_str!("../../docs/login.md");

/// In the range that is kept free for films.
const NUMBER: &str = "447700900123";

const EMAIL: &str = "alice@people.test";

pub(crate) const GATEWAY: &str = "[gateway]\nhomeserver = 'http://SYNAPSE'\n\
                                  server_name = 'hs.test'\nrefusal_time = '100ms'\n";

/// The client API as people see it from outside.
fn outside(world: &World, proxy: &Proxy) -> Api {
    world.api_at(&format!("{}/_matrix/client/v3", proxy.base))
}

pub(crate) async fn log_in(api: &Api, identifier: Value, password: &str) -> Answer {
    let body = json!({ "type": "m.login.password", "identifier": identifier, "password": password,
                       "initial_device_display_name": "A phone" });
    api.post("/login", body).await
}

pub(crate) fn email(address: &str) -> Value {
    json!({ "type": "m.id.thirdparty", "medium": "email", "address": address })
}

#[tokio::test]
async fn people_log_in_by_what_they_remember() {
    let world = World::with(GATEWAY).await;
    let alice = world.person("alice").await;
    alice.own(EMAIL).await;
    let session = alice.prove_phone("GB", "07700 900123", NUMBER).await;
    alice.bind(&session).await.ok();
    let proxy = world.nginx(PAGE).await;
    let api = outside(&world, &proxy);
    let flows = api.get("/login").await.ok();
    assert!(flows["flows"].as_array().unwrap().contains(&json!({ "type": "m.login.password" })));
    for identifier in [
        email(EMAIL),
        email("Alice@PEOPLE.test"),
        json!({ "type": "m.id.phone", "country": "GB", "phone": "07700 900123" }),
        json!({ "type": "m.id.phone", "country": "DE", "phone": "+44 7700 900123" }),
        json!({ "type": "m.id.phone", "country": "GB", "number": "447700900123" }),
        json!({ "type": "m.id.thirdparty", "medium": "msisdn", "address": NUMBER }),
        json!({ "type": "m.id.user", "user": "@alice:hs.test" }),
        json!({ "type": "m.id.user", "user": "alice" }),
    ] {
        let logged_in = log_in(&api, identifier.clone(), PASSWORD).await.ok();
        assert_eq!(logged_in["user_id"], "@alice:hs.test", "{identifier}");
        let device = logged_in["device_id"].as_str().unwrap();
        let api = api.with_token(logged_in["access_token"].as_str().unwrap());
        let device = api.get(&format!("/devices/{device}")).await.ok();
        assert_eq!(device["display_name"], "A phone");
        assert_eq!(device["last_seen_ip"], "127.0.0.1");
    }
}

#[tokio::test]
async fn whoever_is_refused_does_not_learn_why() {
    let world = World::with(GATEWAY).await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    alice.own(EMAIL).await;
    bob.own("bob@people.test").await;
    bob.leave_homeserver().await.ok();
    let proxy = world.nginx(PAGE).await;
    let api = outside(&world, &proxy);
    let mut refusals = Vec::new();
    for (identifier, password) in [
        (email(EMAIL), "wrong"),
        (email("carol@people.test"), PASSWORD),
        (json!({ "type": "m.id.phone", "country": "GB", "phone": "07700 900124" }), PASSWORD),
        (email("bob@people.test"), PASSWORD),
        (json!({ "type": "m.id.user", "user": "@alice:hs.test" }), "wrong"),
    ] {
        refusals.push(log_in(&api, identifier, password).await.refused(403, "M_FORBIDDEN"));
    }
    for refusal in &refusals {
        assert_eq!(refusal, &refusals[0]);
    }
}

#[tokio::test]
async fn synapse_counts_logins_by_client_and_by_person_known_or_not() {
    let often = json!({ "per_second": 1000, "burst_count": 1000 });
    let seldom = json!({ "per_second": 0.001, "burst_count": 2 });
    let limits = json!({ "address": often, "account": often, "failed_attempts": seldom });
    let world = World::of(GATEWAY, vec![("rc_login", limits)]).await;
    world.person("alice").await.own(EMAIL).await;
    let proxy = world.nginx(PAGE).await;
    let api = outside(&world, &proxy);
    for address in [EMAIL, "nobody@people.test"] {
        for _ in 0..2 {
            log_in(&api, email(address), "wrong").await.refused(403, "M_FORBIDDEN");
        }
        let refused = log_in(&api, email(address), "wrong").await.refused(429, "M_LIMIT_EXCEEDED");
        assert!(refused["retry_after_ms"].as_u64().unwrap() > 1000, "{refused}");
    }

    let limits = json!({ "address": seldom, "account": often, "failed_attempts": often });
    let world = World::of(GATEWAY, vec![("rc_login", limits)]).await;
    world.person("alice").await.own(EMAIL).await;
    let proxy = world.nginx(PAGE).await;
    let url = format!("{}/_matrix/client/v3", proxy.base);
    for last in [2, 3] {
        let api = world.api_from(Ipv4Addr::new(127, 0, 0, last), &url);
        for _ in 0..2 {
            log_in(&api, email(EMAIL), PASSWORD).await.ok();
        }
        log_in(&api, email(EMAIL), PASSWORD).await.refused(429, "M_LIMIT_EXCEEDED");
    }
}

#[tokio::test]
async fn media_go_the_same_way_untouched() {
    let world = World::with(GATEWAY).await;
    let alice = world.person("alice").await;
    let proxy = world.nginx(PAGE).await;
    let token = alice.homeserver.token.as_deref().unwrap();
    let media: Vec<u8> =
        (0..20_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let http = &alice.homeserver.http;
    let url = format!("{}/_matrix/media/v3/upload?filename=a.bin", proxy.base);
    let upload = http.post(url).bearer_auth(token).header("content-type", "application/x-odd");
    let uploaded: Value = upload.body(media.clone()).send().await.unwrap().json().await.unwrap();
    let uri = uploaded["content_uri"].as_str().unwrap().trim_start_matches("mxc://");
    let url = format!("{}/_matrix/client/v1/media/download/{uri}", proxy.base);
    let download = http.get(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(download.headers()["content-type"], "application/x-odd");
    assert!(download.bytes().await.unwrap() == media);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn matrix_js_sdk_logs_in_by_address() {
    let world = World::with(GATEWAY).await;
    world.person("alice").await.own(EMAIL).await;
    let proxy = world.nginx(PAGE).await;
    let mut sdk = Sdk::with(&world, &json!({ "baseUrl": proxy.base }));
    let flows = sdk.ok("loginFlows", &json!([]));
    assert!(!flows["flows"].as_array().unwrap().is_empty(), "{flows}");
    let request = |identifier: Value, password: &str| json!([{ "type": "m.login.password", "identifier": identifier, "password": password }]);
    let logged_in = sdk.ok("loginRequest", &request(email(EMAIL), PASSWORD));
    assert_eq!(logged_in["user_id"], "@alice:hs.test");
    sdk.refused("loginRequest", &request(email(EMAIL), "wrong"), 403, "M_FORBIDDEN");
    sdk.refused("loginRequest", &request(email("x@people.test"), "wrong"), 403, "M_FORBIDDEN");
}
