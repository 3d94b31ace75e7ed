//! `[directories.ldap]`

mod dn;

use std::{net::IpAddr, path::PathBuf};

use secrecy::SecretString;
use toml::de::DeValue;

use super::super::{Section, Setting, Text, count, must_be_readable};
use crate::matrix::id::ServerName;

pub use dn::Dn;

/// An LDAP directory.
#[derive(Debug, Clone)]
pub struct Ldap {
    /// Its servers; the next one is asked where one is away. At least one.
    pub urls: Vec<LdapUrl>,
    /// Whether connections to `ldap://` change to TLS before anything else is said.
    pub starttls: bool,
    /// PEM certificates that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Name and password of the server's own login; `None`: anonymous.
    pub bind: Option<(String, SecretString)>,
    /// Below which entry people are.
    pub base_dn: String,
    /// How far below it.
    pub scope: LdapScope,
    /// Which entries are people.
    pub filter: String,
    /// What the entry of a person has to match beside that to log in.
    pub login_filter: Option<String>,
    /// The group that a person has to belong to to log in.
    pub required_group: Option<Dn>,
    /// What is read of each entry.
    pub attributes: LdapAttributes,
    /// What groups mean.
    pub groups: LdapGroups,
    /// How many entries the server is asked for at once when all are copied.
    pub page_size: i32,
}

/// Where an LDAP server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LdapUrl {
    /// Whether it speaks TLS from the first byte: `ldaps://`.
    pub is_tls: bool,
    /// Its host name or IP address, and its port where that isn't the usual one.
    pub server: ServerName,
}

impl LdapUrl {
    /// The URL as text.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}://{}", if self.is_tls { "ldaps" } else { "ldap" }, self.server)
    }

    /// The port: the usual one of its kind where none is given.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port().unwrap_or(if self.is_tls { 636 } else { 389 })
    }

    fn of(text: &str) -> Option<Self> {
        let (scheme, server) = text.split_once("://")?;
        let is_tls = match scheme {
            "ldaps" => true,
            "ldap" => false,
            _ => return None,
        };
        let server = server.strip_suffix('/').unwrap_or(server).parse().ok()?;
        Some(Self { is_tls, server })
    }

    fn is_loopback(&self) -> bool {
        let host = self.server.host();
        host == "localhost" || self.server.ip().as_ref().is_some_and(IpAddr::is_loopback)
    }

    fn is_ipv6(&self) -> bool {
        self.server.ip().as_ref().is_some_and(IpAddr::is_ipv6)
    }
}

/// How far below its base a search goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LdapScope {
    /// One level.
    One,
    /// All the way down.
    Subtree,
}

/// `[directories.ldap.attributes]`
#[derive(Debug, Clone)]
pub struct LdapAttributes {
    /// A person's name: the first of these that the entry has.
    pub names: Vec<String>,
    /// The `mxc://` URI of their picture.
    pub avatar: Option<String>,
    /// Their e-mail addresses.
    pub emails: Vec<String>,
    /// Their phone numbers.
    pub phones: Vec<String>,
    /// When the entry was changed last.
    pub changed: String,
}

/// `[directories.ldap.groups]`
#[derive(Debug, Clone)]
pub struct LdapGroups {
    /// The attribute of a person that names their groups.
    pub member_of: String,
    /// Where groups are looked for that name their people instead.
    pub search: Option<LdapGroupSearch>,
    /// What the members of a group are.
    pub roles: Vec<(Dn, String)>,
}

/// How the groups of a person are found.
#[derive(Debug, Clone)]
pub struct LdapGroupSearch {
    /// Below which entry.
    pub base_dn: String,
    /// By which filter, with `{dn}` and `{uid}` in place of the person's.
    pub filter: String,
}

pub(super) fn read(s: &mut Section<'_, '_>) -> Option<Ldap> {
    let urls: Vec<LdapUrl> = s.list("urls", Vec::new());
    let starttls = s.get("starttls", false);
    must_be_protected(s, &urls, starttls);
    let ca_file = s.optional("ca_file");
    must_be_readable(s, "ca_file", ca_file.as_ref());
    let bind = bind(s);
    let base_dn: Option<DnText> = s.required("base_dn");
    let FilterText(filter) = s.get("filter", FilterText("(objectClass=person)".to_owned()));
    let login_filter = s.optional("login_filter").map(|FilterText(filter)| filter);
    let required_group = s.optional("required_group").and_then(|DnText(text)| Dn::of(&text));
    let scope = s.get("scope", LdapScope::Subtree);
    let (attributes, groups) = (s.section("attributes", attributes), s.section("groups", groups));
    let page_size = page_size(s);
    // Last: what is not read by then would be taken for unknown.
    let DnText(base_dn) = base_dn?;
    Some(Ldap {
        urls,
        starttls,
        ca_file,
        bind,
        base_dn,
        scope,
        filter,
        login_filter,
        required_group,
        attributes,
        groups,
        page_size,
    })
}

/// Passwords, those of all who log in among them, must not cross networks in plain.
fn must_be_protected(s: &mut Section<'_, '_>, urls: &[LdapUrl], starttls: bool) {
    let is_insecure = s.get("insecure", false);
    if urls.is_empty() {
        let remedy = "write for example: urls = [\"ldaps://ldap.example.org\"]";
        s.fault(&["urls"], "missing, or empty; expected the URLs of LDAP servers", remedy);
    }
    if urls.iter().any(|url| !url.is_tls && !url.is_loopback()) && !starttls && !is_insecure {
        let message = "by plain ldap everybody's passwords can be read on their way to the server";
        let remedy = "write ldaps://, or starttls = true (or insecure = true if that is no risk)";
        s.fault(&["urls"], message, remedy);
    }
    if starttls && urls.iter().any(|url| url.is_tls) {
        let message = "ldaps:// is TLS from the first byte, and STARTTLS changes to it later";
        s.fault(&["starttls"], message, "write ldap://, or remove starttls");
    }
    if urls.iter().any(|url| url.is_ipv6() && (url.is_tls || starttls)) {
        let message = "the certificate of a server can't be checked against an IPv6 address here";
        s.fault(&["urls"], message, "write the server's host name");
    }
}

