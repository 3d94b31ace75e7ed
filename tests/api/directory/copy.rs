//! The copies that hashed lookups are answered from.

use std::time::Duration;

use bindery::store::{StoreError, Tx, directory_syncs};
use serde_json::{Value, json};

use super::{BASE, at, find_phones};
use crate::{
    directories::{FakeProgram, people, person},
    harness::TestApp,
    invite::{invited, request},
    onbind::World,
};

const HOUR: Duration = Duration::from_hours(1);

async fn with(program: &FakeProgram, more: &str) -> TestApp {
    TestApp::with(&format!("{BASE}{}", program.toml("staff", more))).await
}

async fn state(app: &TestApp) -> directory_syncs::Sync {
    let find = |tx: &mut Tx<'_>| directory_syncs::find(tx, "staff");
    app.app.store.read::<_, StoreError>(find).await.unwrap().unwrap_or_default()
}

#[tokio::test]
async fn people_are_found_by_the_hashes_of_all_their_addresses() {
    let program = FakeProgram::new();
    let anna = json!({ "user": "Anna", "threepids": [
        { "medium": "email", "address": " Anna@Example.ORG " },
        { "medium": "email", "address": "a.strauß@example.org" },
        { "medium": "msisdn", "address": "+49 30 123456" },
        { "medium": "msisdn", "address": "030/654321" },
        { "medium": "email", "address": "no address" },
        { "medium": "fax", "address": "1" },
    ] });
    program.answers("people", &people(&[anna, person("bad name", &["bad@example.org"])]));
    let app = with(&program, "country = 'DE'").await;
    let alice = app.account("@alice:hs.example").await;
    assert_eq!(alice.find(&["anna@example.org"]).await, [None]);
    app.copy().await;
    let found = alice.find(&["anna@example.org", "a.strauss@example.org", "bad@example.org"]).await;
    assert_eq!(found, [Some(at("anna")), Some(at("anna")), None]);
    let found = find_phones(&alice, &["4930123456", "4930654321", "4930999999"]).await;
    assert_eq!(found, [Some(at("anna")), Some(at("anna")), None]);
    // Hashed lookups ask nobody.
    assert_eq!(program.asked().len(), 1);
}

#[tokio::test]
async fn who_has_gone_is_found_no_more_after_the_next_copy() {
    let program = FakeProgram::new();
    let anna = person("anna", &["anna@example.org", "old@example.org"]);
    program.answers("people", &people(&[anna, person("bob", &["bob@example.org"])]));
    let app = with(&program, "").await;
    let alice = app.account("@alice:hs.example").await;
    app.copy().await;
    program.answers("people", &people(&[person("anna", &["anna@example.org"])]));
    app.clock.advance(Duration::from_millis(3_599_999));
    app.copy().await;
    let addresses = ["anna@example.org", "old@example.org", "bob@example.org"];
    assert_eq!(alice.find(&addresses).await, [Some(at("anna")), Some(at("anna")), Some(at("bob"))]);
    app.clock.advance(Duration::from_millis(1));
    app.copy().await;
    assert_eq!(alice.find(&addresses).await, [Some(at("anna")), None, None]);
    assert_eq!(program.times("people", &Value::Null), 2);
}

#[tokio::test]
async fn a_copy_is_in_memory_as_soon_as_it_is_made() {
    let program = FakeProgram::new();
    let anna = person("anna", &["anna@example.org", "x@example.org"]);
    program.answers("people", &people(&[anna, person("bob", &["bob@example.org"])]));
    let app = with(&program, "").await;
    let alice = app.account("@alice:hs.example").await;
    let addresses = ["anna@example.org", "x@example.org", "bob@example.org"];
    app.copy().await;
    // What the database says of hashes is gone; what is in memory isn't.
    app.database.execute("DELETE FROM directory_hashes");
    assert_eq!(alice.find(&addresses).await, [Some(at("anna")), Some(at("anna")), Some(at("bob"))]);
    let now = [person("anna", &["anna@example.org"]), person("carol", &["x@example.org"])];
    program.answers("people", &people(&now));
    app.clock.advance(HOUR);
    // Memory is believed for a second only.
    app.settle().await;
    app.copy().await;
    app.database.execute("DELETE FROM directory_hashes");
    assert_eq!(alice.find(&addresses).await, [Some(at("anna")), Some(at("carol")), None]);
}

#[tokio::test]
async fn what_has_changed_is_copied_in_between() {
    let program = FakeProgram::new();
    let both = [person("anna", &["anna@example.org"]), person("bob", &["bob@example.org"])];
    program.answers("people", &people(&both));
    let app = with(&program, "").await;
    let alice = app.account("@alice:hs.example").await;
    app.copy().await;
    let changed = [person("anna", &["new@example.org"]), person("carol", &["carol@example.org"])];
    program.answers("changes", &json!({ "people": [changed[0]], "next": "2" }));
    program.answers("changes2", &people(&[changed[1].clone()]));
    app.clock.advance(Duration::from_mins(5));
    app.copy().await;
    let addresses = ["anna@example.org", "new@example.org", "bob@example.org", "carol@example.org"];
    assert_eq!(
        alice.find(&addresses).await,
        [None, Some(at("anna")), Some(at("bob")), Some(at("carol"))]
    );
    let asked = program.asked();
    let since: Vec<i64> = asked.iter().filter_map(|it| it["since_ms"].as_i64()).collect();
    // Clocks may differ by five minutes.
    let began = crate::harness::START_MS - 5 * 60 * 1000;
    assert_eq!(since, [began, began]);
}

