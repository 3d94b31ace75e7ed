//! The index of lookups as it stands: for which pepper, whether it is complete, and what has
//! still to be brought into it.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, watch};

use crate::{
    index::{Found, Key, Table},
    matrix::threepid::ThreePid,
    store::{changes::Position, peppers::Pepper},
};

use super::freshness::Moment;

/// The index under one pepper.
pub struct Generation {
    /// The number of the pepper.
    pub pepper_id: i64,
    /// The pepper.
    pub pepper: String,
    table: RwLock<Table>,
}

impl Generation {
    /// An index that is complete.
    #[must_use]
    pub fn new(pepper_id: i64, pepper: String, table: Table) -> Self {
        Self { pepper_id, pepper, table: RwLock::new(table) }
    }

    /// Looks at the table.
    pub fn read<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        look(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the table.
    pub fn change(&self, change: impl FnOnce(&mut Table)) {
        change(&mut self.table.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Collects what stands behind `keys`, each with what came with it, and writes the user ids
    /// into `mxids`: where one ends the next begins.
    pub fn find_all<T: Copy>(&self, keys: &[(T, Key)], mxids: &mut String) -> Vec<(T, Hit)> {
        self.read(|table| {
            let mut hits = Vec::new();
            table.find_all(keys, |with, found| {
                let hit = match found {
                    Found::Ask => Hit::Ask,
                    Found::User(place) => {
                        let start = mxids.len();
                        table.write_user(place, mxids);
                        Hit::User(start..mxids.len())
                    }
                };
                hits.push((with, hit));
            });
            hits
        })
    }
}

/// What stands behind a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hit {
    /// A user: where the id was written.
    User(std::ops::Range<usize>),
    /// The database has to be asked.
    Ask,
}

/// How far the index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// There is none, and none is being made: the database answers lookups.
    Off,
    /// It is being made: the database answers lookups meanwhile.
    Building,
    /// It is complete.
    Complete,
}

/// The index, or what there is of it.
pub struct LookupIndex {
    state: RwLock<State>,
    phase: watch::Sender<Phase>,
    was_complete: AtomicBool,
    /// Held by whoever brings changes into the index, so that what is read later is also brought in
    /// later.
    pub turn: tokio::sync::Mutex<()>,
    waiting: Mutex<Waiting>,
    wanted: Mutex<Wanted>,
    /// How far the database's changes were read, and when.
    pub feed: tokio::sync::Mutex<Option<(Position, Moment)>>,
    changed: Notify,
    /// Wakes who builds.
    pub build_is_due: Notify,
    /// Wakes who asks the database for changes.
    pub changes_are_due: Arc<Notify>,
    /// Wakes who tells other nodes of changes.
    pub telling_is_due: Notify,
}

/// What lookups need.
#[derive(Clone, Default)]
pub struct State {
    /// The index under the current pepper.
    pub current: Option<Arc<Generation>>,
    /// The index under the pepper that comes next.
    pub next: Option<Arc<Generation>>,
    /// Whether the next pepper is about to become the current one: the database has to be asked
    /// which one is.
    pub is_switching: bool,
}

/// For which peppers there should be an index.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The current one.
    pub current: Option<Pepper>,
    /// The next one.
    pub next: Option<Pepper>,
    /// Whether there is to be none any more.
    pub is_off: bool,
}

/// What has to be brought into the index.
#[derive(Default)]
struct Waiting {
    threepids: HashSet<ThreePid>,
    /// How often something was added.
    asked: u64,
    /// How much of that is done.
    done: u64,
}

