//! A database of the organisation's own, asked by queries of the configuration. Nothing is ever
//! written to it.

mod connection;
mod questions;
mod row;
mod statement;

use std::{sync::Arc, time::Duration};

use diesel::r2d2::Pool;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use self::{
    connection::{Manager, QuietErrors, Reader},
    questions::Questions,
    row::{Nothing, Row},
    statement::{Statement, Value, Values},
};
use super::{Addresses, Cursor, DirectoryError, DirectorySetupError, Matches, Page, Person};
use crate::{
    config::{self, Sql},
    matrix::{id::UserId, threepid::ThreePid},
};

/// How long a page may take, for which nobody waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// The database.
pub(super) struct SqlDatabase {
    pool: Pool<Manager>,
    /// Questions on their way: those, too, that nobody waits for any more.
    places: Arc<Semaphore>,
    timeout: Duration,
    questions: Arc<Questions>,
}

impl SqlDatabase {
    /// Tries the queries out, where the database can be reached.
    pub(super) fn open(
        settings: &config::Directory,
        sql: &Sql,
        addresses: Addresses,
    ) -> Result<Self, DirectorySetupError> {
        let name = settings.name.as_str();
        let wrong = |problem: String| DirectorySetupError { name: name.to_owned(), problem };
        let connections = settings.max_connections.get();
        let pool = Pool::builder()
            .max_size(connections)
            // Connections are made for those who wait, none ahead.
            .min_idle(Some(0))
            .connection_timeout(settings.timeout)
            .error_handler(Box::new(QuietErrors))
            .build(Manager::new(sql.database.clone(), settings.timeout))
            .map_err(|error| wrong(error.to_string()))?;
        let questions = Questions::new(settings, sql, addresses);
        match pool.get() {
            Ok(mut reader) => questions.try_out(&mut reader).map_err(wrong)?,
            Err(error) => tracing::warn!(
                directory = name,
                %error,
                "the database can't be reached: its queries could not be tried out"
            ),
        }
        let permits = usize::try_from(connections).unwrap_or(usize::MAX);
        Ok(Self {
            pool,
            places: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
            timeout: settings.timeout,
            questions: Arc::new(questions),
        })
    }

    /// Does `work` on a connection of which nothing can be written, on a thread that may block.
    async fn ask<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce(&Questions, &mut Reader) -> Result<T, DirectoryError> + Send + 'static,
    ) -> Result<T, DirectoryError> {
        let Ok(place) = self.places.clone().acquire_owned().await else {
            return Err(DirectoryError::Busy);
        };
        let (pool, questions) = (self.pool.clone(), self.questions.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let _place = place;
            let mut reader =
                pool.get().map_err(|error| DirectoryError::Unreachable(error.to_string()))?;
            reader.begin(limit)?;
            let answer = work(&questions, &mut reader);
            reader.end();
            answer
        });
        asked.await.unwrap_or_else(|_| Err(DirectoryError::Malformed("a row".to_owned())))
    }

    pub(super) async fn find(
        &self,
        threepids: &[ThreePid],
    ) -> Result<Vec<(ThreePid, UserId)>, DirectoryError> {
        let threepids = threepids.to_vec();
        self.ask(self.timeout, move |questions, reader| questions.find(reader, &threepids)).await
    }

    pub(super) async fn check(
        &self,
        user: &UserId,
        password: &SecretString,
    ) -> Result<Option<Person>, DirectoryError> {
        let (user, password) = (user.clone(), password.clone());
        let work = move |questions: &Questions, reader: &mut Reader| {
            questions.check(reader, &user, password.expose_secret())
        };
        self.ask(self.timeout, work).await
    }

    pub(super) async fn search(&self, term: &str, limit: usize) -> Result<Matches, DirectoryError> {
        let term = term.to_owned();
        self.ask(self.timeout, move |questions, reader| questions.search(reader, &term, limit))
            .await
    }

    pub(super) async fn page(&self, after: Option<&Cursor>) -> Result<Page, DirectoryError> {
        let after = after.cloned();
        let work = move |questions: &Questions, reader: &mut Reader| questions.page(reader, after);
        self.ask(self.timeout.max(PATIENCE), work).await
    }

    pub(super) async fn changes(
        &self,
        since_ms: i64,
        after: Option<&Cursor>,
    ) -> Result<Option<Page>, DirectoryError> {
        let after = after.cloned();
        let work = move |questions: &Questions, reader: &mut Reader| {
            questions.changes(reader, since_ms, after)
        };
        self.ask(self.timeout.max(PATIENCE), work).await
    }
}
