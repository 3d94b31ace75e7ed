//! The pepper of hashed lookups and its replacement.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    StoreError, Tx, associations,
    directory_people::{self, Copied},
    hashes, peer_associations,
    schema::peppers,
};
use crate::matrix::medium::Medium;

/// A pepper; of those in use the one with the highest id is current.
#[derive(Debug, Clone, Queryable)]
pub struct Pepper {
    /// Counted upward.
    pub id: i64,
    /// The text that is hashed with each address.
    pub pepper: String,
    /// When it came into use, in milliseconds since the Unix epoch.
    pub created_at: i64,
}

/// The current pepper; `None` before the first one was made.
pub fn current(tx: &mut Tx<'_>) -> Result<Option<Pepper>, StoreError> {
    Ok(peppers::table
        .filter(peppers::state.eq(IN_USE))
        .order(peppers::id.desc())
        .select((peppers::id, peppers::pepper, peppers::created_at))
        .first(&mut *tx.0)
        .optional()?)
}

/// The pepper that comes next.
#[derive(Debug, Clone)]
pub struct Next {
    /// The pepper.
    pub pepper: Pepper,
    /// How far it is.
    pub stage: Stage,
}

/// How far the next pepper is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Hashes are being made.
    Hashing,
    /// All hashes are made.
    Hashed,
    /// It is about to come into use.
    Announced,
}

/// The state of a pepper that is or was in use.
const IN_USE: i32 = 0;

impl Stage {
    fn number(self) -> i32 {
        match self {
            Self::Hashing => 1,
            Self::Hashed => 2,
            Self::Announced => 3,
        }
    }

    fn of(number: i32) -> Self {
        match number {
            3 => Self::Announced,
            2 => Self::Hashed,
            _ => Self::Hashing,
        }
    }
}

/// The pepper that comes next, while one is being made ready.
pub fn next(tx: &mut Tx<'_>) -> Result<Option<Next>, StoreError> {
    let row: Option<(i64, String, i64, i32)> = peppers::table
        .filter(peppers::state.gt(IN_USE))
        .order(peppers::id.desc())
        .select((peppers::id, peppers::pepper, peppers::created_at, peppers::state))
        .first(&mut *tx.0)
        .optional()?;
    Ok(row.map(|(id, pepper, created_at, state)| Next {
        pepper: Pepper { id, pepper, created_at },
        stage: Stage::of(state),
    }))
}

/// The peppers under which hashes are stored.
#[derive(Debug, Clone)]
pub struct Peppers {
    /// The current one.
    pub current: Pepper,
    /// The one that comes next, while it is being made ready.
    pub next: Option<Pepper>,
}

impl Peppers {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Pepper> {
        std::iter::once(&self.current).chain(&self.next)
    }
}

/// The peppers, held until the end of the transaction: for those who add hashes.
pub fn hold_current(tx: &mut Tx<'_>) -> Result<Option<Peppers>, StoreError> {
    tx.lock_peppers()?;
    let Some(current) = current(tx)? else { return Ok(None) };
    Ok(Some(Peppers { current, next: next(tx)?.map(|next| next.pepper) }))
}

/// Begins to replace the pepper by `fresh` if it is older than `before_ms` and nobody has begun;
/// where there is none, `fresh` comes into use at once. Answers whether it did either.
pub fn begin(
    tx: &mut Tx<'_>,
    before_ms: i64,
    fresh: &str,
    now_ms: i64,
) -> Result<bool, StoreError> {
    // Whoever binds meanwhile knows of the new pepper, or is done before.
    tx.lock_peppers_for_change()?;
    let old = current(tx)?;
    let is_young = old.as_ref().is_some_and(|old| old.created_at > before_ms);
    if is_young || next(tx)?.is_some() {
        return Ok(false);
    }
    diesel::insert_into(peppers::table)
        .values((
            peppers::id.eq(old.as_ref().map_or(1, |old| old.id + 1)),
            peppers::pepper.eq(fresh),
            peppers::created_at.eq(now_ms),
            peppers::state.eq(if old.is_some() { Stage::Hashing.number() } else { IN_USE }),
        ))
        .execute(&mut *tx.0)?;
    Ok(true)
}

/// Makes up to `count` hashes more with the next pepper; answers whether there are more to make.
/// Of several nodes that try at once, one goes on where another stopped.
pub fn hash_some(tx: &mut Tx<'_>, count: i64) -> Result<bool, StoreError> {
    tx.lock(b"hashing ")?;
    let Some(Next { pepper, stage: Stage::Hashing }) = next(tx)? else { return Ok(false) };
    let row = peppers::table.find(pepper.id);
    let progress: Option<String> = row.select(peppers::progress).first(&mut *tx.0)?;
    let progress = progress.and_then(|json| serde_json::from_str(&json).ok());
    let progress = hash_after(tx, &pepper, progress.unwrap_or_default(), count)?;
    if progress.is_done {
        let done = peppers::state.eq(Stage::Hashed.number());
        diesel::update(row).set(done).execute(&mut *tx.0)?;
        return Ok(false);
    }
    let json = serde_json::to_string(&progress).unwrap_or_default();
    diesel::update(row).set(peppers::progress.eq(json)).execute(&mut *tx.0)?;
    Ok(true)
}

