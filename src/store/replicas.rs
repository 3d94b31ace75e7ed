//! Servers that follow the database. What may be a second old is read from them, to spare the
//! database itself.
//!
//! PostgreSQL says how far its log is written, and a replica how far it has followed. A replica
//! that has followed as far as the log was written a moment ago holds all that was committed before
//! that moment. It is asked while the moment is less than [`BOUND`] ago, and while it holds all that
//! this node wrote: so whoever binds through a node and looks up through the same finds the bind at
//! once. When nothing is certain the database itself is asked.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use diesel::r2d2::{Pool, PooledConnection};

use super::{
    StoreError,
    connection::{AnyConnection, Manager, QuietErrors, followed_up_to, written_up_to},
};

/// How old an answer of a replica may be.
const BOUND: Duration = Duration::from_secs(1);

/// How often all servers are asked how far they are.
const PERIOD: Duration = Duration::from_millis(200);

/// How long a replica must have been away or behind before the log tells so: each is for a moment,
/// now and then.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a connection to a replica is waited for; the next one may have one.
const POOL_WAIT: Duration = Duration::from_millis(500);

/// A place in PostgreSQL's log, in bytes from its beginning.
type Place = i64;

/// All servers that follow the database.
pub(super) struct Replicas {
    all: Vec<Replica>,
    next: AtomicUsize,
    log: Mutex<Log>,
}

struct Replica {
    pool: Pool<Manager>,
    /// How far it had followed when it answered last, and when that was.
    followed: Mutex<Option<(Instant, Place)>>,
    told: Mutex<Told>,
}

/// What the log tells of a replica.
#[derive(Default)]
struct Told {
    /// What it told last.
    last: Option<News>,
    /// Since when the replica is behind.
    behind_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// It is up to date.
    Near,
    /// It has been away or behind for a while.
    Behind,
}

impl Told {
    /// How the replica is at `now`; answers what is to be told of that.
    fn see(&mut self, now: Instant, is_behind: bool) -> Option<News> {
        let news = if is_behind {
            let since = *self.behind_since.get_or_insert(now);
            (now.duration_since(since) >= PATIENCE).then_some(News::Behind)?
        } else {
            self.behind_since = None;
            News::Near
        };
        (self.last.replace(news) != Some(news)).then_some(news)
    }
}

/// How far the database has written its log.
#[derive(Default)]
struct Log {
    /// At which moments it was how far, the earliest first.
    written: VecDeque<(Instant, Place)>,
    /// How far it was at the last of all these moments.
    last: Place,
    /// How far it was when the last change of this node was committed, as far as that is known.
    own: Place,
    /// Since when there are changes of this node of which that is not known.
    own_unknown: Option<Instant>,
    /// Where the log of a server that was taken over from had ended at most, and one more: a replica
    /// that has followed into what is lost of it looks as if it had followed the new one.
    lost: Place,
}

impl Log {
    /// The database has written its log up to `place`, by what it was asked at `asked`, and no
    /// replica has followed farther than up to `followed`.
    fn see(&mut self, asked: Instant, place: Place, followed: Place) {
        if place < self.last {
            // Another server has taken over, and what only the former had written is lost.
            self.written.clear();
            self.own = place;
            self.lost = self.lost.max(self.last.max(followed) + 1);
        }
        self.last = place;
        if self.own_unknown.is_some_and(|since| since < asked) {
            self.own_unknown = None;
            // Something that was written later may be known already.
            self.own = self.own.max(place);
        }
        self.written.push_back((asked, place));
        self.forget_old();
    }

    fn forget_old(&mut self) {
        while self.written.front().is_some_and(|(asked, _)| asked.elapsed() > BOUND) {
            self.written.pop_front();
        }
    }

    /// How far a replica must have followed; `None`: none can be believed.
    fn needed(&mut self) -> Option<Place> {
        let written = self.written_lately()?;
        self.own_unknown.is_none().then_some(self.own.max(written))
    }

