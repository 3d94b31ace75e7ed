//! The configuration: what can be written, what holds without, and what is said about mistakes.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::{fs, path::PathBuf, time::Duration};

use bindery::config::{
    Algorithm, Config, DatabaseKind, EmailTransport, LogFormat, Rate, Smtp, SmtpSecurity,
};
use secrecy::ExposeSecret;
use tempfile::TempDir;

/// What is said about a configuration that is wrong.
fn faults(text: &str) -> String {
    Config::from_toml(text).unwrap_err().to_string()
}

/// Loads a file called `config.toml` under these variables; the directory's name is left out.
fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("config.toml");
    fs::write(&file, text).unwrap();
    let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    let prefix = format!("{}/", directory.path().display());
    Config::load(Some(&file), variables).map_err(|faults| faults.to_string().replace(&prefix, ""))
}

fn smtp(config: Config) -> Smtp {
    match config.email.transport {
        EmailTransport::Smtp(smtp) => smtp,
        other => panic!("not by SMTP: {other:?}"),
    }
}

#[path = "config/anything.rs"]
mod anything;
#[path = "config/example.rs"]
mod example;
#[path = "config/gateway.rs"]
mod gateway;
#[path = "config/ldap.rs"]
mod ldap;
#[path = "config/mistakes.rs"]
mod mistakes;
#[path = "config/queries.rs"]
mod queries;
#[path = "config/sources.rs"]
mod sources;

// Defaults, and what follows from what.

#[test]
fn without_a_file_everything_has_a_default() {
    let config = Config::load(None, std::iter::empty()).unwrap();
    assert_eq!(config.server.name.as_str(), "localhost:8090");
    assert_eq!(config.server.base_url, "http://localhost:8090");
    assert_eq!(config.server.listen, ["127.0.0.1:8090".parse().unwrap()]);
    assert!(config.server.tls.is_none());
    let proxies = ["127.0.0.1/32".parse().unwrap(), "::1/128".parse().unwrap()];
    assert_eq!(config.server.trusted_proxies, proxies);
    let DatabaseKind::Sqlite(path) = config.database.kind() else { panic!("not SQLite") };
    assert_eq!(path, PathBuf::from("bindery-data/bindery.db"));
    assert_eq!(config.database.max_connections.get(), 8);
    assert_eq!(config.signing.key_file, PathBuf::from("bindery-data/signing.key"));
    assert!(config.accounts.homeservers.is_empty() && config.terms.is_empty());
    assert_eq!(config.sessions.lifetime, Duration::from_hours(24));
    assert_eq!(config.sessions.max_attempts.get(), 10);
    assert_eq!(config.email.from.to_string(), "Bindery <noreply@localhost>");
    assert!(matches!(&config.email.transport,
        EmailTransport::Directory(path) if path.as_os_str() == "bindery-data/mail"));
    assert_eq!(config.lookup.algorithms, [Algorithm::Sha256]);
    assert_eq!(config.lookup.max_addresses, 10_000);
    assert_eq!(config.lookup.pepper_rotation, Some(Duration::from_hours(7 * 24)));
    assert_eq!(config.federation.timeout, Duration::from_secs(20));
    assert!(config.limits.enabled);
    assert_eq!((config.log.filter.as_str(), config.log.format), ("info", LogFormat::Text));
}

#[test]
fn the_name_gives_the_base_url_and_the_sender() {
    let config = Config::from_toml("[server]\nname = 'id.example.org:8443'").unwrap();
    assert_eq!(config.server.base_url, "https://id.example.org:8443");
    assert_eq!(config.email.from.to_string(), "Bindery <noreply@id.example.org>");
    let config = Config::from_toml("[server]\nname = '[2001:db8::1]:8443'").unwrap();
    assert_eq!(config.server.base_url, "https://[2001:db8::1]:8443");
    assert_eq!(config.email.from.to_string(), "Bindery <noreply@localhost>");
}

#[test]
fn a_name_that_no_mail_can_come_from_needs_a_sender() {
    let fault = faults("[server]\nname = 'a..b'");
    assert!(
        fault.starts_with("config:2: email.from: missing, and noreply@a..b is no mail address"),
        "{fault}"
    );
    Config::from_toml("[server]\nname = 'a..b'\n[email]\nfrom = 'a@b.example'").unwrap();
}

