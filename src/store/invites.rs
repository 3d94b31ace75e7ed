//! Invitations of 3PIDs: waiting for a bind, owed to a homeserver, or settled. And the public
//! halves of their ephemeral keys.

use diesel::prelude::*;

use super::{
    StoreError, Tx,
    schema::{ephemeral_keys, invites},
};
use crate::matrix::{id::UserId, medium::Medium, threepid::ThreePid};

/// An invitation.
#[derive(Debug, Clone)]
pub struct Invite {
    /// What stands for the 3PID in the room.
    pub token: String,
    /// Who is invited.
    pub threepid: ThreePid,
    /// To which room.
    pub room_id: String,
    /// By whom.
    pub sender: String,
    /// All that the homeserver sent, as JSON.
    pub request: String,
    /// When, in milliseconds since the Unix epoch.
    pub created_at: i64,
    /// Where it stands.
    pub state: State,
    /// How often its delivery was tried.
    pub attempts: i32,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

/// Where an invitation stands. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The 3PID isn't bound.
    Waiting,
    /// The homeserver of `mxid` has to be told.
    Owed {
        /// Who bound the 3PID.
        mxid: UserId,
        /// When.
        bound_at: i64,
        /// When delivery is tried next, or until when somebody is trying it.
        due_at: i64,
    },
    /// Nothing more will happen.
    Settled {
        /// How it ended.
        outcome: Outcome,
        /// When.
        at: i64,
    },
}

/// How an invitation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The homeserver took it.
    Delivered,
    /// The homeserver didn't take it for too long.
    Failed,
    /// The operator took it back.
    Revoked,
}

impl Outcome {
    /// The word in the database and for the operator.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Revoked => "revoked",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Delivered, Self::Failed, Self::Revoked].into_iter().find(|o| o.as_str() == word)
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = invites)]
struct Row {
    token: String,
    medium: String,
    address: String,
    room_id: String,
    sender: String,
    request: String,
    created_at: i64,
    mxid: Option<String>,
    bound_at: Option<i64>,
    due_at: Option<i64>,
    attempts: i32,
    last_error: Option<String>,
    outcome: Option<String>,
    settled_at: Option<i64>,
}

impl Row {
    fn invite(self) -> Option<Invite> {
        let outcome = self.outcome.as_deref().and_then(Outcome::of);
        let state = match (self.mxid, self.bound_at, self.due_at, outcome) {
            (_, _, _, Some(outcome)) => State::Settled { outcome, at: self.settled_at? },
            (Some(mxid), Some(bound_at), Some(due_at), None) => {
                State::Owed { mxid: mxid.parse().ok()?, bound_at, due_at }
            }
            _ => State::Waiting,
        };
        Some(Invite {
            threepid: ThreePid::canonical(Medium::named(&self.medium), self.address),
            token: self.token,
            room_id: self.room_id,
            sender: self.sender,
            request: self.request,
            created_at: self.created_at,
            state,
            attempts: self.attempts,
            last_error: self.last_error,
        })
    }
}

/// Stores a waiting invitation and the public half of its ephemeral key.
pub fn add(tx: &mut Tx<'_>, invite: &Invite, ephemeral_key: &[u8; 32]) -> Result<(), StoreError> {
    diesel::insert_into(invites::table)
        .values((
            invites::token.eq(&invite.token),
            invites::medium.eq(invite.threepid.medium().as_str()),
            invites::address.eq(invite.threepid.address()),
            invites::room_id.eq(&invite.room_id),
            invites::sender.eq(&invite.sender),
            invites::request.eq(&invite.request),
            invites::created_at.eq(invite.created_at),
            invites::attempts.eq(0),
            invites::looked_up_at.eq(invite.created_at),
        ))
        .execute(&mut *tx.0)?;
    diesel::insert_into(ephemeral_keys::table)
        .values((
            ephemeral_keys::public_key.eq(ephemeral_key.as_slice()),
            ephemeral_keys::created_at.eq(invite.created_at),
        ))
        .execute(&mut *tx.0)?;
    Ok(())
}

