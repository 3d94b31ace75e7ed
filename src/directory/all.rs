//! All directories of an organisation together.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures_util::future::join_all;
use secrecy::SecretString;

use super::{
    Addresses, Directory, DirectoryError, DirectorySetupError, Kind, Matches, Person,
    asking::Asking,
};
use crate::{
    clock::SharedClock,
    config,
    matrix::{id::UserId, medium::Mediums, threepid::ThreePid},
    metrics::DirectoryCounts,
};

/// What became of a password.
pub enum Checked {
    /// It is right.
    Right(Box<Person>),
    /// No directory takes it.
    Wrong,
    /// Some directory didn't answer, and no other takes it.
    Unanswered,
}

/// What addresses are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To find people and to invite them.
    Identity,
    /// To log in.
    Login,
}

/// All directories, in the operator's order.
pub struct Directories(Vec<Directory>);

impl Directories {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// When the settings of one can't be used.
    pub fn open(
        directories: &[config::Directory],
        mediums: &Arc<Mediums>,
        counts: &DirectoryCounts,
        clock: &SharedClock,
    ) -> Result<Self, DirectorySetupError> {
        let open = |settings: &config::Directory| {
            let addresses = Addresses { mediums: mediums.clone(), country: settings.country };
            let kind = Kind::open(settings, addresses)?;
            let asking = Asking::new(settings, counts.clone(), clock.clone());
            Ok(Directory { settings: settings.clone(), kind, asking })
        };
        directories.iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Directory> {
        self.0.iter()
    }

    /// The one of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Directory> {
        self.iter().find(|directory| directory.settings.name == name)
    }

    /// Whose the addresses are. All are asked at once; of those that know an address the first one
    /// is believed.
    pub async fn find(
        &self,
        threepids: &[ThreePid],
        purpose: Purpose,
    ) -> HashMap<ThreePid, UserId> {
        if threepids.is_empty() {
            return HashMap::new();
        }
        let serves = |directory: &&Directory| match purpose {
            Purpose::Identity => directory.settings.identities,
            Purpose::Login => directory.settings.login,
        };
        let asked = self.iter().filter(serves).map(|directory| directory.find(threepids));
        let mut found = HashMap::new();
        for answer in join_all(asked).await.into_iter().rev().flatten() {
            found.extend(answer);
        }
        found
    }

    /// Who `user` is, by the first directory that takes the password.
    pub async fn check(&self, user: &UserId, password: &SecretString) -> Option<Person> {
        match self.check_password(user, password).await {
            Checked::Right(person) => Some(*person),
            Checked::Wrong | Checked::Unanswered => None,
        }
    }

    /// As [`Self::check`], told apart. Directories are asked one after the other: a password goes no
    /// further than it has to.
    pub async fn check_password(&self, user: &UserId, password: &SecretString) -> Checked {
        let mut checked = Checked::Wrong;
        for directory in self.iter().filter(|directory| directory.settings.login) {
            match directory.check(user, password).await {
                Ok(Some(person)) => return Checked::Right(Box::new(person)),
                Ok(None) | Err(DirectoryError::Unsupported) => {}
                Err(_) => checked = Checked::Unanswered,
            }
        }
        checked
    }

    /// Whether there is one whose people are of the homeserver of `user`.
    #[must_use]
    pub fn knows_users_like(&self, user: &UserId) -> bool {
        let knows = |directory: &Directory| {
            directory.settings.login && directory.settings.mxid.name_of(user).is_some()
        };
        self.iter().any(knows)
    }

    /// People of whom `term` tells something: those of the first directory first, nobody twice.
    pub async fn search(&self, term: &str, limit: usize) -> Matches {
        let asked = self.iter().filter(|directory| directory.settings.search);
        let asked = asked.map(|directory| directory.search(term, limit));
        let (mut all, mut seen) = (Matches::default(), HashSet::new());
        for found in join_all(asked).await.into_iter().flatten() {
            all.limited |= found.limited;
            let fresh = |person: &Person| seen.insert(person.mxid.clone());
            all.people.extend(found.people.into_iter().filter(fresh));
        }
        all.limited |= all.people.len() > limit;
        all.people.truncate(limit);
        all
    }
}
