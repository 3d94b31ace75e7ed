//! Copies of directories: whose addresses are there, and the hashes under which they are looked up.
//!
//! A copy is filled in beside the one that is believed, and takes its place at once.

use std::collections::HashMap;

use diesel::prelude::*;

use super::{
    StoreError, Tx,
    associations::HASHES_PER_QUERY,
    connection::{AnyConnection, on_backend},
    directory_syncs::{self, Sync},
    peppers::{Pepper, Peppers},
    schema::{directory_associations, directory_hashes, directory_syncs as syncs, invites},
};
use crate::matrix::{
    id::UserId,
    medium::Medium,
    threepid::{LookupHash, ThreePid},
};

/// One of the copies of a directory.
#[derive(Debug, Clone, Copy)]
pub struct Copied<'a> {
    /// The directory's name.
    pub directory: &'a str,
    /// Counted upward.
    pub generation: i64,
}

/// Somebody's address.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Held {
    /// The address.
    pub threepid: ThreePid,
    /// Whose it is.
    pub mxid: UserId,
}

/// What changes who is found in copies.
pub enum Change<'a> {
    /// A copy is complete and takes the place of the one before; the state says so.
    Swapped(&'a Sync),
    /// These users hold these addresses from now on, in the copy that is believed, and no others.
    People {
        /// The copy.
        copy: Copied<'a>,
        /// The users.
        users: &'a [UserId],
        /// What they hold.
        held: &'a [Held],
    },
    /// There is no copy of this directory any more.
    Forgotten(&'a str),
}

/// The most rows that are written at once: below `SQLite`'s limit on bound values.
const ROWS_PER_QUERY: usize = 1000;

/// Changes who is found. Nothing else does.
pub fn change(tx: &mut Tx<'_>, change: &Change<'_>, peppers: &Peppers) -> Result<(), StoreError> {
    match change {
        Change::Swapped(sync) => directory_syncs::put(tx, sync),
        Change::People { copy, users, held } => {
            for users in users.chunks(ROWS_PER_QUERY) {
                let users: Vec<&str> = users.iter().map(UserId::as_str).collect();
                // Their hashes go with them, by foreign key.
                let of_users = directory_associations::table
                    .filter(directory_associations::directory.eq(copy.directory))
                    .filter(directory_associations::generation.eq(copy.generation))
                    .filter(directory_associations::mxid.eq_any(users));
                diesel::delete(of_users).execute(&mut *tx.0)?;
            }
            add(tx, *copy, held, peppers)
        }
        Change::Forgotten(directory) => directory_syncs::remove(tx, directory),
    }
}

/// Adds to a copy, with the hashes under `peppers`. What is there stays.
pub fn add(
    tx: &mut Tx<'_>,
    copy: Copied<'_>,
    held: &[Held],
    peppers: &Peppers,
) -> Result<(), StoreError> {
    for chunk in held.chunks(ROWS_PER_QUERY) {
        let row = |Held { threepid, mxid }: &Held| {
            (
                directory_associations::directory.eq(copy.directory.to_owned()),
                directory_associations::generation.eq(copy.generation),
                directory_associations::medium.eq(threepid.medium().to_string()),
                directory_associations::address.eq(threepid.address().to_owned()),
                directory_associations::mxid.eq(mxid.to_string()),
            )
        };
        let rows: Vec<_> = chunk.iter().map(row).collect();
        on_backend!(tx, conn => diesel::insert_into(directory_associations::table)
            .values(rows)
            .on_conflict_do_nothing()
            .execute(conn))?;
        let held = chunk.iter().map(|Held { threepid, mxid }| (threepid.clone(), mxid.as_str()));
        peppers.all().try_for_each(|pepper| add_hashes(tx, copy, held.clone(), pepper))?;
    }
    Ok(())
}

fn add_hashes<'a>(
    tx: &mut Tx<'_>,
    copy: Copied<'_>,
    held: impl Iterator<Item = (ThreePid, &'a str)>,
    pepper: &Pepper,
) -> Result<(), StoreError> {
    let row = |(threepid, mxid): (ThreePid, &str)| {
        (
            directory_hashes::pepper_id.eq(pepper.id),
            directory_hashes::hash.eq(threepid.lookup_hash(&pepper.pepper).to_vec()),
            directory_hashes::directory.eq(copy.directory.to_owned()),
            directory_hashes::generation.eq(copy.generation),
            directory_hashes::medium.eq(threepid.medium().to_string()),
            directory_hashes::address.eq(threepid.address().to_owned()),
            directory_hashes::mxid.eq(mxid.to_owned()),
        )
    };
    let rows: Vec<_> = held.map(row).collect();
    on_backend!(tx, conn => diesel::insert_into(directory_hashes::table)
        .values(rows)
        .on_conflict_do_nothing()
        .execute(conn))?;
    Ok(())
}

/// Who holds an address, by the directories that say so: of an address that two people hold in one
/// directory, nobody there; else the first of `directories` that knows somebody is believed.
struct Owners<'a> {
    directories: &'a [String],
    /// By each directory.
    said: Vec<Said>,
}

