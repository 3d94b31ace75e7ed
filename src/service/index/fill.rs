//! Filling the index from the database: one thread reads, another one hashes and sorts in.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use super::Known;
use crate::{
    app::App,
    index::{Entry, Table},
    matrix::threepid::{LookupHash, lookup_hash},
    store::{
        StoreError, Tx,
        standing::{self, Held, Sources},
    },
};

/// How many associations are handed over at once, and how often that may lie ready.
const BATCH: usize = 1024;
const READY: usize = 4;

/// The least that an entry takes, in bytes.
const LEAST: usize = 16;

/// Associations on their way from one thread to the other. Their texts stand in one, since memory that
/// one thread takes and another gives back costs more than all else.
#[derive(Default)]
struct Batch {
    text: String,
    rows: Vec<Row>,
}

/// An association: where its medium, address and user id end in the text, and when it holds.
struct Row {
    ends: [usize; 3],
    not_before: i64,
    not_after: i64,
}

impl Batch {
    fn add(&mut self, medium: &str, address: &str, held: &Held) {
        let ends = [medium, address, held.mxid.as_str()].map(|part| {
            self.text.push_str(part);
            self.text.len()
        });
        self.rows.push(Row { ends, not_before: held.not_before, not_after: held.not_after });
    }

    /// The hash of each under `pepper`, and what the index is to say.
    fn entries(&self, pepper: &str, now_ms: i64) -> Vec<(LookupHash, Entry<'_>)> {
        let mut begin = 0;
        let part = |range| self.text.get(range).unwrap_or_default();
        let entry = |row: &Row| {
            let [medium, address, mxid] = row.ends;
            let hash = lookup_hash(part(medium..address), part(begin..medium), pepper);
            begin = mxid;
            let holds = (row.not_before, row.not_after);
            (hash, Known::entry_of(part(address..mxid), holds, now_ms))
        };
        self.rows.iter().map(entry).collect()
    }
}

/// All that stands behind hashes under `pepper`; `None` where that is too much.
pub(super) async fn table(app: &App, pepper: String) -> Result<Option<Table>, StoreError> {
    let (sources, now_ms) = (app.believed(), app.clock.now_ms());
    let most = app.config.lookup.index_memory;
    let work = move |tx: &mut Tx<'_>| {
        let expected = standing::expected(tx)?.min(most / LEAST);
        thread::scope(|scope| {
            let (rows, received) = sync_channel(READY);
            let filling = scope
                .spawn(|| fill(Table::with_room_for(expected), received, &pepper, now_ms, most));
            read(tx, &sources, &rows)?;
            drop(rows);
            filling.join().map_err(|_| StoreError::Stopped)
        })
    };
    app.store.scan(work).await
}

fn read(tx: &mut Tx<'_>, sources: &Sources, rows: &SyncSender<Batch>) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    let mut add = |medium: String, address: String, held: Held| {
        batch.add(&medium, &address, &held);
        if batch.rows.len() == BATCH {
            // Nobody receives any more what would be too much.
            let _ = rows.send(std::mem::take(&mut batch));
        }
    };
    standing::each_association(tx, &mut add)?;
    if !sources.origins.is_empty() {
        standing::each_of_neighbours(tx, &sources.origins, &mut add)?;
    }
    if !sources.directories.is_empty() {
        standing::each_in_directories(tx, &sources.directories, &mut add)?;
    }
    let _ = rows.send(batch);
    Ok(())
}

fn fill(
    mut table: Table,
    rows: Receiver<Batch>,
    pepper: &str,
    now_ms: i64,
    most: usize,
) -> Option<Table> {
    for batch in rows {
        table.add_all(&batch.entries(pepper, now_ms));
        if table.bytes() > most {
            return None;
        }
    }
    (table.bytes() <= most).then_some(table)
}