impl LookupIndex {
    /// There is no index yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: RwLock::default(),
            phase: watch::Sender::new(Phase::Off),
            was_complete: AtomicBool::new(false),
            turn: tokio::sync::Mutex::default(),
            waiting: Mutex::default(),
            wanted: Mutex::default(),
            feed: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            build_is_due: Notify::new(),
            changes_are_due: Arc::new(Notify::new()),
            telling_is_due: Notify::new(),
        }
    }

    /// What lookups need.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what lookups need.
    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_waiters();
    }

    /// How far it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Says how far it is.
    pub fn set_phase(&self, phase: Phase) {
        self.was_complete.fetch_or(phase == Phase::Complete, Ordering::Relaxed);
        self.phase.send_if_modified(|old| std::mem::replace(old, phase) != phase);
    }

    /// Whether it is being made for the first time. Where it is made anew the database answers
    /// meanwhile, and all nodes do so at once: none of them is to be taken for one that isn't there.
    #[must_use]
    pub fn is_yet_to_come(&self) -> bool {
        self.phase() == Phase::Building && !self.was_complete.load(Ordering::Relaxed)
    }

    /// Waits while it is being made, for `patience` at most; answers whether it is complete.
    pub async fn is_complete_within(&self, patience: Duration) -> bool {
        let mut phase = self.phase.subscribe();
        let decided = phase.wait_for(|phase| *phase != Phase::Building);
        tokio::time::timeout(patience, decided)
            .await
            .is_ok_and(|waited| waited.is_ok_and(|phase| *phase == Phase::Complete))
    }

    /// Waits until there is an index under the next pepper, for `patience` at most; answers whether
    /// there is. Nobody waits for one that is not to come.
    pub async fn is_next_built_within(&self, pepper_id: i64, patience: Duration) -> bool {
        let is_built = |state: &State| {
            let generations = [&state.current, &state.next];
            let mut built = generations.into_iter().flatten();
            built.any(|generation| generation.pepper_id == pepper_id)
        };
        let built = async {
            loop {
                let changed = self.changed.notified();
                if is_built(&self.state()) {
                    return true;
                }
                if self.phase() != Phase::Complete || self.wanted().next.is_none() {
                    return false;
                }
                changed.await;
            }
        };
        tokio::time::timeout(patience, built).await.unwrap_or(false)
    }

    /// All generations that have to be kept up to date.
    #[must_use]
    pub fn generations(&self) -> Vec<Arc<Generation>> {
        let State { current, next, .. } = self.state();
        current.into_iter().chain(next).collect()
    }

    /// For which peppers there should be an index.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says for which peppers there should be an index.
    pub fn want(&self, change: impl FnOnce(&mut Wanted)) {
        change(&mut self.wanted.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes 3PIDs that changed; answers a number by which to ask whether they are done.
    pub fn wait_for(&self, threepids: impl IntoIterator<Item = ThreePid>) -> u64 {
        let mut waiting = self.waiting();
        waiting.threepids.extend(threepids);
        waiting.asked += 1;
        waiting.asked
    }

    /// Whether what was noted under `number` is done.
    #[must_use]
    pub fn is_done(&self, number: u64) -> bool {
        self.waiting().done >= number
    }

    /// Takes all that was noted.
    #[must_use]
    pub fn take_waiting(&self) -> Taken<'_> {
        let mut waiting = self.waiting();
        let threepids = std::mem::take(&mut waiting.threepids);
        Taken { index: self, threepids, number: waiting.asked }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was noted. Whoever took it may be dropped in the middle: then it is still to be done.
pub struct Taken<'a> {
    index: &'a LookupIndex,
    /// What changed, each once however often it was tried.
    pub threepids: HashSet<ThreePid>,
    number: u64,
}

impl Taken<'_> {
    /// It was brought in.
    pub fn done(mut self) {
        self.threepids.clear();
        let mut waiting = self.index.waiting();
        waiting.done = waiting.done.max(self.number);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.threepids.is_empty() {
            self.index.waiting().threepids.extend(self.threepids.drain());
        }
    }
}

impl Default for LookupIndex {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_brought_in_waits_once_however_often_it_is_told() {
        let (index, alice) = (LookupIndex::new(), ThreePid::email("alice@example.org").unwrap());
        for _ in 0..3 {
            index.wait_for([alice.clone()]);
            drop(index.take_waiting());
        }
        let number = index.wait_for([alice]);
        let taken = index.take_waiting();
        assert_eq!(taken.threepids.len(), 1);
        assert!(!index.is_done(number));
        taken.done();
        assert!(index.is_done(number));
        assert!(index.take_waiting().threepids.is_empty());
    }
}