/// Forgets an invitation that nobody heard of.
pub fn remove(tx: &mut Tx<'_>, token: &str) -> Result<(), StoreError> {
    diesel::delete(invites::table.find(token)).execute(&mut *tx.0)?;
    Ok(())
}

/// The invitation with this token, if there is one.
pub fn find(tx: &mut Tx<'_>, token: &str) -> Result<Option<Invite>, StoreError> {
    let row: Option<Row> =
        invites::table.find(token).select(Row::as_select()).first(&mut *tx.0).optional()?;
    Ok(row.and_then(Row::invite))
}

/// All invitations, the oldest first.
pub fn list(tx: &mut Tx<'_>) -> Result<Vec<Invite>, StoreError> {
    let rows: Vec<Row> = invites::table
        .order((invites::created_at, invites::token))
        .select(Row::as_select())
        .load(&mut *tx.0)?;
    Ok(rows.into_iter().filter_map(Row::invite).collect())
}

/// Whether `key` is the public half of some invitation's ephemeral key.
pub fn is_ephemeral_key(tx: &mut Tx<'_>, key: &[u8]) -> Result<bool, StoreError> {
    use diesel::dsl::{exists, select};
    Ok(select(exists(ephemeral_keys::table.find(key))).get_result(&mut *tx.0)?)
}

/// Owes the invitations that wait for `threepid` to the homeserver of `mxid`, which bound it at
/// `now_ms`; answers how many.
pub fn owe(
    tx: &mut Tx<'_>,
    threepid: &ThreePid,
    mxid: &UserId,
    now_ms: i64,
) -> Result<usize, StoreError> {
    let waiting = invites::table
        .filter(invites::medium.eq(threepid.medium().as_str()))
        .filter(invites::address.eq(threepid.address()))
        .filter(invites::mxid.is_null())
        .filter(invites::outcome.is_null());
    Ok(diesel::update(waiting)
        .set((
            invites::mxid.eq(Some(mxid.as_str())),
            invites::bound_at.eq(Some(now_ms)),
            invites::due_at.eq(Some(now_ms)),
        ))
        .execute(&mut *tx.0)?)
}

/// Up to `count` 3PIDs for which invitations wait and which were last looked up at `before_ms` or
/// earlier, those first that weren't for longest.
pub fn waiting(tx: &mut Tx<'_>, before_ms: i64, count: i64) -> Result<Vec<ThreePid>, StoreError> {
    use diesel::dsl::min;
    let rows: Vec<(String, String)> = invites::table
        .filter(invites::mxid.is_null())
        .filter(invites::outcome.is_null())
        .filter(invites::looked_up_at.le(before_ms))
        .group_by((invites::medium, invites::address))
        .order(min(invites::looked_up_at))
        .limit(count)
        .select((invites::medium, invites::address))
        .load(&mut *tx.0)?;
    let threepid =
        |(medium, address): (String, String)| ThreePid::canonical(Medium::named(&medium), address);
    Ok(rows.into_iter().map(threepid).collect())
}

/// Remembers that `threepids`, for which invitations wait, were looked up at `now_ms`.
pub fn set_looked_up(
    tx: &mut Tx<'_>,
    threepids: &[ThreePid],
    now_ms: i64,
) -> Result<(), StoreError> {
    for threepid in threepids {
        let of_threepid = invites::table
            .filter(invites::medium.eq(threepid.medium().as_str()))
            .filter(invites::address.eq(threepid.address()))
            .filter(invites::mxid.is_null())
            .filter(invites::outcome.is_null());
        diesel::update(of_threepid).set(invites::looked_up_at.eq(now_ms)).execute(&mut *tx.0)?;
    }
    Ok(())
}

