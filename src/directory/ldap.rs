//! An LDAP directory ([RFC 4511](https://www.rfc-editor.org/rfc/rfc4511)).
//!
//! All questions are searches by a login of this server's own; a password is checked by a login
//! with it, on a connection that nothing else is asked on. References to other servers are not
//! followed.

mod connection;
mod copy;
mod entry;
mod filter;
mod people;
mod pool;

use std::collections::HashSet;

use ldap3::Scope;
use secrecy::{ExposeSecret, SecretString};

use self::{
    connection::{Connection, Found, Query, Servers},
    copy::Copies,
    entry::Entry,
    filter::Filter,
    people::People,
    pool::Pool,
};
use super::{Addresses, Cursor, DirectoryError, DirectorySetupError, Matches, Page, Person};
use crate::{
    config::{self, Dn, LdapGroups},
    matrix::{id::UserId, threepid::ThreePid},
    secret,
};

/// How many addresses are asked for in one search; each becomes up to a dozen conditions.
const ADDRESSES_AT_ONCE: usize = 50;

/// The attribute of those that want none (RFC 4511, section 4.5.1.8).
const NO_ATTRIBUTES: &str = "1.1";

/// The directory.
pub(super) struct Ldap {
    pool: Pool,
    people: People,
    groups: LdapGroups,
    required_group: Option<Dn>,
    login_filter: Option<Filter>,
    copies: Copies,
}

impl Ldap {
    /// Connects to nothing yet.
    pub(super) fn open(
        directory: &config::Directory,
        settings: &config::Ldap,
        addresses: Addresses,
    ) -> Result<Self, DirectorySetupError> {
        let servers = Servers::new(settings, directory.timeout)
            .map_err(|problem| DirectorySetupError { name: directory.name.clone(), problem })?;
        let connections = usize::try_from(directory.max_connections.get()).unwrap_or(usize::MAX);
        Ok(Self {
            pool: Pool::new(servers, connections),
            people: People::new(directory, settings, addresses),
            groups: settings.groups.clone(),
            required_group: settings.required_group.clone(),
            login_filter: settings.login_filter.as_deref().map(Filter::configured),
            copies: Copies::new(settings.page_size),
        })
    }

    /// By the spellings of an address that a directory may hold; what it finds is believed only as
    /// far as its canonical form is the one that was asked for.
    pub(super) async fn find(
        &self,
        threepids: &[ThreePid],
    ) -> Result<Vec<(ThreePid, UserId)>, DirectoryError> {
        let mut owners = Vec::new();
        for chunk in threepids.chunks(ADDRESSES_AT_ONCE) {
            let wanted: HashSet<&ThreePid> = chunk.iter().collect();
            let Some(filter) = self.people.with_one_of(chunk) else { continue };
            let attributes = self.people.attributes();
            let found = self.pool.search(&self.query(&filter, attributes, 0)).await?;
            for person in found.entries.iter().filter_map(|entry| self.people.person(entry)) {
                let held = person.threepids.into_iter().filter(|held| wanted.contains(held));
                owners.extend(held.map(|threepid| (threepid, person.mxid.clone())));
            }
        }
        Ok(owners)
    }

    /// By exactly one entry of that name, and a login with its DN and the password.
    pub(super) async fn check(
        &self,
        user: &UserId,
        password: &SecretString,
    ) -> Result<Option<Person>, DirectoryError> {
        if password.expose_secret().is_empty() {
            return Ok(None);
        }
        let Some(filter) = self.people.called(user) else { return Ok(None) };
        let filter = Filter::all(self.login_filter.clone().into_iter().chain([filter]));
        let attributes = self.people.attributes();
        let found = self.pool.search(&self.query(&filter, attributes, 2)).await?;
        let is_one = found.entries.len() == 1 && !found.is_limited;
        let person = found.entries.into_iter().next().filter(|_| is_one).and_then(|entry| {
            let person = self.people.person(&entry)?;
            // The server's idea of equal names is not Matrix's.
            (person.mxid == *user).then_some((entry, person))
        });
        let Some((entry, mut person)) = person else {
            self.pretend_to_check().await?;
            return Ok(None);
        };
        if !self.pool.servers().accepts(&entry.dn, password).await? {
            return Ok(None);
        }
        let groups = self.groups_of(&entry).await?;
        let is_let_in = self.required_group.as_ref().is_none_or(|group| groups.contains(group));
        person.roles = self.roles(&groups);
        Ok(is_let_in.then_some(person))
    }

