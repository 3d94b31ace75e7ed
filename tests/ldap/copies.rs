//! Copies of all people, and of those who have changed.

use bindery::{
    clock::{Clock, SystemClock},
    directory::DirectoryError,
};

use crate::{
    slapd::{SUFFIX, person},
    world::World,
};

fn crowd(count: usize) -> String {
    (0..count)
        .map(|i| person(&format!("p{i}"), &[("mail", format!("p{i}@example.org").as_str())]))
        .collect()
}

#[tokio::test]
async fn everybody_comes_in_pages_beyond_the_servers_size_limit() {
    let world = World::with(&crowd(250)).await;
    let (people, pages) = world.door("page_size = 40").everybody().await;
    assert_eq!(pages, 7);
    let mut names: Vec<_> = people.iter().map(|person| person.mxid.to_string()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 250);
}

#[tokio::test]
async fn two_copies_at_once_keep_apart() {
    let world = World::with(&crowd(120)).await;
    let door = world.door("page_size = 50");
    let (one, other) = tokio::join!(door.everybody(), door.everybody());
    assert_eq!((one.0.len(), other.0.len()), (120, 120));
}

#[tokio::test]
async fn a_list_that_the_server_cuts_short_is_no_copy() {
    let world = World::with(&crowd(120)).await;
    // Only the entry as which Bindery logs in may have more than a hundred.
    let settings = "page_size = 80\n";
    let door = world.door(settings);
    assert_eq!(door.everybody().await.0.len(), 120);
    world.slapd.modify(&format!(
        "dn: cn=other,{SUFFIX}\nchangetype: add\nobjectClass: organizationalRole\n\
         objectClass: simpleSecurityObject\ncn: other\nuserPassword: the service's own\n"
    ));
    let settings = world.settings(&[world.ldaps()], settings).replace("cn=bindery", "cn=other");
    let door = crate::world::Door::with(&settings);
    let first = door.directory().page(None).await.unwrap();
    let error = door.directory().page(first.next.as_ref()).await.err().unwrap();
    assert!(matches!(error, DirectoryError::Refused(_)), "{error}");
    assert!(error.to_string().contains("size.prtotal=unlimited"), "{error}");
}

#[tokio::test]
async fn a_copy_ends_with_its_connection() {
    let mut world = World::with(&crowd(120)).await;
    let door = world.door("page_size = 50");
    let first = door.directory().page(None).await.unwrap();
    world.slapd.stop().await;
    world.slapd.run().await;
    let error = door.directory().page(first.next.as_ref()).await.err().unwrap();
    assert!(matches!(error, DirectoryError::Unreachable(_)), "{error}");
    let error = door.directory().page(first.next.as_ref()).await.err().unwrap();
    assert!(matches!(error, DirectoryError::Forgotten), "{error}");
    assert_eq!(door.everybody().await.0.len(), 120);
}

#[tokio::test]
async fn changes_are_those_of_entries_that_were_changed() {
    let world = World::start().await;
    let door = world.door("");
    let now_ms = SystemClock.now_ms();
    let hour = 60 * 60 * 1000;
    // All entries were made just now.
    assert_eq!(door.changed_since(now_ms - hour).await, ["@alice:example.org", "@bob:example.org"]);
    assert_eq!(door.changed_since(0).await.len(), 2);
    assert_eq!(door.changed_since(now_ms + hour).await, [""; 0]);
}
