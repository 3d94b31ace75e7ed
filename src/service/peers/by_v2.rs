//! Asking a peer by API v2: it learns the hashes of addresses, made with its own pepper, and so no
//! address that it doesn't know.

use std::collections::HashMap;

use super::{AskError, Item};
use crate::{
    app::{App, peers::Peer},
    federation::{FederationError, HashedQuery, PeerAddress, PeerError},
    matrix::{
        id::UserId,
        threepid::{LookupHash, encode_hash},
    },
    service::openid,
    store::peer_terms,
};

/// The one algorithm by which a peer is asked.
const ALGORITHM: &str = "sha256";

/// The most addresses in one request.
const BATCH: usize = 1000;

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
) -> Result<Vec<(LookupHash, UserId)>, AskError> {
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
) -> Result<Vec<(LookupHash, UserId)>, AskError> {
    let (token, pepper) = introduced(app, address, peer).await?;
    let mut found = Vec::new();
    for chunk in items.chunks(BATCH) {
        let hash = |(ours, threepid): &Item| (encode_hash(&threepid.lookup_hash(&pepper)), *ours);
        let ours: HashMap<String, LookupHash> = chunk.iter().map(hash).collect();
        let addresses: Vec<String> = ours.keys().cloned().collect();
        let query = HashedQuery { algorithm: ALGORITHM, pepper: &pepper, addresses: &addresses };
        let mappings = app.federation.lookup_v2(address, &token, query).await?;
        let known = |(hash, mxid)| Some((*ours.get(&hash)?, mxid));
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
        let token = app.federation.register(address, &openid).await?;
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
        error => return Err(error.into()),
    }
    Ok(())
}

/// Accepts the terms of the peer, if the operator has accepted them.
async fn accept(app: &App, address: &PeerAddress, peer: &Peer) -> Result<(), AskError> {
    let name = address.as_str().to_owned();
    let accepted = app.store.read(move |tx| peer_terms::accepted(tx, &name)).await?;
    let policies = app.federation.terms(address).await?;
    let mut urls = Vec::new();
    for policy in policies {
        let Some((.., url)) = policy.texts.into_iter().find(|(.., url)| accepted.contains(url))
        else {
            tracing::warn!(
                peer = address.as_str(),
                policy = policy.id,
                "a peer wants its terms accepted; `bindery peers terms {} --accept` does",
                address.as_str()
            );
            return Err(PeerError::TermsNotSigned.into());
        };
        urls.push(url);
    }
    let token = peer.dealings.lock().await.token.clone().ok_or(PeerError::Unauthorized)?;
    Ok(app.federation.accept_terms(address, &token, &urls).await?)
}