#[test]
fn a_base_url_keeps_its_path_and_loses_its_last_slash() {
    for (written, read) in [
        ("https://id.example.org/", "https://id.example.org"),
        ("https://example.org/id/", "https://example.org/id"),
        ("http://127.0.0.1:8090", "http://127.0.0.1:8090"),
        ("http://[::1]:80/", "http://[::1]"),
        ("http://localhost:1", "http://localhost:1"),
    ] {
        let config = Config::from_toml(&format!("[server]\nbase_url = '{written}'")).unwrap();
        assert_eq!(config.server.base_url, read);
    }
}

#[test]
fn a_base_url_that_is_unsafe_or_no_base_is_refused() {
    for url in
        ["id.example.org", "ftp://a.example", "https://a.example/?q", "https://a.example/#f", "/id"]
    {
        let fault = faults(&format!("[server]\nbase_url = '{url}'"));
        let expected = "config:2: server.base_url: expected an http or https URL without user \
                        name, query and fragment, found ";
        assert!(fault.starts_with(expected), "{fault}");
    }
    let fault = faults("[server]\nbase_url = 'http://id.example.org'");
    assert!(fault.starts_with("config:2: server.base_url: plain http is for"), "{fault}");
    assert!(fault.contains("write https://"), "{fault}");
}

#[test]
fn naming_an_smtp_server_is_enough_to_use_it() {
    let smtp_server = smtp(Config::from_toml("[email.smtp]\nhost = 'mx.example'").unwrap());
    assert_eq!((smtp_server.host.as_str(), smtp_server.port), ("mx.example", 25));
    assert_eq!(smtp_server.security, SmtpSecurity::None);
    assert_eq!(smtp_server.timeout, Duration::from_secs(20));
    assert_eq!(smtp_server.max_connections.get(), 4);
    let chosen = "[email]\ntransport = 'log'\n[email.smtp]\nhost = 'mx.example'";
    let chosen = Config::from_toml(chosen).unwrap();
    assert!(matches!(chosen.email.transport, EmailTransport::Log));
}

#[test]
fn an_smtp_server_that_speaks_tls_at_once_is_on_port_465() {
    assert_eq!(
        smtp(Config::from_toml("email.smtp = { host = '::1', security = 'tls' }").unwrap()).port,
        465
    );
}

#[test]
fn a_database_is_chosen_by_the_scheme_of_its_url() {
    for (url, path) in [("sqlite:a/b.db", "a/b.db"), ("sqlite:///a.db", "/a.db")] {
        let config = Config::from_toml(&format!("database.url = '{url}'")).unwrap();
        assert!(matches!(config.database.kind(),
            DatabaseKind::Sqlite(file) if file.as_os_str() == path));
    }
    #[cfg(feature = "postgres")]
    for url in ["postgres://u:p@h/db", "postgresql://h/db"] {
        let config = Config::from_toml(&format!("database.url = '{url}'")).unwrap();
        assert!(matches!(config.database.kind(),
            DatabaseKind::Postgres(kept) if kept.expose_secret() == url));
    }
    for url in ["mysql://h/db", "bindery.db", "sqlite:", "sqlite::memory:"] {
        let fault = faults(&format!("database.url = '{url}'"));
        assert!(fault.starts_with("config:1: database.url: "), "{fault}");
    }
}

#[test]
fn terms_are_read_by_policy_and_language() {
    let text = "[terms.privacy]\nversion = '1.0'\nen = { name = 'Privacy', url = 'https://a.example/en' }\n\
                [terms.privacy.pt-BR]\nname = 'Privacidade'\nurl = 'https://a.example/pt'";
    let config = Config::from_toml(text).unwrap();
    let policy = &config.terms["privacy"];
    assert_eq!(policy.version, "1.0");
    assert_eq!(policy.texts.keys().collect::<Vec<_>>(), ["en", "pt-BR"]);
    assert_eq!(policy.texts["pt-BR"].name, "Privacidade");
    assert_eq!(policy.texts["en"].url.as_str(), "https://a.example/en");
}

