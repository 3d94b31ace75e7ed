//! Groups as roles, and as what a login takes.

use crate::{slapd::SUFFIX, world::World};

const ALICE: (&str, &str) = ("@alice:example.org", "alice's password");
const BOB: (&str, &str) = ("@bob:example.org", "Bob's password");

/// A server that has Alice among the admins and both among the staff.
async fn world() -> World {
    let world = World::start().await;
    let group = |name: &str, members: &[&str]| {
        let members: Vec<_> =
            members.iter().map(|uid| format!("member: uid={uid},ou=people,{SUFFIX}\n")).collect();
        let members = members.concat();
        format!(
            "dn: cn={name},ou=groups,{SUFFIX}\nchangetype: add\nobjectClass: groupOfNames\n\
             cn: {name}\n{members}\n"
        )
    };
    let groups = [group("admins", &["alice"]), group("all staff", &["alice", "Bob"])];
    world.slapd.modify(&groups.concat());
    world
}

/// The roles of a group of each way to spell them.
const ROLES: &str = "roles = { 'CN=Admins, OU=groups, DC=example, DC=org' = 'admin', \
                     'cn=all  staff,ou=groups,dc=example,dc=org' = 'member', \
                     'cn=others,ou=groups,dc=example,dc=org' = 'other' }";

#[tokio::test]
async fn groups_that_a_person_names_are_roles() {
    let world = world().await;
    let door = world.door(&format!("[directories.ldap.groups]\n{ROLES}"));
    assert_eq!(door.login(ALICE.0, ALICE.1).await.unwrap().roles, ["admin", "member"]);
    assert_eq!(door.login(BOB.0, BOB.1).await.unwrap().roles, ["member"]);
}

#[tokio::test]
async fn groups_that_name_a_person_are_roles() {
    let world = world().await;
    let door = world.door(&format!(
        "[directories.ldap.groups]\nmember_of = 'description'\n\
         base_dn = 'ou=groups,{SUFFIX}'\nfilter = '(&(objectClass=groupOfNames)(member={{dn}}))'\n\
         {ROLES}"
    ));
    assert_eq!(door.login(ALICE.0, ALICE.1).await.unwrap().roles, ["admin", "member"]);
    assert_eq!(door.login(BOB.0, BOB.1).await.unwrap().roles, ["member"]);
}

#[tokio::test]
async fn whoever_is_not_in_the_required_group_does_not_log_in() {
    let world = world().await;
    let admins_only = format!("required_group = 'cn=admins,ou=groups,{SUFFIX}'\n");
    let by_search = format!(
        "{admins_only}[directories.ldap.groups]\nmember_of = 'description'\n\
         base_dn = 'ou=groups,{SUFFIX}'"
    );
    for settings in [admins_only, by_search] {
        let door = world.door(&settings);
        assert!(door.login(ALICE.0, ALICE.1).await.is_some());
        assert!(door.login(BOB.0, BOB.1).await.is_none());
        assert!(door.owner("bob@example.org").await.is_some());
    }
}
