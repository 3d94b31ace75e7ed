//! A Sydent and Bindery as neighbours that tell each other of binds and unbinds.

use crate::{bindery, server, world::World};

#[tokio::test]
async fn what_is_bound_at_a_sydent_is_found_at_bindery_until_it_is_unbound() {
    let world = World::replicating().await;
    let (alice, carol) = (world.person("alice").await, world.mxid("carol"));
    world.sydent.bind("carol@people.test", &carol).await;
    alice.until("carol@people.test", Some(&carol)).await;
    // Whoever asks by v1 gets what the Sydent has signed.
    let lookup = "/lookup?medium=email&address=carol%40people.test";
    let told = world.bindery.api_v1().get(lookup).await.ok();
    let known = world.sydent.association("carol@people.test").await.unwrap();
    assert_eq!(told["signatures"][server::NAME], known["signatures"][server::NAME]);
    assert_eq!(told, known);

    world.sydent.unbind("carol@people.test", &carol).await;
    alice.until("carol@people.test", None).await;
    // A second time is as good as the first.
    let dora = world.mxid("dora");
    world.sydent.bind("carol@people.test", &dora).await;
    alice.until("carol@people.test", Some(&dora)).await;
}

#[tokio::test]
async fn what_is_bound_at_bindery_is_found_at_a_sydent_until_it_is_unbound() {
    let world = World::replicating().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    let proof = alice.own("office@neighbours.test").await;
    world.sydent.until("office@neighbours.test", Some(&alice.mxid)).await;
    let known = world.sydent.association("office@neighbours.test").await.unwrap();
    assert!(known["signatures"][bindery::NAME]["ed25519:0"].is_string(), "{known}");

    alice.give_up(&proof).await;
    world.sydent.until("office@neighbours.test", None).await;
    // Whoever has the address next is found by it.
    bob.own("office@neighbours.test").await;
    world.sydent.until("office@neighbours.test", Some(&bob.mxid)).await;
    // Also where nobody said that it was given up.
    alice.own("office@neighbours.test").await;
    world.sydent.until("office@neighbours.test", Some(&alice.mxid)).await;
}

#[tokio::test]
async fn a_neighbour_that_was_away_catches_up() {
    let world = World::replicating().await;
    let (alice, carol) = (world.person("alice").await, world.mxid("carol"));
    let proof = alice.own("office@neighbours.test").await;
    world.sydent.until("office@neighbours.test", Some(&alice.mxid)).await;
    world.sydent.bind("carol@people.test", &carol).await;
    alice.until("carol@people.test", Some(&carol)).await;

    world.sydent.kill().await;
    alice.give_up(&proof).await;
    alice.own("home@neighbours.test").await;
    world.bindery.kill().await;
    world.sydent.start_again().await;
    world.sydent.unbind("carol@people.test", &carol).await;
    world.sydent.bind("dora@people.test", &world.mxid("dora")).await;
    world.bindery.start_again().await;

    world.sydent.until("office@neighbours.test", None).await;
    world.sydent.until("home@neighbours.test", Some(&alice.mxid)).await;
    alice.until("carol@people.test", None).await;
    alice.until("dora@people.test", Some(&world.mxid("dora"))).await;
}

#[tokio::test]
async fn more_than_a_sydent_says_at_once_is_heard_to_the_end() {
    let world = World::replicating().await;
    let (alice, carol) = (world.person("alice").await, world.mxid("carol"));
    let addresses: Vec<String> = (0..230).map(|n| format!("carol{n}@people.test")).collect();
    for address in &addresses {
        world.sydent.bind(address, &carol).await;
    }
    for address in &addresses[..20] {
        world.sydent.unbind(address, &carol).await;
    }
    alice.until(&addresses[229], Some(&carol)).await;
    for (n, address) in addresses.iter().enumerate() {
        let known = (n >= 20).then_some(carol.as_str());
        alice.until(address, known).await;
    }
}

#[tokio::test]
async fn more_than_is_told_at_once_is_told_to_a_sydent_to_the_end() {
    let world = World::replicating().await;
    let alice = world.person("alice").await;
    world.sydent.kill().await;
    let addresses: Vec<String> = (0..130).map(|n| format!("alice{n}@neighbours.test")).collect();
    let mut proofs = Vec::new();
    for address in &addresses {
        proofs.push(alice.own(address).await);
    }
    for proof in &proofs[..10] {
        alice.give_up(proof).await;
    }
    world.sydent.start_again().await;
    for (n, address) in addresses.iter().enumerate().rev() {
        let known = (n >= 10).then_some(alice.mxid.as_str());
        world.sydent.until(address, known).await;
    }
}

#[tokio::test]
async fn what_was_bound_before_they_were_neighbours_is_told_to_a_sydent() {
    let world = World::apart().await;
    let alice = world.person("alice").await;
    let proof = alice.own("gone@neighbours.test").await;
    for address in ["office@neighbours.test", "home@neighbours.test"] {
        alice.own(address).await;
    }
    alice.give_up(&proof).await;
    world.befriend().await;
    for address in ["office@neighbours.test", "home@neighbours.test"] {
        world.sydent.until(address, Some(&alice.mxid)).await;
    }
    world.sydent.until("gone@neighbours.test", None).await;
    let told = world.bindery.command(&["peers", "list"]).await;
    assert!(told.contains("\tset aside 0\tfailed 0\tdue now\t-\n"), "{told}");
}

#[tokio::test]
async fn a_sydent_speaks_for_its_own_domains_only() {
    let world = World::replicating_with("domains = ['people.test']").await;
    let (alice, carol) = (world.person("alice").await, world.mxid("carol"));
    world.sydent.bind("carol@elsewhere.test", &carol).await;
    world.sydent.bind_any("msisdn", "447700900001", &carol).await;
    world.sydent.bind("carol@people.test", &carol).await;
    // What comes after that is heard all the same.
    alice.until("carol@people.test", Some(&carol)).await;
    assert_eq!(alice.find_hashed("carol@elsewhere.test").await, None);
    let quarantine = world.bindery.command(&["peers", "quarantine", "list"]).await;
    assert_eq!(quarantine.matches("may not speak for this address").count(), 2, "{quarantine}");
}
