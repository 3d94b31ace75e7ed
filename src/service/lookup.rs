//! Hashes to user ids, and the pepper that they are made with.

use std::collections::HashMap;

use crate::{
    app::{App, peers::Said},
    clock::{SharedClock, millis},
    config::Algorithm,
    matrix::{
        id::UserId,
        json::{NotCanonical, Object},
        medium::Mediums,
        threepid::{LookupHash, ThreePid, decode_hash},
    },
    secret,
    service::{openid, peers},
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

/// What somebody looks up.
struct Asked {
    /// As it was sent.
    text: String,
    hash: LookupHash,
    /// Where it was sent in plain.
    threepid: Option<ThreePid>,
}

impl Asked {
    /// What a queried text stands for; what is malformed stands for nothing.
    fn of(mediums: &Mediums, algorithm: Algorithm, text: String, pepper: &str) -> Option<Self> {
        match algorithm {
            Algorithm::Sha256 => Some(Self { hash: decode_hash(&text)?, text, threepid: None }),
            Algorithm::None => {
                let (address, medium) = text.rsplit_once(' ')?;
                let threepid = mediums.threepid_anywhere(medium, address).ok()?;
                Some(Self { hash: threepid.lookup_hash(pepper), text, threepid: Some(threepid) })
            }
        }
    }
}

/// The user ids of those `addresses` that are known, by the texts that were asked for. What is
/// malformed matches nothing. What is unknown here is asked of peers where it came in plain, unless
/// it is a peer that asks; of hashes only what peers said a while ago can be told.
///
/// # Errors
/// When `pepper` isn't the current one.
pub async fn lookup(
    app: &App,
    caller: &UserId,
    (algorithm, pepper): (Algorithm, String),
    addresses: Vec<String>,
) -> Result<HashMap<String, String>, LookupError> {
    let (now_ms, mediums) = (app.clock.now_ms(), app.mediums.clone());
    let origins = app.believed_origins();
    let (asked, mut found) = app
        .store
        .read_recent(move |tx| {
            let current = peppers::current(tx)?.ok_or(StoreError::NoPepper)?;
            if current.pepper != pepper {
                return Err(LookupError::InvalidPepper { current: current.pepper });
            }
            // Several texts can mean one address: `none` with different case.
            let asked: Vec<Asked> = addresses
                .into_iter()
                .filter_map(|text| Asked::of(&mediums, algorithm, text, &pepper))
                .collect();
            let hashes: Vec<LookupHash> = asked.iter().map(|asked| asked.hash).collect();
            let found = known_here(tx, (&origins, current.id), &hashes, now_ms)?;
            Ok((asked, found))
        })
        .await?;
    if !openid::is_peer(caller) {
        let unknown: Vec<&Asked> =
            asked.iter().filter(|asked| !found.contains_key(&asked.hash)).collect();
        let elsewhere = known_elsewhere(app, &unknown).await?;
        found.extend(elsewhere);
    }
    let mapping = |asked: Asked| Some((asked.text, found.get(&asked.hash)?.clone()));
    Ok(asked.into_iter().filter_map(mapping).collect())
}

/// Who is behind `hashes`, made with the pepper `pepper_id`: by what was bound here, and else by
/// what the neighbours `origins` say.
fn known_here(
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

/// The user ids of what is unknown here, as far as peers say or said.
async fn known_elsewhere(
    app: &App,
    unknown: &[&Asked],
) -> Result<HashMap<LookupHash, String>, StoreError> {
    let in_plain = unknown.iter().filter_map(|asked| asked.threepid.clone());
    let said = peers::ask(app, in_plain).await?;
    let mxid = |asked: &Asked| match &asked.threepid {
        Some(threepid) => said.get(threepid).cloned(),
        None => match app.peers.answers.get(&asked.hash) {
            Some(Said::Found(mxid)) => Some(mxid),
            Some(Said::Nobody | Said::Unsure) | None => None,
        },
    };
    Ok(unknown.iter().filter_map(|asked| Some((asked.hash, mxid(asked)?.into()))).collect())
}

/// The user ids of those of `threepids` that are known here. Peers are not asked.
///
/// # Errors
/// When the database fails.
pub async fn mxids(
    app: &App,
    threepids: Vec<ThreePid>,
) -> Result<HashMap<ThreePid, String>, StoreError> {
    let (now_ms, origins) = (app.clock.now_ms(), app.believed_origins());
    app.store
        .read_recent(move |tx| {
            let current = peppers::current(tx)?.ok_or(StoreError::NoPepper)?;
            let hash = |threepid: ThreePid| (threepid.lookup_hash(&current.pepper), threepid);
            let of_hash: HashMap<LookupHash, ThreePid> = threepids.into_iter().map(hash).collect();
            let hashes: Vec<LookupHash> = of_hash.keys().copied().collect();
            let found = known_here(tx, (&origins, current.id), &hashes, now_ms)?;
            let of_threepid = |(hash, mxid)| Some((of_hash.get(&hash)?.clone(), mxid));
            Ok(found.into_iter().filter_map(of_threepid).collect())
        })
        .await
}

/// Why no association was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignedError {
    /// It can't be signed.
    #[error("the association can't be signed")]
    Sign(#[from] NotCanonical),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The association of `threepid`, if it is known here, signed. Peers are not asked.
///
/// # Errors
/// When the database fails.
pub async fn signed(app: &App, threepid: ThreePid) -> Result<Option<Object>, SignedError> {
    let (now_ms, origins) = (app.clock.now_ms(), app.believed_origins());
    let (own, theirs) = app
        .store
        .read_recent::<_, StoreError>(move |tx| {
            let own = associations::find(tx, &threepid, now_ms)?;
            let theirs = peer_associations::find(tx, &origins, &threepid, now_ms)?;
            Ok((own, theirs))
        })
        .await?;
    let Some(association) = own else {
        // As the neighbour signed it: what was not bound here is never signed here.
        let signed = theirs.and_then(|theirs| theirs.signed);
        return Ok(signed.and_then(|signed| serde_json::from_str(&signed).ok()));
    };
    let mut signed = association.to_json();
    app.keys.signing().sign(&app.config.server.name, &mut signed)?;
    Ok(Some(signed))
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
