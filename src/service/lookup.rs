//! Hashes to user ids, and the pepper that they are made with.

use std::collections::HashMap;

use crate::{
    app::App,
    clock::{SharedClock, millis},
    config::Algorithm,
    matrix::{
        medium::Mediums,
        threepid::{LookupHash, decode_hash},
    },
    secret,
    store::{Store, StoreError, Tx, associations, peer_associations, peppers},
};

/// The length of a pepper in characters: more than a table made beforehand could cover.
const PEPPER_LENGTH: usize = 32;

/// Why a lookup wasn't answered.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The hashes were made with another pepper.
    #[error("the pepper is not the current one")]
    InvalidPepper {
        /// The one to use.
        current: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The pepper to hash with.
///
/// # Errors
/// When the database fails.
pub async fn current_pepper(app: &App) -> Result<String, StoreError> {
    let pepper = app.store.read(peppers::current).await?;
    Ok(pepper.ok_or(StoreError::NoPepper)?.pepper)
}

/// The user ids of those `addresses` that are known, by the texts that were asked for. What is
/// malformed matches nothing.
///
/// # Errors
/// When `pepper` isn't the current one.
pub async fn lookup(
    app: &App,
    algorithm: Algorithm,
    pepper: String,
    addresses: Vec<String>,
) -> Result<HashMap<String, String>, LookupError> {
    let (now_ms, mediums) = (app.clock.now_ms(), app.mediums.clone());
    let origins = app.believed_origins();
    app.store
        .read(move |tx| {
            let current = peppers::current(tx)?.ok_or(StoreError::NoPepper)?;
            if current.pepper != pepper {
                return Err(LookupError::InvalidPepper { current: current.pepper });
            }
            // Several texts can mean one address: `none` with different case.
            let asked: Vec<(LookupHash, String)> = addresses
                .into_iter()
                .filter_map(|text| Some((hash_of(&mediums, algorithm, &text, &pepper)?, text)))
                .collect();
            let hashes: Vec<LookupHash> = asked.iter().map(|(hash, _)| *hash).collect();
            let found = find(tx, (&origins, current.id), &hashes, now_ms)?;
            Ok(asked
                .into_iter()
                .filter_map(|(hash, text)| Some((text, found.get(&hash)?.clone())))
                .collect())
        })
        .await
}

/// Who is behind `hashes`, made with the pepper `pepper_id`: by what was bound here, and else by
/// what the neighbours `origins` say.
fn find(
    tx: &mut Tx<'_>,
    (origins, pepper_id): (&[String], i64),
    hashes: &[LookupHash],
    now_ms: i64,
) -> Result<HashMap<LookupHash, String>, StoreError> {
    let mut found: HashMap<LookupHash, String> = HashMap::new();
    if !origins.is_empty() {
        let by = (origins, pepper_id);
        found.extend(peer_associations::mxids_of_hashes(tx, by, hashes, now_ms)?);
    }
    found.extend(associations::mxids_of_hashes(tx, pepper_id, hashes, now_ms)?);
    Ok(found)
}

/// The hash that a queried text stands for.
fn hash_of(
    mediums: &Mediums,
    algorithm: Algorithm,
    text: &str,
    pepper: &str,
) -> Option<LookupHash> {
    match algorithm {
        Algorithm::Sha256 => decode_hash(text),
        Algorithm::None => {
            let (address, medium) = text.rsplit_once(' ')?;
            Some(mediums.threepid(medium, address).ok()?.lookup_hash(pepper))
        }
    }
}

/// Makes the first pepper, unless there is one.
///
/// # Errors
/// When the database fails.
pub async fn make_first_pepper(store: &Store, clock: &SharedClock) -> Result<bool, StoreError> {
    replace_pepper(store, clock, i64::MIN).await
}

/// Replaces a pepper that is older than the configured age; answers whether it did.
///
/// # Errors
/// When the database fails.
pub async fn rotate_pepper(app: &App) -> Result<bool, StoreError> {
    let Some(age) = app.config.lookup.pepper_rotation else { return Ok(false) };
    let before_ms = app.clock.now_ms() - millis(age);
    let current = app.store.read(peppers::current).await?;
    // Looked at first: the replacement itself keeps everybody who binds waiting.
    if current.is_some_and(|pepper| pepper.created_at > before_ms) {
        return Ok(false);
    }
    replace_pepper(&app.store, &app.clock, before_ms).await
}

async fn replace_pepper(
    store: &Store,
    clock: &SharedClock,
    before_ms: i64,
) -> Result<bool, StoreError> {
    let (fresh, now_ms) = (secret::random_alphanumeric(PEPPER_LENGTH), clock.now_ms());
    store.write(move |tx| peppers::replace_older(tx, before_ms, &fresh, now_ms)).await
}
