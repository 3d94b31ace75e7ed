//! The configuration: what can be written, what holds without, and what is said about mistakes.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::Duration,
};

use bindery::config::{
    Algorithm, Config, DatabaseKind, EmailTransport, LogFormat, Rate, Smtp, SmtpSecurity,
};
use proptest::prelude::*;
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

/// All that a configuration says, its database URL included.
fn everything(config: &Config) -> String {
    format!("{config:#?} {}", config.database.url.expose_secret())
}

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
    assert!(fault.contains("email.from: missing, and noreply@a..b is no mail address"), "{fault}");
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

// Faults.

#[test]
fn all_faults_are_told_at_once_each_with_its_line_and_remedy() {
    let text = r#"[server]
nmae = "id.example.org"
listen = ["127.0.0.1:8090", "localhost:80"]
base_url = 3
[emial]
[email]
transport = "pigeon"
[email.smtp]
port = "abc"
username = "bindery"
[lookup]
algorithms = ["none"]
max_addresses = 200_000
[sessions]
max_attempts = 0
[federation]
ca_file = "/nowhere/ca.pem"
[sms]
provider = "log"
"#;
    insta::assert_snapshot!(load(text, &[]).unwrap_err(), @r#"
    config.toml:2: server.nmae: unknown key; did you mean name?
        known here: base_url, listen, name, tls, trusted_proxies
    config.toml:3: server.listen[1]: expected an IP address with a port, found "localhost:80"
        write for example: listen = ["127.0.0.1:8090"]
    config.toml:4: server.base_url: expected an http or https URL without user name, query and fragment, found 3
        write for example: base_url = "https://id.example.org"
    config.toml:5: emial: unknown key; did you mean email?
        known here: accounts, database, dns, email, federation, limits, log, lookup, server, sessions, signing, terms
    config.toml:7: email.transport: expected smtp, sendmail, directory or log, found "pigeon"
        write for example: transport = "smtp"
    config.toml:9: email.smtp.port: expected a port between 1 and 65535, found "abc"
        write for example: port = 25
    config.toml:10: email.smtp.password: missing, but a username is given
        give both, or neither where the server wants no login
    config.toml:12: lookup.algorithms: the specification requires sha256
        write for example: algorithms = ["sha256"]
    config.toml:13: limits.lookup_addresses_per_account: 100000 at once are fewer than lookup.max_addresses, 200000
        raise it to 200000 or more, or lower lookup.max_addresses
    config.toml:15: sessions.max_attempts: expected a whole number between 1 and 4294967295, found 0
        write for example: max_attempts = 10
    config.toml:17: federation.ca_file: /nowhere/ca.pem can't be read: No such file or directory (os error 2)
        name a file that can be read
    config.toml:18: sms: unknown key
        known here: accounts, database, dns, email, federation, limits, log, lookup, server, sessions, signing, terms
    "#);
}

#[test]
fn a_syntax_error_has_line_and_column() {
    let fault = load("[server]\nname = \nlisten = []\n", &[]).unwrap_err();
    assert!(fault.starts_with("config.toml:2:8: "), "{fault}");
    let fault = faults("[log]\n[server]\n[log]\n");
    assert!(fault.starts_with("config:3:2: duplicate key"), "{fault}");
}

#[test]
fn a_list_that_is_needed_may_not_be_empty() {
    assert!(faults("server.listen = []").contains("has to listen somewhere"));
    assert!(faults("lookup.algorithms = []").contains("requires sha256"));
}

#[test]
fn tls_needs_both_files_and_they_have_to_be_there() {
    let fault = faults("[server]\ntls = { certificate = '/nowhere/cert.pem' }");
    assert!(fault.contains("config:2: server.tls.key: missing; expected a path"), "{fault}");
    assert!(fault.contains("server.tls.certificate: /nowhere/cert.pem can't be read"), "{fault}");
    let fault = faults("email.smtp.ca_file = '/'");
    assert!(fault.contains("email.smtp.ca_file: / is a directory"), "{fault}");
}

#[test]
fn one_lookup_has_to_fit_into_the_limit_of_lookups() {
    let fault = faults("[lookup]\nmax_addresses = 100_001");
    assert!(fault.starts_with("config:2: limits.lookup_addresses_per_account: 100000 at once"));
    let text = "[limits]\nlookup_addresses_per_account = '9999 per 1h'\n";
    assert!(
        faults(text).starts_with("config:2: limits.lookup_addresses_per_account: 9999 at once")
    );
    Config::from_toml(&format!("{text}enabled = false")).unwrap();
}

#[test]
fn a_file_that_is_not_there_is_a_fault() {
    let fault = Config::load(Some("/nowhere/b.toml".as_ref()), std::iter::empty()).unwrap_err();
    assert!(fault.to_string().starts_with("/nowhere/b.toml: can't be read: No such file"));
}

// Secrets.

#[test]
fn a_secret_can_be_in_a_file() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("password");
    fs::write(&file, "  pass word \r\n").unwrap();
    let text = format!(
        "email.smtp = {{ host = 'a', username = 'u', password_file = '{}' }}",
        file.display()
    );
    let (name, password) = smtp(Config::from_toml(&text).unwrap()).login.unwrap();
    assert_eq!((name.as_str(), password.expose_secret()), ("u", "  pass word "));
    fs::write(&file, "\n").unwrap();
    assert!(
        faults(&text).contains("email.smtp.password_file: ") && faults(&text).contains("is empty")
    );
    fs::remove_file(&file).unwrap();
    let fault = faults(&text);
    assert!(fault.contains(&format!("{} can't be read: No such file", file.display())), "{fault}");
}

