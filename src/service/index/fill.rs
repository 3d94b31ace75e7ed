//! Filling the index from the database: one thread reads, another one hashes and sorts in.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use super::Known;
use crate::{
    app::App,
    index::Table,
    matrix::threepid::lookup_hash,
    store::{
        StoreError, Tx,
        standing::{self, Held, Sources, Standing},
    },
};

/// How many associations are handed over at once, and how often that may lie ready.
const BATCH: usize = 1024;
const READY: usize = 4;

/// The least that an entry takes, in bytes.
const LEAST: usize = 16;

/// Medium, address, and whose it is.
type Row = (String, String, Held);

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

fn read(tx: &mut Tx<'_>, sources: &Sources, rows: &SyncSender<Vec<Row>>) -> Result<(), StoreError> {
    let mut batch = Vec::with_capacity(BATCH);
    let mut add = |medium, address, held| {
        batch.push((medium, address, held));
        if batch.len() == BATCH {
            // Nobody receives any more what would be too much.
            let _ = rows.send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)));
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
    rows: Receiver<Vec<Row>>,
    pepper: &str,
    now_ms: i64,
    most: usize,
) -> Option<Table> {
    for batch in rows {
        for (medium, address, held) in batch {
            let standing = Standing { own: Some(held), ..Standing::default() };
            if let Some(entry) = Known::of(&standing, now_ms).entry() {
                table.add(&lookup_hash(&address, &medium, pepper), entry);
            }
        }
        if table.bytes() > most {
            return None;
        }
    }
    (table.bytes() <= most).then_some(table)
}
