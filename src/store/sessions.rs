//! Validation sessions and the tokens that were sent for them.

use diesel::prelude::*;

use super::{
    StoreError, Tx,
    schema::{session_tokens, sessions},
};
use crate::{
    matrix::{medium::Medium, threepid::ThreePid},
    secret::{self, SecretHash},
};

/// A validation session.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its id.
    pub sid: String,
    /// What is to be validated.
    pub threepid: ThreePid,
    /// The hash of the client's secret.
    pub client_secret_hash: SecretHash,
    /// Where people are sent after they opened the link.
    pub next_link: Option<String>,
    /// The highest `send_attempt` whose message was handed over.
    pub send_attempt: Option<i64>,
    /// Until when some request is busy sending a message, in milliseconds since the Unix epoch.
    pub sending_until: i64,
    /// How many wrong tokens were submitted.
    pub wrong_attempts: i32,
    /// When the 3PID was validated, in milliseconds since the Unix epoch.
    pub validated_at: Option<i64>,
    /// Creation or validation, in milliseconds since the Unix epoch.
    pub modified_at: i64,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = sessions)]
struct Row {
    sid: String,
    medium: String,
    address: String,
    client_secret_hash: SecretHash,
    next_link: Option<String>,
    send_attempt: Option<i64>,
    sending_until: i64,
    wrong_attempts: i32,
    validated_at: Option<i64>,
    modified_at: i64,
}

impl Row {
    fn session(self) -> Session {
        Session {
            threepid: ThreePid::canonical(Medium::named(&self.medium), self.address),
            sid: self.sid,
            client_secret_hash: self.client_secret_hash,
            next_link: self.next_link,
            send_attempt: self.send_attempt,
            sending_until: self.sending_until,
            wrong_attempts: self.wrong_attempts,
            validated_at: self.validated_at,
            modified_at: self.modified_at,
        }
    }
}

/// The proof that a client or a person has of a session.
#[derive(Debug, Clone)]
pub struct SessionKey {
    /// The session's id.
    pub sid: String,
    /// The client's secret.
    pub client_secret: String,
}

/// Why a session can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SessionFault {
    /// There is none with this id and secret.
    #[error("no such session")]
    Unknown,
    /// It is too old.
    #[error("the session expired")]
    Expired,
    /// Its 3PID isn't validated.
    #[error("the session's 3PID is not validated")]
    NotValidated,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The session of `key`, unless it was last changed at `oldest` or earlier, in milliseconds since
/// the Unix epoch. An unknown id and a wrong secret are one answer.
pub fn owned(tx: &mut Tx<'_>, key: &SessionKey, oldest: i64) -> Result<Session, SessionFault> {
    let session = find(tx, &key.sid)?
        .filter(|session| secret::matches(&key.client_secret, &session.client_secret_hash))
        .ok_or(SessionFault::Unknown)?;
    if session.modified_at <= oldest {
        return Err(SessionFault::Expired);
    }
    Ok(session)
}

/// As [`owned`], for a session whose 3PID must be validated.
pub fn validated(tx: &mut Tx<'_>, key: &SessionKey, oldest: i64) -> Result<Session, SessionFault> {
    let session = owned(tx, key, oldest)?;
    if session.validated_at.is_none() {
        return Err(SessionFault::NotValidated);
    }
    Ok(session)
}

/// Stores a new session.
pub fn add(tx: &mut Tx<'_>, session: &Session) -> Result<(), StoreError> {
    let row = Row {
        sid: session.sid.clone(),
        medium: session.threepid.medium().as_str().to_owned(),
        address: session.threepid.address().to_owned(),
        client_secret_hash: session.client_secret_hash.clone(),
        next_link: session.next_link.clone(),
        send_attempt: session.send_attempt,
        sending_until: session.sending_until,
        wrong_attempts: session.wrong_attempts,
        validated_at: session.validated_at,
        modified_at: session.modified_at,
    };
    diesel::insert_into(sessions::table).values(row).execute(&mut *tx.0)?;
    Ok(())
}

/// The session `sid`, if there is one.
fn find(tx: &mut Tx<'_>, sid: &str) -> Result<Option<Session>, StoreError> {
    let row: Option<Row> =
        sessions::table.find(sid).select(Row::as_select()).first(&mut *tx.0).optional()?;
    Ok(row.map(Row::session))
}

/// Keeps other requests with the same client secret out until the transaction ends: two that
/// find no session would open one each.
pub fn lock_secret(tx: &mut Tx<'_>, client_secret_hash: &SecretHash) -> Result<(), StoreError> {
    tx.lock(client_secret_hash)
}

/// The newest session of `threepid` that was opened with this client secret.
pub fn newest_of(
    tx: &mut Tx<'_>,
    threepid: &ThreePid,
    client_secret_hash: &SecretHash,
) -> Result<Option<Session>, StoreError> {
    let row: Option<Row> = sessions::table
        .filter(sessions::medium.eq(threepid.medium().as_str()))
        .filter(sessions::address.eq(threepid.address()))
        .filter(sessions::client_secret_hash.eq(client_secret_hash))
        .order((sessions::modified_at.desc(), sessions::sid.desc()))
        .select(Row::as_select())
        .first(&mut *tx.0)
        .optional()?;
    Ok(row.map(Row::session))
}

