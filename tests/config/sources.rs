//! Where values come from: secrets from files, everything from the environment.

use std::{fs, time::Duration};

use bindery::config::Config;
use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::{faults, load, smtp};

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
        known here: aliases, base_url, listen, name, tls, trusted_proxies
    BINDERY___: : unknown key
        known here: accounts, api, brands, credentials, database, directories, dns, email, federation, gateway, invites, limits, log, lookup, mediums, messages, metrics, peers, replication, server, sessions, signing, sms, terms, user_directory, well_known
    "#);
}
