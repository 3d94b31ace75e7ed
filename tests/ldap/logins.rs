//! Whose password is right.

use serde_json::json;

use crate::{
    bindery::Bindery,
    slapd::{SUFFIX, person},
    world::World,
};

#[tokio::test]
async fn a_person_logs_in_with_their_own_password() {
    let world = World::start().await;
    let door = world.door("");
    let alice = door.login("@alice:example.org", "alice's password").await.unwrap();
    assert_eq!(alice.mxid.as_str(), "@alice:example.org");
    assert_eq!(alice.display_name.as_deref(), Some("Alice Liddell"));
    assert_eq!(alice.threepids.len(), 4);
    assert!(door.login("@bob:example.org", "Bob's password").await.is_some());
    // And still so on the connection that has waited since.
    assert!(door.login("@alice:example.org", "alice's password").await.is_some());
}

#[tokio::test]
async fn nobody_logs_in_otherwise() {
    let world = World::start().await;
    let door = world.door("");
    for (mxid, password) in [
        ("@alice:example.org", "Bob's password"),
        ("@alice:example.org", "Alice's password"),
        ("@alice:example.org", "alice's password\0"),
        ("@alice:example.org", ""),
        ("@alice:example.org", "\0"),
        ("@alice:other.example", "alice's password"),
        ("@Alice:example.org", "alice's password"),
        ("@carol:example.org", "alice's password"),
        ("@:example.org", "alice's password"),
        ("@*:example.org", "alice's password"),
        ("@alice=20:example.org", "alice's password"),
    ] {
        assert_eq!(door.login(mxid, password).await.map(|p| p.mxid), None, "{mxid} {password:?}");
    }
}

#[tokio::test]
async fn a_name_of_two_entries_logs_nobody_in() {
    let twin = person("alice", &[]).replace("ou=people", "ou=twins,ou=people");
    let unit = format!("dn: ou=twins,ou=people,{SUFFIX}\nobjectClass: organizationalUnit\n\n");
    let world = World::with(&[person("alice", &[]), unit, twin].concat()).await;
    assert!(world.door("").login("@alice:example.org", "alice's password").await.is_none());
    let one_level = world.door("scope = 'one'");
    assert!(one_level.login("@alice:example.org", "alice's password").await.is_some());
}

#[tokio::test]
async fn an_entry_without_a_password_logs_nobody_in() {
    let alice = person("alice", &[]).replace("userPassword: alice's password\n", "");
    let door = World::with(&alice).await;
    assert!(door.door("").login("@alice:example.org", "alice's password").await.is_none());
}

#[tokio::test]
async fn a_filter_confines_who_logs_in_and_not_who_is_found() {
    let world = World::start().await;
    let door = world.door("login_filter = '(employeeType=active)'");
    assert!(door.login("@alice:example.org", "alice's password").await.is_some());
    assert!(door.login("@bob:example.org", "Bob's password").await.is_none());
    assert!(door.owner("bob@example.org").await.is_some());
}

#[tokio::test]
async fn a_homeserver_is_told_who_logs_in() {
    let mut world = World::start().await;
    world.slapd.modify(&format!(
        "dn: cn=admins,ou=groups,{SUFFIX}\nchangetype: add\nobjectClass: groupOfNames\n\
         cn: admins\nmember: uid=alice,ou=people,{SUFFIX}\n"
    ));
    let bindery = Bindery::of(&world).await;
    let homeserver = &bindery.person;
    let answer = homeserver.check("@alice:example.org", "alice's password").await;
    let threepids = json!([
        { "medium": "email", "address": "alice@example.org" },
        { "medium": "email", "address": "a.liddell@example.org" },
        { "medium": "msisdn", "address": "447700900001" },
        { "medium": "msisdn", "address": "447700900002" },
    ]);
    let expected = json!({
        "success": true,
        "mxid": "@alice:example.org",
        "display_name": "Alice Liddell",
        "profile": { "display_name": "Alice Liddell", "three_pids": threepids, "roles": ["admin"] },
    });
    assert_eq!(answer, expected);
    let no = json!({ "success": false });
    for (mxid, password) in [
        ("@alice:example.org", "Bob's password"),
        ("@alice:example.org", ""),
        ("@nobody:example.org", "alice's password"),
        ("@*)(uid=alice:example.org", "alice's password"),
    ] {
        assert_eq!(homeserver.check(mxid, password).await, no, "{mxid}");
    }
    world.slapd.stop().await;
    assert_eq!(homeserver.check("@alice:example.org", "alice's password").await, no);
}
