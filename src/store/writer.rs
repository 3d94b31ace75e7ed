//! SQLite's one writer: a thread that commits together what waits together.
//!
//! Each piece of work runs in a savepoint of its own, so that one that is refused leaves nothing
//! behind; all of a group become durable with one commit, and only then are they answered.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::{mpsc, oneshot};

use super::{
    Access, StoreError,
    connection::{AnyConnection, Manager, Tx, begin, commit, rollback, savepoint},
};

/// The most pieces of work in one commit.
const MAX_GROUP: usize = 128;

/// The most pieces of work that wait; more have to wait for a place among them.
const MAX_WAITING: usize = 1024;

/// The sending end of the writer's queue.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Job>>,
}

/// A piece of work in the queue.
trait Job: Send {
    /// Does the work; answers whether its changes are to stay.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// Answers whoever waits; `fault` is why the changes are not durable after all.
    fn answer(self: Box<Self>, fault: Option<String>);
}

struct Write<W, T, E> {
    work: Option<W>,
    outcome: Option<Result<T, E>>,
    answer: oneshot::Sender<Result<T, E>>,
}

impl<W, T, E> Job for Write<W, T, E>
where
    W: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        self.outcome = self.work.take().map(|work| work(tx));
        matches!(self.outcome, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, fault: Option<String>) {
        let outcome = match (self.outcome, fault) {
            (Some(Err(refused)), _) => Err(refused),
            (_, Some(fault)) => Err(StoreError::Commit(fault).into()),
            (Some(done), None) => done,
            (None, None) => Err(StoreError::Stopped.into()),
        };
        // Whoever asked may have gone away; the work is done all the same.
        let _ = self.answer.send(outcome);
    }
}

impl Writer {
    /// Starts the thread; it ends when the last sender is gone and the queue is empty.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub(super) fn start(manager: Manager) -> Result<Self, StoreError> {
        let (queue, mut waiting) = mpsc::channel(MAX_WAITING);
        let mut conn = Some(manager.connect_now()?);
        std::thread::spawn(move || {
            while let Some(group) = next_group(&mut waiting) {
                if conn.is_none() {
                    conn = manager.connect_now().ok();
                }
                match &mut conn {
                    Some(open) => {
                        if !run_group(open, group) {
                            conn = None;
                        }
                    }
                    None => answer_all(group, Some("the database can't be opened")),
                }
            }
        });
        Ok(Self { queue })
    }

    /// Runs `work` in the next group and waits for its commit.
    pub(super) async fn write<T, E>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job = Box::new(Write { work: Some(work), outcome: None, answer });
        self.queue.send(job).await.map_err(|_| StoreError::Stopped)?;
        answered.await.map_err(|_| StoreError::Stopped)?
    }
}

type Group = Vec<Box<dyn Job>>;

/// Waits for work and takes what else is there; `None` when there will be no more.
fn next_group(waiting: &mut mpsc::Receiver<Box<dyn Job>>) -> Option<Group> {
    let mut group = vec![waiting.blocking_recv()?];
    while group.len() < MAX_GROUP {
        let Ok(job) = waiting.try_recv() else { break };
        group.push(job);
    }
    Some(group)
}

/// Runs a group in one transaction; answers whether the connection is still good.
fn run_group(conn: &mut AnyConnection, mut group: Group) -> bool {
    if let Err(fault) = begin(conn, Access::Write) {
        answer_all(group, Some(&fault.to_string()));
        return false;
    }
    let mut fault = None;
    for job in &mut group {
        fault = run_job(conn, job.as_mut()).err();
        if fault.is_some() {
            break;
        }
    }
    // After a fault in the middle the whole transaction may be gone already.
    let ended = match &fault {
        None => commit(conn),
        Some(_) => rollback(conn),
    };
    let good = fault.is_none() && ended.is_ok();
    let fault = fault.or_else(|| ended.err().map(|e| e.to_string()));
    answer_all(group, fault.as_deref());
    good
}

/// Runs one piece of work in a savepoint of its own.
fn run_job(conn: &mut AnyConnection, job: &mut dyn Job) -> Result<(), String> {
    savepoint(conn).map_err(|e| e.to_string())?;
    let keep = catch_unwind(AssertUnwindSafe(|| job.run(&mut Tx(conn)))).unwrap_or_else(|_| {
        tracing::error!("a piece of database work panicked");
        false
    });
    let ended = if keep { commit(conn) } else { rollback(conn) };
    ended.map_err(|e| e.to_string())
}

fn answer_all(group: Group, fault: Option<&str>) {
    for job in group {
        job.answer(fault.map(str::to_owned));
    }
}
