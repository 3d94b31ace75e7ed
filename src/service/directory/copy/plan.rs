//! When a directory is copied, and who is at it.

use std::time::Duration;

use super::{CopyError, Outcome};
use crate::{
    app::App,
    clock::millis,
    directory::{Cursor, Directory},
    matrix::signing::encode_base64,
    secret,
    store::{
        Tx,
        directory_syncs::{self, Sync},
    },
};

/// For how long a node copies without a sign of life.
const LEASE: Duration = Duration::from_mins(2);

/// The pause after the first failure; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// After so many failures in a row a copy is begun anew: where it would go on may mean nothing to
/// the directory any more.
const FRESH_AFTER: i32 = 2;

/// By how much the clocks of this server and of a directory may differ.
const CLOCKS_DIFFER: Duration = Duration::from_mins(5);

/// What is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Full,
    Changes,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Changes => "changes",
        }
    }
}

/// A copy that is under way here.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) kind: Kind,
    pub(super) directory: String,
    pub(super) generation: i64,
    pub(super) cursor: Option<Cursor>,
    pub(super) began_at: i64,
    /// Since when changes are asked for.
    pub(super) since_ms: i64,
}

/// When what is copied.
pub(super) struct Plan {
    pub(super) directory: String,
    node: String,
    /// What stands for the settings that decide what a copy holds.
    settings: String,
    full_every: i64,
    changes_every: Option<i64>,
    is_forced: bool,
    now_ms: i64,
}

impl Plan {
    pub(super) fn of(app: &App, directory: &Directory, is_forced: bool) -> Self {
        let settings = directory.settings();
        let decisive = format!("{:?} {:?} {:?}", settings.mxid, settings.country, settings.kind);
        Self {
            directory: settings.name.clone(),
            node: app.node.clone(),
            settings: encode_base64(&secret::hash(&decisive)),
            full_every: settings.sync_interval.map_or(i64::MAX, millis),
            changes_every: settings.sync_changes_interval.map(millis),
            is_forced,
            now_ms: app.clock.now_ms(),
        }
    }

    /// What is to be copied now.
    pub(super) fn due(&self, state: &Sync) -> Result<Kind, Outcome> {
        let is_past = |since: i64, every: i64| self.now_ms >= since.saturating_add(every);
        if state.node != self.node && self.now_ms < state.node_until {
            return Err(Outcome::Elsewhere);
        }
        if self.is_forced {
            return Ok(Kind::Full);
        }
        if self.now_ms < state.retry_at {
            return Err(Outcome::NotDue);
        }
        let is_full_due = state.run.as_deref() == Some(Kind::Full.as_str())
            || state.settings != self.settings
            || state.full_at.is_none_or(|at| is_past(at, self.full_every));
        let are_changes_due = self
            .changes_every
            .is_some_and(|every| state.changes_at.is_some_and(|at| is_past(at, every)));
        match (is_full_due, are_changes_due) {
            (true, _) => Ok(Kind::Full),
            (false, true) => Ok(Kind::Changes),
            (false, false) => Err(Outcome::NotDue),
        }
    }

    /// Takes the lease, and goes on where an earlier run has ended, if one has.
    pub(super) fn begin(self, state: &mut Sync, kind: Kind) -> Run {
        let goes_on = state.run.as_deref() == Some(kind.as_str())
            && state.settings == self.settings
            && state.attempts < FRESH_AFTER;
        if !goes_on {
            state.run = Some(kind.as_str().to_owned());
            (state.run_began_at, state.run_cursor) = (Some(self.now_ms), None);
            if kind == Kind::Full {
                state.last_generation += 1;
            }
        }
        let since = state.changes_at.unwrap_or(self.now_ms);
        let run = Run {
            kind,
            generation: match kind {
                Kind::Full => state.last_generation,
                Kind::Changes => state.generation,
            },
            cursor: state.run_cursor.clone().map(Cursor),
            began_at: state.run_began_at.unwrap_or(self.now_ms),
            since_ms: since.saturating_sub(millis(CLOCKS_DIFFER)),
            directory: self.directory,
        };
        state.settings = self.settings;
        (state.node, state.node_until) = (self.node, self.now_ms.saturating_add(millis(LEASE)));
        run
    }
}

/// The state of a copy that is under way here, held; an error where somebody else is at it.
pub(super) fn hold(tx: &mut Tx<'_>, run: &Run, node: &str) -> Result<Sync, CopyError> {
    let state = directory_syncs::hold(tx, &run.directory)?;
    let generation = match run.kind {
        Kind::Full => state.last_generation,
        Kind::Changes => state.generation,
    };
    let is_ours = state.node == node
        && generation == run.generation
        && state.run.as_deref() == Some(run.kind.as_str());
    if is_ours { Ok(state) } else { Err(CopyError::TakenOver) }
}

/// Nothing is under way any more, and nobody has to wait.
pub(super) fn end(state: &mut Sync) {
    (state.run, state.run_began_at, state.run_cursor) = (None, None, None);
    (state.attempts, state.retry_at, state.last_error) = (0, 0, None);
    state.node_until = 0;
}

/// Somebody tries again after a while, which grows with each failure.
pub(super) fn fail(state: &mut Sync, error: String, now_ms: i64) {
    let doublings = u32::try_from(state.attempts).unwrap_or(0).min(16);
    let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    state.attempts = state.attempts.saturating_add(1);
    state.retry_at = now_ms.saturating_add(millis(pause));
    (state.last_error, state.node_until) = (Some(error), 0);
}

/// Somebody begins anew at the next look: where the copy was means nothing to the directory any more.
pub(super) fn forget(state: &mut Sync, error: String, _: i64) {
    (state.run, state.run_began_at, state.run_cursor) = (None, None, None);
    (state.last_error, state.node_until) = (Some(error), 0);
}

/// The node says that it is still at it.
pub(super) fn live(state: &mut Sync, now_ms: i64) {
    state.node_until = now_ms.saturating_add(millis(LEASE));
}
