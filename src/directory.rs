//! The door to an organisation's directories: who has an address, whose password is right, who is
//! called so, and who there is.
//!
//! Each is asked within its deadline, by so many at once as the operator allows, and left alone for
//! a while where it fails. A directory that fails is an answer less and never an error for whoever
//! asks all of them.

mod all;
mod asking;
mod exec;
mod http;
mod ldap;
mod passwords;
mod sql;
mod synapse;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use secrecy::{ExposeSecret, SecretString};

pub use self::all::{Checked, Directories, Purpose};
use self::{
    asking::Asking, exec::Program, http::HttpService, ldap::Ldap, sql::SqlDatabase,
    synapse::Synapse,
};
use crate::{
    config::{self, DirectoryKind},
    matrix::{
        id::UserId,
        medium::Mediums,
        phone::{Country, Phone},
        threepid::ThreePid,
    },
    metrics::Question,
};

/// Somebody in a directory.
#[derive(Clone, PartialEq, Eq)]
pub struct Person {
    /// Who it is on Matrix.
    pub mxid: UserId,
    /// What people call them.
    pub display_name: Option<String>,
    /// Their picture.
    pub avatar_url: Option<String>,
    /// Their addresses, in canonical form.
    pub threepids: Vec<ThreePid>,
    /// Their roles, such as groups.
    pub roles: Vec<String>,
}

impl Person {
    /// Somebody of whom nothing else is known.
    #[must_use]
    pub fn new(mxid: UserId) -> Self {
        let (threepids, roles) = (Vec::new(), Vec::new());
        Self { mxid, display_name: None, avatar_url: None, threepids, roles }
    }
}

/// Where a page ends, in words of the directory's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub String);

/// Some of the people of a directory.
pub struct Page {
    /// Who they are.
    pub people: Vec<Person>,
    /// Where the next page begins; `None`: this is the last one.
    pub next: Option<Cursor>,
}

/// Who was found by a search.
#[derive(Default)]
pub struct Matches {
    /// Who they are, the best first.
    pub people: Vec<Person>,
    /// Whether there are more.
    pub limited: bool,
}

/// Why a directory didn't answer. No address and no password is part of it.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Nobody is there, or nobody with the right certificate.
    #[error("it can't be reached: {0}")]
    Unreachable(String),
    /// It took too long.
    #[error("it didn't answer in time")]
    TimedOut,
    /// It doesn't let this server in, or doesn't understand the question.
    #[error("it refuses: {0}")]
    Refused(String),
    /// It answered something else.
    #[error("its answer makes no sense: {0}")]
    Malformed(String),
    /// The cursor means nothing to it any more.
    #[error("it has forgotten how far the copy was, which begins anew")]
    Forgotten,
    /// It can't be asked that.
    #[error("a directory of this kind can't be asked that")]
    Unsupported,
    /// It is asked as much as it may be.
    #[error("it has enough to do: `max_connections` questions are on their way")]
    Busy,
    /// It failed, and is left alone for a while.
    #[error("it failed several times, and is left alone for a while")]
    Resting,
}

/// Why a directory can't be used at all.
#[derive(Debug, thiserror::Error)]
#[error("the directory {name}: {problem}")]
pub struct DirectorySetupError {
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub problem: String,
}

/// Brings the addresses of a directory into canonical form.
#[derive(Clone)]
pub(crate) struct Addresses {
    mediums: Arc<Mediums>,
    country: Option<Country>,
}

impl Addresses {
    /// The 3PID of an address as the directory has it; `None` where it is none that can be looked
    /// up here.
    fn canonical(&self, medium: &str, address: &str) -> Option<ThreePid> {
        let address = address.trim();
        match self.country {
            Some(country) if medium == "msisdn" => {
                let phone = Phone::parse(country.as_str(), address).ok()?;
                ThreePid::msisdn(phone.msisdn()).ok()
            }
            _ => self.mediums.threepid(medium, address).ok(),
        }
    }
}

