//! Asking a peer by API v1, where it knows no other: it learns the addresses in plain, and its
//! answers count as far as they are signed.

use std::collections::HashMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use super::super::{Found, Item};
use crate::{
    app::{
        App,
        peers::{Known, Proof},
    },
    federation::{FederationError, PeerAddress, PeerError, PeerThreepid},
    matrix::{id::ServerName, json::Object, signing::verifies},
};

/// The most addresses in one request.
const BATCH: usize = 1000;

/// So few addresses are asked about one by one, since each hit has to be asked for again.
const FEW: usize = 3;

/// How many answers are fetched at the same time.
const AT_ONCE: usize = 8;

/// The most signatures of one answer that are looked at.
const MAX_SIGNATURES: usize = 4;

/// Whose the addresses are, as far as the peer can prove.
pub(super) async fn lookup(
    app: &App,
    address: &PeerAddress,
    items: &[Item],
) -> Result<Vec<Found>, PeerError> {
    let named =
        if items.len() <= FEW { items.to_vec() } else { named(app, address, items).await? };
    stream::iter(named)
        .map(|item| proved(app, address, item))
        .buffer_unordered(AT_ONCE)
        .try_filter_map(async |found| Ok(found))
        .try_collect()
        .await
}

/// Those of the addresses that the peer names somebody for, unsigned.
async fn named(app: &App, address: &PeerAddress, items: &[Item]) -> Result<Vec<Item>, PeerError> {
    let mut named = Vec::new();
    for chunk in items.chunks(BATCH) {
        let asked = |item: &Item| (words(item), item.clone());
        let mut asked: HashMap<PeerThreepid, Item> = chunk.iter().map(asked).collect();
        let threepids: Vec<PeerThreepid> = asked.keys().cloned().collect();
        let found = app.federation.bulk_lookup_v1(address, &threepids).await?;
        named.extend(found.keys().filter_map(|threepid| asked.remove(threepid)));
    }
    Ok(named)
}

fn words((_, threepid): &Item) -> PeerThreepid {
    (threepid.medium().as_str().to_owned(), threepid.address().to_owned())
}

/// Whose the address is, if the peer answers with an association that holds. One that doesn't is no
/// answer, and nothing is wrong with the others.
async fn proved(
    app: &App,
    address: &PeerAddress,
    (hash, threepid): Item,
) -> Result<Option<Found>, PeerError> {
    let (medium, of_medium) = (threepid.medium().as_str(), threepid.address());
    let association = match app.federation.lookup_v1(address, medium, of_medium).await {
        Ok(Some(association)) => association,
        Ok(None) => return Ok(None),
        Err(PeerError::Federation(FederationError::Malformed)) => {
            tracing::info!(peer = address.as_str(), "a peer's answer is not what it was asked for");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let now_ms = app.clock.now_ms();
    let time = |field: &str| association.get(field).and_then(Value::as_i64);
    let (Some(not_before), Some(not_after)) = (time("not_before"), time("not_after")) else {
        return Ok(None);
    };
    if !(not_before..=not_after).contains(&now_ms) {
        tracing::debug!(peer = address.as_str(), "an association of a peer doesn't hold now");
        return Ok(None);
    }
    if !is_signed(app, address, &association).await? {
        tracing::info!(peer = address.as_str(), "an association of a peer isn't signed by it");
        return Ok(None);
    }
    let mxid = association.get("mxid").and_then(|mxid| mxid.as_str()?.parse().ok());
    let proof = Some(Proof::new(&association, not_after));
    Ok(mxid.map(|mxid| (hash, Known { mxid, proof })))
}

/// Whether an association carries a signature with a key that the peer serves.
async fn is_signed(
    app: &App,
    address: &PeerAddress,
    association: &Object,
) -> Result<bool, PeerError> {
    let Some(signatures) = association.get("signatures").and_then(Value::as_object) else {
        return Ok(false);
    };
    let keys_of = |(name, keys): (&String, &Value)| {
        let ids: Vec<String> =
            keys.as_object().into_iter().flat_map(Object::keys).cloned().collect();
        let name: Option<ServerName> = name.parse().ok();
        name.into_iter()
            .flat_map(move |name| ids.clone().into_iter().map(move |id| (name.clone(), id)))
    };
    let all: Vec<(ServerName, String)> =
        signatures.iter().flat_map(keys_of).take(MAX_SIGNATURES).collect();
    for (name, key_id) in all {
        if let Some(key) = app.federation.public_key(address, &key_id).await?
            && verifies(association, &name, &key_id, &key)
        {
            return Ok(true);
        }
    }
    Ok(false)
}