#[tokio::test]
async fn a_copy_that_fails_changes_nothing_and_goes_on_where_it_ended() {
    let program = FakeProgram::new();
    program.answers("people", &people(&[person("anna", &["anna@example.org"])]));
    let app = with(&program, "").await;
    let alice = app.account("@alice:hs.example").await;
    app.copy().await;
    let first = json!({ "people": [person("bob", &["bob@example.org"])], "next": "2" });
    program.answers("people", &first);
    program.answers("people2", &people(&[person("carol", &["carol@example.org"])]));
    program.write("fail2");
    app.clock.advance(HOUR);
    app.copy().await;
    let addresses = ["anna@example.org", "bob@example.org", "carol@example.org"];
    assert_eq!(alice.find(&addresses).await, [Some(at("anna")), None, None]);
    program.remove("fail2");
    app.clock.advance(Duration::from_millis(29_999));
    app.copy().await;
    assert_eq!(program.times("people", &json!("2")), 1);
    app.clock.advance(Duration::from_millis(1));
    app.copy().await;
    assert_eq!(alice.find(&addresses).await, [None, Some(at("bob")), Some(at("carol"))]);
    assert_eq!(program.times("people", &Value::Null), 2);
    assert_eq!(state(&app).await.attempts, 0);
}

#[tokio::test]
async fn a_copy_that_goes_on_failing_is_begun_anew_and_tried_more_and_more_seldom() {
    let program = FakeProgram::new();
    let page = json!({ "people": [person("bob", &["bob@example.org"])], "next": "2" });
    program.answers("people", &page);
    program.write("fail2");
    let app = with(&program, "").await;
    for (seconds, begun) in [(30, 1), (60, 1), (120, 2), (240, 3)] {
        app.copy().await;
        assert_eq!(program.times("people", &Value::Null), begun, "{seconds}");
        app.clock.advance(Duration::from_millis(seconds * 1000 - 1));
        let asked = program.asked().len();
        app.copy().await;
        assert_eq!(program.asked().len(), asked, "{seconds}");
        app.clock.advance(Duration::from_millis(1));
    }
    assert!(state(&app).await.last_error.unwrap().contains("exit status: 3"));
}

#[tokio::test]
async fn of_two_nodes_one_copies() {
    let program = FakeProgram::new();
    program.answers("people", &people(&[person("anna", &["anna@example.org"])]));
    let one = with(&program, "").await;
    let other = one.beside(&format!("{BASE}{}", program.toml("staff", ""))).await;
    tokio::join!(one.copy(), other.copy());
    tokio::join!(one.copy(), other.copy());
    assert_eq!(program.times("people", &Value::Null), 1);
    other.settle().await;
    let alice = other.account("@alice:hs.example").await;
    assert_eq!(alice.find(&["anna@example.org"]).await, [Some(at("anna"))]);
}

