//! Hashes to user ids, and the pepper that they are made with.

use std::collections::HashMap;

use crate::{
    app::App,
    clock::{SharedClock, millis},
    config::Algorithm,
    matrix::{
        id::UserId,
        json::{NotCanonical, Object},
        medium::Mediums,
        threepid::{LookupHash, ThreePid, decode_hash},
    },
    secret,
    service::{directory, openid, peers},
    store::{Store, StoreError, Tx, associations, directory_people, peer_associations, peppers},
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
/// malformed matches nothing. What came in plain and isn't bound here is asked of directories, and
/// what they don't know of peers, unless it is a peer that asks; of hashes only what is in a copy of a
/// directory and what peers said a while ago can be told.
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
    let believed = Believed::of(app);
    let (asked, mut known) = app
        .store
        .read(move |tx| {
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
            let known = known_here(tx, (&believed, current.id), &hashes, now_ms)?;
            Ok((asked, known))
        })
        .await?;
    let in_plain = asked.iter().filter_map(|asked| Some((asked.hash, asked.threepid.clone()?)));
    known.ask_directories(app, in_plain).await;
    let mut found = known.all();
    if !openid::is_peer(caller) {
        let unknown: Vec<&Asked> =
            asked.iter().filter(|asked| !found.contains_key(&asked.hash)).collect();
        let elsewhere = known_elsewhere(app, &unknown).await?;
        found.extend(elsewhere);
    }
    let mapping = |asked: Asked| Some((asked.text, found.get(&asked.hash)?.clone()));
    Ok(asked.into_iter().filter_map(mapping).collect())
}

/// Who is believed beside what was bound here.
struct Believed {
    /// Neighbours.
    origins: Vec<String>,
    /// Directories of which there are copies.
    directories: Vec<String>,
}

impl Believed {
    fn of(app: &App) -> Self {
        Self { origins: app.believed_origins(), directories: app.copied_directories() }
    }
}

/// What is known here without asking anybody.
struct Known {
    /// By what was bound here.
    bound: HashMap<LookupHash, String>,
    /// By what directories and neighbours say.
    said: HashMap<LookupHash, String>,
}

impl Known {
    /// Asks directories themselves about addresses that aren't bound here.
    async fn ask_directories(
        &mut self,
        app: &App,
        in_plain: impl Iterator<Item = (LookupHash, ThreePid)>,
    ) {
        let asked: HashMap<ThreePid, LookupHash> = in_plain
            .filter(|(hash, _)| !self.bound.contains_key(hash))
            .map(|(hash, threepid)| (threepid, hash))
            .collect();
        let threepids: Vec<ThreePid> = asked.keys().cloned().collect();
        let found = directory::find(app, &threepids).await.into_iter();
        let found =
            found.filter_map(|(threepid, mxid)| Some((*asked.get(&threepid)?, mxid.into())));
        self.said.extend(found);
    }

    /// What was bound here goes before what others say.
    fn all(self) -> HashMap<LookupHash, String> {
        let mut all = self.said;
        all.extend(self.bound);
        all
    }
}

/// Who is behind `hashes`, made with the pepper `pepper_id`: by what was bound here, by the copies of
/// directories, and by what neighbours say.
fn known_here(
    tx: &mut Tx<'_>,
    (believed, pepper_id): (&Believed, i64),
    hashes: &[LookupHash],
    now_ms: i64,
) -> Result<Known, StoreError> {
    let Believed { origins, directories } = believed;
    let mut said: HashMap<LookupHash, String> = HashMap::new();
    if !origins.is_empty() {
        let by = (origins.as_slice(), pepper_id);
        said.extend(peer_associations::mxids_of_hashes(tx, by, hashes, now_ms)?);
    }
    said.extend(directory_people::mxids_of_hashes(tx, (directories, pepper_id), hashes)?);
    let bound = associations::mxids_of_hashes(tx, pepper_id, hashes, now_ms)?;
    Ok(Known { bound: bound.into_iter().collect(), said })
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
        None => Some(app.peers.answers.known(&asked.hash)?.mxid),
    };
    Ok(unknown.iter().filter_map(|asked| Some((asked.hash, mxid(asked)?.into()))).collect())
}

/// The user ids of those of `threepids` that are known here or in a directory, or that a peer named a
/// while ago. Peers are not asked.
///
/// # Errors
/// When the database fails.
pub async fn mxids(
    app: &App,
    threepids: Vec<ThreePid>,
) -> Result<HashMap<ThreePid, String>, StoreError> {
    let (now_ms, believed) = (app.clock.now_ms(), Believed::of(app));
    let (of_hash, mut known) = app
        .store
        .read::<_, StoreError>(move |tx| {
            let current = peppers::current(tx)?.ok_or(StoreError::NoPepper)?;
            let hash = |threepid: ThreePid| (threepid.lookup_hash(&current.pepper), threepid);
            let of_hash: HashMap<LookupHash, ThreePid> = threepids.into_iter().map(hash).collect();
            let hashes: Vec<LookupHash> = of_hash.keys().copied().collect();
            let known = known_here(tx, (&believed, current.id), &hashes, now_ms)?;
            Ok((of_hash, known))
        })
        .await?;
    known.ask_directories(app, of_hash.iter().map(|(hash, of)| (*hash, of.clone()))).await;
    let mut found = known.all();
    let mut mxid = |hash: &LookupHash| {
        let of_peer = || Some(app.peers.answers.known(hash)?.mxid.into());
        found.remove(hash).or_else(of_peer)
    };
    Ok(of_hash.into_iter().filter_map(|(hash, threepid)| Some((threepid, mxid(&hash)?))).collect())
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

/// The association of `threepid`, if it is known here, signed; else what a peer has signed and shown a
/// while ago. Peers are not asked.
///
/// # Errors
/// When the database fails.
pub async fn signed(app: &App, threepid: ThreePid) -> Result<Option<Object>, SignedError> {
    let (now_ms, origins) = (app.clock.now_ms(), app.believed_origins());
    let (own, theirs, hash) = app
        .store
        .read::<_, StoreError>(move |tx| {
            let own = associations::find(tx, &threepid, now_ms)?;
            let theirs = peer_associations::find(tx, &origins, &threepid, now_ms)?;
            let current = peppers::current(tx)?.ok_or(StoreError::NoPepper)?;
            Ok((own, theirs, threepid.lookup_hash(&current.pepper)))
        })
        .await?;
    let Some(association) = own else {
        // As its origin signed it: what was not bound here is never signed here.
        return Ok(match theirs {
            Some(theirs) => theirs.signed.and_then(|signed| serde_json::from_str(&signed).ok()),
            None => app.peers.answers.known(&hash).and_then(|known| known.proof?.association()),
        });
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
