//! Searches for people at the homeserver and in directories.

use serde_json::{Value, json};

use crate::{
    harness::{Answer, answer},
    homeserver::{FakeHomeserver, Reply},
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

/// What a directory answers to a search by name.
fn in_directory(people: &[(&str, &str)], limited: bool) -> Reply {
    let results = people.iter().map(|(localpart, name)| {
        json!({ "user_id": localpart, "display_name": name, "avatar_url": "mxc://hs.example/x" })
    });
    let results = results.collect::<Vec<_>>();
    Reply::new(200, json!({ "results": results, "limited": limited }).to_string())
}

/// Two directories beside the homeserver.
async fn with_directories() -> (Behind, [FakeHomeserver; 2]) {
    let directories = [FakeHomeserver::start_plain().await, FakeHomeserver::start_plain().await];
    let table = |name: &str, at: &FakeHomeserver| {
        format!(
            "[[directories]]\nname = '{name}'\ntype = 'http'\nmxid = '@{{uid}}:hs.example'\n\
             timeout = '500ms'\n[directories.http]\nbase_url = 'http://{}'\n",
            at.address()
        )
    };
    let [one, other] = &directories;
    let toml = format!("{ON}\n{}{}", table("staff", one), table("members", other));
    (Behind::with("", &toml).await, directories)
}

const IN_DIRECTORY: &str = "/_ma1sd/backend/api/v1/directory/user/search";

#[tokio::test]
async fn the_directories_people_come_after_the_homeservers() {
    let (behind, [staff, members]) = with_directories().await;
    let bob = person("@bob:hs.example", "Bob");
    behind.homeserver.set_reply(PATH, found(std::slice::from_ref(&bob), false));
    staff.set_reply(IN_DIRECTORY, in_directory(&[("bob", "Robert"), ("bodo", "Bodo")], false));
    members.set_reply(IN_DIRECTORY, in_directory(&[("bodo", "B."), ("boris", "Boris")], false));
    let answer = search(&behind, json!({ "search_term": "bo" })).await.ok();
    let listed = |id: &str, name: &str| json!({ "user_id": id, "display_name": name, "avatar_url": "mxc://hs.example/x" });
    let (bodo, boris) = (listed("@bodo:hs.example", "Bodo"), listed("@boris:hs.example", "Boris"));
    assert_eq!(answer, json!({ "results": [bob, bodo, boris], "limited": false }));
    let two = search(&behind, json!({ "search_term": "bo", "limit": 2 })).await.ok();
    assert_eq!(two, json!({ "results": [bob, bodo], "limited": true }));
    // One that fails is left out.
    staff.set_reply(IN_DIRECTORY, Reply::Silence);
    let answer = search(&behind, json!({ "search_term": "bo" })).await.ok();
    let bodo = listed("@bodo:hs.example", "B.");
    assert_eq!(answer, json!({ "results": [bob, bodo, boris], "limited": false }));
    // One that has more says so.
    members.set_reply(IN_DIRECTORY, in_directory(&[("boris", "Boris")], true));
    assert_eq!(search(&behind, json!({ "search_term": "bo" })).await.ok()["limited"], true);
}

#[tokio::test]
async fn who_is_refused_by_the_homeserver_asks_no_directory() {
    let (behind, directories) = with_directories().await;
    behind.homeserver.set_reply(PATH, Reply::new(401, r#"{"errcode":"M_UNKNOWN_TOKEN"}"#));
    assert_eq!(search(&behind, json!({ "search_term": "bo" })).await.status, 401);
    // Nothing is searched for by nothing.
    behind.homeserver.set_reply(PATH, found(&[], false));
    search(&behind, json!({ "search_term": " " })).await.ok();
    assert!(directories.iter().all(|directory| directory.requests().is_empty()));
}
