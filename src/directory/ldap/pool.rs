//! Connections that wait for the next question.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::time::{self, Instant};

use super::{Connection, DirectoryError, Found, Query, Servers};

/// How long a connection may wait; servers and firewalls hang up after a few minutes.
const IDLE: Duration = Duration::from_mins(1);

/// The servers, and the connections to them that are logged in.
pub(super) struct Pool {
    servers: Servers,
    idle: Arc<Mutex<Idle>>,
    /// How many may wait.
    most: usize,
}

#[derive(Default)]
struct Idle {
    /// The one used last is last; each with the time since when it has waited.
    connections: Vec<(Connection, Instant)>,
    /// Whether a task is there to close them.
    is_watched: bool,
}

impl Pool {
    pub(super) fn new(servers: Servers, most: usize) -> Self {
        Self { servers, idle: Arc::default(), most }
    }

    pub(super) fn servers(&self) -> &Servers {
        &self.servers
    }

    /// Asks on a connection that waits, or on a new one.
    pub(super) async fn search(&self, query: &Query<'_>) -> Result<Found, DirectoryError> {
        if let Some(connection) = self.waiting() {
            let outcome = self.ask(connection, query).await;
            // The server had hung up on it; it may be back by now.
            if !matches!(outcome, Err(DirectoryError::Unreachable(_))) {
                return outcome;
            }
        }
        let connection = self.servers.log_in().await?;
        self.ask(connection, query).await
    }

    /// Asks, and keeps the connection if the server has answered, whatever it said.
    async fn ask(
        &self,
        mut connection: Connection,
        query: &Query<'_>,
    ) -> Result<Found, DirectoryError> {
        let suspicion = Suspicion(Some(self));
        let outcome = connection.search(query).await;
        if matches!(outcome, Ok(_) | Err(DirectoryError::Refused(_))) {
            suspicion.dispel();
            self.keep(connection);
        }
        outcome
    }

    fn waiting(&self) -> Option<Connection> {
        let mut idle = self.lock();
        while let Some((mut connection, since)) = idle.connections.pop() {
            if since.elapsed() < IDLE && !connection.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.lock();
        if idle.connections.len() >= self.most {
            drop(idle);
            connection.close();
            return;
        }
        idle.connections.push((connection, Instant::now()));
        if !std::mem::replace(&mut idle.is_watched, true) {
            tokio::spawn(watch(Arc::downgrade(&self.idle)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        lock(&self.idle)
    }
}

/// That a server is gone, for as long as it hasn't answered. It is confirmed when this is dropped,
/// as it is when the deadline around a question ends it: the connections that wait lead to the same
/// silence, and another server may answer.
struct Suspicion<'p>(Option<&'p Pool>);

impl Suspicion<'_> {
    fn dispel(mut self) {
        self.0 = None;
    }
}

impl Drop for Suspicion<'_> {
    fn drop(&mut self) {
        if let Some(pool) = self.0 {
            pool.lock().connections.clear();
            pool.servers.turn_away();
        }
    }
}

fn lock(idle: &Mutex<Idle>) -> MutexGuard<'_, Idle> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes connections that nobody needs any more, until none is left.
async fn watch(idle: Weak<Mutex<Idle>>) {
    loop {
        time::sleep(IDLE).await;
        let Some(idle) = idle.upgrade() else { return };
        let (stale, is_empty) = {
            let mut idle = lock(&idle);
            let is_stale = |(_, since): &mut (Connection, Instant)| since.elapsed() >= IDLE;
            let stale: Vec<_> = idle.connections.extract_if(.., is_stale).collect();
            idle.is_watched = !idle.connections.is_empty();
            (stale, !idle.is_watched)
        };
        for (connection, _) in stale {
            connection.close();
        }
        if is_empty {
            return;
        }
    }
}
