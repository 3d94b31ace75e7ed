//! The public keys that another identity server serves.

use url::Url;

use super::super::steps::{Failed, step};
use crate::{
    app::App,
    config::Neighbour,
    federation::{PeerAddress, PeerError},
    matrix::signing::encode_base64,
};

/// The id that a Sydent's key has, and those of others often.
const USUAL: &str = "ed25519:0";

/// Why a configured key is not a neighbour's.
#[derive(Debug, thiserror::Error)]
enum WrongKey {
    #[error("it serves another one, {0}")]
    Other(String),
    #[error("it doesn't serve it")]
    Unknown,
    #[error("it says that the key is not valid")]
    Invalid,
    #[error(transparent)]
    Peer(#[from] PeerError),
}

impl Failed for WrongKey {
    fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Other(_) | Self::Unknown | Self::Invalid => Some(
                "nothing that it signs with another key is believed; ask its operator for the new \
                 one, and write it under `keys` of the neighbour",
            ),
            Self::Peer(error) => error.remedy(),
        }
    }
}

/// Shows the keys of a server, which `name` stands for; of a neighbour, whether they are those of
/// the configuration. Answers whether nothing is wrong with them.
pub(super) async fn check(app: &App, peer: &PeerAddress, name: &str) -> anyhow::Result<bool> {
    let Some(neighbour) = neighbour(app, peer, name) else {
        let shown = app.federation.public_key(peer, USUAL);
        let tell = |key: &Option<[u8; 32]>| match key {
            Some(key) => format!("{USUAL} {}", encode_base64(key)),
            None => {
                format!("none is called {USUAL}; the one that has signed is looked at in a lookup")
            }
        };
        return Ok(step("public key", shown, tell).await?.is_ok());
    };
    let mut are_good = true;
    for (id, key) in &neighbour.keys {
        let key = encode_base64(key);
        let step_name = format!("public key {id}");
        let tell = |(): &()| format!("{key}, as configured for {}", neighbour.name);
        are_good &= step(&step_name, serves(app, peer, (id, &key)), tell).await?.is_ok();
    }
    Ok(are_good)
}

/// The neighbour that is meant, or lives there.
fn neighbour<'a>(app: &'a App, peer: &PeerAddress, name: &str) -> Option<&'a Neighbour> {
    let host = |url: &str| Some(Url::parse(url).ok()?.host_str()?.to_owned());
    let of_peer = host(peer.as_str());
    app.config.peers.replicate.iter().find(|one| {
        let of_name = host(&format!("https://{}", one.name));
        one.name.as_str() == name || (of_name.is_some() && of_name == of_peer)
    })
}

/// Whether the peer serves a key under its id and, if it can say so, calls it valid.
async fn serves(app: &App, peer: &PeerAddress, (id, key): (&str, &str)) -> Result<(), WrongKey> {
    match app.federation.public_key(peer, id).await? {
        Some(served) if encode_base64(&served) != key => {
            return Err(WrongKey::Other(encode_base64(&served)));
        }
        Some(_) => {}
        None => return Err(WrongKey::Unknown),
    }
    match app.federation.is_key_valid(peer, key).await? {
        Some(false) => Err(WrongKey::Invalid),
        Some(true) | None => Ok(()),
    }
}
