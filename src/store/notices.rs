//! Word between nodes that something changed, so that they look at once and not only a little
//! later. Nothing depends on its arrival.
//!
//! It is sent after the change and outside of its transaction: PostgreSQL lets transactions that
//! notify commit only one after another
//! ([PostgreSQL](https://www.postgresql.org/docs/current/sql-notify.html)).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

#[cfg(feature = "postgres")]
use super::connection::{AnyConnection, Manager};
use super::{Store, StoreError};

/// How often it is looked whether word has arrived, which asks nobody.
const GLANCE: Duration = Duration::from_millis(20);

/// How long after a failure it is tried again to listen.
const PAUSE: Duration = Duration::from_secs(1);

/// Somebody listens as long as this is there.
pub struct Listener(Arc<AtomicBool>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Store {
    /// Calls `wake` when other nodes say that something changed. On SQLite nobody says so.
    #[must_use]
    pub fn listen(&self, wake: impl Fn() + Send + 'static) -> Listener {
        let has_ended = Arc::new(AtomicBool::new(false));
        #[cfg(feature = "postgres")]
        if self.writer.is_none() {
            let (manager, ended) = (self.manager.clone(), has_ended.clone());
            std::thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    if let Err(error) = listen_once(&manager, &ended, &wake) {
                        tracing::debug!(%error, "can't listen to other nodes");
                        std::thread::sleep(PAUSE);
                    }
                }
            });
        }
        #[cfg(not(feature = "postgres"))]
        drop((wake, GLANCE, PAUSE));
        Listener(has_ended)
    }

    /// Says to other nodes that something changed.
    ///
    /// # Errors
    /// When the database fails.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(clippy::unused_async, reason = "on SQLite there is nobody to tell")
    )]
    pub async fn tell_others(&self) -> Result<(), StoreError> {
        #[cfg(feature = "postgres")]
        if self.writer.is_none() {
            use diesel::RunQueryDsl;
            let notify = |tx: &mut super::Tx<'_>| {
                diesel::sql_query("NOTIFY bindery_changes").execute(&mut *tx.0)?;
                Ok::<_, StoreError>(())
            };
            self.write(notify).await?;
        }
        Ok(())
    }
}

#[cfg(feature = "postgres")]
fn listen_once(
    manager: &Manager,
    has_ended: &AtomicBool,
    wake: &impl Fn(),
) -> Result<(), StoreError> {
    use diesel::connection::SimpleConnection;
    let AnyConnection::Postgres(mut conn) = manager.connect_now()? else { return Ok(()) };
    conn.batch_execute("LISTEN bindery_changes")?;
    while !has_ended.load(Ordering::Relaxed) {
        let mut has_word = false;
        for notice in conn.notifications_iter() {
            notice?;
            has_word = true;
        }
        if has_word {
            wake();
        }
        std::thread::sleep(GLANCE);
    }
    Ok(())
}
