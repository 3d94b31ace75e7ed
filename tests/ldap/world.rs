//! A directory server with people, and a Bindery's door to it.

use std::sync::Arc;

use bindery::{
    clock::{SharedClock, SystemClock},
    config::Config,
    directory::{Cursor, Directories, Directory, Person},
    matrix::{id::UserId, medium::Mediums, threepid::ThreePid},
    metrics::DirectoryCounts,
};
use secrecy::SecretString;

use crate::{
    authority::Ca,
    slapd::{PASSWORD, SERVICE, Slapd, person},
};

pub(crate) struct World {
    pub(crate) ca: Ca,
    pub(crate) slapd: Slapd,
}

impl World {
    /// A server with these people.
    pub(crate) async fn with(people: &str) -> Self {
        // Another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ca = Ca::new();
        let slapd = Slapd::start(&ca, people).await;
        Self { ca, slapd }
    }

    /// A server with Alice and Bob.
    pub(crate) async fn start() -> Self {
        Self::with(&everybody()).await
    }

    /// The URL by which TLS begins at once.
    pub(crate) fn ldaps(&self) -> String {
        format!("ldaps://localhost:{}", self.slapd.ldaps_port)
    }

    pub(crate) fn ldap(&self) -> String {
        format!("ldap://localhost:{}", self.slapd.ldap_port)
    }

    /// The door to the server, with more settings in `[directories.ldap]`, which may go on with
    /// sections.
    pub(crate) fn door(&self, toml: &str) -> Door {
        self.door_by(&[self.ldaps()], "country = 'GB'", toml)
    }

    /// The door by these URLs, with more settings of the directory.
    pub(crate) fn door_by(&self, urls: &[String], directory: &str, toml: &str) -> Door {
        Door::of(directory, &self.settings(urls, toml))
    }

    /// `[directories.ldap]`
    pub(crate) fn settings(&self, urls: &[String], toml: &str) -> String {
        format!(
            "[directories.ldap]\nurls = {urls:?}\nca_file = '{}'\nbind_dn = '{SERVICE}'\n\
             bind_password = \"{PASSWORD}\"\nbase_dn = 'ou=people,dc=example,dc=org'\n{toml}",
            self.ca.file().display()
        )
    }
}

/// Alice, who has all that a person can have, and Bob, who has little.
pub(crate) fn everybody() -> String {
    let alice = [
        ("displayName", "Alice Liddell"),
        ("mail", "Alice@Example.ORG"),
        ("mail", "a.liddell@example.org"),
        ("mail", "no address"),
        ("telephoneNumber", "07700 900-001"),
        ("mobile", "+44 7700 900002"),
        ("mobile", "extension 3"),
        ("employeeType", "active"),
    ];
    let bob = [("mail", "bob@example.org"), ("description", "mxc://example.org/bob")];
    [person("alice", &alice), person("Bob", &bob)].concat()
}

/// The door to one directory.
pub(crate) struct Door(Directories);

impl Door {
    /// The door by these settings, which begin with `[directories.ldap]`.
    pub(crate) fn with(ldap: &str) -> Self {
        Self::of("", ldap)
    }

    fn of(directory: &str, ldap: &str) -> Self {
        let head = "[[directories]]\nname = 'staff'\ntype = 'ldap'\nmxid = '@{uid}:example.org'";
        let config = Config::from_toml(&format!("{head}\n{directory}\n{ldap}"))
            .unwrap_or_else(|faults| panic!("{faults}"));
        let clock: SharedClock = Arc::new(SystemClock);
        let mediums = Arc::new(Mediums::new([]));
        let counts = DirectoryCounts::default();
        Self(Directories::open(&config.directories, &mediums, &counts, &clock).unwrap())
    }

    pub(crate) fn directory(&self) -> &Directory {
        self.0.get("staff").unwrap()
    }

    /// Who has this e-mail address.
    pub(crate) async fn owner(&self, email: &str) -> Option<UserId> {
        self.owner_of(ThreePid::email(email).unwrap()).await
    }

    pub(crate) async fn owner_of(&self, threepid: ThreePid) -> Option<UserId> {
        self.directory().find(std::slice::from_ref(&threepid)).await.unwrap().remove(&threepid)
    }

    /// Who logs in so.
    pub(crate) async fn login(&self, mxid: &str, password: &str) -> Option<Person> {
        let password = SecretString::from(password);
        self.directory().check(&mxid.parse().unwrap(), &password).await.unwrap()
    }

    /// The names of those who are found, and whether there are more.
    pub(crate) async fn search(&self, term: &str, limit: usize) -> (Vec<String>, bool) {
        let found = self.directory().search(term, limit).await.unwrap();
        let mut names: Vec<_> = found.people.iter().map(|p| p.mxid.to_string()).collect();
        names.sort();
        (names, found.limited)
    }

    /// Everybody, and how many pages they took.
    pub(crate) async fn everybody(&self) -> (Vec<Person>, usize) {
        let (mut people, mut pages, mut after) = (Vec::new(), 0, None::<Cursor>);
        loop {
            let page = self.directory().page(after.as_ref()).await.unwrap();
            people.extend(page.people);
            pages += 1;
            after = page.next;
            if after.is_none() {
                return (people, pages);
            }
        }
    }

    /// The names of those who have changed since then.
    pub(crate) async fn changed_since(&self, since_ms: i64) -> Vec<String> {
        let page = self.directory().changes(since_ms, None).await.unwrap().unwrap();
        assert_eq!(page.next, None);
        page.people.iter().map(|person| person.mxid.to_string()).collect()
    }
}

/// The addresses of a person, in plain.
pub(crate) fn addresses(person: &Person) -> Vec<&str> {
    person.threepids.iter().map(ThreePid::address).collect()
}
