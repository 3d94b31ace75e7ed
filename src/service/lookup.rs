//! Hashes to user ids.

mod memory;

use std::{collections::HashMap, ops::Range, sync::Arc};

use self::memory::Kept;
use crate::{
    app::{
        App,
        index::{Generation, State},
    },
    config::Algorithm,
    matrix::{
        id::UserId,
        json::{NotCanonical, Object},
        medium::Mediums,
        threepid::{LookupHash, ThreePid, decode_hash},
    },
    service::{directory, openid, peers},
    store::{
        StoreError, Tx, associations, directory_people, peer_associations,
        peppers::{self, Stage},
        standing::Sources,
    },
};

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
    if let Some(generation) = in_memory(app).await? {
        return Ok(generation.pepper.clone());
    }
    let pepper = app.store.read(peppers::current).await?;
    Ok(pepper.ok_or(StoreError::NoPepper)?.pepper)
}

/// Whether requests can be served as they should be: the database is there, and the index is
/// complete or has been, if there is to be one.
///
/// # Errors
/// When the database fails.
pub async fn is_ready(app: &App) -> Result<bool, StoreError> {
    let pepper = app.store.read(peppers::current).await?;
    pepper.ok_or(StoreError::NoPepper)?;
    Ok(!app.index.is_yet_to_come())
}

/// The index under the current pepper, where memory may be believed.
async fn in_memory(app: &App) -> Result<Option<Arc<Generation>>, StoreError> {
    if !app.freshness.holds() {
        return Ok(None);
    }
    let State { current, next, is_switching } = app.index.state();
    if !is_switching {
        return Ok(current);
    }
    let pepper = app.store.read(peppers::current).await?.ok_or(StoreError::NoPepper)?;
    let mut generations = current.into_iter().chain(next);
    Ok(generations.find(|generation| generation.pepper_id == pepper.id))
}

/// Who was found.
#[derive(Debug, Default)]
pub struct Mappings {
    /// By the positions of the texts that were asked for, where the user ids are in `mxids`.
    found: Vec<(usize, Range<usize>)>,
    mxids: String,
}

impl Mappings {
    /// Positions of the texts that were asked for, and user ids.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &str)> {
        let mxid = |range: &Range<usize>| self.mxids.get(range.clone()).unwrap_or_default();
        self.found.iter().map(move |(position, range)| (*position, mxid(range)))
    }

    fn add(&mut self, position: usize, mxid: &str) {
        let start = self.mxids.len();
        self.mxids.push_str(mxid);
        self.found.push((position, start..self.mxids.len()));
    }
}

/// What somebody looks up.
struct Asked {
    /// Where the text stood.
    position: usize,
    hash: LookupHash,
    /// Where it was sent in plain.
    threepid: Option<ThreePid>,
}

/// What is looked up: texts that all name addresses the same way.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a, T> {
    /// How they name them.
    pub algorithm: Algorithm,
    /// What they were hashed with.
    pub pepper: &'a str,
    /// The texts.
    pub addresses: &'a [T],
}

impl<T: AsRef<str>> Query<'_, T> {
    fn text(&self, position: usize) -> &str {
        self.addresses.get(position).map_or("", AsRef::as_ref)
    }

    /// What the text at `position` stands for; what is malformed stands for nothing.
    fn asked(&self, mediums: &Mediums, position: usize) -> Option<Asked> {
        let text = self.text(position);
        match self.algorithm {
            Algorithm::Sha256 => Some(Asked { position, hash: decode_hash(text)?, threepid: None }),
            Algorithm::None => {
                let (address, medium) = text.rsplit_once(' ')?;
                let threepid = mediums.threepid_anywhere(medium, address).ok()?;
                let hash = threepid.lookup_hash(self.pepper);
                Some(Asked { position, hash, threepid: Some(threepid) })
            }
        }
    }
}

