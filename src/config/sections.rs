//! The sections of the configuration: their keys, defaults and what spans keys.

use std::{fs, net::IpAddr, net::SocketAddr, num::NonZeroU32, time::Duration};

use ipnet::IpNet;
use lettre::{Address, message::Mailbox};
use secrecy::SecretString;
use url::{Host, Url};

use super::{
    Accounts, Algorithm, Api, BaseUrl, CodeDigits, Config, Dns, Email, EmailTransport, Federation,
    Invites, Log, LogFilter, LogFormat, Lookup, MailHost, Memory, Metrics, NameServer, PathBuf,
    Port, Rotation, Section, Server, ServerName, Sessions, Signing, Smtp, SmtpSecurity, Text, Tls,
    UrlHost, Way, homeserver_is_another, one_lookup_fits, read_brands, read_credentials,
    read_database, read_directories, read_gateway, read_limits, read_mediums, read_messages,
    read_peers, read_replication, read_sms, read_terms, read_user_directory, read_well_known,
};

/// The server's name where none is given.
const DEFAULT_NAME: &str = "localhost:8090";

/// Reads the whole file; `None` only along with a fault.
pub(super) fn config(root: &mut Section<'_, '_>) -> Option<Config> {
    let server = root.section("server", server);
    let (from, transport) = root.section("email", email);
    let from = from.or_else(|| default_sender(root, &server.as_ref()?.name));
    let (lookup, limits) = (root.section("lookup", lookup), root.section("limits", read_limits));
    one_lookup_fits(root, lookup.max_addresses, &limits);
    let is_trial = !root.was_given("server.name");
    let sms = root.section("sms", |s| read_sms(s, is_trial));
    let dns = root.section("dns", dns);
    let (replication, has_certificate) = root.section("replication", read_replication);
    let gateway = root.section("gateway", read_gateway);
    homeserver_is_another(root, server.as_ref(), gateway.as_ref());
    Some(Config {
        database: root.section("database", read_database),
        signing: root.section("signing", |s| Signing {
            key_file: s.get("key_file", "bindery-data/signing.key".into()),
        }),
        accounts: root
            .section("accounts", |s| Accounts { homeservers: s.list("homeservers", Vec::new()) }),
        terms: root.section("terms", read_terms),
        sessions: root.section("sessions", sessions),
        mediums: root.section("mediums", read_mediums),
        messages: root.section("messages", read_messages),
        brands: root.section("brands", read_brands),
        invites: root.section("invites", invites),
        lookup,
        federation: root.section("federation", federation),
        dns,
        peers: root.section("peers", |s| read_peers(s, has_certificate)),
        replication,
        directories: read_directories(root),
        user_directory: read_user_directory(root),
        gateway,
        well_known: root.section("well_known", read_well_known),
        credentials: root.section("credentials", read_credentials),
        limits,
        api: root.section("api", |s| s.section("v1", api)),
        metrics: Metrics { networks: root.section("metrics", |s| s.list("networks", loopback())) },
        log: root.section("log", |s| Log {
            filter: s.get("filter", LogFilter("info".to_owned())).0,
            format: s.get("format", LogFormat::Text),
        }),
        // Last: what is not read by then would be taken for unknown.
        email: Email { from: from?, transport },
        sms: sms?,
        server: server?,
    })
}

fn server(s: &mut Section<'_, '_>) -> Option<Server> {
    let name: Option<ServerName> = s.optional("name");
    let base_url = match s.optional("base_url") {
        Some(BaseUrl(url)) => {
            if url.scheme() == "http" && !is_loopback(&url) {
                let message = "plain http is for this machine only (localhost, loopback addresses)";
                let remedy = "write https:// and put TLS in front, or set server.tls";
                s.fault(&["base_url"], message, remedy);
            }
            url.as_str().trim_end_matches('/').to_owned()
        }
        None => name
            .as_ref()
            .map_or_else(|| format!("http://{DEFAULT_NAME}"), |name| format!("https://{name}")),
    };
    let aliases = s.list("aliases", Vec::new());
    let listen = s.list("listen", vec![SocketAddr::from(([127, 0, 0, 1], 8090))]);
    if listen.is_empty() {
        let remedy = "write for example: listen = [\"127.0.0.1:8090\"]";
        s.fault(&["listen"], "the server has to listen somewhere", remedy);
    }
    let has_tls = s.given("tls");
    let tls = s.section("tls", |s| has_tls.then(|| tls(s)));
    let trusted_proxies = s.list("trusted_proxies", loopback());
    let tls = match tls {
        Some(tls) => Some(tls?),
        None => None,
    };
    let name = name.or_else(|| DEFAULT_NAME.parse().ok())?;
    Some(Server { name, base_url, aliases, listen, tls, trusted_proxies })
}

