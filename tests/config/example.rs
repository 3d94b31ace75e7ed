//! `config.example.toml` is true and complete.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use bindery::config::Config;
use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::{faults, load};

fn example() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.toml")).unwrap()
}

/// The key of a line of the example that is switched off.
fn switched_off(line: &str) -> Option<&str> {
    let line = line.strip_prefix('#').filter(|line| line.starts_with(char::is_alphabetic))?;
    Some(line.split_once(" = ").unwrap().0)
}

/// The name of the section of which a line is the head, possibly one that is switched off.
fn head(line: &str) -> Option<&str> {
    let line = line.strip_prefix('#').unwrap_or(line);
    Some(line.strip_prefix('[')?.trim_matches(['[', ']']))
}

/// The example with all its keys switched on, save those of `without`: whole names, or keys of any
/// section.
fn example_with_all_keys(without: &[&str]) -> String {
    let example = example();
    let mut section = "";
    let lines = example.lines().map(|line| {
        if let Some(name) = head(line) {
            section = name;
            return line.trim_start_matches('#');
        }
        let is_left_out =
            |key: &str| without.contains(&key) || without.contains(&&*format!("{section}.{key}"));
        match switched_off(line) {
            Some(key) if !is_left_out(key) => &line[1..],
            _ => line,
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_is_a_configuration() {
    let config = Config::from_toml(&example()).unwrap();
    assert_eq!(config.server.name.as_str(), "id.example.org");
}

#[test]
fn the_example_with_all_its_keys_is_a_configuration() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| format!("{:?}", directory.path().join(name));
    let files = [
        "cert.pem",
        "key.pem",
        "mail-roots.pem",
        "extra-roots.pem",
        "database-url",
        "smtp-password",
        "sms-roots.pem",
        "twilio-auth-token",
        "gateway-secret",
        "replication-cert.pem",
        "replication-key.pem",
        "neighbours.pem",
        "trust-anchors.zone",
        "directory-roots.pem",
        "homeserver-roots.pem",
        "ldap-roots.pem",
        "ldap-password",
        "directory-secret",
        "credentials-secret",
        "members-url",
        "synapse-url",
    ];
    // Of keys that exclude each other one is given.
    let plain = [
        "url_file",
        "password_file",
        "bind_password_file",
        "auth_token_file",
        "secret_file",
        "form",
        "body",
        "from",
    ];
    let files_and = [
        "database.url",
        "directories.sql.url",
        "directories.synapse.url",
        "password",
        "bind_password",
        "auth_token",
        "secret",
        "json",
        "body",
        "messaging_service_sid",
    ];
    for without in [&plain[..], &files_and[..]] {
        let mut text = example_with_all_keys(without);
        // Without it the keys for it are refused.
        text = text.replace("dnssec = false", "dnssec = true");
        for file in files {
            fs::write(directory.path().join(file), "sqlite:x.db").unwrap();
            text = text.replace(&format!("{file:?}"), &at(file));
        }
        for folder in ["messages", "messages-acme"] {
            fs::create_dir_all(directory.path().join(folder)).unwrap();
            text = text.replace(
                &format!("directory = {folder:?}"),
                &format!("directory = {}", at(folder)),
            );
        }
        let config = Config::from_toml(&text).unwrap();
        assert!(config.server.tls.is_some() && config.federation.ca_file.is_some());
        assert_eq!(config.terms["privacy"].version, "1.0");
    }
}

#[test]
fn the_configurations_in_the_docs_are_right() {
    let directory = TempDir::new().unwrap();
    let folder = directory.path().to_str().unwrap();
    let owned = [
        "twilio-auth-token",
        "gateway-secret",
        "replication-cert.pem",
        "replication-key.pem",
        "neighbours.pem",
        "trust-anchors.zone",
        "directory-secret",
        "ldap-roots.pem",
        "ldap-password",
    ];
    for file in owned {
        fs::write(directory.path().join(file), "secret").unwrap();
    }
    for owned in ["messages", "acme"] {
        fs::create_dir(directory.path().join(owned)).unwrap();
    }
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");
    let mut checked = 0;
    for page in fs::read_dir(docs).unwrap().map(|entry| entry.unwrap().path()) {
        if page.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(&page).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap().replace("/etc/bindery", folder);
            let config = Config::from_toml(&block);
            assert!(config.is_ok(), "{}: {block}\n{}", page.display(), config.unwrap_err());
            checked += 1;
        }
    }
    assert!(checked >= 6, "only {checked} were found");
}

#[test]
fn the_values_that_the_example_shows_as_defaults_are_the_defaults() {
    let example = example();
    let (mut section, mut comment, mut checked) = ("", String::new(), 0);
    let mut known = BTreeSet::new();
    for line in example.lines() {
        if let Some(name) = head(line) {
            section = name;
            comment.clear();
        } else if let Some(key) = switched_off(line) {
            if comment.contains("Default: as shown") {
                let value = line.split_once(" = ").unwrap().1;
                is_the_default(section, key, value);
                checked += 1;
            }
            let is_shown_before = !known.insert((section, key));
            assert!(is_shown_before || comment.contains("Default: "), "{line}");
            comment.clear();
        } else if let Some(prose) = line.strip_prefix('#') {
            comment.push_str(prose);
        } else {
            comment.clear();
        }
    }
    assert!(checked > 30, "only {checked} keys were found");
}

fn is_the_default(section: &str, key: &str, value: &str) {
    let text = format!("[{section}]\n{key} = {value}");
    let all: [&[_]; 3] =
        [&[], &[("BINDERY_EMAIL__TRANSPORT", "smtp")], &[("BINDERY_EMAIL__TRANSPORT", "sendmail")]];
    for variables in all {
        // To name an SMTP server is to choose it.
        if !(key == "host" && variables.is_empty()) {
            let (with, without) = (load(&text, variables).unwrap(), load("", variables).unwrap());
            assert_eq!(everything(&with), everything(&without), "{text}");
        }
    }
}

#[test]
fn the_example_has_every_key() {
    let mut example: toml::Table = example_with_all_keys(&[]).parse().unwrap();
    let mut shown = BTreeMap::new();
    plant_unknown_keys("", &mut example, &mut shown);
    let text = toml::to_string(&example).unwrap();
    let faults = faults(&text);
    let mut lines = faults.lines();
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    while let (Some(fault), Some(remedy)) = (lines.next(), lines.next()) {
        if let Some(keys) = remedy.trim().strip_prefix("known here: ") {
            let section = fault.split(' ').nth(1).unwrap().trim_end_matches("unknown_to_all:");
            let keys = keys.split(", ").filter(|key| !key.contains(' '));
            // Of several sections of a list each knows some of the keys.
            let mut parts = section.split('[');
            let mut section = parts.next().unwrap().to_owned();
            section.extend(parts.filter_map(|part| part.split_once(']')).map(|(_, rest)| rest));
            known.entry(section).or_default().extend(keys.map(str::to_owned));
        }
    }
    // The same as [sms.http], of which the example shows a part.
    assert_eq!(known.remove("mediums.badge.http."), known.get("sms.http.").cloned());
    shown.remove("mediums.badge.http.");
    shown.remove("mediums.badge.http.json.");
    // Their keys are the operator's own, and whatever is sent on.
    for own in [
        "terms.",
        "mediums.",
        "brands.",
        "sms.http.headers.",
        "sms.http.form.",
        "sms.http.json.",
        "directories.http.headers.",
        "well_known.extra_client.",
        "well_known.extra_client.org.example.key.",
        "well_known.extra_server.",
        "directories.ldap.groups.roles.",
    ] {
        shown.remove(own);
    }
    assert_eq!(known, shown);
}

/// All that a configuration says, its database URL included.
fn everything(config: &Config) -> String {
    format!("{config:#?} {}", config.database.url.expose_secret())
}

/// Puts an unknown key into each section; `shown` becomes the keys of each that were there.
fn plant_unknown_keys(
    path: &str,
    table: &mut toml::Table,
    shown: &mut BTreeMap<String, BTreeSet<String>>,
) {
    shown.entry(path.to_owned()).or_default().extend(table.keys().cloned());
    for (key, value) in table.iter_mut() {
        let path = format!("{path}{key}.");
        let of_list = value.as_array_mut().into_iter().flatten();
        for inner in of_list.filter_map(toml::Value::as_table_mut) {
            plant_unknown_keys(&path, inner, shown);
        }
        if let Some(inner) = value.as_table_mut() {
            plant_unknown_keys(&path, inner, shown);
        }
    }
    table.insert("unknown_to_all".to_owned(), toml::Value::Boolean(true));
}
