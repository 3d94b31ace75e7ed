//! Inviting people by their address, by way of the homeserver.

use serde_json::json;

use crate::{person::Person, process::eventually, world::World};

/// Alice's address, which nobody has bound in the beginning.
const ALICE: &str = "alice@people.test";

#[tokio::test]
async fn who_is_behind_an_address_is_invited_like_any_user() {
    let world = World::start().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    alice.own(ALICE).await;
    let room = bob.open_room("Tea").await;
    bob.invite(ALICE, &room).await.ok();
    assert_eq!(alice.inviter(&room).await.as_deref(), Some("@bob:hs.test"));
}

#[tokio::test]
async fn who_binds_the_address_later_is_invited_and_joins() {
    let world = World::start().await;
    let bob = world.person("bob").await;
    let room = bob.open_room("Tea").await;
    bob.invite(ALICE, &room).await.ok();
    // The room shows enough of the address to its owner, and too little to others.
    assert_eq!(bob.invited_by_address(&room).await, ["a...@p..."]);

    // Alice has no account anywhere before she reads the mail.
    let alice = world.person("alice").await;
    assert_eq!(alice.inviter(&room).await, None);
    alice.own(ALICE).await;
    alice.is_invited(&room, &bob).await;
    alice.join(&room).await.ok();
    bob.sees_in(&room, &[&alice, &bob]).await;
}

#[tokio::test]
async fn all_who_invited_the_address_are_heard() {
    let world = World::start().await;
    let (bob, carol) = (world.person("bob").await, world.person("carol").await);
    let (tea, coffee) = (bob.open_room("Tea").await, carol.open_room("Coffee").await);
    bob.invite(ALICE, &tea).await.ok();
    carol.invite(ALICE, &coffee).await.ok();

    let alice = world.person("alice").await;
    alice.own(ALICE).await;
    for (room, inviter) in [(&tea, &bob), (&coffee, &carol)] {
        alice.is_invited(room, inviter).await;
        alice.join(room).await.ok();
        inviter.sees_in(room, &[&alice, inviter]).await;
    }
}

#[tokio::test]
async fn an_invitation_reaches_people_of_another_homeserver() {
    let world = World::start().await;
    let one = world.another_homeserver("one").await;
    let other = world.another_homeserver("other").await;
    let bob = world.person_of(&one, "bob").await;
    let room = bob.open_room("Tea").await;
    bob.invite(ALICE, &room).await.ok();

    let alice = world.person_of(&other, "alice").await;
    alice.own(ALICE).await;
    alice.is_invited(&room, &bob).await;
    alice.join(&room).await.ok();
    bob.sees_in(&room, &[&alice, &bob]).await;
}

#[tokio::test]
async fn an_invitation_that_was_taken_back_keeps_no_other_away() {
    let world = World::start().await;
    let bob = world.person("bob").await;
    let (tea, coffee) = (bob.open_room("Tea").await, bob.open_room("Coffee").await);
    bob.invite(ALICE, &tea).await.ok();
    bob.invite(ALICE, &coffee).await.ok();
    bob.take_back_invitations(&tea).await;

    let alice = world.person("alice").await;
    alice.own(ALICE).await;
    alice.is_invited(&coffee, &bob).await;
    assert_eq!(alice.inviter(&tea).await, None);
}

#[tokio::test]
async fn an_invitation_arrives_once() {
    let world = World::start().await;
    let bob = world.person("bob").await;
    let room = bob.open_room("Tea").await;
    bob.invite(ALICE, &room).await.ok();
    let alice = world.person("alice").await;
    alice.own(ALICE).await;
    alice.is_invited(&room, &bob).await;
    alice.decline(&room).await;

    // What is owed first arrives first: were it owed again, it would be there before the other.
    alice.own(ALICE).await;
    let other = bob.open_room("Coffee").await;
    bob.invite("alice@work.test", &other).await.ok();
    alice.own("alice@work.test").await;
    alice.is_invited(&other, &bob).await;
    assert_eq!(alice.inviter(&room).await, None);
}

#[tokio::test]
async fn an_invitation_waits_for_a_homeserver_that_is_away() {
    let world = World::start().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    let room = bob.open_room("Tea").await;
    bob.invite(ALICE, &room).await.ok();
    let session = alice.prove(ALICE).await;
    world.synapse.kill().await;
    alice.bind_directly(&session).await.ok();
    world.bindery.crash().await;
    world.synapse.start_again().await;
    alice.is_invited(&room, &bob).await;
}

#[tokio::test]
async fn an_invitation_outlives_restarts_and_crashes() {
    let world = World::start().await;
    let bob = world.person("bob").await;
    let room = bob.open_room("Tea").await;
    world.bindery.crash().await;
    bob.invite(ALICE, &room).await.ok();
    world.bindery.crash().await;
    let alice = world.person("alice").await;
    world.bindery.restart().await;
    let session = alice.ask_for_mail(ALICE).await;
    world.bindery.crash().await;
    world.open_mailed_link(ALICE).await;
    world.bindery.restart().await;
    alice.bind(&session).await.ok();
    world.bindery.crash().await;
    alice.is_invited(&room, &bob).await;
    world.bindery.restart().await;
    alice.join(&room).await.ok();
    bob.sees_in(&room, &[&alice, &bob]).await;
}

#[tokio::test]
async fn who_has_the_mail_joins_without_binding_the_address() {
    let world = World::start().await;
    let (alice, bob) = (world.newcomer("alice").await, world.person("bob").await);
    let room = bob.open_room("Tea").await;
    bob.invite(ALICE, &room).await.ok();
    let signed = world.sign_invitation(ALICE, &alice.mxid).await;
    alice.join_signed(&room, &signed).await.ok();
    bob.sees_in(&room, &[&alice, &bob]).await;
}

#[tokio::test]
async fn a_signed_invitation_is_good_for_the_one_it_was_signed_for() {
    let world = World::start().await;
    let (alice, bob) = (world.newcomer("alice").await, world.person("bob").await);
    let mallory = world.newcomer("mallory").await;
    let room = bob.open_room("Tea").await;
    bob.invite(ALICE, &room).await.ok();
    let mut signed = world.sign_invitation(ALICE, &alice.mxid).await;
    mallory.join_signed(&room, &signed).await.refused(403, "M_FORBIDDEN");
    signed["mxid"] = json!(mallory.mxid);
    mallory.join_signed(&room, &signed).await.refused(403, "M_FORBIDDEN");
    bob.sees_in(&room, &[&bob]).await;
}

impl Person<'_> {
    /// Waits for the invitation of `inviter`.
    async fn is_invited(&self, room: &str, inviter: &Person<'_>) {
        let who = eventually("the invitation is there", async || self.inviter(room).await).await;
        assert_eq!(who, inviter.mxid);
    }
}
