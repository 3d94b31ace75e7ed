//! The configuration as types: what the TOML file, the environment and the defaults say together.

mod credentials;
mod database;
mod directories;
mod fault;
mod gateway;
mod limits;
mod peers;
mod reader;
mod sections;
mod setting;
mod sms;
mod terms;
mod words;

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use secrecy::SecretString;

use crate::matrix::id::ServerName;

pub use credentials::Credentials;
use credentials::read_credentials;
pub use database::{Database, DatabaseKind};
use database::{is_postgres, read_database, usable};
pub use directories::{
    Directory, DirectoryKind, Dn, Exec, HttpDirectory, HttpPaths, Ldap, LdapAttributes,
    LdapGroupSearch, LdapGroups, LdapScope, LdapUrl, MxidTemplate, Parameter, Piece, Query, Sql,
    SynapseDatabase,
};
use directories::{KindName, read_directories};
use fault::Fault;
pub use fault::Faults;
pub use gateway::{Gateway, WellKnown};
use gateway::{homeserver_is_another, read_gateway, read_user_directory, read_well_known};
pub use limits::Limits;
use limits::{one_lookup_fits, read_limits};
pub use peers::{Neighbour, Peers, Replication};
use peers::{read_peers, read_replication};
use reader::Section;
use sections::{count, hours, is_loopback, is_name, minutes, must_be_readable, timeout};
use setting::{
    AnyText, BaseUrl, Bound, CaseRule, CodeDigits, Domain, Language, LogFilter, MailHost, Memory,
    NameServer, Pattern, Port, PublicKey, ReplicaUrl, Rotation, Setting, Text, UrlHost, Way,
    is_language,
};
pub use sms::{
    CustomMedium, HttpBody, HttpMethod, HttpSender, Originator, OriginatorForm, Sms, SmsCountries,
    SmsProvider, Twilio, TwilioSender,
};
use sms::{ProviderName, must_be_private_or_https, read_mediums, read_sms};
use terms::read_terms;
pub use terms::{Policy, PolicyText};
pub use words::{Brand, Messages};
use words::{read_brands, read_messages};