    /// How far a replica has followed that is no more than a second behind; `None`: that isn't known.
    fn written_lately(&mut self) -> Option<Place> {
        self.forget_old();
        self.written.front().map(|(_, place)| self.lost.max(*place))
    }
}

impl Replicas {
    /// Those of `replicas`, which follow the server of `database`. They are watched as long as
    /// anybody holds the answer.
    pub(super) fn watch(
        database: &Manager,
        replicas: impl Iterator<Item = Manager>,
        max_connections: u32,
    ) -> Result<Arc<Self>, StoreError> {
        let managers: Vec<Manager> = replicas.collect();
        let all = managers.iter().map(|manager| Replica::new(manager.clone(), max_connections));
        let all = all.collect::<Result<_, _>>()?;
        let replicas = Arc::new(Self { all, next: AtomicUsize::new(0), log: Mutex::default() });
        let watched = Arc::downgrade(&replicas);
        watch(watched, database.clone(), |replicas, asked, conn| {
            let place = conn.and_then(written_up_to);
            if let Some(place) = place {
                let followed = replicas.all.iter().filter_map(|one| *lock(&one.followed));
                let followed = followed.map(|(_, place)| place).max().unwrap_or(0);
                lock(&replicas.log).see(asked, place, followed);
            }
            place.is_some()
        });
        for (number, manager) in managers.into_iter().enumerate() {
            watch(Arc::downgrade(&replicas), manager, move |replicas, asked, conn| {
                let place = conn.and_then(followed_up_to);
                replicas.see(number, asked, place);
                place.is_some()
            });
        }
        Ok(replicas)
    }

    fn see(&self, number: usize, asked: Instant, place: Option<Place>) {
        let Some(replica) = self.all.get(number) else { return };
        if let Some(place) = place {
            *lock(&replica.followed) = Some((asked, place));
        }
        let Some(is_behind) = self.is_behind(replica) else { return };
        let news = lock(&replica.told).see(Instant::now(), is_behind);
        // In the order of the configuration, from 1.
        let replica = number + 1;
        match news {
            Some(News::Near) => {
                tracing::info!(replica, "the replica is up to date, and answers lookups");
            }
            Some(News::Behind) => tracing::warn!(
                replica,
                "the replica is away or more than a second behind: the database answers for it"
            ),
            None => {}
        }
    }

    /// Whether `replica` is away or more than a second behind; `None` where the database doesn't say
    /// how far its log is. That it doesn't hold yet what this node has just written is another thing,
    /// which happens with each write.
    fn is_behind(&self, replica: &Replica) -> Option<bool> {
        let written = lock(&self.log).written_lately()?;
        let followed = *lock(&replica.followed);
        Some(followed.is_none_or(|(asked, place)| asked.elapsed() > BOUND || place < written))
    }

    /// This node committed a change; `place` is how far the log was written after that, if known.
    pub(super) fn note_write(&self, place: Option<Place>) {
        let mut log = lock(&self.log);
        match place {
            Some(place) => log.own = log.own.max(place),
            None => log.own_unknown = Some(Instant::now()),
        }
    }

    /// A connection to a replica that can be believed, if there is one: all of them in turns.
    pub(super) fn connection(&self) -> Option<PooledConnection<Manager>> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turns = self.all.iter().cycle().skip(first % self.all.len().max(1));
        for replica in in_turns.take(self.all.len()) {
            if !self.is_near(replica) {
                continue;
            }
            let Ok(conn) = replica.pool.get_timeout(POOL_WAIT) else { continue };
            // It may have taken a while.
            if self.is_near(replica) {
                return Some(conn);
            }
        }
        None
    }

    /// Whether `replica` answers, and holds all that it must.
    fn is_near(&self, replica: &Replica) -> bool {
        let Some((asked, followed)) = *lock(&replica.followed) else { return false };
        let needed = lock(&self.log).needed();
        asked.elapsed() <= BOUND && needed.is_some_and(|needed| followed >= needed)
    }
}

