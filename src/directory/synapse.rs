//! Synapse's database: its users with the addresses that they have there.
//!
//! Left out are those who are deactivated, locked, guests, of an application service, or for
//! support. Synapse has no mark for users who don't want to be found.

use secrecy::SecretString;

use super::{
    Addresses, Cursor, DirectoryError, DirectorySetupError, Matches, Page, Person, sql::SqlDatabase,
};
use crate::{
    config::{self, Query, Sql, SynapseDatabase},
    matrix::{id::UserId, threepid::ThreePid},
};

/// The database, asked by queries that both of Synapse's databases understand.
pub(super) struct Synapse(SqlDatabase);

/// Who is somebody: a condition on `u`.
macro_rules! somebody {
    () => {
        "u.deactivated = 0 AND u.is_guest = 0 AND u.appservice_id IS NULL \
         AND NOT coalesce(u.locked, FALSE) AND coalesce(u.user_type, '') <> 'support'"
    };
}

const FIND: &str = concat!(
    "SELECT u.name AS mxid FROM user_threepids AS t JOIN users AS u ON u.name = t.user_id \
     WHERE t.medium = :medium AND t.address = :address AND ",
    somebody!()
);

const PEOPLE: &str = concat!(
    "SELECT u.name AS mxid, p.displayname AS name, p.avatar_url, t.medium, t.address FROM ( \
     SELECT u.name FROM users AS u WHERE u.name > :after AND ",
    somebody!(),
    " ORDER BY u.name LIMIT :limit) AS u \
     LEFT JOIN user_threepids AS t ON t.user_id = u.name \
     LEFT JOIN profiles AS p ON p.full_user_id = u.name ORDER BY u.name LIMIT :limit"
);

/// Of whoever has added an address, all of them. Synapse keeps no time of what was removed.
const CHANGES: &str = concat!(
    "SELECT u.name AS mxid, p.displayname AS name, p.avatar_url, t.medium, t.address \
     FROM users AS u JOIN user_threepids AS t ON t.user_id = u.name \
     LEFT JOIN profiles AS p ON p.full_user_id = u.name \
     WHERE u.name > :after AND u.name IN \
     (SELECT n.user_id FROM user_threepids AS n WHERE n.added_at >= :since) AND ",
    somebody!(),
    " ORDER BY u.name LIMIT :limit"
);

/// By name and by localpart.
const SEARCH: &str = concat!(
    "SELECT u.name AS mxid, p.displayname AS name, p.avatar_url \
     FROM users AS u JOIN profiles AS p ON p.full_user_id = u.name \
     WHERE (lower(p.displayname) LIKE :pattern ESCAPE '\\' \
     OR lower(p.user_id) LIKE :pattern ESCAPE '\\') AND ",
    somebody!(),
    " ORDER BY u.name LIMIT :limit"
);

impl Synapse {
    /// Tries the queries out, where the database can be reached.
    pub(super) fn open(
        settings: &config::Directory,
        synapse: &SynapseDatabase,
        addresses: Addresses,
    ) -> Result<Self, DirectorySetupError> {
        let query = |text| Query::built_in(text, "Synapse's database is of another version");
        let sql = Sql {
            database: synapse.database.clone(),
            find: query(FIND),
            login: None,
            threepids: None,
            people: Some(query(PEOPLE)),
            changes: Some(query(CHANGES)),
            search: Some(query(SEARCH)),
        };
        SqlDatabase::open(settings, &sql, addresses).map(Self)
    }

    pub(super) async fn find(
        &self,
        threepids: &[ThreePid],
    ) -> Result<Vec<(ThreePid, UserId)>, DirectoryError> {
        self.0.find(threepids).await
    }

    /// Passwords are the homeserver's own.
    #[expect(clippy::unused_async, reason = "other kinds ask")]
    pub(super) async fn check(
        &self,
        _: &UserId,
        _: &SecretString,
    ) -> Result<Option<Person>, DirectoryError> {
        Err(DirectoryError::Unsupported)
    }

    pub(super) async fn search(&self, term: &str, limit: usize) -> Result<Matches, DirectoryError> {
        self.0.search(term, limit).await
    }

    pub(super) async fn page(&self, after: Option<&Cursor>) -> Result<Page, DirectoryError> {
        self.0.page(after).await
    }

    pub(super) async fn changes(
        &self,
        since_ms: i64,
        after: Option<&Cursor>,
    ) -> Result<Option<Page>, DirectoryError> {
        self.0.changes(since_ms, after).await
    }
}
