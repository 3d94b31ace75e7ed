//! How a directory is asked: within a deadline, by few at once, and not while it fails.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::DirectoryError;
use crate::{
    breaker::{Attempt, Gate},
    cause::causes,
    clock::SharedClock,
    config,
    metrics::{Answered, DirectoryCounts, Question},
};

/// What one page of all people may take at the least: nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What stands around each question to one directory.
pub(super) struct Asking {
    name: String,
    timeout: Duration,
    permits: Semaphore,
    gate: Gate,
    is_failing: AtomicBool,
    counts: DirectoryCounts,
}

impl Asking {
    pub(super) fn new(
        settings: &config::Directory,
        counts: DirectoryCounts,
        clock: SharedClock,
    ) -> Self {
        counts.know(&settings.name);
        let permits = usize::try_from(settings.max_connections.get()).unwrap_or(usize::MAX);
        Self {
            name: settings.name.clone(),
            timeout: settings.timeout,
            permits: Semaphore::new(permits.min(Semaphore::MAX_PERMITS)),
            gate: Gate::new(clock),
            is_failing: AtomicBool::new(false),
            counts,
        }
    }

    /// Asks while somebody waits for the answer.
    pub(super) async fn ask<T>(
        &self,
        question: Question,
        work: impl Future<Output = Result<T, DirectoryError>>,
    ) -> Result<T, DirectoryError> {
        self.ask_within(question, self.timeout, work).await
    }

    /// Asks while nobody waits for the answer.
    pub(super) async fn ask_patiently<T>(
        &self,
        question: Question,
        work: impl Future<Output = Result<T, DirectoryError>>,
    ) -> Result<T, DirectoryError> {
        self.ask_within(question, self.timeout.max(PATIENCE), work).await
    }

    async fn ask_within<T>(
        &self,
        question: Question,
        within: Duration,
        work: impl Future<Output = Result<T, DirectoryError>>,
    ) -> Result<T, DirectoryError> {
        let deadline = Instant::now() + within;
        let Some(attempt) = self.gate.admits() else {
            self.counts.count(&self.name, question, Answered::Skipped);
            return Err(DirectoryError::Resting);
        };
        let Ok(permit) = timeout_at(deadline, self.permits.acquire()).await else {
            self.counts.count(&self.name, question, Answered::Skipped);
            return Err(DirectoryError::Busy);
        };
        let had_time = deadline.saturating_duration_since(Instant::now()) >= within / 2;
        let answer = timeout_at(deadline, work).await.unwrap_or(Err(DirectoryError::TimedOut));
        drop(permit);
        match &answer {
            Ok(_) | Err(DirectoryError::Unsupported | DirectoryError::Forgotten) => {
                self.answered(question, attempt);
            }
            // What had hardly any time has shown nothing.
            Err(DirectoryError::TimedOut) if !had_time => {
                self.counts.count(&self.name, question, Answered::Failed);
            }
            Err(error) => self.failed(question, attempt, error),
        }
        answer
    }

    fn answered(&self, question: Question, attempt: Attempt<'_>) {
        attempt.succeeded();
        self.counts.count(&self.name, question, Answered::Answered);
        if self.is_failing.swap(false, Ordering::Relaxed) {
            self.counts.set_failing(&self.name, false);
            tracing::info!(directory = self.name, "the directory answers again");
        }
    }

    fn failed(&self, question: Question, attempt: Attempt<'_>, error: &DirectoryError) {
        attempt.failed();
        self.counts.count(&self.name, question, Answered::Failed);
        if !self.is_failing.swap(true, Ordering::Relaxed) {
            self.counts.set_failing(&self.name, true);
            tracing::warn!(
                directory = self.name,
                error = causes(error),
                "the directory fails; it is left out until it answers again"
            );
        }
    }
}
