//! Who is found, by address and by name.

use bindery::matrix::threepid::ThreePid;

use crate::{
    slapd::person,
    world::{World, addresses},
};

#[tokio::test]
async fn people_are_found_by_each_of_their_addresses() {
    let world = World::start().await;
    let door = world.door("");
    for email in ["alice@example.org", "a.liddell@example.org"] {
        assert_eq!(door.owner(email).await.unwrap().as_str(), "@alice:example.org");
    }
    for number in ["447700900001", "447700900002"] {
        let owner = door.owner_of(ThreePid::msisdn(number).unwrap()).await;
        assert_eq!(owner.unwrap().as_str(), "@alice:example.org", "{number}");
    }
    assert_eq!(door.owner("bob@example.org").await.unwrap().as_str(), "@bob:example.org");
    assert_eq!(door.owner("carol@example.org").await, None);
    assert_eq!(door.owner_of(ThreePid::msisdn("447700900009").unwrap()).await, None);
}

#[tokio::test]
async fn many_addresses_are_found_at_once() {
    let people: String = (0..60)
        .map(|i| person(&format!("p{i}"), &[("mail", format!("p{i}@example.org").as_str())]))
        .collect();
    let world = World::with(&people).await;
    let asked: Vec<_> =
        (0..200).map(|i| ThreePid::email(&format!("p{i}@example.org")).unwrap()).collect();
    let found = world.door("").directory().find(&asked).await.unwrap();
    assert_eq!(found.len(), 60);
    assert_eq!(found[&asked[59]].as_str(), "@p59:example.org");
}

#[tokio::test]
async fn an_address_of_two_people_is_nobodys() {
    let shared = [("mail", "info@example.org")];
    let world = World::with(&[person("alice", &shared), person("bob", &shared)].concat()).await;
    assert_eq!(world.door("").owner("info@example.org").await, None);
}

#[tokio::test]
async fn a_person_has_a_name_a_picture_and_addresses_without_nonsense() {
    let world = World::start().await;
    let door = world.door("[directories.ldap.attributes]\navatar = 'description'");
    let (people, _) = door.everybody().await;
    let [alice, bob] = people.as_slice() else { panic!("{} people", people.len()) };
    assert_eq!(alice.display_name.as_deref(), Some("Alice Liddell"));
    let known = ["alice@example.org", "a.liddell@example.org", "447700900001", "447700900002"];
    assert_eq!(addresses(alice), known);
    assert_eq!(alice.avatar_url, None);
    assert_eq!((bob.mxid.as_str(), bob.display_name.as_deref()), ("@bob:example.org", Some("Bob")));
    assert_eq!(bob.avatar_url.as_deref(), Some("mxc://example.org/bob"));
}

#[tokio::test]
async fn without_a_country_a_national_number_is_passed_over() {
    let world = World::start().await;
    let door = world.door_by(&[world.ldaps()], "", "");
    let without = door.everybody().await.0;
    assert!(addresses(&without[0]).contains(&"447700900002"));
    assert!(!addresses(&without[0]).contains(&"447700900001"));
}

#[tokio::test]
async fn a_name_that_no_user_id_holds_is_escaped_in_it() {
    let attributes = [("mail", "j@example.org")];
    let world = World::with(&person("j.smith=x", &attributes)).await;
    let door = world.door("");
    let mxid = "@j.smith=3dx:example.org";
    assert_eq!(door.owner("j@example.org").await.unwrap().as_str(), mxid);
    assert!(door.login(mxid, "j.smith=x's password").await.is_some());
}

#[tokio::test]
async fn a_search_finds_words_in_names_and_addresses() {
    let world = World::start().await;
    let door = world.door("");
    for term in ["alice", "ALI", "liddell ali", "a.lidd", "7700 900002", " Liddell\t"] {
        assert_eq!(door.search(term, 10).await.0, ["@alice:example.org"], "{term}");
    }
    let both = ["@alice:example.org", "@bob:example.org"];
    assert_eq!(door.search("example.org", 10).await, (both.map(str::to_owned).into(), false));
    for term in ["", "  ", "alice bob", "nobody", "äöü"] {
        assert_eq!(door.search(term, 10).await, (vec![], false), "{term}");
    }
}

#[tokio::test]
async fn a_search_says_when_there_are_more() {
    let people: String =
        (0..150).map(|i| person(&format!("p{i}"), &[("displayName", "Doppelgänger")])).collect();
    let world = World::with(&people).await;
    let door = world.door("");
    for (limit, found) in [(10, 10), (149, 100)] {
        let (people, limited) = door.search("doppelGÄNG", limit).await;
        // The server gives out a hundred at the most.
        assert_eq!((people.len(), limited), (found, true), "{limit}");
    }
    assert_eq!(door.search("p149", 1).await, (vec!["@p149:example.org".to_owned()], false));
}
