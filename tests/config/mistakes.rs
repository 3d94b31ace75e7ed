//! What is said about mistakes.

use bindery::config::Config;

use super::{faults, load};

const MANY_MISTAKES: &str = r#"[server]
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
[fax]
provider = "log"
"#;

#[test]
fn all_faults_are_told_at_once_each_with_its_line_and_remedy() {
    insta::assert_snapshot!(load(MANY_MISTAKES, &[]).unwrap_err(), @r#"
    config.toml:2: server.nmae: unknown key; did you mean name?
        known here: aliases, base_url, listen, name, tls, trusted_proxies
    config.toml:3: server.listen[1]: expected an IP address with a port, found "localhost:80"
        write for example: listen = ["127.0.0.1:8090"]
    config.toml:4: server.base_url: expected an http or https URL without user name, query and fragment, found 3
        write for example: base_url = "https://id.example.org"
    config.toml:5: emial: unknown key; did you mean email?
        known here: accounts, api, brands, credentials, database, directories, dns, email, federation, gateway, invites, limits, log, lookup, mediums, messages, metrics, peers, replication, server, sessions, signing, sms, terms, user_directory, well_known
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
    config.toml:18: fax: unknown key
        known here: accounts, api, brands, credentials, database, directories, dns, email, federation, gateway, invites, limits, log, lookup, mediums, messages, metrics, peers, replication, server, sessions, signing, sms, terms, user_directory, well_known
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
fn nobody_is_kept_waiting_for_longer_than_a_minute() {
    for key in ["email.smtp.timeout", "federation.timeout"] {
        assert!(faults(&format!("{key} = '61s'")).contains("a minute is too long"), "{key}");
        assert!(Config::from_toml(&format!("{key} = '1m'")).is_ok(), "{key}");
    }
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
    let fault = faults("[server.tls]\ncertificate = '/'\nkey = '/nowhere/key.pem'");
    assert!(fault.contains("config:3: server.tls.key: /nowhere/key.pem can't be read"), "{fault}");
    let fault = faults("email.smtp.ca_file = '/'");
    assert!(fault.contains("email.smtp.ca_file: / is a directory"), "{fault}");
}

#[test]
fn one_section_that_is_wrong_does_not_make_the_others_unknown() {
    let text = "server.tls = {}\nserver.name = 'a.b'\nlog.format = 'json'\ndns.nameservers = []";
    let faults = faults(text);
    assert_eq!(faults.matches("\n    ").count(), 2, "{faults}");
    assert!(faults.contains("server.tls.certificate: ") && faults.contains("server.tls.key: "));
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

#[test]
fn a_neighbour_that_is_told_by_tls_takes_a_certificate() {
    let neighbour = "[[peers.replicate]]\nname = 'b.test'\nurl = 'https://b.test'\n\
                     keys = ['ed25519:0 XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI']\n";
    insta::assert_snapshot!(load(neighbour, &[]).unwrap_err(), @r#"
    config.toml:3: peers.replicate[0].url: a neighbour is told by mutual TLS, which takes a certificate
        give `certificate`, `key` and `ca_file` under [replication], or no `url`
    "#);
    // One on this machine may be told without.
    load(&neighbour.replace("https://b.test", "http://127.0.0.1:1"), &[]).unwrap();
    // Half a certificate is one fault, and not two.
    let half = format!("{neighbour}[replication]\nlisten = ['127.0.0.1:4434']\n");
    assert!(!load(&half, &[]).unwrap_err().contains("mutual TLS"));
}

#[test]
fn keys_for_dnssec_are_of_no_use_without_it() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let toml = format!("[dns]\ntrust_anchor_file = '{file}'\n");
    let fault = load(&toml, &[]).unwrap_err();
    assert!(
        fault.contains("config.toml:2: dns.trust_anchor_file: nothing is validated"),
        "{fault}"
    );
    load(&format!("{toml}dnssec = true\n"), &[]).unwrap();
}

#[cfg(feature = "postgres")]
#[test]
fn databases_are_those_that_take_writes_and_replicas_follow_one() {
    let fault = faults("[database]\nurl = 'postgres://me:hunter2@a,b/db?target_session_attrs=any'");
    insta::assert_snapshot!(fault, @r#"
    config:2: database.url: its target_session_attrs may choose a server that takes no writes
        leave it out: of several hosts the one that takes writes is used
    "#);
    for wanted in ["read-write", "primary"] {
        let url = format!("postgres://me@a,b/db?target_session_attrs={wanted}");
        Config::from_toml(&format!("database.url = '{url}'")).unwrap();
    }
    let fault = faults("[database]\nreplica_urls = ['postgres://me:hunter2@a/db']");
    insta::assert_snapshot!(fault, @r#"
    config:2: database.replica_urls: replicas follow a PostgreSQL, and database.url is none
        remove it, or name the server that they follow as database.url
    "#);
    let fault = faults("[database]\nreplica_urls = ['mysql://me:hunter2@a/db']");
    insta::assert_snapshot!(fault, @r#"
    config:2: database.replica_urls[0]: expected the URL of a PostgreSQL, found a URL with a user name
        write for example: replica_urls = ["postgres://bindery@replica/bindery"]
    "#);
}
