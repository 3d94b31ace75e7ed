//! The keys with which homeservers sign their requests:
//! [retrieving server keys](https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys).

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use moka::sync::Cache;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{Answer, FederationError};
use crate::{
    clock::{SharedClock, millis},
    matrix::{
        id::ServerName,
        json::Object,
        signing::{decode_base64, verifies},
    },
};

/// The longest that keys are believed, whatever their server says.
const LONGEST: Duration = Duration::from_hours(7 * 24);

/// How soon keys are fetched again at the earliest: after a failure, or for a key id that wasn't
/// among them.
const PAUSE: Duration = Duration::from_mins(1);

/// The most homeservers whose keys are remembered.
const MAX_SERVERS: u64 = 4096;

/// Remembers the keys of homeservers.
pub(super) struct Keys {
    servers: Cache<ServerName, Arc<Mutex<Known>>>,
    clock: SharedClock,
}

/// What is known of one homeserver's keys. Locked while they are fetched, so that many questions
/// at once cause one request. Times are milliseconds since the Unix epoch.
#[derive(Debug)]
struct Known {
    keys: HashMap<String, [u8; 32]>,
    valid_until: i64,
    asked_at: i64,
}

impl Default for Known {
    fn default() -> Self {
        Self { keys: HashMap::new(), valid_until: i64::MIN, asked_at: i64::MIN }
    }
}

impl Keys {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { servers: Cache::new(MAX_SERVERS), clock }
    }

    /// The key `key_id` of `server`, fetched by `fetch` where it isn't known.
    pub(super) async fn find<F>(
        &self,
        server: &ServerName,
        key_id: &str,
        fetch: impl FnOnce() -> F,
    ) -> Result<Option<[u8; 32]>, FederationError>
    where
        F: Future<Output = Result<Answer, FederationError>>,
    {
        let entry = self.servers.get_with(server.clone(), Arc::default);
        let mut known = entry.lock().await;
        let now_ms = self.clock.now_ms();
        let holds = now_ms < known.valid_until;
        if holds && let Some(key) = known.keys.get(key_id) {
            return Ok(Some(*key));
        }
        if now_ms < known.asked_at.saturating_add(millis(PAUSE)) {
            return if holds { Ok(None) } else { Err(FederationError::AskedTooSoon) };
        }
        known.asked_at = now_ms;
        let answer = fetch().await?;
        if answer.status != 200 {
            return Err(FederationError::Status(answer.status));
        }
        let (keys, valid_until) = read(server, &answer.body).ok_or(FederationError::Malformed)?;
        tracing::debug!(%server, keys = ?keys.keys(), "fetched its keys");
        known.keys = keys;
        known.valid_until = valid_until.min(now_ms.saturating_add(millis(LONGEST)));
        let valid = now_ms < known.valid_until;
        Ok(known.keys.get(key_id).copied().filter(|_| valid))
    }
}

/// The current keys in a server's answer, and until when they hold. `None` unless the answer is
/// this server's and signed with one of its own keys. `old_verify_keys` sign no requests.
fn read(server: &ServerName, body: &[u8]) -> Option<(HashMap<String, [u8; 32]>, i64)> {
    #[derive(Deserialize)]
    struct ServerKeys {
        server_name: String,
        verify_keys: BTreeMap<String, VerifyKey>,
        valid_until_ts: i64,
    }
    #[derive(Deserialize)]
    struct VerifyKey {
        key: String,
    }
    let object: Object = serde_json::from_slice(body).ok()?;
    let named: ServerKeys = serde_json::from_slice(body).ok()?;
    let keys: HashMap<String, [u8; 32]> = named
        .verify_keys
        .into_iter()
        .filter(|(id, _)| id.starts_with("ed25519:"))
        .filter_map(|(id, key)| Some((id, decode_base64(&key.key)?.try_into().ok()?)))
        .collect();
    let is_signed = keys.iter().any(|(id, key)| verifies(&object, server, id, key));
    (named.server_name == server.as_str() && is_signed).then_some((keys, named.valid_until_ts))
}