/// Claims the right to send the message of `send_attempt` for `sid` until `until_ms`; answers
/// whether it was free, and not sent yet: another request may just have done that. A sender that
/// dies loses its claim by time.
pub fn claim_sending(
    tx: &mut Tx<'_>,
    sid: &str,
    send_attempt: i64,
    (now_ms, until_ms): (i64, i64),
) -> Result<bool, StoreError> {
    let unsent = sessions::send_attempt.is_null().or(sessions::send_attempt.lt(send_attempt));
    let free = sessions::table.find(sid).filter(sessions::sending_until.le(now_ms)).filter(unsent);
    let claimed =
        diesel::update(free).set(sessions::sending_until.eq(until_ms)).execute(&mut *tx.0)?;
    Ok(claimed == 1)
}

/// Whether the claim of [`claim_sending`] holds for `sid`.
pub fn is_sending(tx: &mut Tx<'_>, sid: &str, now_ms: i64) -> Result<bool, StoreError> {
    let claimed = sessions::table.find(sid).filter(sessions::sending_until.gt(now_ms));
    Ok(diesel::select(diesel::dsl::exists(claimed)).get_result(&mut *tx.0)?)
}

/// Ends a claim; `send_attempt` is the attempt whose message was handed over, if it was.
pub fn end_sending(
    tx: &mut Tx<'_>,
    sid: &str,
    send_attempt: Option<i64>,
) -> Result<(), StoreError> {
    let session = sessions::table.find(sid);
    match send_attempt {
        Some(attempt) => diesel::update(session)
            .set((sessions::sending_until.eq(0), sessions::send_attempt.eq(Some(attempt))))
            .execute(&mut *tx.0)?,
        None => diesel::update(session).set(sessions::sending_until.eq(0)).execute(&mut *tx.0)?,
    };
    Ok(())
}

/// Sets where people are sent after they opened the link.
pub fn set_next_link(
    tx: &mut Tx<'_>,
    sid: &str,
    next_link: Option<&str>,
) -> Result<(), StoreError> {
    diesel::update(sessions::table.find(sid))
        .set(sessions::next_link.eq(next_link))
        .execute(&mut *tx.0)?;
    Ok(())
}

/// Adds a token that validates `sid`; of the earlier ones the newest `keep - 1` stay good, since
/// mails overtake each other. The new one is good even if the clock was put back.
pub fn add_token(
    tx: &mut Tx<'_>,
    sid: &str,
    token_hash: &SecretHash,
    (now_ms, keep): (i64, usize),
) -> Result<(), StoreError> {
    let earlier = tokens_of(tx, sid)?.into_iter().filter(|old| old != token_hash);
    let superseded: Vec<SecretHash> = earlier.skip(keep.saturating_sub(1)).collect();
    // Short codes come twice now and then.
    for old in superseded.iter().chain([token_hash]) {
        diesel::delete(session_tokens::table.find((sid, old))).execute(&mut *tx.0)?;
    }
    diesel::insert_into(session_tokens::table)
        .values((
            session_tokens::sid.eq(sid),
            session_tokens::token_hash.eq(token_hash),
            session_tokens::created_at.eq(now_ms),
        ))
        .execute(&mut *tx.0)?;
    Ok(())
}

/// The hashes of the tokens that validate `sid`, the newest first.
pub fn tokens_of(tx: &mut Tx<'_>, sid: &str) -> Result<Vec<SecretHash>, StoreError> {
    Ok(session_tokens::table
        .filter(session_tokens::sid.eq(sid))
        .order((session_tokens::created_at.desc(), session_tokens::token_hash))
        .select(session_tokens::token_hash)
        .load(&mut *tx.0)?)
}

/// Counts a token as wrong before it is compared, so that guesses made at the same moment can't
/// exceed `max`; answers whether one more was allowed.
pub fn count_attempt(tx: &mut Tx<'_>, sid: &str, max: i32) -> Result<bool, StoreError> {
    let alive = sessions::table.find(sid).filter(sessions::wrong_attempts.lt(max));
    let counted = diesel::update(alive)
        .set(sessions::wrong_attempts.eq(sessions::wrong_attempts + 1))
        .execute(&mut *tx.0)?;
    Ok(counted == 1)
}

/// Marks `sid` as validated and takes back the attempt that [`count_attempt`] counted. A session
/// that was validated before keeps its time.
pub fn validate(tx: &mut Tx<'_>, sid: &str, now_ms: i64) -> Result<(), StoreError> {
    diesel::update(sessions::table.find(sid))
        .set(sessions::wrong_attempts.eq(sessions::wrong_attempts - 1))
        .execute(&mut *tx.0)?;
    diesel::update(sessions::table.find(sid).filter(sessions::validated_at.is_null()))
        .set((sessions::validated_at.eq(Some(now_ms)), sessions::modified_at.eq(now_ms)))
        .execute(&mut *tx.0)?;
    Ok(())
}

/// Forgets sessions that were last changed before `before_ms`; answers how many.
pub fn remove_older(tx: &mut Tx<'_>, before_ms: i64) -> Result<usize, StoreError> {
    let old = sessions::table.filter(sessions::modified_at.lt(before_ms));
    Ok(diesel::delete(old).execute(&mut *tx.0)?)
}