/// The kinds of directories, each behind the same questions.
enum Kind {
    Http(HttpService),
    Exec(Program),
    Ldap(Box<Ldap>),
    Sql(SqlDatabase),
    Synapse(Synapse),
}

impl Kind {
    /// Connects to nothing yet.
    fn open(
        settings: &config::Directory,
        addresses: Addresses,
    ) -> Result<Self, DirectorySetupError> {
        match &settings.kind {
            DirectoryKind::Http(http) => {
                HttpService::open(settings, http, addresses).map(Self::Http)
            }
            DirectoryKind::Exec(exec) => Ok(Self::Exec(Program::new(settings, exec, addresses))),
            DirectoryKind::Sql(sql) => SqlDatabase::open(settings, sql, addresses).map(Self::Sql),
            DirectoryKind::Synapse(synapse) => {
                Synapse::open(settings, synapse, addresses).map(Self::Synapse)
            }
            DirectoryKind::Ldap(ldap) => {
                Ldap::open(settings, ldap, addresses).map(Box::new).map(Self::Ldap)
            }
        }
    }

    /// Whose addresses these are: what the directory says, twice where it knows two people.
    async fn find(
        &self,
        threepids: &[ThreePid],
    ) -> Result<Vec<(ThreePid, UserId)>, DirectoryError> {
        match self {
            Self::Http(kind) => kind.find(threepids).await,
            Self::Exec(kind) => kind.find(threepids).await,
            Self::Sql(kind) => kind.find(threepids).await,
            Self::Synapse(kind) => kind.find(threepids).await,
            Self::Ldap(kind) => kind.find(threepids).await,
        }
    }

    /// Who `user` is, if the password is right.
    async fn check(
        &self,
        user: &UserId,
        password: &SecretString,
    ) -> Result<Option<Person>, DirectoryError> {
        match self {
            Self::Http(kind) => kind.check(user, password).await,
            Self::Exec(kind) => kind.check(user, password).await,
            Self::Sql(kind) => kind.check(user, password).await,
            Self::Synapse(kind) => kind.check(user, password).await,
            Self::Ldap(kind) => kind.check(user, password).await,
        }
    }

    /// People of whom `term` tells something: a name or an address, a part of it.
    async fn search(&self, term: &str, limit: usize) -> Result<Matches, DirectoryError> {
        match self {
            Self::Http(kind) => kind.search(term, limit).await,
            Self::Exec(kind) => kind.search(term, limit).await,
            Self::Sql(kind) => kind.search(term, limit).await,
            Self::Synapse(kind) => kind.search(term, limit).await,
            Self::Ldap(kind) => kind.search(term, limit).await,
        }
    }

    /// Everybody, in pages.
    async fn page(&self, after: Option<&Cursor>) -> Result<Page, DirectoryError> {
        match self {
            Self::Http(kind) => kind.page(after).await,
            Self::Exec(kind) => kind.page(after).await,
            Self::Sql(kind) => kind.page(after).await,
            Self::Synapse(kind) => kind.page(after).await,
            Self::Ldap(kind) => kind.page(after).await,
        }
    }

    /// Those who are new or have changed since then; `None` where this kind can't tell.
    async fn changes(
        &self,
        since_ms: i64,
        after: Option<&Cursor>,
    ) -> Result<Option<Page>, DirectoryError> {
        match self {
            Self::Http(kind) => kind.changes(since_ms, after).await,
            Self::Exec(kind) => kind.changes(since_ms, after).await,
            Self::Sql(kind) => kind.changes(since_ms, after).await,
            Self::Synapse(kind) => kind.changes(since_ms, after).await,
            Self::Ldap(kind) => kind.changes(since_ms, after).await,
        }
    }
}

/// One directory.
pub struct Directory {
    settings: config::Directory,
    kind: Kind,
    asking: Asking,
}

impl Directory {
    /// What the operator says of it.
    #[must_use]
    pub fn settings(&self) -> &config::Directory {
        &self.settings
    }