#[test]
fn terms_without_version_language_or_a_proper_id_are_refused() {
    let text = "[terms.a]\nversion = '1'\n[terms.'b c']\n[terms.c]\nen = { name = 'C' }\nversoin = '1'\n\
                [terms]\nd = 'https://a.example'";
    insta::assert_snapshot!(faults(text), @r#"
    config:1: terms.a.en: missing; a policy needs at least one language
        write for example: en = { name = "Privacy policy", url = "https://…" }
    config:3: terms.b c: a policy id has 1 to 255 letters, digits and any of - . _ ~
        write for example: [terms.privacy]
    config:4: terms.c.version: missing; expected a text that is not empty
        write for example: version = "…"
    config:5: terms.c.en.url: missing; expected an http or https URL
        write for example: url = "https://example.org/privacy-1.0.en"
    config:6: terms.c.versoin: unknown key; did you mean version?
        known here: a language code such as en, en, version
    config:8: terms.d: expected a section, found a text
        write for example: [terms.d]
    "#);
}

// Values.

#[test]
fn durations_have_a_unit_and_are_above_zero() {
    for (written, read) in [
        ("500ms", Duration::from_millis(500)),
        ("30s", Duration::from_secs(30)),
        ("15m", Duration::from_mins(15)),
        ("24h", Duration::from_hours(24)),
        ("7d", Duration::from_hours(7 * 24)),
        ("1w", Duration::from_hours(7 * 24)),
    ] {
        let config = Config::from_toml(&format!("sessions.lifetime = '{written}'")).unwrap();
        assert_eq!(config.sessions.lifetime, read);
    }
    for wrong in
        ["", "0s", "10", "s", "-1s", "1.5h", "1 h", "1h30m", "36501d", "99999999999999999999w"]
    {
        let fault = faults(&format!("sessions.lifetime = '{wrong}'"));
        assert!(fault.contains("sessions.lifetime: expected a duration of"), "{fault}");
    }
}

#[test]
fn the_pepper_can_stay_for_ever() {
    let config = Config::from_toml("lookup.pepper_rotation = 'never'").unwrap();
    assert_eq!(config.lookup.pepper_rotation, None);
}

#[test]
fn rates_are_a_number_per_duration() {
    let config = Config::from_toml("limits.register_per_client = '20 per 10m'").unwrap();
    let Rate { count, per } = config.limits.register_per_client;
    assert_eq!((count.get(), per), (20, Duration::from_mins(10)));
    for wrong in
        ["20", "20 per", "0 per 1m", "20/1m", "-1 per 1m", "1 per 0s", "4000000000 per 1ms"]
    {
        let fault = faults(&format!("limits.register_per_client = '{wrong}'"));
        assert!(fault.contains("limits.register_per_client: expected a rate"), "{fault}");
    }
}

#[test]
fn an_address_alone_is_a_network_and_a_name_server_too() {
    let text = "federation.deny_networks = ['192.0.2.1', '2001:db8::1', '10.0.0.0/8']\n\
                dns.nameservers = ['192.0.2.1', '[::1]:5353']";
    let config = Config::from_toml(text).unwrap();
    let networks = ["192.0.2.1/32", "2001:db8::1/128", "10.0.0.0/8"];
    assert_eq!(config.federation.deny_networks, networks.map(|network| network.parse().unwrap()));
    let servers = ["192.0.2.1:53", "[::1]:5353"];
    assert_eq!(config.dns.nameservers, servers.map(|server| server.parse().unwrap()));
}

#[test]
fn hosts_are_kept_in_the_form_in_which_they_are_compared() {
    let config = Config::from_toml(
        "sessions.next_link_hosts = ['App.Example.org', 'bücher.example', '[::1]']",
    );
    let hosts = ["app.example.org", "xn--bcher-kva.example", "[::1]"];
    assert_eq!(config.unwrap().sessions.next_link_hosts, hosts);
    for wrong in ["*.example.org", "a:80", "https://a", ""] {
        faults(&format!("sessions.next_link_hosts = ['{wrong}']"));
    }
}