/// The whole configuration, a field a section.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[database]`
    pub database: Database,
    /// `[signing]`
    pub signing: Signing,
    /// `[accounts]`
    pub accounts: Accounts,
    /// `[terms.<policy>]`, by policy id
    pub terms: BTreeMap<String, Policy>,
    /// `[sessions]`
    pub sessions: Sessions,
    /// `[email]`
    pub email: Email,
    /// `[sms]`
    pub sms: Sms,
    /// `[mediums.<name>]`, by the medium's name
    pub mediums: BTreeMap<String, CustomMedium>,
    /// `[messages]`
    pub messages: Messages,
    /// `[brands.<name>]`, by the brand's name
    pub brands: BTreeMap<String, Brand>,
    /// `[invites]`
    pub invites: Invites,
    /// `[lookup]`
    pub lookup: Lookup,
    /// `[federation]`
    pub federation: Federation,
    /// `[dns]`
    pub dns: Dns,
    /// `[peers]`
    pub peers: Peers,
    /// `[replication]`
    pub replication: Option<Replication>,
    /// `[[directories]]`, in the order in which they are asked
    pub directories: Vec<Directory>,
    /// `[gateway]`
    pub gateway: Option<Gateway>,
    /// Whether `[user_directory]` is on.
    pub user_directory: bool,
    /// `[well_known]`
    pub well_known: Option<WellKnown>,
    /// `[credentials]`
    pub credentials: Credentials,
    /// `[limits]`
    pub limits: Limits,
    /// `[api]`
    pub api: Api,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[log]`
    pub log: Log,
}

impl Config {
    /// Reads `file` (or nothing: then the defaults hold) and lets the environment override it: the
    /// key `server.name` by the variable `BINDERY_SERVER__NAME`, and so on.
    ///
    /// Fails with everything that is wrong.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Faults> {
        let (name, text) = match file {
            Some(path) => (path.display().to_string(), read_file(path)?),
            None => ("config".to_owned(), String::new()),
        };
        let mut variables: Vec<_> = environment.collect();
        variables.sort();
        reader::read(&name, &text, &variables, sections::config)
    }

    /// Reads `text` as a file called `config`, without any environment.
    ///
    /// Fails with everything that is wrong.
    pub fn from_toml(text: &str) -> Result<Self, Faults> {
        reader::read("config", text, &[], sections::config)
    }
}

fn read_file(path: &Path) -> Result<String, Faults> {
    let unreadable = |cause: String| {
        let message = format!("can't be read: {cause}");
        let remedy = "name a configuration file that can be read, in TOML and UTF-8";
        Faults::from(vec![Fault::of(path.display().to_string(), message, remedy.to_owned())])
    };
    fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))
}

/// Who the server is and where it listens.
#[derive(Debug, Clone)]
pub struct Server {
    /// The name under which it signs.
    pub name: ServerName,
    /// How clients and homeservers reach it; never ends with a slash.
    pub base_url: String,
    /// Other names, host and possibly port, under which homeservers know the server.
    pub aliases: Vec<ServerName>,
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// Certificate and key, where the server speaks TLS itself.
    pub tls: Option<Tls>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

impl Server {
    /// All that a homeserver may call the server: its name, its aliases, and its base URL without
    /// the scheme, with and without a path.
    #[must_use]
    pub fn all_names(&self) -> Vec<String> {
        let mut names = vec![self.name.to_string()];
        names.extend(self.aliases.iter().map(ServerName::to_string));
        let address = self.base_url.split_once("://").map_or("", |(_, address)| address);
        let host = address.split('/').next().unwrap_or_default();
        for name in [address, host] {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        names
    }
}

/// PEM files for the server's own TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The long-term keys.
#[derive(Debug, Clone)]
pub struct Signing {
    /// The file that holds them, in Synapse's format.
    pub key_file: PathBuf,
}

/// Who may have an account.
#[derive(Debug, Clone)]
pub struct Accounts {
    /// The homeservers whose users may register; empty: any.
    pub homeservers: Vec<ServerName>,
}

/// Validation sessions.
#[derive(Debug, Clone)]
pub struct Sessions {
    /// How long after its last change a session can be used.
    pub lifetime: Duration,
    /// How many wrong tokens a session bears before it is dead.
    pub max_attempts: NonZeroU32,
    /// How many digits the codes in text messages have.
    pub code_digits: usize,
    /// Whether a mailed link opens a page that asks for a click before it validates.
    pub confirm_page: bool,
    /// The hosts that `next_link` may lead to; empty: any.
    pub next_link_hosts: Vec<String>,
}

/// How mail is sent.
#[derive(Debug, Clone)]
pub struct Email {
    /// The sender.
    pub from: lettre::message::Mailbox,
    /// By which way.
    pub transport: EmailTransport,
}

/// The ways of a mail.
#[derive(Debug, Clone)]
pub enum EmailTransport {
    /// To an SMTP server.
    Smtp(Smtp),
    /// Through a program that speaks sendmail's command line.
    Sendmail {
        /// The program.
        command: PathBuf,
    },
    /// Into a directory, an `.eml` file a mail.
    Directory(PathBuf),
    /// Into the log.
    Log,
}

/// `[email.smtp]`
#[derive(Debug, Clone)]
pub struct Smtp {
    /// The server's host name or IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: SmtpSecurity,
    /// Name and password, where the server wants a login.
    pub login: Option<(String, SecretString)>,
    /// PEM certificates that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The longest that one mail may take.
    pub timeout: Duration,
    /// The most connections that are open at once.
    pub max_connections: NonZeroU32,
}

/// The protection of an SMTP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// None.
    None,
    /// Plain first, then TLS by STARTTLS, or no mail.
    Starttls,
    /// TLS from the first byte.
    Tls,
}

/// Invitations of people who aren't on Matrix yet.
#[derive(Debug, Clone)]
pub struct Invites {
    /// The web client that mails link to; never ends with a slash.
    pub web_client: String,
    /// Other web clients that a homeserver may ask for; none ends with a slash.
    pub other_web_clients: Vec<String>,
    /// How long an invitation waits for somebody to take it.
    pub lifetime: Duration,
    /// How long a homeserver is told again and again of an invitation that was taken.
    pub retry_for: Duration,
}

/// Hashed lookups.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The algorithms on offer; `Sha256` is always among them.
    pub algorithms: Vec<Algorithm>,
    /// The most addresses in one lookup.
    pub max_addresses: usize,
    /// The age at which the pepper is replaced; `None`: never.
    pub pepper_rotation: Option<Duration>,
    /// Whether an index of all hashes is kept in memory.
    pub index: bool,
    /// What that may take, in bytes.
    pub index_memory: usize,
}

/// How a lookup names an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// By its SHA-256.
    Sha256,
    /// In plain.
    None,
}

impl Algorithm {
    /// The algorithm's name in the protocol.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::None => "none",
        }
    }
}

/// Requests to homeservers and peers.
#[derive(Debug, Clone)]
pub struct Federation {
    /// Private or loopback ranges that may be reached all the same.
    pub allow_networks: Vec<IpNet>,
    /// Ranges that may not be reached, beside the built-in ones.
    pub deny_networks: Vec<IpNet>,
    /// PEM certificates that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The longest that one request may take.
    pub timeout: Duration,
}

/// How names are resolved.
#[derive(Debug, Clone)]
pub struct Dns {
    /// The name servers; empty: the system's.
    pub nameservers: Vec<SocketAddr>,
    /// Whether answers must be validated by DNSSEC where their zone is signed.
    pub dnssec: bool,
    /// The keys by which they are validated, as DNSKEY records; `None`: those of the root.
    pub trust_anchor_file: Option<PathBuf>,
}

/// `count` at once, and then as many again, spread evenly, in each `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In how long.
    pub per: Duration,
}

/// APIs beside v2.
#[derive(Debug, Clone, Copy)]
pub struct Api {
    /// Whether validation and `getValidated3pid` are served by API v1, which asks for no account.
    pub v1_validate: bool,
    /// Whether lookups are served by API v1.
    pub v1_lookup: bool,
}

/// `[metrics]`
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Who may read them.
    pub networks: Vec<IpNet>,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct Log {
    /// In `tracing-subscriber`'s filter language, such as `info` or `info,bindery=debug`.
    pub filter: String,
    /// The form of a line.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs, an object a line.
    Json,
}