/// What one directory says of an address.
#[derive(Clone)]
enum Said {
    Nothing,
    Held(String),
    ClaimedTwice,
}

impl<'a> Owners<'a> {
    fn new(directories: &'a [String]) -> Self {
        Self { directories, said: vec![Said::Nothing; directories.len()] }
    }

    fn say(&mut self, directory: &str, mxid: String) {
        let place = self.directories.iter().position(|known| known == directory);
        let Some(said) = place.and_then(|place| self.said.get_mut(place)) else { return };
        *said = match std::mem::replace(said, Said::ClaimedTwice) {
            Said::Nothing => Said::Held(mxid),
            Said::Held(other) if other == mxid => Said::Held(other),
            Said::Held(_) | Said::ClaimedTwice => Said::ClaimedTwice,
        };
    }

    fn owner(self) -> Option<String> {
        self.said.into_iter().find_map(|said| match said {
            Said::Held(mxid) => Some(mxid),
            Said::Nothing | Said::ClaimedTwice => None,
        })
    }
}

/// Which of `hashes`, made with the pepper `pepper_id`, stand for somebody in the copies of
/// `directories`, and for whom.
pub fn mxids_of_hashes(
    tx: &mut Tx<'_>,
    (directories, pepper_id): (&[String], i64),
    hashes: &[LookupHash],
) -> Result<Vec<(LookupHash, String)>, StoreError> {
    let mut found: HashMap<LookupHash, Owners<'_>> = HashMap::new();
    if directories.is_empty() {
        return Ok(Vec::new());
    }
    for chunk in hashes.chunks(HASHES_PER_QUERY) {
        let wanted: Vec<&[u8]> = chunk.iter().map(<[u8; 32]>::as_slice).collect();
        let is_believed = syncs::directory
            .eq(directory_hashes::directory)
            .and(syncs::generation.eq(directory_hashes::generation));
        let rows: Vec<(Vec<u8>, String, String)> = directory_hashes::table
            .inner_join(syncs::table.on(is_believed))
            .filter(directory_hashes::pepper_id.eq(pepper_id))
            .filter(directory_hashes::hash.eq_any(wanted))
            .select((directory_hashes::hash, directory_hashes::directory, directory_hashes::mxid))
            .load(&mut *tx.0)?;
        for (hash, directory, mxid) in rows {
            let Ok(hash) = LookupHash::try_from(hash) else { continue };
            found.entry(hash).or_insert_with(|| Owners::new(directories)).say(&directory, mxid);
        }
    }
    let owned = found.into_iter().filter_map(|(hash, owners)| Some((hash, owners.owner()?)));
    Ok(owned.collect())
}

/// Whose `threepid` is by the copies of `directories`.
pub fn find(
    tx: &mut Tx<'_>,
    directories: &[String],
    threepid: &ThreePid,
) -> Result<Option<String>, StoreError> {
    let is_believed = syncs::directory
        .eq(directory_associations::directory)
        .and(syncs::generation.eq(directory_associations::generation));
    let rows: Vec<(String, String)> = directory_associations::table
        .inner_join(syncs::table.on(is_believed))
        .filter(directory_associations::directory.eq_any(directories))
        .filter(directory_associations::medium.eq(threepid.medium().as_str()))
        .filter(directory_associations::address.eq(threepid.address()))
        .select((directory_associations::directory, directory_associations::mxid))
        .load(&mut *tx.0)?;
    let mut owners = Owners::new(directories);
    for (directory, mxid) in rows {
        owners.say(&directory, mxid);
    }
    Ok(owners.owner())
}