    /// Whose the addresses are. One that two people have is nobody's.
    ///
    /// # Errors
    /// When the directory doesn't answer.
    pub async fn find(
        &self,
        threepids: &[ThreePid],
    ) -> Result<HashMap<ThreePid, UserId>, DirectoryError> {
        let found = Box::pin(self.kind.find(threepids));
        let found = self.asking.ask(Question::Find, found).await?;
        let asked: HashSet<&ThreePid> = threepids.iter().collect();
        let ours = found
            .into_iter()
            .filter(|(threepid, mxid)| asked.contains(threepid) && self.is_ours(mxid));
        let (owners, claimed_twice) = owners(ours);
        if claimed_twice > 0 {
            let directory = self.settings.name.as_str();
            tracing::warn!(directory, "an address is two people's, and so it is nobody's");
        }
        Ok(owners)
    }

    /// Who `user` is, if the password is right. An empty one never is: to many an LDAP server it
    /// means that nobody asks, which it lets in.
    ///
    /// # Errors
    /// When the directory doesn't answer.
    pub async fn check(
        &self,
        user: &UserId,
        password: &SecretString,
    ) -> Result<Option<Person>, DirectoryError> {
        if password.expose_secret().is_empty() || self.settings.mxid.name_of(user).is_none() {
            return Ok(None);
        }
        let person = Box::pin(self.kind.check(user, password));
        let person = self.asking.ask(Question::Check, person).await?;
        Ok(person.filter(|person| person.mxid == *user))
    }

    /// People of whom `term` tells something.
    ///
    /// # Errors
    /// When the directory doesn't answer.
    pub async fn search(&self, term: &str, limit: usize) -> Result<Matches, DirectoryError> {
        let found = Box::pin(self.kind.search(term, limit));
        let mut found = self.asking.ask(Question::Search, found).await?;
        found.people.retain(|person| self.is_ours(&person.mxid));
        Ok(found)
    }

    /// Everybody, in pages.
    ///
    /// # Errors
    /// When the directory doesn't answer.
    pub async fn page(&self, after: Option<&Cursor>) -> Result<Page, DirectoryError> {
        let page = Box::pin(self.kind.page(after));
        let mut page = self.asking.ask_patiently(Question::Copy, page).await?;
        page.people.retain(|person| self.is_ours(&person.mxid));
        Ok(page)
    }

    /// Those who are new or have changed since then; `None` where this kind can't tell.
    ///
    /// # Errors
    /// When the directory doesn't answer.
    pub async fn changes(
        &self,
        since_ms: i64,
        after: Option<&Cursor>,
    ) -> Result<Option<Page>, DirectoryError> {
        let changes = Box::pin(self.kind.changes(since_ms, after));
        let mut page = self.asking.ask_patiently(Question::Copy, changes).await?;
        if let Some(page) = &mut page {
            page.people.retain(|person| self.is_ours(&person.mxid));
        }
        Ok(page)
    }

    /// A directory speaks for the homeserver of its template and for no other.
    fn is_ours(&self, mxid: &UserId) -> bool {
        self.settings.mxid.server_name().is_none_or(|server| server == mxid.server_name())
    }
}

/// Each address with the one person that has it, and how many have several.
fn owners(found: impl Iterator<Item = (ThreePid, UserId)>) -> (HashMap<ThreePid, UserId>, usize) {
    let mut owners: HashMap<ThreePid, Option<UserId>> = HashMap::new();
    for (threepid, mxid) in found {
        owners
            .entry(threepid)
            .and_modify(|owner| {
                if owner.as_ref() != Some(&mxid) {
                    *owner = None;
                }
            })
            .or_insert(Some(mxid));
    }
    let claimed_twice = owners.values().filter(|owner| owner.is_none()).count();
    let owned = owners.into_iter().filter_map(|(threepid, owner)| Some((threepid, owner?)));
    (owned.collect(), claimed_twice)
}
