//! Binding 3PIDs to user ids, and undoing it.

use crate::{
    app::App,
    federation::FederationError,
    matrix::{
        id::UserId,
        json::{NotCanonical, Object},
        signing::verifies,
        threepid::ThreePid,
        x_matrix::{Request, XMatrix},
    },
    service::index,
    store::{
        StoreError, Tx,
        associations::{self, Association},
        invites, peppers, replication_log,
        sessions::{self, SessionFault, SessionKey},
    },
};

/// Why a 3PID wasn't bound or unbound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The session doesn't prove that the 3PID is the caller's.
    #[error(transparent)]
    Session(#[from] SessionFault),
    /// The session is another 3PID's.
    #[error("the session is another 3PID's")]
    OtherThreepid,
    /// No signature proves that the user's homeserver asks.
    #[error("not signed by the user's homeserver")]
    NotSigned,
    /// The homeserver's keys can't be had.
    #[error("the homeserver's keys can't be had")]
    Keys(#[from] FederationError),
    /// The association can't be signed.
    #[error("the association can't be signed")]
    Sign(#[from] NotCanonical),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Binds the 3PID of a validated session to `mxid`, in place of whom it was bound to before, and
/// answers the signed association. The invitations that waited for the 3PID are owed to the
/// homeserver of `mxid` from then on.
///
/// # Errors
/// When the session can't be used.
pub async fn bind(app: &App, key: SessionKey, mxid: UserId) -> Result<Object, BindError> {
    let (now_ms, oldest) = (app.clock.now_ms(), app.oldest_session());
    let tells = app.has_told_neighbours();
    let (association, owed) = app
        .store
        .write(move |tx| {
            let session = sessions::validated(tx, &key, oldest)?;
            let peppers = peppers::hold_current(tx)?.ok_or(StoreError::NoPepper)?;
            let association = Association::new(session.threepid, mxid, now_ms);
            let Association { threepid, mxid, .. } = &association;
            let before = associations::hold_mxid_of(tx, threepid)?;
            associations::bind(tx, &association, &peppers)?;
            let owed = invites::owe(tx, threepid, mxid, now_ms)?;
            if tells {
                replication_log::append_bound(tx, &association, before.as_deref())?;
            }
            Ok::<_, BindError>((association, owed))
        })
        .await?;
    index::refresh(app, [association.threepid.clone()]).await;
    if owed > 0 {
        app.onbind_is_due.notify_one();
    }
    app.push_is_due.send_replace(());
    let mut signed = association.to_json();
    app.keys.signing().sign(&app.config.server.name, &mut signed)?;
    Ok(signed)
}

/// Removes the association of `threepid` with `mxid`, proved by a validated session of the same
/// 3PID. One that isn't there is no error.
///
/// # Errors
/// When the session can't be used or is another 3PID's.
pub async fn unbind_by_session(
    app: &App,
    key: SessionKey,
    threepid: ThreePid,
    mxid: UserId,
) -> Result<(), BindError> {
    let (oldest, unbind) = (app.oldest_session(), Unbind::new(app, threepid.clone(), mxid));
    app.store
        .write(move |tx| {
            let session = sessions::validated(tx, &key, oldest)?;
            if session.threepid != unbind.threepid {
                return Err(BindError::OtherThreepid);
            }
            Ok(unbind.run(tx)?)
        })
        .await?;
    index::refresh(app, [threepid]).await;
    app.push_is_due.send_replace(());
    Ok(())
}

/// An unbind that is proved.
struct Unbind {
    threepid: ThreePid,
    mxid: UserId,
    now_ms: i64,
    /// Whether neighbours hear of it.
    tells: bool,
}

impl Unbind {
    fn new(app: &App, threepid: ThreePid, mxid: UserId) -> Self {
        let (now_ms, tells) = (app.clock.now_ms(), app.has_told_neighbours());
        Self { threepid, mxid, now_ms, tells }
    }

    fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let was_bound = associations::unbind(tx, &self.threepid, &self.mxid)?;
        if was_bound && self.tells {
            replication_log::append_unbound(tx, &self.threepid, self.now_ms)?;
        }
        Ok(())
    }
}

/// The most signatures of one request that are looked at.
const MAX_SIGNATURES: usize = 8;

/// Where homeservers think that they send the request, whatever path lies before it.
const UNBIND: &str = "/_matrix/identity/v2/3pid/unbind";

/// Removes the association of `threepid` with `mxid`, proved by a signature of the homeserver of
/// `mxid` on the request. One that isn't there is no error.
///
/// # Errors
/// When no signature verifies or the homeserver's keys can't be had.
pub async fn unbind_by_homeserver(
    app: &App,
    proofs: &[XMatrix],
    request: Request<'_>,
    (threepid, mxid): (ThreePid, UserId),
) -> Result<(), BindError> {
    if !is_signed_by_homeserver(app, proofs, request, &mxid).await? {
        return Err(BindError::NotSigned);
    }
    let unbind = Unbind::new(app, threepid.clone(), mxid);
    app.store.write(move |tx| unbind.run(tx)).await?;
    index::refresh(app, [threepid]).await;
    app.push_is_due.send_replace(());
    Ok(())
}

async fn is_signed_by_homeserver(
    app: &App,
    proofs: &[XMatrix],
    request: Request<'_>,
    mxid: &UserId,
) -> Result<bool, FederationError> {
    let names = app.config.server.all_names();
    let of_homeserver = proofs.iter().filter(|proof| proof.origin == *mxid.server_name());
    for proof in of_homeserver.take(MAX_SIGNATURES) {
        let Some(key) = app.federation.server_key(&proof.origin, &proof.key).await? else {
            continue;
        };
        for uri in [request.uri, UNBIND] {
            let request = Request { uri, ..request };
            // Synapse's form first, then the specification's.
            for form in ["destination_is", "destination"] {
                let signed_for = |name: &String| {
                    let signed = proof.signed(&request, form, name);
                    verifies(&signed, &proof.origin, &proof.key, &key)
                };
                if names.iter().any(signed_for) {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}
