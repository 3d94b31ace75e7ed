//! Who is found by lookups as the directory changes, and while it is away.

use std::time::Duration;

use crate::{bindery::Bindery, slapd::SUFFIX, slapd::person, world::World};

const HOUR: Duration = Duration::from_mins(61);

#[tokio::test]
async fn people_are_found_by_hash_as_the_directory_changes() {
    let world = World::start().await;
    let bindery = Bindery::of(&world).await;
    let asker = &bindery.person;
    assert_eq!(asker.owner("alice@example.org").await, None);
    bindery.copy().await;
    assert_eq!(asker.owner("alice@example.org").await.unwrap(), "@alice:example.org");

    // Who is changed, and who is new, shows when the changes are copied.
    let entry = |uid: &str| format!("dn: uid={uid},ou=people,{SUFFIX}\n");
    let change = format!(
        "{}changetype: modify\nreplace: mail\nmail: alice@new.example\n\n{}",
        entry("alice"),
        person("carol", &[("mail", "carol@example.org")]).replacen('\n', "\nchangetype: add\n", 1),
    );
    world.slapd.modify(&change);
    bindery.clock.advance(Duration::from_mins(6));
    bindery.copy().await;
    assert_eq!(asker.owner("alice@new.example").await.unwrap(), "@alice:example.org");
    assert_eq!(asker.owner("carol@example.org").await.unwrap(), "@carol:example.org");
    assert_eq!(asker.owner("alice@example.org").await, None);

    // Who is removed is gone when all are copied.
    world.slapd.modify(&format!("{}changetype: delete\n", entry("alice")));
    bindery.clock.advance(HOUR);
    bindery.copy().await;
    assert_eq!(asker.owner("alice@new.example").await, None);
    assert_eq!(asker.owner("carol@example.org").await.unwrap(), "@carol:example.org");
    assert_eq!(asker.owner_in_plain("alice@new.example").await, None);
}

#[tokio::test]
async fn a_copy_that_lost_its_place_begins_anew() {
    let world = World::start().await;
    let bindery = Bindery::of(&world).await;
    bindery.copy().await;
    bindery.clock.advance(HOUR);
    // A node that ended in the middle of a copy has left a place that meant something to it alone.
    bindery.database.execute(
        "UPDATE directory_syncs SET run = 'full', run_began_at = 1, run_cursor = 'a place', \
         last_generation = last_generation + 1",
    );
    world.slapd.modify(&format!("dn: uid=Bob,ou=people,{SUFFIX}\nchangetype: delete\n"));
    bindery.copy().await;
    assert!(bindery.person.owner("bob@example.org").await.is_some());
    bindery.copy().await;
    assert!(bindery.person.owner("alice@example.org").await.is_some());
    assert_eq!(bindery.person.owner("bob@example.org").await, None);
}

#[tokio::test]
async fn while_the_directory_is_away_what_was_copied_is_found() {
    let mut world = World::start().await;
    let bindery = Bindery::of(&world).await;
    let asker = &bindery.person;
    bindery.copy().await;
    assert_eq!(asker.owner_in_plain("alice@example.org").await.unwrap(), "@alice:example.org");
    world.slapd.stop().await;
    bindery.clock.advance(HOUR);
    bindery.copy().await;
    for email in ["alice@example.org", "bob@example.org"] {
        assert!(asker.owner(email).await.is_some(), "{email}");
        assert!(asker.owner_in_plain(email).await.is_some(), "{email}");
    }
    assert_eq!(asker.owner_in_plain("nobody@example.org").await, None);
    // It is copied again once it is back.
    world.slapd.run().await;
    let bob = format!("dn: uid=Bob,ou=people,{SUFFIX}\nchangetype: delete\n");
    world.slapd.modify(&bob);
    bindery.clock.advance(HOUR);
    bindery.copy().await;
    assert!(asker.owner("alice@example.org").await.is_some());
    assert_eq!(asker.owner("bob@example.org").await, None);
}