fn bind(s: &mut Section<'_, '_>) -> Option<(String, SecretString)> {
    let has_dn = s.given("bind_dn");
    let has_password = s.given("bind_password") || s.given("bind_password_file");
    let dn = s.optional("bind_dn").map(|Text(dn)| dn);
    let password = s.secret("bind_password");
    if has_dn != has_password {
        let remedy = "give both, or neither where the server answers to everybody";
        let (missing, given) = if has_dn {
            (["bind_password", "bind_dn"], "missing, but a bind_dn is given")
        } else {
            (["bind_dn", "bind_password"], "missing, but a password is given")
        };
        s.fault(&missing, given, remedy);
    }
    Some((dn?, password?))
}

fn attributes(s: &mut Section<'_, '_>) -> LdapAttributes {
    let mut list = |key: &str, default: &[&str]| {
        let default = default.iter().copied().map(str::to_owned).map(Attribute).collect();
        let names = s.list(key, default).into_iter();
        names.map(|Attribute(name)| name).collect()
    };
    LdapAttributes {
        names: list("name", &["displayName", "cn"]),
        emails: list("emails", &["mail"]),
        phones: list("phones", &["telephoneNumber", "mobile"]),
        avatar: s.optional("avatar").map(|Attribute(name)| name),
        changed: s.get("changed", Attribute("modifyTimestamp".to_owned())).0,
    }
}

fn groups(s: &mut Section<'_, '_>) -> LdapGroups {
    let Attribute(member_of) = s.get("member_of", Attribute("memberOf".to_owned()));
    let base_dn: Option<DnText> = s.optional("base_dn");
    let has_filter = s.given("filter");
    let FilterText(filter) = s.get("filter", FilterText("(member={dn})".to_owned()));
    if has_filter && base_dn.is_none() {
        s.fault(&["base_dn"], "missing; expected where groups are", "name it, or remove filter");
    }
    let search = base_dn.map(|DnText(base_dn)| LdapGroupSearch { base_dn, filter });
    LdapGroups { member_of, search, roles: s.section("roles", roles) }
}

/// A subsection of groups, each with the role of its members.
fn roles(s: &mut Section<'_, '_>) -> Vec<(Dn, String)> {
    s.also_known("a group's DN in quotes");
    let mut roles = Vec::new();
    for group in s.remaining() {
        if let Some(dn) = Dn::of(&group) {
            roles.extend(s.optional(&group).map(|Text(role)| (dn, role)));
        } else {
            let remedy = "write for example: \"cn=admins,ou=groups,dc=example,dc=org\" = \"admin\"";
            s.refuse(&group, "is no distinguished name of a group", remedy);
        }
    }
    roles
}

/// No server sends more at once; Active Directory sends a thousand.
fn page_size(s: &mut Section<'_, '_>) -> i32 {
    let size = i32::try_from(s.get("page_size", count(500)).get()).ok();
    size.filter(|size| *size <= 100_000).unwrap_or_else(|| {
        s.fault(&["page_size"], "is more than 100000", "write for example: page_size = 500");
        500
    })
}

/// A distinguished name.
struct DnText(String);

/// A search filter.
struct FilterText(String);

/// The name of an attribute.
struct Attribute(String);

impl Setting for LdapUrl {
    const EXPECTED: &'static str = "ldaps:// or ldap://, a host name, and possibly a port";
    const EXAMPLE: &'static str = "\"ldaps://ldap.example.org\"";

    fn of(value: &DeValue<'_>) -> Option<Self> {
        Self::of(value.as_str()?)
    }
}

impl Setting for LdapScope {
    const EXPECTED: &'static str = "subtree or one";
    const EXAMPLE: &'static str = "\"subtree\"";

    fn of(value: &DeValue<'_>) -> Option<Self> {
        match value.as_str()? {
            "one" => Some(Self::One),
            "subtree" => Some(Self::Subtree),
            _ => None,
        }
    }
}

impl Setting for DnText {
    const EXPECTED: &'static str = "a distinguished name";
    const EXAMPLE: &'static str = "\"ou=people,dc=example,dc=org\"";

    fn of(value: &DeValue<'_>) -> Option<Self> {
        let text = value.as_str()?;
        Dn::of(text).map(|_| Self(text.to_owned()))
    }
}

impl Setting for FilterText {
    const EXPECTED: &'static str = "an LDAP filter (RFC 4515)";
    const EXAMPLE: &'static str = "\"(objectClass=person)\"";

    fn of(value: &DeValue<'_>) -> Option<Self> {
        let text = value.as_str()?;
        ldap3::parse_filter(text).ok().map(|_| Self(text.to_owned()))
    }
}

impl Setting for Attribute {
    const EXPECTED: &'static str = "the name of an attribute";
    const EXAMPLE: &'static str = "\"mail\"";

    fn of(value: &DeValue<'_>) -> Option<Self> {
        let text = value.as_str()?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-.;".contains(&byte);
        let is_name = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        (is_name && text.bytes().all(fits)).then(|| Self(text.to_owned()))
    }
}