/// The user ids of those addresses that are known. What is malformed matches nothing. What came in
/// plain and isn't bound here is asked of directories, and what they don't know of peers, unless it is
/// a peer that asks; of hashes only what is in a copy of a directory and what peers said a while ago
/// can be told.
///
/// # Errors
/// When the pepper isn't the current one.
pub async fn lookup<T: AsRef<str>>(
    app: &App,
    caller: &UserId,
    query: Query<'_, T>,
) -> Result<Mappings, LookupError> {
    let mut mappings = Mappings::default();
    let mut unknown = Vec::new();
    let asked = match in_memory(app).await? {
        Some(generation) if generation.pepper != query.pepper => {
            return Err(LookupError::InvalidPepper { current: generation.pepper.clone() });
        }
        // Directories go before some of what is in memory.
        Some(_) if query.algorithm == Algorithm::None => Some(query.all_asked(&app.mediums).await),
        Some(generation) => {
            let kept =
                Kept { generation: &generation, asks_peers: asks_peers(app, caller, &query) };
            kept.lookup(app, &query, &mut mappings, &mut unknown).await
        }
        None => Some(query.all_asked(&app.mediums).await),
    };
    if let Some(asked) = asked {
        unknown.extend(from_database(app, query.pepper, asked, &mut mappings).await?);
    }
    if !unknown.is_empty() && asks_peers(app, caller, &query) {
        let elsewhere = known_elsewhere(app, &unknown).await?;
        for asked in &unknown {
            if let Some(mxid) = elsewhere.get(&asked.hash) {
                mappings.add(asked.position, mxid);
            }
        }
    }
    Ok(mappings)
}

/// Whether peers may know what is unknown here.
fn asks_peers<T>(app: &App, caller: &UserId, query: &Query<'_, T>) -> bool {
    let may_know = query.algorithm == Algorithm::None || !app.peers.answers.is_empty();
    may_know && !openid::is_peer(caller)
}

/// How many addresses are looked up without letting other requests have their turn.
const SLICE: usize = 1000;

impl<T: AsRef<str>> Query<'_, T> {
    /// What all texts stand for.
    async fn all_asked(&self, mediums: &Mediums) -> Vec<Asked> {
        let mut all = Vec::with_capacity(self.addresses.len());
        for slice in slices(self.addresses.len()) {
            all.extend(slice.filter_map(|position| self.asked(mediums, position)));
            tokio::task::yield_now().await;
        }
        all
    }
}

/// The positions of `count` texts, some at a time.
fn slices(count: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count).step_by(SLICE).map(move |start| start..count.min(start + SLICE))
}

/// Adds those of `asked` that the database knows to `mappings`, and of those that came in plain
/// those that directories know; answers the others.
async fn from_database(
    app: &App,
    pepper: &str,
    asked: Vec<Asked>,
    mappings: &mut Mappings,
) -> Result<Vec<Asked>, LookupError> {
    let (now_ms, hashes) = (app.clock.now_ms(), asked.iter().map(|asked| asked.hash).collect());
    let search = Search { hashes, pepper: pepper.to_owned(), believed: app.believed(), now_ms };
    let search = Arc::new(search);
    let recent = search.clone();
    let mut answer = app.store.read_recent(move |tx| recent.run(tx)).await?;
    if answer.is_switching {
        // A replica may not have heard yet which pepper is current.
        answer = app.store.read(move |tx| search.run(tx)).await?;
    }
    let mut known = answer.known?;
    let in_plain = asked.iter().filter_map(|asked| Some((asked.hash, asked.threepid.clone()?)));
    known.ask_directories(app, in_plain).await;
    let (found, mut unknown) = (known.all(), Vec::new());
    for asked in asked {
        match found.get(&asked.hash) {
            Some(mxid) => mappings.add(asked.position, mxid),
            None => unknown.push(asked),
        }
    }
    Ok(unknown)
}

/// What the database is asked for.
struct Search {
    hashes: Vec<LookupHash>,
    pepper: String,
    believed: Sources,
    now_ms: i64,
}

/// What the database says.
struct Found {
    known: Result<Known, LookupError>,
    /// Whether another pepper is about to become the current one.
    is_switching: bool,
}

impl Search {
    fn run(&self, tx: &mut Tx<'_>) -> Result<Found, StoreError> {
        let current = peppers::current(tx)?.ok_or(StoreError::NoPepper)?;
        let is_switching = peppers::next(tx)?.is_some_and(|next| next.stage == Stage::Announced);
        let known = if current.pepper == self.pepper {
            Ok(known_here(tx, (&self.believed, current.id), &self.hashes, self.now_ms)?)
        } else {
            Err(LookupError::InvalidPepper { current: current.pepper })
        };
        Ok(Found { known, is_switching })
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
    (believed, pepper_id): (&Sources, i64),
    hashes: &[LookupHash],
    now_ms: i64,
) -> Result<Known, StoreError> {
    let Sources { origins, directories } = believed;
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
    unknown: &[Asked],
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
    let (now_ms, believed) = (app.clock.now_ms(), app.believed());
    let (of_hash, mut known) = app
        .store
        .read_recent::<_, StoreError>(move |tx| {
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
        .read_recent::<_, StoreError>(move |tx| {
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
