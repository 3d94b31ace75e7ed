//! Whose access tokens are, as far as that was asked lately.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use moka::sync::Cache;

use crate::{matrix::id::UserId, secret::SecretHash};

/// The most tokens that are remembered: about 20 MB of them.
const MOST: u64 = 65_536;

/// Users by the hashes of their access tokens: those who have accepted all terms, so that only a
/// removal can make an entry wrong.
pub struct Tokens {
    users: Cache<SecretHash, Arc<UserId>>,
    /// How often something was removed.
    removals: Mutex<u64>,
}

/// What was removed when the database was asked.
#[derive(Debug, Clone, Copy)]
pub struct Removals(u64);

impl Tokens {
    /// No token is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self { users: Cache::new(MOST), removals: Mutex::default() }
    }

    /// Whose token it is, if that is known.
    #[must_use]
    pub fn get(&self, hash: &SecretHash) -> Option<Arc<UserId>> {
        self.users.get(hash)
    }

    /// To be asked before the database is.
    #[must_use]
    pub fn removals(&self) -> Removals {
        Removals(*self.lock())
    }

    /// Remembers what the database said, unless something was removed since it was asked.
    pub fn remember(&self, asked: Removals, hash: SecretHash, user: UserId) {
        let removals = self.lock();
        if *removals == asked.0 {
            self.users.insert(hash, Arc::new(user));
        }
    }

    /// Forgets a token.
    pub fn forget(&self, hash: &SecretHash) {
        let mut removals = self.lock();
        *removals += 1;
        self.users.invalidate(hash);
    }

    /// Forgets all tokens.
    pub fn forget_all(&self) {
        let mut removals = self.lock();
        *removals += 1;
        self.users.invalidate_all();
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.removals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Tokens {
    fn default() -> Self {
        Self::new()
    }
}