fn dns(s: &mut Section<'_, '_>) -> Dns {
    let nameservers: Vec<NameServer> = s.list("nameservers", Vec::new());
    let nameservers = nameservers.into_iter().map(|NameServer(at)| at).collect();
    let dnssec = s.get("dnssec", false);
    let trust_anchor_file: Option<PathBuf> = s.optional("trust_anchor_file");
    must_be_readable(s, "trust_anchor_file", trust_anchor_file.as_ref());
    if trust_anchor_file.is_some() && !dnssec {
        let remedy = "set dnssec = true, or leave the file out";
        s.fault(&["trust_anchor_file"], "nothing is validated without `dnssec`", remedy);
    }
    Dns { nameservers, dnssec, trust_anchor_file }
}

/// `[api.v1]`
fn api(s: &mut Section<'_, '_>) -> Api {
    Api { v1_validate: s.get("validate", false), v1_lookup: s.get("lookup", false) }
}

fn loopback() -> Vec<IpNet> {
    let addresses = ["127.0.0.1", "::1"].iter().filter_map(|ip| ip.parse::<IpAddr>().ok());
    addresses.map(IpNet::from).collect()
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn tls(s: &mut Section<'_, '_>) -> Option<Tls> {
    let certificate: Option<PathBuf> = s.required("certificate");
    let key: Option<PathBuf> = s.required("key");
    must_be_readable(s, "certificate", certificate.as_ref());
    must_be_readable(s, "key", key.as_ref());
    Some(Tls { certificate: certificate?, key: key? })
}

/// A fault where a file can't be opened; better now than at the first request that needs it.
pub(super) fn must_be_readable(s: &mut Section<'_, '_>, key: &str, path: Option<&PathBuf>) {
    let Some(path) = path else { return };
    let problem = match fs::metadata(path) {
        Ok(data) if data.is_dir() => Some("is a directory".to_owned()),
        Ok(data) if data.is_file() => {
            fs::File::open(path).err().map(|e| format!("can't be read: {e}"))
        }
        Ok(_) => None,
        Err(error) => Some(format!("can't be read: {error}")),
    };
    if let Some(problem) = problem {
        let message = format!("{} {problem}", path.display());
        s.fault(&[key], &message, "name a file that can be read");
    }
}

fn sessions(s: &mut Section<'_, '_>) -> Sessions {
    let hosts = s.list("next_link_hosts", Vec::new());
    Sessions {
        lifetime: s.get("lifetime", hours(24)),
        max_attempts: s.get("max_attempts", count(10)),
        code_digits: s.get("code_digits", CodeDigits(6)).0,
        confirm_page: s.get("confirm_page", false),
        next_link_hosts: hosts.into_iter().map(|UrlHost(host)| host).collect(),
    }
}

fn email(s: &mut Section<'_, '_>) -> (Option<Mailbox>, EmailTransport) {
    let from = s.optional("from");
    let way = s.optional("transport");
    let directory = s.get("directory", PathBuf::from("bindery-data/mail"));
    let command = s.section("sendmail", |s| s.get("command", PathBuf::from("/usr/sbin/sendmail")));
    let (smtp, has_host) = s.section("smtp", |s| {
        let has_host = s.given("host");
        (smtp(s), has_host)
    });
    let transport = match way.unwrap_or(if has_host { Way::Smtp } else { Way::Directory }) {
        Way::Smtp => EmailTransport::Smtp(smtp),
        Way::Sendmail => EmailTransport::Sendmail { command },
        Way::Directory => EmailTransport::Directory(directory),
        Way::Log => EmailTransport::Log,
    };
    (from, transport)
}

/// `noreply` at the server's own host, unless that is an IP address.
fn default_sender(root: &mut Section<'_, '_>, name: &ServerName) -> Option<Mailbox> {
    let domain = if name.ip().is_some() { "localhost" } else { name.host() };
    let address = Address::new("noreply", domain).ok();
    if address.is_none() {
        let message = format!("missing, and noreply@{domain} is no mail address");
        let remedy = "write for example: [email] from = \"Example <noreply@example.org>\"";
        root.fault(&["email.from", "server.name"], &message, remedy);
    }
    Some(Mailbox::new(Some("Bindery".to_owned()), address?))
}

fn smtp(s: &mut Section<'_, '_>) -> Smtp {
    let MailHost(host) = s.get("host", MailHost("localhost".to_owned()));
    let security = s.get("security", SmtpSecurity::None);
    // No server speaks TLS from the first byte on port 25 (RFC 8314 section 3.3).
    let default_port = if security == SmtpSecurity::Tls { 465 } else { 25 };
    let Port(port) = s.get("port", Port(default_port));
    let ca_file = s.optional("ca_file");
    must_be_readable(s, "ca_file", ca_file.as_ref());
    Smtp {
        host,
        port,
        security,
        login: login(s),
        ca_file,
        timeout: timeout(s),
        max_connections: s.get("max_connections", count(4)),
    }
}

fn login(s: &mut Section<'_, '_>) -> Option<(String, SecretString)> {
    let has_username = s.given("username");
    let has_password = s.given("password") || s.given("password_file");
    let username = s.optional("username");
    let password = s.secret("password");
    let remedy = "give both, or neither where the server wants no login";
    match (has_username, has_password) {
        (true, false) => {
            let message = "missing, but a username is given";
            s.fault(&["password", "username"], message, remedy);
        }
        (false, true) => {
            let message = "missing, but a password is given";
            s.fault(&["username", "password", "password_file"], message, remedy);
        }
        _ => {}
    }
    let Text(username) = username?;
    Some((username, password?))
}

fn invites(s: &mut Section<'_, '_>) -> Invites {
    let text = |BaseUrl(url): BaseUrl| url.as_str().trim_end_matches('/').to_owned();
    let web_client: Option<BaseUrl> = s.optional("web_client");
    let others: Vec<BaseUrl> = s.list("other_web_clients", Vec::new());
    Invites {
        web_client: web_client.map_or_else(|| "https://app.element.io".to_owned(), text),
        other_web_clients: others.into_iter().map(text).collect(),
        lifetime: s.get("lifetime", hours(90 * 24)),
        retry_for: s.get("retry_for", hours(14 * 24)),
    }
}

fn lookup(s: &mut Section<'_, '_>) -> Lookup {
    let algorithms = s.list("algorithms", vec![Algorithm::Sha256]);
    if !algorithms.contains(&Algorithm::Sha256) {
        let message = "the specification requires sha256";
        s.fault(&["algorithms"], message, "write for example: algorithms = [\"sha256\"]");
    }
    let max_addresses = s.get("max_addresses", count(10_000)).get();
    Lookup {
        algorithms,
        max_addresses: usize::try_from(max_addresses).unwrap_or(usize::MAX),
        pepper_rotation: s.get("pepper_rotation", Rotation(Some(hours(7 * 24)))).0,
        index: s.get("index", true),
        index_memory: s.get("index_memory", Memory(1024 << 20)).0,
    }
}

fn federation(s: &mut Section<'_, '_>) -> Federation {
    let ca_file = s.optional("ca_file");
    must_be_readable(s, "ca_file", ca_file.as_ref());
    Federation {
        allow_networks: s.list("allow_networks", Vec::new()),
        deny_networks: s.list("deny_networks", Vec::new()),
        ca_file,
        timeout: timeout(s),
    }
}

/// How long something outside is waited for, while somebody waits for an answer here.
pub(super) fn timeout(s: &mut Section<'_, '_>) -> Duration {
    let timeout = s.get("timeout", Duration::from_secs(20));
    if timeout > LONGEST_TIMEOUT {
        let message = "somebody waits for an answer meanwhile: more than a minute is too long";
        s.fault(&["timeout"], message, "write for example: timeout = \"20s\"");
    }
    timeout
}

/// The longest time-out. A validation mail is claimed for twice as long.
const LONGEST_TIMEOUT: Duration = Duration::from_mins(1);

/// A name that goes into paths and requests as it is.
pub(super) fn is_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    (1..=64).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with('.')
}

/// `number`, which is above zero.
pub(super) const fn count(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

pub(super) const fn minutes(number: u64) -> Duration {
    Duration::from_secs(number * 60)
}

pub(super) const fn hours(number: u64) -> Duration {
    minutes(number * 60)
}
