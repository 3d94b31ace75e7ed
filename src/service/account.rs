//! An OpenID token becomes an account; which terms an account still owes.

use std::collections::{BTreeMap, HashSet};

use crate::{
    app::App,
    config::Policy,
    federation::OpenIdError,
    matrix::id::{ServerName, UserId},
    secret,
    store::{Store, StoreError, accounts},
};

/// Why an account wasn't given.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The operator doesn't let users of that homeserver in.
    #[error("users of that homeserver may not register")]
    HomeserverNotAllowed,
    /// The homeserver doesn't vouch for the token, or can't be asked.
    #[error(transparent)]
    OpenId(#[from] OpenIdError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Gives the user that `openid_token` stands for at `homeserver` an access token.
///
/// # Errors
/// When the operator doesn't let that homeserver in, or it doesn't vouch for the token.
pub async fn register(
    app: &App,
    homeserver: &ServerName,
    openid_token: &str,
) -> Result<String, RegisterError> {
    let allowed = &app.config.accounts.homeservers;
    if !allowed.is_empty() && !allowed.contains(homeserver) {
        return Err(RegisterError::HomeserverNotAllowed);
    }
    let mxid = app.federation.openid_user(homeserver, openid_token).await?;
    Ok(issue_token(&app.store, mxid, app.clock.now_ms()).await?)
}

/// Makes an access token for `mxid`; the database keeps its hash only.
///
/// # Errors
/// When the database fails.
pub async fn issue_token(store: &Store, mxid: UserId, now_ms: i64) -> Result<String, StoreError> {
    let token = secret::random_token();
    let hash = secret::hash(&token);
    store.write(move |tx| accounts::add_token(tx, &mxid, &hash, now_ms)).await?;
    Ok(token)
}

/// A user who showed a good access token.
#[derive(Debug)]
pub struct Authenticated {
    /// Whose token it is.
    pub mxid: UserId,
    /// Whether a current policy waits to be accepted.
    pub owes_terms: bool,
}

/// Whose access token it is, if it is one.
///
/// # Errors
/// When the database fails.
pub async fn authenticate(app: &App, token: &str) -> Result<Option<Authenticated>, StoreError> {
    let hash = secret::hash(token);
    if app.freshness.holds()
        && let Some(mxid) = app.tokens.get(&hash)
    {
        return Ok(Some(Authenticated { mxid: UserId::clone(&mxid), owes_terms: false }));
    }
    let removals = app.tokens.removals();
    let asks_for_terms = !app.config.terms.is_empty();
    let asked = hash.clone();
    let found = app
        .store
        .read(move |tx| {
            let Some(mxid) = accounts::mxid_of_token(tx, &asked)? else { return Ok(None) };
            let accepted =
                if asks_for_terms { accounts::accepted_terms(tx, &mxid)? } else { Vec::new() };
            Ok::<_, StoreError>(Some((mxid, accepted)))
        })
        .await?;
    let Some((mxid, accepted)) = found else { return Ok(None) };
    let owes_terms = owes_terms(&app.config.terms, &accepted.into_iter().collect());
    if !owes_terms {
        app.tokens.remember(removals, hash, mxid.clone());
    }
    Ok(Some(Authenticated { mxid, owes_terms }))
}

/// Whether some policy has no text, in any language, whose current URL was accepted.
fn owes_terms(policies: &BTreeMap<String, Policy>, accepted: &HashSet<String>) -> bool {
    policies
        .values()
        .any(|policy| !policy.texts.values().any(|text| accepted.contains(text.url.as_str())))
}

/// Adds to what `mxid` accepted. URLs of no current policy are passed over: the policies may have
/// changed since the user read them.
///
/// # Errors
/// When the database fails.
pub async fn accept_terms(app: &App, mxid: UserId, urls: &[String]) -> Result<(), StoreError> {
    let named: HashSet<&str> = urls.iter().map(String::as_str).collect();
    // In the order of the policies, whatever the client's: two requests that store the same rows
    // in different orders would wait for each other.
    let urls: Vec<String> = app
        .config
        .terms
        .values()
        .flat_map(|policy| policy.texts.values())
        .map(|text| text.url.as_str())
        .filter(|url| named.contains(url))
        .map(str::to_owned)
        .collect();
    let now_ms = app.clock.now_ms();
    app.store.write(move |tx| accounts::accept_terms(tx, &mxid, &urls, now_ms)).await
}

/// Forgets an access token; answers whether there was one.
///
/// # Errors
/// When the database fails.
pub async fn logout(app: &App, token: &str) -> Result<bool, StoreError> {
    let hash = secret::hash(token);
    let removed = hash.clone();
    let was_there = app.store.write(move |tx| accounts::remove_token(tx, &removed)).await;
    // Also where it failed: it may have been removed all the same.
    app.tokens.forget(&hash);
    app.index.telling_is_due.notify_one();
    was_there
}
