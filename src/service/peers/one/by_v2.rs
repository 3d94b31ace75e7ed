//! Asking a peer by API v2: it learns the hashes of addresses, made with its own pepper, and so no
//! address that it doesn't know.

use std::{collections::HashMap, time::Duration};

use super::super::{AskError, Found, Item};
use crate::{
    app::{
        App,
        peers::{Known, Peer, Unaccepted},
    },
    clock::millis,
    federation::{FederationError, HashedQuery, PeerAddress, PeerError, PeerPolicy},
    matrix::threepid::{LookupHash, encode_hash},
    service::openid,
    store::peer_terms,
};

/// The one algorithm by which a peer is asked.
const ALGORITHM: &str = "sha256";

/// The most addresses in one request.
const BATCH: usize = 1000;

/// How long terms are taken for what a peer wants accepted.
const TERMS_LIFETIME: Duration = Duration::from_hours(1);

/// What was renewed already: what fails again after that has failed.
#[derive(Default)]
struct Renewed {
    token: bool,
    pepper: bool,
    terms: bool,
}

/// Whose the addresses are, as far as the peer knows.
pub(super) async fn lookup(
    app: &App,
    address: &PeerAddress,
    peer: &Peer,
    items: &[Item],
) -> Result<Vec<Found>, AskError> {
    wants_nothing_accepted(app, address, peer).await?;
    let mut renewed = Renewed::default();
    loop {
        match attempt(app, address, peer, items).await {
            Err(AskError::Peer(error)) => {
                renew(app, address, peer, (error, &mut renewed)).await?;
            }
            answered => return answered,
        }
    }
}

async fn attempt(
    app: &App,
    address: &PeerAddress,
    peer: &Peer,
    items: &[Item],
) -> Result<Vec<Found>, AskError> {
    let (token, pepper) = introduced(app, address, peer).await?;
    let mut found = Vec::new();
    for chunk in items.chunks(BATCH) {
        let hash = |(ours, threepid): &Item| (encode_hash(&threepid.lookup_hash(&pepper)), *ours);
        let ours: HashMap<String, LookupHash> = chunk.iter().map(hash).collect();
        let addresses: Vec<String> = ours.keys().cloned().collect();
        let query = HashedQuery { algorithm: ALGORITHM, pepper: &pepper, addresses: &addresses };
        let mappings = app.federation.lookup_v2(address, &token, query).await?;
        let known = |(hash, mxid)| Some((*ours.get(&hash)?, Known { mxid, proof: None }));
        found.extend(mappings.into_iter().filter_map(known));
    }
    Ok(found)
}

/// Our access token at the peer, and its pepper.
async fn introduced(
    app: &App,
    address: &PeerAddress,
    peer: &Peer,
) -> Result<(String, String), AskError> {
    let mut dealings = peer.dealings.lock().await;
    let token = if let Some(token) = dealings.token.clone() {
        token
    } else {
        let openid = openid::mint(app, address).await?;
        let registered = app.federation.register(address, &openid).await;
        let token = registered.map_err(registration_failed)?;
        dealings.token.insert(token).clone()
    };
    let pepper = if let Some(pepper) = dealings.pepper.clone() {
        pepper
    } else {
        let details = app.federation.hash_details(address, &token).await?;
        if !details.algorithms.iter().any(|algorithm| algorithm == ALGORITHM) {
            return Err(PeerError::from(FederationError::Malformed).into());
        }
        dealings.pepper.insert(details.lookup_pepper).clone()
    };
    Ok((token, pepper))
}

/// A peer that lets nobody in, or not this server, refuses for good; others may be well again soon.
fn registration_failed(error: PeerError) -> AskError {
    match error {
        PeerError::Unauthorized | PeerError::Refused(400..=499) => AskError::RefusesV2(error),
        error => error.into(),
    }
}

/// Renews what the peer no longer takes, once each.
async fn renew(
    app: &App,
    address: &PeerAddress,
    peer: &Peer,
    (error, renewed): (PeerError, &mut Renewed),
) -> Result<(), AskError> {
    let once = |renewed: &mut bool| !std::mem::replace(renewed, true);
    match error {
        PeerError::Unauthorized if once(&mut renewed.token) => {
            peer.dealings.lock().await.token = None;
        }
        PeerError::InvalidPepper { lookup_pepper, algorithm } if once(&mut renewed.pepper) => {
            // Where it names another algorithm, the pepper may go with that.
            let fits = algorithm.is_none_or(|algorithm| algorithm == ALGORITHM);
            peer.dealings.lock().await.pepper = lookup_pepper.filter(|_| fits);
        }
        PeerError::TermsNotSigned if once(&mut renewed.terms) => accept(app, address, peer).await?,
        PeerError::Unauthorized | PeerError::Refused(403) => {
            return Err(AskError::RefusesV2(error));
        }
        error => return Err(error.into()),
    }
    Ok(())
}

/// Accepts the terms of the peer, if the operator has accepted them.
async fn accept(app: &App, address: &PeerAddress, peer: &Peer) -> Result<(), AskError> {
    let policies = app.federation.terms(address).await?;
    let Some(urls) = accepted(app, address, &policies).await? else {
        tracing::warn!(
            peer = address.as_str(),
            "a peer wants its terms accepted; `bindery peers terms {} --accept` does",
            address.as_str()
        );
        let until_ms = app.clock.now_ms().saturating_add(millis(TERMS_LIFETIME));
        peer.dealings.lock().await.unaccepted = Some(Unaccepted { policies, until_ms });
        return Err(PeerError::TermsNotSigned.into());
    };
    let token = peer.dealings.lock().await.token.clone().ok_or(PeerError::Unauthorized)?;
    Ok(app.federation.accept_terms(address, &token, &urls).await?)
}

/// Fails while the operator hasn't accepted what the peer wanted a while ago: it would say no more
/// than that again.
async fn wants_nothing_accepted(
    app: &App,
    address: &PeerAddress,
    peer: &Peer,
) -> Result<(), AskError> {
    let unaccepted = peer.dealings.lock().await.unaccepted.clone();
    let Some(Unaccepted { policies, until_ms }) = unaccepted else { return Ok(()) };
    let is_still_so = app.clock.now_ms() < until_ms;
    if is_still_so && accepted(app, address, &policies).await?.is_none() {
        return Err(PeerError::TermsNotSigned.into());
    }
    peer.dealings.lock().await.unaccepted = None;
    Ok(())
}

/// A text of each of the policies that the operator has accepted; `None` if there is one without.
async fn accepted(
    app: &App,
    address: &PeerAddress,
    policies: &[PeerPolicy],
) -> Result<Option<Vec<String>>, AskError> {
    let name = address.as_str().to_owned();
    let accepted = app.store.read(move |tx| peer_terms::accepted(tx, &name)).await?;
    let url = |policy: &PeerPolicy| {
        let mut urls = policy.texts.iter().map(|(.., url)| url);
        urls.find(|url| accepted.contains(*url)).cloned()
    };
    Ok(policies.iter().map(url).collect())
}
