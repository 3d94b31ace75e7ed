//! The other examples of the documentation.

use super::{Directory, copy, find, find_hashed, login, someone};

#[tokio::test]
async fn the_users_of_django_are_found_log_in_and_are_copied() {
    let Some(django) = Directory::of_example("django") else { return };
    let hash = "pbkdf2_sha256$1000$seasalt$7f5l3z7fECNYobc67WKlJ59h1kUdTLgSXV8z4l9AvU8=";
    django.database.execute(&format!(
        "INSERT INTO auth_user (password, username, first_name, last_name, email, is_active) VALUES \
         ('{hash}', 'Alice', 'Alice', 'Example', 'Alice@example.org', true), \
         ('!x', 'bob', 'Bob', 'Example', 'bob@example.org', true), \
         ('{hash}', 'carol', 'Carol', 'Example', 'carol@example.org', false); \
         INSERT INTO members_phone (user_id, number) VALUES \
         (1, '+44 1632 960001'), (1, '+44 1632 960002')"
    ));
    let app = django.server("").await;
    let asked = [
        "alice@example.org email",
        "441632960001 msisdn",
        "441632960002 msisdn",
        "bob@example.org email",
        "carol@example.org email",
    ];
    let (alice, bob) = (|| someone("@alice:example.org"), someone("@bob:example.org"));
    let all = [alice(), alice(), alice(), bob, None];
    assert_eq!(find(&app, &asked).await, all);
    copy(&app, "django").await;
    assert_eq!(find_hashed(&app, &asked).await, all);
    let (name, addresses) = login(&app, "@alice:example.org", "Tr0ub4dor&3 é").await.unwrap();
    assert_eq!((name.as_str(), addresses), ("Alice Example", vec!["alice@example.org".to_owned()]));
    assert!(login(&app, "@bob:example.org", "x").await.is_none());
    assert!(login(&app, "@carol:example.org", "Tr0ub4dor&3 é").await.is_none());
    let found = app.app.directories.search("example", 10).await;
    let names: Vec<_> = found.people.iter().map(|person| person.mxid.as_str()).collect();
    assert_eq!(names, ["@alice:example.org", "@bob:example.org"]);
}

#[tokio::test]
async fn the_users_of_wordpress_are_found_log_in_and_are_copied() {
    let Some(wordpress) = Directory::of_example("wordpress") else { return };
    wordpress.database.execute(
        "INSERT INTO wp_users (user_login, user_pass, user_email, display_name) VALUES \
         ('Alice', '$wp$2y$04$abcdefghijklmnopqrstuuzayh2keNtNFHUY6P6rVzgoHY/G/vtG.', \
          'Alice@example.org', 'Alice 100%'), \
         ('bob', '$P$5Ad/mlBq046SJhsBCoFdRg0lg94olP0', 'bob@example.org', 'Bob'); \
         INSERT INTO wp_usermeta (user_id, meta_key, meta_value) VALUES \
         (1, 'billing_phone', '+44 1632 960001'), (1, 'nickname', 'al'), (2, 'nickname', 'bob')",
    );
    let app = wordpress.server("").await;
    let asked = [
        "alice@example.org email",
        "441632960001 msisdn",
        "bob@example.org email",
        "x@y.org email",
    ];
    let (alice, bob) = (|| someone("@alice:example.org"), someone("@bob:example.org"));
    let all = [alice(), alice(), bob, None];
    assert_eq!(find(&app, &asked).await, all);
    copy(&app, "wordpress").await;
    assert_eq!(find_hashed(&app, &asked).await, all);
    assert!(login(&app, "@alice:example.org", "Tr0ub4dor&3 é").await.is_some());
    assert!(login(&app, "@bob:example.org", "Tr0ub4dor&3 é").await.is_none());
    let found = app.app.directories.search("100%", 10).await;
    assert_eq!(found.people[0].mxid.as_str(), "@alice:example.org");
}
