//! The homeserver's own database as a directory.

use serde_json::json;

use crate::{person::Person, process::eventually, world::World};

const NUMBER: &str = "447700900123";

const SETTINGS: &str = "[[directories]]\nname = 'homeserver'\ntype = 'synapse'\n\
                        sync_interval = '1s'\nsync_changes_interval = '1s'\n\
                        [directories.synapse]\nurl = 'sqlite:HS_TEST/homeserver.db'\n";

#[tokio::test]
async fn a_number_of_an_account_is_found_without_a_bind_until_the_account_is_given_up() {
    let world = World::with(SETTINGS).await;
    let (alice, bob) = (world.newcomer("alice").await, world.person("bob").await);
    assert_eq!(bob.find_by_phone(NUMBER).await, None);
    let asked = alice.ask_homeserver_for_text("GB", "07700 900123").await;
    asked.submit(&world.texted_code(NUMBER)).await.ok();
    assert_eq!(alice.add(&asked.session).await.ok(), json!({}));
    until_found(&bob, Some("@alice:hs.test")).await;
    alice.leave_homeserver().await.ok();
    until_found(&bob, None).await;
}

/// Looks the number up by hash until that is what is found.
async fn until_found(person: &Person<'_>, mxid: Option<&str>) {
    eventually("the copy is as the homeserver is", async || {
        (person.find_by_phone(NUMBER).await.as_deref() == mxid).then_some(())
    })
    .await;
}
