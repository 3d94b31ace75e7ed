//! What people type is never part of a question, only its value.

use bindery::matrix::threepid::ThreePid;

use crate::world::World;

/// Texts that mean something in a filter or a DN, or nothing anywhere.
const TEXTS: [&str; 20] = [
    "*",
    "a*",
    "*)(uid=*",
    "alice)(|(uid=*",
    "*)(|(objectClass=*)",
    "alice)(objectClass=*))(&(uid=*",
    ")(cn=))\0(",
    "\0",
    "alice\0",
    "\\",
    "\\2a",
    "\\00",
    "&(uid=alice)",
    "!(uid=bob)",
    "uid=alice,ou=people,dc=example,dc=org",
    "älice",
    "\u{202e}alice",
    "🂡",
    "\u{ad}",
    "\u{200b}\u{fe0f}",
];

#[tokio::test]
async fn no_text_finds_anybody_by_what_it_means_in_a_filter() {
    let world = World::start().await;
    let door = world.door("");
    for text in TEXTS {
        // As the name of a user, as it may stand in an id and as it is escaped there.
        let escaped: Vec<_> = text.bytes().map(|byte| format!("={byte:02x}")).collect();
        let escaped = escaped.concat();
        for name in [text, &escaped] {
            let Ok(mxid) = format!("@{name}:example.org").parse() else { continue };
            let password = "alice's password".into();
            let person = door.directory().check(&mxid, &password).await.unwrap();
            assert!(person.is_none(), "{name:?}");
        }
        // As an address: most are none, and so can't be asked for at all.
        if let Ok(threepid) = ThreePid::email(&format!("{text}@example.org")) {
            assert_eq!(door.owner_of(threepid).await, None, "{text:?}");
        }
        // As what is searched for; a name stays itself with what nobody sees in it.
        let is_name = text.trim_matches(['\0', '\u{202e}']) == "alice";
        let found = if is_name { vec!["@alice:example.org".to_owned()] } else { Vec::new() };
        assert_eq!(door.search(text, 10).await, (found, false), "{text:?}");
    }
    // The door is as it was.
    assert!(door.owner("alice@example.org").await.is_some());
}

#[tokio::test]
async fn a_long_search_is_no_trouble() {
    let world = World::start().await;
    let door = world.door("");
    let long = "(*\\".repeat(100_000);
    assert_eq!(door.search(&long, 10).await, (vec![], false));
    let many = "alice ".repeat(100_000);
    assert_eq!(door.search(&many, 10).await.0, ["@alice:example.org"]);
}
