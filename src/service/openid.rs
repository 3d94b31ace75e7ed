//! This server as the OpenID provider of its own user, as whom it registers with other identity
//! servers.

use std::time::Duration;

use url::Url;

use crate::{
    app::App,
    clock::millis,
    config,
    federation::{OpenIdToken, PeerAddress},
    matrix::id::UserId,
    secret,
    store::{StoreError, openid_tokens},
};

/// The localpart of an identity server's own user, with the characters around it.
const LOCALPART: &str = "@_bindery:";

/// How long a token holds.
const LIFETIME: Duration = Duration::from_mins(2);

/// The user as whom this server registers with others.
#[must_use]
pub fn own_user(app: &App) -> String {
    format!("{LOCALPART}{}", app.config.server.name)
}

/// Whether `mxid` is the own user of an identity server: what it asks is not sent on.
#[must_use]
pub fn is_peer(mxid: &UserId) -> bool {
    mxid.as_str().starts_with(LOCALPART)
}

/// Where peers ask whose a token is: host and port of the base URL. Without a port another one would
/// be taken than that of the API.
#[must_use]
pub fn place(server: &config::Server) -> String {
    let url = Url::parse(&server.base_url).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
    let port = url.as_ref().and_then(Url::port_or_known_default).unwrap_or(443);
    format!("{host}:{port}")
}

/// Makes a token for registering with `peer`. It can be used once, at any node.
///
/// # Errors
/// When the database fails.
pub async fn mint(app: &App, peer: &PeerAddress) -> Result<OpenIdToken, StoreError> {
    let token = secret::random_token();
    let hash = secret::hash(&token);
    let peer = peer.to_string();
    let now_ms = app.clock.now_ms();
    let expires_at = now_ms.saturating_add(millis(LIFETIME));
    app.store
        .write::<_, StoreError>(move |tx| {
            openid_tokens::remove_expired(tx, now_ms)?;
            openid_tokens::add(tx, &hash, &peer, expires_at)
        })
        .await?;
    Ok(OpenIdToken {
        access_token: token,
        matrix_server_name: app.config.server.name.clone(),
        expires_in: LIFETIME,
    })
}

/// Whose the token is, if it is one that still holds; then it is used up.
///
/// # Errors
/// When the database fails.
pub async fn redeem(app: &App, token: &str) -> Result<Option<String>, StoreError> {
    let hash = secret::hash(token);
    let now_ms = app.clock.now_ms();
    let sought = hash.clone();
    // Anybody may ask: what isn't there must not wait for the one who writes.
    let is_known = app.store.read(move |tx| openid_tokens::is_known(tx, &sought)).await?;
    if !is_known {
        return Ok(None);
    }
    let is_held = app.store.write(move |tx| openid_tokens::take(tx, &hash, now_ms)).await?;
    Ok(is_held.then(|| own_user(app)))
}