impl Replica {
    fn new(manager: Manager, max_connections: u32) -> Result<Self, StoreError> {
        let pool = Pool::builder()
            .max_size(max_connections)
            .min_idle(Some(0))
            .connection_timeout(POOL_WAIT)
            .error_handler(Box::new(QuietErrors))
            .build(manager)?;
        Ok(Self { pool, followed: Mutex::default(), told: Mutex::default() })
    }
}

/// Has a thread of its own ask a server again and again, until nobody wants to know any more. `see`
/// is told when it was asked, over which connection if one could be made, and answers whether that
/// is still good.
fn watch(
    watched: Weak<Replicas>,
    manager: Manager,
    see: impl Fn(&Replicas, Instant, Option<&mut AnyConnection>) -> bool + Send + 'static,
) {
    std::thread::spawn(move || {
        let mut conn = None;
        loop {
            if conn.is_none() {
                conn = manager.connect_now().ok();
            }
            let Some(replicas) = watched.upgrade() else { return };
            if !see(&replicas, Instant::now(), conn.as_mut()) {
                conn = None;
            }
            drop(replicas);
            std::thread::sleep(PERIOD);
        }
    });
}

/// What is behind the lock is good whatever happened to whoever held it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ago(millis: u64) -> Instant {
        Instant::now().checked_sub(Duration::from_millis(millis)).unwrap()
    }

    #[test]
    fn a_replica_must_hold_what_was_written_a_second_ago_and_all_of_this_node() {
        let mut log = Log::default();
        assert_eq!(log.needed(), None);
        log.see(ago(1500), 10, 0);
        assert_eq!(log.needed(), None);
        log.see(ago(700), 20, 0);
        log.see(ago(10), 30, 0);
        assert_eq!(log.needed(), Some(20));
        log.own = 25;
        assert_eq!(log.needed(), Some(25));
    }

    #[test]
    fn a_change_of_unknown_place_is_held_by_whoever_holds_what_was_written_after_it() {
        let mut log = Log::default();
        log.see(ago(500), 20, 0);
        log.own_unknown = Some(ago(300));
        assert_eq!(log.needed(), None);
        // Asked before the change, answered after it.
        log.see(ago(400), 30, 0);
        assert_eq!(log.needed(), None);
        log.see(ago(100), 40, 0);
        assert_eq!(log.needed(), Some(40));
    }

    #[test]
    fn a_later_change_of_known_place_counts_beside_one_of_unknown_place() {
        let mut log = Log { own: 50, own_unknown: Some(ago(300)), ..Log::default() };
        log.see(ago(100), 40, 0);
        assert_eq!(log.needed(), Some(50));
    }

    /// What is told of a replica that is behind in these of so many seconds.
    fn told(seconds: u64, is_behind: impl Fn(u64) -> bool) -> Vec<(u64, News)> {
        let (mut told, start) = (Told::default(), Instant::now());
        let mut see = |second| {
            Some((second, told.see(start + Duration::from_secs(second), is_behind(second))?))
        };
        (0..seconds).filter_map(&mut see).collect()
    }

    #[test]
    fn a_replica_that_is_behind_for_moments_is_not_told_of() {
        assert_eq!(told(100, |second| second % 3 == 2), [(0, News::Near)]);
    }

    #[test]
    fn a_replica_that_stays_behind_is_told_of_once_and_so_is_that_it_is_back() {
        let news = told(100, |second| (10..30).contains(&second));
        assert_eq!(news, [(0, News::Near), (15, News::Behind), (30, News::Near)]);
        assert_eq!(told(100, |_| true), [(5, News::Behind)]);
    }

    #[test]
    fn after_a_failover_whoever_is_beyond_all_of_the_former_log_follows_the_new_one() {
        let mut log = Log { own: 50, ..Log::default() };
        log.see(ago(5000), 50, 49);
        log.see(ago(500), 40, 55);
        assert_eq!(log.needed(), Some(56));
        log.see(ago(400), 60, 55);
        assert_eq!(log.needed(), Some(56));
        log.written.pop_front();
        assert_eq!(log.needed(), Some(60));
    }
}