#[tokio::test]
async fn what_a_node_leaves_undone_another_goes_on_with() {
    let program = FakeProgram::new();
    let page = json!({ "people": [person("anna", &["anna@example.org"])], "next": "2" });
    program.answers("people", &page);
    program.answers("people2", &people(&[person("bob", &["bob@example.org"])]));
    program.write("hang2");
    let one = with(&program, "").await;
    let copying = one.copy();
    let has_hung = async {
        while !program.path("child").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // The node crashes in the middle.
    tokio::select! {
        () = copying => panic!("it didn't hang"),
        () = has_hung => {}
    }
    program.remove("hang2");
    let other = one.beside(&format!("{BASE}{}", program.toml("staff", ""))).await;
    other.copy().await;
    let alice = other.account("@alice:hs.example").await;
    let addresses = ["anna@example.org", "bob@example.org"];
    assert_eq!(alice.find(&addresses).await, [None, None]);
    one.clock.advance(Duration::from_mins(2));
    other.copy().await;
    assert_eq!(alice.find(&addresses).await, [Some(at("anna")), Some(at("bob"))]);
    assert_eq!(program.times("people", &Value::Null), 1);
}

#[tokio::test]
async fn the_copy_of_a_former_directory_is_not_believed_and_removed() {
    let program = FakeProgram::new();
    program.answers("people", &people(&[person("anna", &["anna@example.org"])]));
    let app = with(&program, "").await;
    app.copy().await;
    for toml in [BASE.to_owned(), format!("{BASE}{}", program.toml("staff", "identities = false"))]
    {
        let other = app.beside(&toml).await;
        let alice = other.account("@alice:hs.example").await;
        assert_eq!(alice.find(&["anna@example.org"]).await, [None]);
    }
    let other = app.beside(BASE).await;
    other.background().await;
    let names = other.app.store.read::<_, StoreError>(directory_syncs::names).await.unwrap();
    assert!(names.is_empty());
    app.settle().await;
    let alice = app.account("@alice:hs.example").await;
    assert_eq!(alice.find(&["anna@example.org"]).await, [None]);
    app.copy().await;
    assert_eq!(alice.find(&["anna@example.org"]).await, [Some(at("anna"))]);
}

#[tokio::test]
async fn other_settings_take_another_copy() {
    let program = FakeProgram::new();
    program.answers("people", &people(&[person("anna", &["anna@example.org"])]));
    let app = with(&program, "").await;
    app.copy().await;
    let toml = program.toml("staff", "").replace("hs.example", "new.example");
    let other = app.beside(&format!("{BASE}{toml}")).await;
    other.copy().await;
    let alice = other.account("@alice:hs.example").await;
    let found = alice.find(&["anna@example.org"]).await;
    assert_eq!(found, [Some("@anna:new.example".to_owned())]);
}

#[tokio::test]
async fn a_new_pepper_finds_the_same_people() {
    let program = FakeProgram::new();
    let twice =
        [person("anna", &["anna@example.org", "x@example.org"]), person("bob", &["x@example.org"])];
    program.answers("people", &people(&twice));
    let app = with(&program, "").await;
    let alice = app.account("@alice:hs.example").await;
    app.copy().await;
    let pepper = alice.get("/hash_details").await.ok();
    app.clock.advance(Duration::from_hours(7 * 24));
    app.background().await;
    assert_ne!(alice.get("/hash_details").await.ok(), pepper);
    assert_eq!(alice.find(&["anna@example.org", "x@example.org"]).await, [Some(at("anna")), None]);
}

#[tokio::test]
async fn an_address_that_two_people_have_is_nobodys() {
    let program = FakeProgram::new();
    let shared = "shared@example.org";
    let both = [person("anna", &["anna@example.org", shared]), person("bob", &[shared])];
    program.answers("people", &people(&both));
    let app = with(&program, "").await;
    let alice = app.account("@alice:hs.example").await;
    app.copy().await;
    assert_eq!(alice.find(&["anna@example.org", shared]).await, [Some(at("anna")), None]);
    program.answers("changes", &people(&[person("bob", &[])]));
    app.clock.advance(Duration::from_mins(5));
    app.copy().await;
    assert_eq!(alice.find(&[shared]).await, [Some(at("anna"))]);
}

#[tokio::test]
async fn what_is_bound_here_goes_first_and_then_the_first_directory() {
    let (first, second) = (FakeProgram::new(), FakeProgram::new());
    first.answers("people", &people(&[person("anna", &["a@example.org", "b@example.org"])]));
    let others = ["a@example.org", "b@example.org", "c@example.org"];
    second.answers("people", &people(&[person("bob", &others)]));
    let toml = format!("{BASE}{}{}", first.toml("one", ""), second.toml("two", ""));
    let app = TestApp::with(&toml).await;
    app.copy().await;
    let carol = app.account("@carol:hs.example").await;
    carol.bound("a@example.org", "@carol:hs.example").await;
    assert_eq!(carol.find(&others).await, [Some(at("carol")), Some(at("anna")), Some(at("bob"))]);
}

#[tokio::test]
async fn who_is_in_a_copy_needs_no_invitation() {
    let program = FakeProgram::new();
    program.answers("people", &people(&[person("anna", &["anna@example.org"])]));
    let app = with(&program, "").await;
    app.copy().await;
    let alice = app.account("@alice:hs.example").await;
    let invite = request("anna@example.org", "@alice:hs.example");
    let refused = alice.post("/store-invite", invite).await.refused(400, "M_THREEPID_IN_USE");
    assert_eq!(refused["mxid"], "@anna:hs.example");
    assert_eq!(app.mails(), 0);
}

#[tokio::test]
async fn an_invitation_that_waits_is_delivered_when_a_copy_has_its_address() {
    let world = World::start().await;
    let program = FakeProgram::new();
    program.answers("people", &people(&[person("anna", &[])]));
    let server = world.homeserver.name("127.0.0.1");
    let toml = program.toml("staff", "").replace("hs.example", &server);
    let base = crate::onbind::toml(&world.ca);
    let app = world.app.beside(&format!("{base}\n{toml}")).await;
    let alice = app.account("@alice:hs.example").await;
    let token = invited(&alice, "anna@example.org").await["token"].clone();
    app.copy().await;
    app.deliver().await;
    assert!(world.tokens().is_empty());
    program.answers("people", &people(&[person("anna", &["anna@example.org"])]));
    app.clock.advance(HOUR);
    app.copy().await;
    app.deliver().await;
    assert_eq!(json!(world.tokens()), json!([token]));
}
