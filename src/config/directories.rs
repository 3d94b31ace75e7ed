//! `[[directories]]`: where an organisation keeps its people.

mod exec;
mod http;
mod ldap;
mod mxid;
mod sql;

use std::{collections::BTreeSet, num::NonZeroU32, time::Duration};

pub use self::{
    exec::Exec,
    http::{HttpDirectory, HttpPaths},
    ldap::{Dn, Ldap, LdapAttributes, LdapGroupSearch, LdapGroups, LdapScope, LdapUrl},
    mxid::MxidTemplate,
    sql::{Parameter, Piece, Query, Sql, SynapseDatabase},
};
use super::{Rotation, Section, count, hours, is_name, minutes};
use crate::matrix::phone::Country;

/// A directory: what it is asked for, and how it is reached.
#[derive(Debug, Clone)]
pub struct Directory {
    /// What logs, metrics and the operator call it.
    pub name: String,
    /// How it is reached.
    pub kind: DirectoryKind,
    /// How a user id is made of what it calls a person.
    pub mxid: MxidTemplate,
    /// Where phone numbers are from that it holds without a country's code.
    pub country: Option<Country>,
    /// Whether its 3PIDs are found by lookups and invitations.
    pub identities: bool,
    /// Whether its 3PIDs and passwords serve for logging in.
    pub login: bool,
    /// Whether it takes part in searches of the user directory.
    pub search: bool,
    /// How long one question may take.
    pub timeout: Duration,
    /// How many questions it is asked at once at the most.
    pub max_connections: NonZeroU32,
    /// How often all of its people are copied, for hashed lookups; `None`: never.
    pub sync_interval: Option<Duration>,
    /// How often those are copied that have changed; `None`: never.
    pub sync_changes_interval: Option<Duration>,
}

impl Directory {
    /// Whether a copy of its people is kept for hashed lookups.
    #[must_use]
    pub fn is_copied(&self) -> bool {
        // Services of that kind don't list their people.
        let can_be_copied = !matches!(self.kind, DirectoryKind::Http(_));
        self.identities && can_be_copied && self.sync_interval.is_some()
    }
}

/// The kinds of directories, each with its own settings.
#[derive(Debug, Clone)]
pub enum DirectoryKind {
    /// `[directories.ldap]`
    Ldap(Box<Ldap>),
    /// `[directories.sql]`
    Sql(Box<Sql>),
    /// `[directories.synapse]`
    Synapse(SynapseDatabase),
    /// `[directories.http]`
    Http(HttpDirectory),
    /// `[directories.exec]`
    Exec(Exec),
}

impl DirectoryKind {
    /// The kind's name in the configuration.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ldap(_) => KindName::Ldap,
            Self::Sql(_) => KindName::Sql,
            Self::Synapse(_) => KindName::Synapse,
            Self::Http(_) => KindName::Http,
            Self::Exec(_) => KindName::Exec,
        }
        .as_str()
    }
}

/// The names of the kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KindName {
    Ldap,
    Sql,
    Synapse,
    Http,
    Exec,
}

impl KindName {
    const ALL: [Self; 5] = [Self::Ldap, Self::Sql, Self::Synapse, Self::Http, Self::Exec];

    /// The kind of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Ldap => "ldap",
            Self::Sql => "sql",
            Self::Synapse => "synapse",
            Self::Http => "http",
            Self::Exec => "exec",
        }
    }
}

pub(super) fn read_directories(root: &mut Section<'_, '_>) -> Vec<Directory> {
    let directories: Vec<Directory> =
        root.sections("directories", directory).into_iter().flatten().collect();
    let mut names = BTreeSet::new();
    for Directory { name, .. } in &directories {
        if !names.insert(name) {
            let message = format!("two are called {name}");
            root.fault(&["directories"], &message, "give each a name of its own");
        }
    }
    directories
}

fn directory(s: &mut Section<'_, '_>) -> Option<Directory> {
    let name = s.required("name").map(|super::Text(name)| name);
    if name.as_ref().is_some_and(|name| !is_name(name)) {
        let message = "a directory's name has 1 to 64 of a-z, 0-9 and . _ -";
        s.fault(&["name"], message, "write for example: name = \"staff\"");
    }
    let kind = s.required("type");
    let mxid = mxid(s, kind);
    let timeout = s.get("timeout", Duration::from_secs(2));
    if timeout > LONGEST_TIMEOUT {
        let message = "people wait for an answer meanwhile: more than a minute is too long";
        s.fault(&["timeout"], message, "write for example: timeout = \"2s\"");
    }
    let (identities, login) = (s.get("identities", true), s.get("login", true));
    let (search, country) = (s.get("search", true), s.optional("country"));
    let max_connections = s.get("max_connections", count(4));
    let Rotation(sync_interval) = s.get("sync_interval", Rotation(Some(hours(1))));
    let changes = s.get("sync_changes_interval", Rotation(Some(minutes(5))));
    if kind == Some(KindName::Sql)
        && mxid.as_ref().is_some_and(|mxid: &MxidTemplate| mxid.placeholder() != "uid")
    {
        let message = "the queries of a database select what a person is called as uid";
        s.fault(&["mxid"], message, "write for example: mxid = \"@{uid}:example.org\"");
    }
    let kind = kind.and_then(|kind| settings(s, kind));
    Some(Directory {
        name: name?,
        kind: kind?,
        mxid: mxid?,
        country,
        identities,
        login,
        search,
        timeout,
        max_connections,
        sync_interval,
        sync_changes_interval: changes.0,
    })
}

/// The longest time-out.
const LONGEST_TIMEOUT: Duration = Duration::from_mins(1);

/// Synapse's database holds whole user ids; every other kind calls people as it likes.
fn mxid(s: &mut Section<'_, '_>, kind: Option<KindName>) -> Option<MxidTemplate> {
    if kind != Some(KindName::Synapse) {
        return s.required("mxid");
    }
    if s.given("mxid") {
        s.refuse("mxid", "Synapse's database holds whole user ids", "remove it");
    }
    Some(MxidTemplate::whole())
}

/// The settings of the kind that was chosen; those of another are a mistake.
fn settings(s: &mut Section<'_, '_>, kind: KindName) -> Option<DirectoryKind> {
    for other in KindName::ALL.into_iter().filter(|other| *other != kind) {
        if s.given(other.as_str()) {
            let message = format!("the directory is of type \"{}\"", kind.as_str());
            let remedy = format!("remove it, or write type = \"{}\"", other.as_str());
            s.refuse(other.as_str(), &message, &remedy);
        }
    }
    s.section(kind.as_str(), |s| match kind {
        KindName::Ldap => ldap::read(s).map(Box::new).map(DirectoryKind::Ldap),
        KindName::Sql => sql::read(s).map(|sql| DirectoryKind::Sql(Box::new(sql))),
        KindName::Synapse => sql::read_synapse(s).map(DirectoryKind::Synapse),
        KindName::Http => http::read(s).map(DirectoryKind::Http),
        KindName::Exec => exec::read(s).map(DirectoryKind::Exec),
    })
}