/// Whose the `addresses` of a medium are by the copies of `directories`.
pub(super) fn owners(
    tx: &mut Tx<'_>,
    directories: &[String],
    medium: &str,
    addresses: Vec<&str>,
) -> Result<Vec<(String, String)>, StoreError> {
    if directories.is_empty() {
        return Ok(Vec::new());
    }
    let is_believed = syncs::directory
        .eq(directory_associations::directory)
        .and(syncs::generation.eq(directory_associations::generation));
    let rows: Vec<(String, String, String)> = directory_associations::table
        .inner_join(syncs::table.on(is_believed))
        .filter(directory_associations::directory.eq_any(directories))
        .filter(directory_associations::medium.eq(medium))
        .filter(directory_associations::address.eq_any(addresses))
        .select((
            directory_associations::address,
            directory_associations::directory,
            directory_associations::mxid,
        ))
        .load(&mut *tx.0)?;
    let mut found: HashMap<String, Owners<'_>> = HashMap::new();
    for (address, directory, mxid) in rows {
        found.entry(address).or_insert_with(|| Owners::new(directories)).say(&directory, mxid);
    }
    let owned = found.into_iter().filter_map(|(address, owners)| Some((address, owners.owner()?)));
    Ok(owned.collect())
}

/// The 3PIDs for which invitations wait and that are in the believed copy of `directory`, at most
/// `count`, each with whose it is by the copies of `directories`.
pub fn awaited(
    tx: &mut Tx<'_>,
    (directory, directories): (&str, &[String]),
    count: i64,
) -> Result<Vec<(ThreePid, UserId)>, StoreError> {
    let is_believed = syncs::directory
        .eq(directory_associations::directory)
        .and(syncs::generation.eq(directory_associations::generation));
    let of_invite = directory_associations::medium
        .eq(invites::medium)
        .and(directory_associations::address.eq(invites::address));
    let rows: Vec<(String, String)> = invites::table
        .inner_join(directory_associations::table.on(of_invite))
        .inner_join(syncs::table.on(is_believed))
        .filter(invites::mxid.is_null())
        .filter(invites::outcome.is_null())
        .filter(directory_associations::directory.eq(directory))
        .select((directory_associations::medium, directory_associations::address))
        .distinct()
        .limit(count)
        .load(&mut *tx.0)?;
    let mut owned = Vec::new();
    for (medium, address) in rows {
        let threepid = ThreePid::canonical(Medium::named(&medium), address);
        let mxid = find(tx, directories, &threepid)?.and_then(|mxid| mxid.parse().ok());
        owned.extend(mxid.map(|mxid| (threepid, mxid)));
    }
    Ok(owned)
}

/// How many addresses a copy holds, and how many of them two people hold, so that they are nobody's.
pub fn count(tx: &mut Tx<'_>, copy: Copied<'_>) -> Result<(i64, i64), StoreError> {
    use diesel::dsl::count_star;
    let all = directory_associations::table
        .filter(directory_associations::directory.eq(copy.directory))
        .filter(directory_associations::generation.eq(copy.generation));
    let held: i64 = all.select(count_star()).first(&mut *tx.0)?;
    let holders: Vec<i64> = all
        .group_by((directory_associations::medium, directory_associations::address))
        .having(count_star().gt(1))
        .select(count_star())
        .load(&mut *tx.0)?;
    let claimed_twice = i64::try_from(holders.len()).unwrap_or(i64::MAX);
    Ok((held - holders.iter().sum::<i64>(), claimed_twice))
}

