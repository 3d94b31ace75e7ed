//! Hashes to user ids.

use std::{collections::HashMap, ops::Range, sync::Arc};

use crate::{
    app::{
        App,
        index::{Generation, Hit, Phase, State},
        peers::Said,
    },
    config::Algorithm,
    index::{self, Key},
    matrix::{
        id::UserId,
        json::{NotCanonical, Object},
        medium::Mediums,
        threepid::{LookupHash, ThreePid, decode_beginning, decode_hash},
    },
    service::{openid, peers},
    store::{StoreError, Tx, associations, peer_associations, peppers},
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
/// complete, if there is to be one.
///
/// # Errors
/// When the database fails.
pub async fn is_ready(app: &App) -> Result<bool, StoreError> {
    let pepper = app.store.read(peppers::current).await?;
    pepper.ok_or(StoreError::NoPepper)?;
    Ok(app.index.phase() != Phase::Building)
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

/// The user ids of those addresses that are known. What is malformed matches nothing. What is
/// unknown here is asked of peers where it came in plain, unless it is a peer that asks; of hashes
/// only what peers said a while ago can be told.
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

    /// The beginnings of the hashes that stand at `positions`.
    fn keys(&self, mediums: &Mediums, positions: Range<usize>) -> Vec<(usize, Key)> {
        let key = |position| {
            let key = match self.algorithm {
                Algorithm::Sha256 => decode_beginning(self.text(position))?,
                Algorithm::None => index::key(&self.asked(mediums, position)?.hash),
            };
            Some((position, key))
        };
        positions.filter_map(key).collect()
    }
}

/// The positions of `count` texts, some at a time.
fn slices(count: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count).step_by(SLICE).map(move |start| start..count.min(start + SLICE))
}

/// A lookup in memory.
struct Kept<'a> {
    generation: &'a Generation,
    /// Whether it matters what is unknown.
    asks_peers: bool,
}

impl Kept<'_> {
    /// Adds who is found to `mappings`, and who isn't to `unknown`; answers for what the database
    /// has to be asked, if anything.
    async fn lookup<T: AsRef<str>>(
        &self,
        app: &App,
        query: &Query<'_, T>,
        mappings: &mut Mappings,
        unknown: &mut Vec<Asked>,
    ) -> Option<Vec<Asked>> {
        let mut asked = Vec::new();
        for slice in slices(query.addresses.len()) {
            if slice.start > 0 {
                tokio::task::yield_now().await;
            }
            let keys = query.keys(&app.mediums, slice.clone());
            let hits = self.generation.find_all(&keys, &mut mappings.mxids);
            if self.asks_peers {
                let is_hit = |position| hits.binary_search_by_key(&position, |hit| hit.0).is_ok();
                let missed = slice.filter(|position| !is_hit(*position));
                unknown.extend(missed.filter_map(|position| query.asked(&app.mediums, position)));
            }
            for (position, hit) in hits {
                // Only its beginning was looked at.
                let Some(hash) = query.asked(&app.mediums, position) else { continue };
                match hit {
                    Hit::User(range) => mappings.found.push((position, range)),
                    Hit::Ask => asked.push(hash),
                }
            }
        }
        (!asked.is_empty()).then_some(asked)
    }
}

/// Adds those of `asked` that the database knows to `mappings`; answers the others.
async fn from_database(
    app: &App,
    pepper: &str,
    asked: Vec<Asked>,
    mappings: &mut Mappings,
) -> Result<Vec<Asked>, LookupError> {
    let (now_ms, pepper, origins) = (app.clock.now_ms(), pepper.to_owned(), app.believed_origins());
    let (asked, found) = app
        .store
        .read(move |tx| {
            let current = peppers::current(tx)?.ok_or(StoreError::NoPepper)?;
            if current.pepper != pepper {
                return Err(LookupError::InvalidPepper { current: current.pepper });
            }
            let hashes: Vec<LookupHash> = asked.iter().map(|asked| asked.hash).collect();
            let found = known_here(tx, (&origins, current.id), &hashes, now_ms)?;
            Ok((asked, found))
        })
        .await?;
    let mut unknown = Vec::new();
    for asked in asked {
        match found.get(&asked.hash) {
            Some(mxid) => mappings.add(asked.position, mxid),
            None => unknown.push(asked),
        }
    }
    Ok(unknown)
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
    unknown: &[Asked],
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
        .read(move |tx| {
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
        .read::<_, StoreError>(move |tx| {
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