    /// A login that fails, so that the time does not tell who is in the directory.
    async fn pretend_to_check(&self) -> Result<(), DirectoryError> {
        let nobody = format!("cn={},{}", secret::random_alphanumeric(20), self.people.base());
        let password = SecretString::from(secret::random_token());
        self.pool.servers().accepts(&nobody, &password).await.map(drop)
    }

    /// Each word of `term` has to be part of a name or an address.
    pub(super) async fn search(&self, term: &str, limit: usize) -> Result<Matches, DirectoryError> {
        let Some(filter) = self.people.matching(term) else { return Ok(Matches::default()) };
        // One more than is wanted, as not all who are found need to be people of Matrix.
        let most = i32::try_from(limit.saturating_add(1)).unwrap_or(i32::MAX);
        let attributes = self.people.attributes();
        let found = self.pool.search(&self.query(&filter, attributes, most)).await?;
        let mut people: Vec<Person> =
            found.entries.iter().filter_map(|entry| self.people.person(entry)).collect();
        let limited = found.is_limited || people.len() > limit;
        people.truncate(limit);
        Ok(Matches { people, limited })
    }

    /// Everybody. The pages of one copy come over one connection, which the cursor stands for.
    pub(super) async fn page(&self, after: Option<&Cursor>) -> Result<Page, DirectoryError> {
        self.turn_page(self.people.all(), after).await
    }

    /// Whoever's entry was changed since then. Who was removed, or is no longer among the people,
    /// is not told of: that shows when all are copied.
    pub(super) async fn changes(
        &self,
        since_ms: i64,
        after: Option<&Cursor>,
    ) -> Result<Option<Page>, DirectoryError> {
        self.turn_page(self.people.changed_since(since_ms), after).await.map(Some)
    }

    async fn turn_page(
        &self,
        filter: Filter,
        after: Option<&Cursor>,
    ) -> Result<Page, DirectoryError> {
        let query = self.query(&filter, self.people.attributes(), 0);
        let (entries, next) = self.copies.turn(self.pool.servers(), &query, after).await?;
        let people = entries.iter().filter_map(|entry| {
            let mut person = self.people.person(entry)?;
            person.roles = self.roles(&self.named_groups(entry));
            Some(person)
        });
        Ok(Page { people: people.collect(), next })
    }

    fn query<'q>(&'q self, filter: &'q Filter, attributes: Vec<&'q str>, limit: i32) -> Query<'q> {
        let (base, scope) = (self.people.base(), self.people.scope());
        let mut attributes = attributes;
        attributes.push(&self.groups.member_of);
        Query { base, scope, filter, attributes, limit }
    }

    /// The groups that the entry itself names.
    fn named_groups(&self, entry: &Entry) -> HashSet<Dn> {
        entry.values(&self.groups.member_of).filter_map(Dn::of).collect()
    }

    /// All groups of an entry, as far as any has a meaning here.
    async fn groups_of(&self, entry: &Entry) -> Result<HashSet<Dn>, DirectoryError> {
        let mut groups = self.named_groups(entry);
        let has_meaning = self.required_group.is_some() || !self.groups.roles.is_empty();
        if let Some(search) = self.groups.search.as_ref().filter(|_| has_meaning) {
            let name = self.people.name_of(entry).unwrap_or_default();
            let values = [("dn", entry.dn.as_str()), ("uid", name)];
            let filter = Filter::filled(&search.filter, &values);
            let query = Query {
                base: &search.base_dn,
                scope: Scope::Subtree,
                filter: &filter,
                attributes: vec![NO_ATTRIBUTES],
                limit: 0,
            };
            let found = self.pool.search(&query).await?;
            groups.extend(found.entries.iter().filter_map(|group| Dn::of(&group.dn)));
        }
        Ok(groups)
    }

    /// In the operator's order, each once.
    fn roles(&self, groups: &HashSet<Dn>) -> Vec<String> {
        let mut roles: Vec<String> = Vec::new();
        for (group, role) in &self.groups.roles {
            if groups.contains(group) && !roles.contains(role) {
                roles.push(role.clone());
            }
        }
        roles
    }
}
