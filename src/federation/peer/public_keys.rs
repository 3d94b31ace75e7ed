//! The public keys that another identity server serves.

use std::time::Duration;

use moka::sync::Cache;
use serde::Deserialize;

use super::{
    super::{Call, Federation, FederationError, MAX_ANSWER, PeerAddress, percent_encoded},
    PeerError, V1, V2, get, read,
};
use crate::{
    clock::{SharedClock, millis},
    matrix::{json::Object, signing::decode_base64},
};

/// How long a peer's public key holds.
const KEY_LIFETIME: Duration = Duration::from_hours(1);

/// The most public keys that are remembered.
const MAX_KEYS: u64 = 4096;

/// The public keys of peers, remembered.
pub(in crate::federation) struct PeerKeys {
    keys: Cache<(PeerAddress, String), ([u8; 32], i64)>,
    clock: SharedClock,
}

impl PeerKeys {
    pub(in crate::federation) fn new(clock: SharedClock) -> Self {
        Self { keys: Cache::new(MAX_KEYS), clock }
    }
}

/// Each takes no longer than the time-out of peers.
impl Federation {
    /// The public key that `peer` serves under `key_id`; `None` where it has no such key.
    ///
    /// Fails if it doesn't say.
    pub async fn public_key(
        &self,
        peer: &PeerAddress,
        key_id: &str,
    ) -> Result<Option<[u8; 32]>, PeerError> {
        let PeerKeys { keys, clock } = &self.peers.keys;
        let now_ms = clock.now_ms();
        let name = (peer.clone(), key_id.to_owned());
        if let Some((key, _)) = keys.get(&name).filter(|(_, until_ms)| now_ms < *until_ms) {
            return Ok(Some(key));
        }
        for api in [V1, V2] {
            let path = peer.path(&format!("{api}/pubkey/{}", percent_encoded(key_id)));
            let answer = self.peer_call(peer, &get(&path), MAX_ANSWER).await?;
            if answer.status == 404 {
                continue;
            }
            let key = key_of(&read(&answer)?).ok_or(FederationError::Malformed)?;
            keys.insert(name, (key, now_ms.saturating_add(millis(KEY_LIFETIME))));
            return Ok(Some(key));
        }
        Ok(None)
    }

    /// Whether `peer` says that a public key of its own, as base64, is valid; `None` where it doesn't
    /// say.
    ///
    /// Fails if it can't be asked.
    pub async fn is_key_valid(
        &self,
        peer: &PeerAddress,
        public_key: &str,
    ) -> Result<Option<bool>, PeerError> {
        #[derive(Deserialize)]
        struct Validity {
            valid: bool,
        }
        let query = format!("public_key={}", percent_encoded(public_key));
        for api in [V1, V2] {
            let path = peer.path(&format!("{api}/pubkey/isvalid"));
            let call = Call { query: Some(&query), ..get(&path) };
            let answer = self.peer_call(peer, &call, MAX_ANSWER).await?;
            if answer.status != 404 {
                let Validity { valid } = read(&answer)?;
                return Ok(Some(valid));
            }
        }
        Ok(None)
    }
}

fn key_of(object: &Object) -> Option<[u8; 32]> {
    decode_base64(object.get("public_key")?.as_str()?)?.try_into().ok()
}