/// How far hashes are made.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Progress {
    source: Source,
    medium: String,
    address: String,
    is_done: bool,
}

/// Whose addresses are hashed, one after another.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
enum Source {
    /// What was bound here.
    #[default]
    Bound,
    /// What a neighbour says.
    Neighbour(String),
    /// A copy of a directory.
    Directory(String, i64),
}

fn hash_after(
    tx: &mut Tx<'_>,
    pepper: &Pepper,
    mut at: Progress,
    count: i64,
) -> Result<Progress, StoreError> {
    if let Some(last) = hash_batch(tx, pepper, &at, count)? {
        at.address = last;
        return Ok(at);
    }
    match source_after(tx, &at)? {
        Some((source, medium)) => {
            at = Progress { source, medium, address: String::new(), is_done: false };
        }
        None => at.is_done = true,
    }
    Ok(at)
}

/// Makes the hashes that come next within a source; answers the last address, if there was one.
fn hash_batch(
    tx: &mut Tx<'_>,
    pepper: &Pepper,
    at: &Progress,
    count: i64,
) -> Result<Option<String>, StoreError> {
    let medium = Medium::named(&at.medium);
    let batch = match &at.source {
        Source::Bound => {
            let batch = associations::threepids_to_hash(tx, &medium, &at.address, count)?;
            associations::add_hashes(tx, pepper, &batch)?;
            batch
        }
        Source::Neighbour(origin) => {
            let kind = (origin.as_str(), &medium);
            let batch = peer_associations::threepids_to_hash(tx, kind, &at.address, count)?;
            peer_associations::add_hashes(tx, pepper, origin, &batch)?;
            batch
        }
        Source::Directory(directory, generation) => {
            let copy = Copied { directory, generation: *generation };
            let some = (at.address.as_str(), count);
            return directory_people::hash_some(tx, copy, &at.medium, some, pepper);
        }
    };
    Ok(batch.last().map(|last| last.address().to_owned()))
}

/// The source and medium that come next: neighbours after what was bound here, then directories.
fn source_after(tx: &mut Tx<'_>, at: &Progress) -> Result<Option<(Source, String)>, StoreError> {
    let medium = at.medium.as_str();
    if matches!(at.source, Source::Bound)
        && let Some(medium) = associations::medium_after(tx, medium)?
    {
        return Ok(Some((Source::Bound, medium.as_str().to_owned())));
    }
    let neighbour = match &at.source {
        Source::Bound => Some(("", "")),
        Source::Neighbour(origin) => Some((origin.as_str(), medium)),
        Source::Directory(..) => None,
    };
    if let Some((origin, medium)) = neighbour
        && let Some((origin, medium)) = peer_associations::kind_after(tx, origin, medium)?
    {
        return Ok(Some((Source::Neighbour(origin), medium)));
    }
    let (directory, generation, medium) = match &at.source {
        Source::Directory(directory, generation) => (directory.as_str(), *generation, medium),
        Source::Bound | Source::Neighbour(_) => ("", 0, ""),
    };
    let kind = directory_people::kind_after(tx, directory, generation, medium)?;
    Ok(kind
        .map(|(directory, generation, medium)| (Source::Directory(directory, generation), medium)))
}

/// Says that the next pepper is about to come into use, if all hashes are made with it.
pub fn announce(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    let hashed = peppers::table.filter(peppers::state.eq(Stage::Hashed.number()));
    let announced = peppers::state.eq(Stage::Announced.number());
    diesel::update(hashed).set(announced).execute(&mut *tx.0)?;
    Ok(())
}

/// Brings the pepper that was announced into use; answers whether there was one.
pub fn switch(tx: &mut Tx<'_>, now_ms: i64) -> Result<bool, StoreError> {
    tx.lock_peppers_for_change()?;
    let announced = peppers::table.filter(peppers::state.eq(Stage::Announced.number()));
    let in_use = (
        peppers::state.eq(IN_USE),
        peppers::created_at.eq(now_ms),
        peppers::progress.eq(None::<String>),
    );
    Ok(diesel::update(announced).set(in_use).execute(&mut *tx.0)? > 0)
}

/// Removes up to `count` hashes that were made with former peppers, and those peppers when nothing
/// is left of them; answers whether there is more to remove.
pub fn forget_some(tx: &mut Tx<'_>, count: i64) -> Result<bool, StoreError> {
    tx.lock(b"hashing ")?;
    let Some(current) = current(tx)? else { return Ok(false) };
    let former: Option<i64> = peppers::table
        .filter(peppers::id.lt(current.id))
        .select(peppers::id)
        .first(&mut *tx.0)
        .optional()?;
    let Some(former) = former else { return Ok(false) };
    if !hashes::forget_some(tx, former, count)? {
        diesel::delete(peppers::table.find(former)).execute(&mut *tx.0)?;
    }
    Ok(true)
}
