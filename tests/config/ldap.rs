//! `[directories.ldap]`: what can be written, and what is said about mistakes.

use bindery::config::{Config, DirectoryKind, Ldap, LdapScope, LdapUrl};

use super::{faults, load};

/// A directory with these settings of its own.
fn with(ldap: &str) -> String {
    format!(
        "[[directories]]\nname = \"staff\"\ntype = \"ldap\"\nmxid = \"@{{uid}}:example.org\"\n\
         [directories.ldap]\n{ldap}"
    )
}

fn ldap(settings: &str) -> Ldap {
    let config = Config::from_toml(&with(settings)).unwrap();
    match config.directories.into_iter().next().unwrap().kind {
        DirectoryKind::Ldap(ldap) => *ldap,
        other => panic!("not LDAP: {other:?}"),
    }
}

#[test]
fn little_has_to_be_said() {
    let ldap = ldap("urls = ['ldaps://ldap.example.org']\nbase_dn = 'dc=example,dc=org'");
    assert_eq!(
        ldap.urls.iter().map(LdapUrl::text).collect::<Vec<_>>(),
        ["ldaps://ldap.example.org"]
    );
    assert!(ldap.bind.is_none() && ldap.groups.search.is_none() && ldap.login_filter.is_none());
    assert_eq!((ldap.scope, ldap.filter.as_str()), (LdapScope::Subtree, "(objectClass=person)"));
    assert_eq!(ldap.attributes.emails, ["mail"]);
    assert_eq!(ldap.attributes.phones, ["telephoneNumber", "mobile"]);
    assert_eq!(ldap.page_size, 500);
}

#[test]
fn plain_ldap_is_for_this_machine_or_for_those_who_say_so() {
    let base = "base_dn = 'dc=example,dc=org'\n";
    for urls in ["ldap://127.0.0.1:1389", "ldap://[::1]", "ldap://localhost/"] {
        ldap(&format!("{base}urls = ['{urls}']"));
    }
    ldap(&format!("{base}urls = ['ldap://ldap.example.org']\nstarttls = true"));
    ldap(&format!("{base}urls = ['ldap://ldap.example.org']\ninsecure = true"));
    let faults = faults(&with(&format!("{base}urls = ['ldap://ldap.example.org']")));
    assert!(faults.contains("config:7: directories[0].ldap.urls: by plain ldap"), "{faults}");
}

const MISTAKES: &str = r#"urls = ["http://ldap.example.org", "ldaps://u:p@ldap.example.org", "ldaps://[::1]"]
starttls = true
ca_file = "/nowhere/ca.pem"
bind_dn = "cn=bindery"
base_dn = "example.org"
scope = "base"
filter = "(uid=a)(uid=b)"
login_filter = "(uid=*"
required_group = "admins"
page_size = 200000
[directories.ldap.attributes]
emails = ["mail", "e mail"]
changed = ""
[directories.ldap.groups]
filter = "(member={dn})"
roles = { admins = "admin" }
"#;

#[test]
fn mistakes_are_told_with_line_and_remedy() {
    insta::assert_snapshot!(load(&with(MISTAKES), &[]).unwrap_err(), @r#"
    config.toml:6: directories[0].ldap.urls[0]: expected ldaps:// or ldap://, a host name, and possibly a port, found "http://ldap.example.org"
        write for example: urls = ["ldaps://ldap.example.org"]
    config.toml:6: directories[0].ldap.urls[1]: expected ldaps:// or ldap://, a host name, and possibly a port, found a URL with a user name
        write for example: urls = ["ldaps://ldap.example.org"]
    config.toml:6: directories[0].ldap.urls: the certificate of a server can't be checked against an IPv6 address here
        write the server's host name
    config.toml:7: directories[0].ldap.starttls: ldaps:// is TLS from the first byte, and STARTTLS changes to it later
        write ldap://, or remove starttls
    config.toml:8: directories[0].ldap.ca_file: /nowhere/ca.pem can't be read: No such file or directory (os error 2)
        name a file that can be read
    config.toml:9: directories[0].ldap.bind_password: missing, but a bind_dn is given
        give both, or neither where the server answers to everybody
    config.toml:10: directories[0].ldap.base_dn: expected a distinguished name, found "example.org"
        write for example: base_dn = "ou=people,dc=example,dc=org"
    config.toml:11: directories[0].ldap.scope: expected subtree or one, found "base"
        write for example: scope = "subtree"
    config.toml:12: directories[0].ldap.filter: expected an LDAP filter (RFC 4515), found "(uid=a)(uid=b)"
        write for example: filter = "(objectClass=person)"
    config.toml:13: directories[0].ldap.login_filter: expected an LDAP filter (RFC 4515), found "(uid=*"
        write for example: login_filter = "(objectClass=person)"
    config.toml:14: directories[0].ldap.required_group: expected a distinguished name, found "admins"
        write for example: required_group = "ou=people,dc=example,dc=org"
    config.toml:15: directories[0].ldap.page_size: is more than 100000
        write for example: page_size = 500
    config.toml:17: directories[0].ldap.attributes.emails[1]: expected the name of an attribute, found "e mail"
        write for example: emails = ["mail"]
    config.toml:18: directories[0].ldap.attributes.changed: expected the name of an attribute, found ""
        write for example: changed = "mail"
    config.toml:19: directories[0].ldap.groups.base_dn: missing; expected where groups are
        name it, or remove filter
    config.toml:21: directories[0].ldap.groups.roles.admins: is no distinguished name of a group
        write for example: "cn=admins,ou=groups,dc=example,dc=org" = "admin"
    "#);
}

#[test]
fn no_password_is_part_of_what_is_said() {
    let secret = "bind_password = 'hunter2'\nurls = []\nbase_dn = ''";
    let faults = faults(&with(secret));
    assert!(faults.contains("bind_dn: missing") && !faults.contains("hunter2"), "{faults}");
}