/// The owed invitations that are due, at most `count`, those first that are due for longest.
pub fn due(tx: &mut Tx<'_>, now_ms: i64, count: i64) -> Result<Vec<Invite>, StoreError> {
    let rows: Vec<Row> = invites::table
        .filter(invites::due_at.le(now_ms))
        .order((invites::due_at, invites::token))
        .limit(count)
        .select(Row::as_select())
        .load(&mut *tx.0)?;
    Ok(rows.into_iter().filter_map(Row::invite).collect())
}

/// Claims a due invitation until `until_ms` and counts the attempt; answers whether it was still
/// due. Nobody else gets it before then, and after a crash somebody does.
pub fn claim(tx: &mut Tx<'_>, token: &str, now_ms: i64, until_ms: i64) -> Result<bool, StoreError> {
    let still_due = invites::table.find(token).filter(invites::due_at.le(now_ms));
    let claimed = diesel::update(still_due)
        .set((invites::due_at.eq(Some(until_ms)), invites::attempts.eq(invites::attempts + 1)))
        .execute(&mut *tx.0)?;
    Ok(claimed == 1)
}

/// When the next owed invitation is due, in milliseconds since the Unix epoch.
pub fn next_due(tx: &mut Tx<'_>) -> Result<Option<i64>, StoreError> {
    use diesel::dsl::min;
    Ok(invites::table.select(min(invites::due_at)).first(&mut *tx.0)?)
}

/// Tries again at `due_ms`, for `error`.
pub fn postpone(tx: &mut Tx<'_>, token: &str, due_ms: i64, error: &str) -> Result<(), StoreError> {
    let owed = invites::table.find(token).filter(invites::outcome.is_null());
    diesel::update(owed)
        .set((invites::due_at.eq(Some(due_ms)), invites::last_error.eq(Some(error))))
        .execute(&mut *tx.0)?;
    Ok(())
}

/// Ends an invitation that hasn't ended yet; answers whether it did.
pub fn settle(
    tx: &mut Tx<'_>,
    token: &str,
    outcome: Outcome,
    (now_ms, error): (i64, Option<&str>),
) -> Result<bool, StoreError> {
    let open = invites::table.find(token).filter(invites::outcome.is_null());
    let ended = diesel::update(open)
        .set((
            invites::outcome.eq(Some(outcome.as_str())),
            invites::settled_at.eq(Some(now_ms)),
            invites::due_at.eq(None::<i64>),
            invites::last_error.eq(error),
        ))
        .execute(&mut *tx.0)?;
    Ok(ended == 1)
}

/// Owes a failed invitation once more, or makes an owed one due at once; answers whether it was
/// one of these. Its time counts from the beginning.
pub fn retry(tx: &mut Tx<'_>, token: &str, now_ms: i64) -> Result<bool, StoreError> {
    let retried = invites::table
        .find(token)
        .filter(invites::mxid.is_not_null())
        .filter(invites::outcome.is_null().or(invites::outcome.eq(Some(Outcome::Failed.as_str()))));
    let owed = diesel::update(retried)
        .set((
            invites::outcome.eq(None::<&str>),
            invites::settled_at.eq(None::<i64>),
            invites::due_at.eq(Some(now_ms)),
            invites::bound_at.eq(Some(now_ms)),
        ))
        .execute(&mut *tx.0)?;
    Ok(owed == 1)
}

/// Forgets invitations that waited since before `before_ms`, and those that were delivered or
/// revoked before then; answers how many. Their ephemeral keys stay.
pub fn remove_older(tx: &mut Tx<'_>, before_ms: i64) -> Result<usize, StoreError> {
    let waiting = invites::mxid.is_null().and(invites::outcome.is_null());
    let failed = invites::outcome.eq(Some(Outcome::Failed.as_str()));
    let settled = invites::settled_at.lt(before_ms).and(diesel::dsl::not(failed));
    let unwanted = invites::created_at.lt(before_ms).and(waiting);
    let removed = diesel::delete(invites::table.filter(unwanted)).execute(&mut *tx.0)?;
    Ok(removed + diesel::delete(invites::table.filter(settled)).execute(&mut *tx.0)?)
}