/// The first kind of rows, directory, copy and medium, after this one.
pub(super) fn kind_after(
    tx: &mut Tx<'_>,
    directory: &str,
    generation: i64,
    medium: &str,
) -> Result<Option<(String, i64, String)>, StoreError> {
    use directory_associations as table;
    let columns = (table::directory, table::generation, table::medium);
    let ordered = table::table.order(columns).select(columns);
    let same_copy = table::directory.eq(directory).and(table::generation.eq(generation));
    let mut kind: Option<(String, i64, String)> =
        ordered.filter(same_copy.and(table::medium.gt(medium))).first(&mut *tx.0).optional()?;
    if kind.is_none() {
        let later = table::directory.eq(directory).and(table::generation.gt(generation));
        kind = ordered.filter(later).first(&mut *tx.0).optional()?;
    }
    if kind.is_none() {
        kind = ordered.filter(table::directory.gt(directory)).first(&mut *tx.0).optional()?;
    }
    Ok(kind)
}

/// Hashes `count` rows of a medium whose addresses come after `address`; answers the last address.
pub(super) fn hash_some(
    tx: &mut Tx<'_>,
    copy: Copied<'_>,
    medium: &str,
    (address, count): (&str, i64),
    pepper: &Pepper,
) -> Result<Option<String>, StoreError> {
    let of_medium = directory_associations::table
        .filter(directory_associations::directory.eq(copy.directory))
        .filter(directory_associations::generation.eq(copy.generation))
        .filter(directory_associations::medium.eq(medium))
        .select((directory_associations::address, directory_associations::mxid));
    let some = of_medium
        .filter(directory_associations::address.gt(address))
        .order((directory_associations::address, directory_associations::mxid))
        .limit(count);
    // They stay until the end of the transaction: a hash of one that went away in between could not
    // be stored.
    let mut rows: Vec<(String, String)> = match &mut *tx.0 {
        AnyConnection::Sqlite(conn) => some.load(conn)?,
        #[cfg(feature = "postgres")]
        AnyConnection::Postgres(conn) => some.for_key_share().load(conn)?,
    };
    let Some(last) = rows.last().map(|(address, _)| address.clone()) else { return Ok(None) };
    // The batch may have ended between two holders of one address. A row twice does no harm.
    let of_last = of_medium.filter(directory_associations::address.eq(&last));
    rows.extend(match &mut *tx.0 {
        AnyConnection::Sqlite(conn) => of_last.load::<(String, String)>(conn)?,
        #[cfg(feature = "postgres")]
        AnyConnection::Postgres(conn) => of_last.for_key_share().load(conn)?,
    });
    let medium = Medium::named(medium);
    let held = rows.iter().map(|(address, mxid)| {
        (ThreePid::canonical(medium.clone(), address.clone()), mxid.as_str())
    });
    add_hashes(tx, copy, held, pepper)?;
    Ok(Some(last))
}

/// Removes some of what is in other copies of `directory` than `kept`; answers whether there may be
/// more.
pub fn remove_some(
    tx: &mut Tx<'_>,
    directory: &str,
    kept: &[i64],
    count: i64,
) -> Result<bool, StoreError> {
    // The hashes go with them, by foreign key.
    let others = directory_associations::table
        .filter(directory_associations::directory.eq(directory))
        .filter(directory_associations::generation.ne_all(kept));
    let first: Option<(i64, String)> = others
        .select((directory_associations::generation, directory_associations::medium))
        .first(&mut *tx.0)
        .optional()?;
    let Some((generation, medium)) = first else { return Ok(false) };
    let of_medium = directory_associations::table
        .filter(directory_associations::directory.eq(directory))
        .filter(directory_associations::generation.eq(generation))
        .filter(directory_associations::medium.eq(medium.as_str()));
    let until: Option<String> = of_medium
        .order(directory_associations::address)
        .offset(count - 1)
        .limit(1)
        .select(directory_associations::address)
        .first(&mut *tx.0)
        .optional()?;
    match until {
        Some(until) => {
            let some = of_medium.filter(directory_associations::address.le(until));
            diesel::delete(some).execute(&mut *tx.0)?
        }
        None => diesel::delete(of_medium).execute(&mut *tx.0)?,
    };
    Ok(true)
}
