//! Binding 3PIDs to user ids, and undoing it.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::{
    app::App,
    clock::millis,
    matrix::{
        id::UserId,
        json::{NotCanonical, Object},
        threepid::ThreePid,
    },
    store::{
        StoreError,
        associations::{self, Association},
        peppers,
        sessions::{self, SessionFault, SessionKey},
    },
};

/// How long an association holds: a hundred years, as other identity servers have it.
const VALIDITY: Duration = Duration::from_hours(100 * 365 * 24);

/// Why a 3PID wasn't bound or unbound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The session doesn't prove that the 3PID is the caller's.
    #[error(transparent)]
    Session(#[from] SessionFault),
    /// The session is another 3PID's.
    #[error("the session is another 3PID's")]
    OtherThreepid,
    /// The association can't be signed.
    #[error("the association can't be signed")]
    Sign(#[from] NotCanonical),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Binds the 3PID of a validated session to `mxid`, in place of whom it was bound to before, and
/// answers the signed association.
///
/// # Errors
/// When the session can't be used.
pub async fn bind(app: &App, key: SessionKey, mxid: UserId) -> Result<Object, BindError> {
    let (now_ms, oldest) = (app.clock.now_ms(), app.oldest_session());
    let association = app
        .store
        .write(move |tx| {
            let session = sessions::validated(tx, &key, oldest)?;
            let association = Association {
                threepid: session.threepid,
                mxid,
                ts: now_ms,
                not_before: now_ms,
                not_after: now_ms + millis(VALIDITY),
            };
            let pepper = peppers::hold_current(tx)?.ok_or(StoreError::NoPepper)?;
            associations::bind(tx, &association, &pepper)?;
            Ok::<_, BindError>(association)
        })
        .await?;
    Ok(signed(app, &association)?)
}

/// An association, signed with the long-term key
/// ([spec](https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv23pidbind)).
fn signed(app: &App, association: &Association) -> Result<Object, NotCanonical> {
    let threepid = &association.threepid;
    let mut object: Object = Map::from_iter([
        ("address".to_owned(), Value::from(threepid.address())),
        ("medium".to_owned(), Value::from(threepid.medium().as_str())),
        ("mxid".to_owned(), Value::from(association.mxid.as_str())),
        ("not_before".to_owned(), Value::from(association.not_before)),
        ("not_after".to_owned(), Value::from(association.not_after)),
        ("ts".to_owned(), Value::from(association.ts)),
    ]);
    app.keys.signing().sign(&app.config.server.name, &mut object)?;
    Ok(object)
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
    let oldest = app.oldest_session();
    app.store
        .write(move |tx| {
            let session = sessions::validated(tx, &key, oldest)?;
            if session.threepid != threepid {
                return Err(BindError::OtherThreepid);
            }
            associations::unbind(tx, &threepid, &mxid)?;
            Ok(())
        })
        .await
}