#[test]
fn a_secret_given_twice_is_a_fault() {
    let fault = faults("[database]\nurl_file = '/nowhere/url'\nurl = 'sqlite:a'");
    assert!(fault.starts_with("config:2: database.url_file: given beside url"), "{fault}");
    let both = [("BINDERY_DATABASE__URL", "sqlite:a"), ("BINDERY_DATABASE__URL_FILE", "/nowhere")];
    assert!(
        load("", &both)
            .unwrap_err()
            .starts_with("BINDERY_DATABASE__URL_FILE: database.url_file: given")
    );
}

#[test]
fn a_login_is_whole_or_not_at_all() {
    let fault = faults("[email.smtp]\nusername = 'u'");
    assert!(fault.starts_with("config:2: email.smtp.password: missing, but"), "{fault}");
    let fault = faults("[email.smtp]\n\npassword = 'p'");
    assert!(fault.starts_with("config:3: email.smtp.username: missing, but"), "{fault}");
}

#[test]
fn no_secret_is_ever_printed() {
    for text in [
        "database = 'hunter2'",
        "[database]\nurl = 'mysql://bindery:hunter2@db.example/bindery'",
        "[database]\nurl = ['hunter2']",
        "[database]\nurl = 'hunter2'\nurl_file = 'x'",
        "[database]\nulr = 'hunter2'",
        "[email]\nsmtp = 'hunter2'",
        "[email.smtp]\npassword = 'hunter2'",
        "[email.smtp]\npassword = { a = 'hunter2' }",
        "[server]\nbase_url = 'https://bindery:hunter2@id.example.org'",
        "[email.smtp]\nhost = 'smtp://bindery:hunter2@mx.example'",
        "[email.smtp]\npassword = 'hunter2'x",
    ] {
        let fault = Config::from_toml(text).unwrap_err();
        assert!(!format!("{fault} {fault:?}").contains("hunter2"), "{fault}");
    }
    let text = "database.url = 'sqlite:hunter2'\nemail.smtp = { host = 'a', username = 'u', password = 'hunter2' }";
    let config = Config::from_toml(text).unwrap();
    assert!(!format!("{config:?} {:?}", config.database.kind()).contains("u:hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

// The environment.

#[test]
fn a_variable_goes_before_the_file() {
    let text = "[server]\nname = 'file.example'\n[email.smtp]\nhost = 'file.example'\nport = 26";
    let variables = [
        ("BINDERY_SERVER__NAME", "env.example"),
        ("BINDERY_SERVER__LISTEN", r#"["127.0.0.1:1", "[::1]:2"]"#),
        ("BINDERY_EMAIL__SMTP__HOST", "mx.env.example"),
        ("BINDERY_EMAIL__SMTP__USERNAME", "12"),
        ("BINDERY_EMAIL__SMTP__PASSWORD", "\"quoted\""),
        ("BINDERY_EMAIL__SMTP__MAX_CONNECTIONS", "7"),
        ("BINDERY_LIMITS__ENABLED", "false"),
        ("BINDERY_SESSIONS__LIFETIME", "\"30m\""),
        ("BINDERY_TERMS__PRIVACY__VERSION", "2"),
        ("BINDERY_TERMS__PRIVACY__EN", "{ name = 'P', url = 'https://a.example' }"),
        ("BINDERY_TERMS__PRIVACY__EN__NAME", "Q"),
        ("BINDERY_CONFIG", "elsewhere.toml"),
        ("PATH", "/bin"),
    ];
    let config = load(text, &variables).unwrap();
    assert_eq!(config.server.name.as_str(), "env.example");
    assert_eq!(config.server.listen, ["127.0.0.1:1", "[::1]:2"].map(|a| a.parse().unwrap()));
    assert!(!config.limits.enabled);
    assert_eq!(config.sessions.lifetime, Duration::from_mins(30));
    assert_eq!(config.terms["privacy"].version, "2");
    assert_eq!(config.terms["privacy"].texts["en"].name, "Q");
    let smtp = smtp(config);
    assert_eq!((smtp.host.as_str(), smtp.port), ("mx.env.example", 26));
    assert_eq!(smtp.max_connections.get(), 7);
    let (name, password) = smtp.login.unwrap();
    assert_eq!((name.as_str(), password.expose_secret()), ("12", "\"quoted\""));
}

#[test]
fn a_secret_from_the_environment_goes_before_the_files_in_either_form() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("url");
    fs::write(&file, "sqlite:secret.db\n").unwrap();
    let variable = [("BINDERY_DATABASE__URL_FILE", file.to_str().unwrap())];
    let config = load("database.url = 'sqlite:file.db'", &variable).unwrap();
    assert_eq!(config.database.url.expose_secret(), "sqlite:secret.db");
    let variable = [("BINDERY_DATABASE__URL", "sqlite:env.db")];
    let config = load("database.url_file = '/nowhere'", &variable).unwrap();
    assert_eq!(config.database.url.expose_secret(), "sqlite:env.db");
}

#[test]
fn a_fault_of_a_variable_names_the_variable() {
    let variables = [
        ("BINDERY_SERVER__LISTEN", "127.0.0.1:8090"),
        ("BINDERY_SERVER__NMAE", "id.example"),
        ("BINDERY_SERVER__NAME", "id example"),
        ("BINDERY_SERVER__NAME__FIRST", "id.example"),
        ("BINDERY_EMAIL__SMTP__PORT", "70000"),
        ("BINDERY_A__B__C__D__E__F__G__H__I", "deep"),
        ("BINDERY___", ""),
    ];
    let fault = load("[log]\nformat = 'xml'", &variables).unwrap_err();
    insta::assert_snapshot!(fault, @r#"
    config.toml:2: log.format: expected text or json, found "xml"
        write for example: format = "text"
    BINDERY_A__B__C__D__E__F__G__H__I: a.b.c.d.e.f.g.h.i: no such key
        unset BINDERY_A__B__C__D__E__F__G__H__I
    BINDERY_EMAIL__SMTP__PORT: email.smtp.port: expected a port between 1 and 65535, found "70000"
        write for example: BINDERY_EMAIL__SMTP__PORT=25
    BINDERY_SERVER__LISTEN: server.listen: expected a list in brackets, each element an IP address with a port, found "127.0.0.1:8090"
        write for example: BINDERY_SERVER__LISTEN='["127.0.0.1:8090"]'
    BINDERY_SERVER__NAME: server.name: expected a host name or an IP address, with or without :port, found "id example"
        write for example: BINDERY_SERVER__NAME="id.example.org"
    BINDERY_SERVER__NAME__FIRST: server.name.first: no such key
        unset BINDERY_SERVER__NAME__FIRST
    BINDERY_SERVER__NMAE: server.nmae: unknown key; did you mean name?
        known here: base_url, listen, name, tls, trusted_proxies
    BINDERY___: : unknown key
        known here: accounts, database, dns, email, federation, limits, log, lookup, server, sessions, signing, terms
    "#);
}

// `config.example.toml`

fn example() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.toml")).unwrap()
}

/// The key of a line of the example that is switched off.
fn switched_off(line: &str) -> Option<&str> {
    let line = line.strip_prefix('#').filter(|line| line.starts_with(char::is_alphabetic))?;
    Some(line.split_once(" = ").unwrap().0)
}

/// The example with all its keys switched on, save those of `without`.
fn example_with_all_keys(without: &[&str]) -> String {
    let example = example();
    let lines = example.lines().map(|line| match switched_off(line) {
        Some(key) if !without.contains(&key) => &line[1..],
        _ => line,
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
    ];
    for without in [["url", "password"], ["url_file", "password_file"]] {
        let mut text = example_with_all_keys(&without);
        for file in files {
            fs::write(directory.path().join(file), "sqlite:x.db").unwrap();
            text = text.replace(&format!("{file:?}"), &at(file));
        }
        let config = Config::from_toml(&text).unwrap();
        assert!(config.server.tls.is_some() && config.federation.ca_file.is_some());
        assert_eq!(config.terms["privacy"].version, "1.0");
    }
}

#[test]
fn the_values_that_the_example_shows_as_defaults_are_the_defaults() {
    let example = example();
    let (mut section, mut comment, mut checked) = ("", String::new(), 0);
    for line in example.lines() {
        if let Some(key) = switched_off(line) {
            if comment.contains("Default: as shown") {
                let value = line.split_once(" = ").unwrap().1;
                is_the_default(section, key, value);
                checked += 1;
            }
            assert!(comment.contains("Default: "), "{line}");
            comment.clear();
        } else if let Some(prose) = line.strip_prefix('#') {
            comment.push_str(prose);
        } else {
            section = line.strip_prefix('[').map_or(section, |line| line.trim_end_matches(']'));
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
            known.insert(section.to_owned(), keys.map(str::to_owned).collect());
        }
    }
    // Its keys are the operator's own.
    shown.remove("terms.");
    assert_eq!(known, shown);
}

/// Puts an unknown key into each section; `shown` becomes the keys of each that were there.
fn plant_unknown_keys(
    path: &str,
    table: &mut toml::Table,
    shown: &mut BTreeMap<String, BTreeSet<String>>,
) {
    shown.insert(path.to_owned(), table.keys().cloned().collect());
    for (key, value) in table.iter_mut() {
        if let Some(inner) = value.as_table_mut() {
            plant_unknown_keys(&format!("{path}{key}."), inner, shown);
        }
    }
    table.insert("unknown_to_all".to_owned(), toml::Value::Boolean(true));
}

// Whatever is written.

/// Something between TOML and nonsense, with many keys that exist.
fn near_toml() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "server",
        "name",
        "listen",
        "tls",
        "key",
        "certificate",
        "database",
        "url",
        "url_file",
        "terms",
        "privacy",
        "en",
        "version",
        "email",
        "smtp",
        "port",
        "host",
        "password",
        "limits",
        "lookup",
        "max_addresses",
        "pepper_rotation",
        "base_url",
        "from",
        "'é'",
    ]);
    let value = prop_oneof![
        Just("{}".to_owned()),
        Just("[]".to_owned()),
        Just("['', 1, {}, [true]]".to_owned()),
        Just("'http://a.example'".to_owned()),
        "-?[0-9]{1,25}",
        "'[0-9]{0,22}(ms|s|w| per 1ms|é)?'",
        "\"\\PC{0,6}\"",
        "\\PC{0,6}",
    ];
    let key = prop::collection::vec(name, 1..4).prop_map(|names| names.join("."));
    let line = prop_oneof![
        (key.clone(), value).prop_map(|(key, value)| format!("{key} = {value}")),
        key.prop_map(|key| format!("[{key}]")),
    ];
    prop::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"))
}

/// Each fault is a line that says where, and an indented one with the remedy.
fn each_fault_has_a_line(text: &str) {
    if let Err(faults) = Config::from_toml(text) {
        let faults = faults.to_string();
        assert!(!faults.is_empty());
        for fault in faults.lines().step_by(2) {
            let line = fault.strip_prefix("config:").and_then(|rest| rest.split(':').next());
            let line: usize = line.unwrap().parse().unwrap();
            assert!((1..=text.lines().count().max(1) + 1).contains(&line), "{fault}");
        }
        assert!(faults.lines().skip(1).step_by(2).all(|remedy| remedy.starts_with("    ")));
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_lines(text in any::<String>()) {
        each_fault_has_a_line(&text);
    }

    #[test]
    fn anything_like_toml_is_read_or_refused_with_lines(text in near_toml()) {
        each_fault_has_a_line(&text);
    }

    #[test]
    fn any_variable_is_read_or_refused(
        name in "(SERVER|EMAIL|TERMS|__){0,2}__(NAME|SMTP|TLS|LISTEN|A){0,2}(__HOST)?",
        value in "\\PC{0,8}|\\{ (host|port) = '?[0-9a]' \\}|\\[\\]",
    ) {
        let name = format!("BINDERY_{name}");
        let variable = [(name, value)];
        if let Err(faults) = Config::load(None, variable.iter().cloned()) {
            prop_assert!(faults.to_string().starts_with(&variable[0].0), "{}", faults);
        }
    }
}
