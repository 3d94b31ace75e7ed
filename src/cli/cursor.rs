//! `bindery peers cursor`: how far a neighbour was told of what is bound here, and what it refuses.

use std::{num::ParseIntError, str::FromStr};

use anyhow::{Context, bail};
use clap::Args;

use super::{date, existing_store, say};
use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    store::{
        Store, StoreError, Tx,
        replication_log::{self, Cursor, Entry},
        replication_refusals::{self as refusals, Refusal},
    },
};

#[derive(Args)]
pub(super) struct Arguments {
    /// The neighbour, by its name in the configuration
    name: String,
    /// Set an entry aside, so that those after it are told: the one with this number, or the next one
    #[arg(long, value_name = "NUMBER", num_args = 0..=1, default_missing_value = "")]
    skip: Option<Which>,
    /// Tell again what was set aside: the entry with this number, or all
    #[arg(long, value_name = "NUMBER", num_args = 0..=1, default_missing_value = "",
        conflicts_with = "skip")]
    retry: Option<Which>,
}

/// An entry by its number, or whichever there is.
#[derive(Debug, Clone, Copy)]
struct Which(Option<i64>);

impl FromStr for Which {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = (!text.is_empty()).then(|| text.parse());
        number.transpose().map(Self)
    }
}

pub(super) async fn run(arguments: Arguments, config: Config) -> anyhow::Result<()> {
    let Arguments { name, skip, retry } = arguments;
    let mut neighbours = config.peers.replicate.iter();
    if !neighbours.any(|one| one.name.as_str() == name && one.url.is_some()) {
        bail!("no neighbour {name} is told anything: [[peers.replicate]] has none with a `url`");
    }
    let store = existing_store(&config.database)?;
    match (skip, retry) {
        (Some(Which(id)), _) => pass_over(&store, &name, id).await,
        (None, Some(Which(id))) => tell_again(&store, &name, id).await,
        (None, None) => show(&store, &name).await,
    }
}

/// A line for each neighbour that is told.
pub(super) async fn list(store: &Store, config: &Config) -> anyhow::Result<()> {
    for neighbour in config.peers.replicate.iter().filter(|one| one.url.is_some()) {
        let name = neighbour.name.as_str();
        let State { cursor, last_id, refusals, .. } = state(store, name).await?;
        let set_aside = refusals.iter().filter(|one| one.set_aside_at.is_some()).count();
        say(&format!(
            "told\t{name}\t{} of {last_id}\tset aside {set_aside}\tfailed {}\tdue {}\t{}",
            cursor.last_id,
            cursor.attempts,
            due(&cursor),
            last_error(&cursor),
        ))?;
    }
    Ok(())
}

/// How far a neighbour was told.
struct State {
    cursor: Cursor,
    /// The last entry of the log.
    last_id: i64,
    next: Option<Entry>,
    refusals: Vec<Refusal>,
}

async fn state(store: &Store, name: &str) -> Result<State, StoreError> {
    let name = name.to_owned();
    let state = move |tx: &mut Tx<'_>| {
        let refusals = refusals::list(tx, &name)?;
        let cursor = replication_log::cursor(tx, &name)?.unwrap_or_else(|| Cursor::new(name));
        let next = refusals::next(tx, &cursor, 1)?.pop();
        Ok(State { cursor, last_id: replication_log::last_id(tx)?, next, refusals })
    };
    store.read(state).await
}

fn due(cursor: &Cursor) -> String {
    if cursor.due_at <= SystemClock.now_ms() { "now".to_owned() } else { date(cursor.due_at) }
}

/// It may hold what the neighbour said, which a terminal must not obey.
fn last_error(cursor: &Cursor) -> String {
    cursor
        .last_error
        .as_ref()
        .map_or_else(|| "-".to_owned(), |text| text.escape_debug().to_string())
}

async fn show(store: &Store, name: &str) -> anyhow::Result<()> {
    let State { cursor, last_id, next, refusals } = state(store, name).await?;
    say(&format!("neighbour: {name}"))?;
    say(&format!("told: {} of {last_id}", cursor.last_id))?;
    say(&format!("next: {}", next.as_ref().map_or_else(|| "nothing".to_owned(), described)))?;
    say(&format!("due: {}", due(&cursor)))?;
    say(&format!("failed in a row: {}", cursor.attempts))?;
    say(&format!("last error: {}", last_error(&cursor)))?;
    refusals.iter().try_for_each(|one| {
        let state = match one.set_aside_at {
            Some(at) => format!("set aside {}", date(at)),
            None => format!("refused {} times, told again", one.tries),
        };
        say(&format!("{}\t{state}\t{}", described(&one.entry), one.reason.escape_debug()))
    })
}

fn described(entry: &Entry) -> String {
    let what = if entry.mxid.is_some() { "bound" } else { "unbound" };
    format!("{}\t{what}\t{} {}", entry.id, entry.medium, entry.address.escape_debug())
}

async fn pass_over(store: &Store, name: &str, id: Option<i64>) -> anyhow::Result<()> {
    let State { next, refusals, .. } = state(store, name).await?;
    let refused = refusals.iter().find(|one| one.set_aside_at.is_none());
    let refused = refused.map(|one| one.entry.id);
    let id = id.or(refused).or(next.map(|entry| entry.id)).context("nothing is to be told")?;
    let (name, now_ms) = (name.to_owned(), SystemClock.now_ms());
    let skip = move |tx: &mut Tx<'_>| refusals::skip(tx, &name, id, now_ms);
    if store.write::<_, StoreError>(skip).await? {
        say(&format!("Set aside: {id}."))
    } else {
        bail!("no entry {id} is to be told")
    }
}

async fn tell_again(store: &Store, name: &str, id: Option<i64>) -> anyhow::Result<()> {
    let refusals = state(store, name).await?.refusals;
    let set_aside = refusals.iter().filter(|one| one.set_aside_at.is_some());
    let all: Vec<i64> = set_aside.map(|one| one.entry.id).collect();
    let ids = id.map_or(all, |id| vec![id]);
    let (name, now_ms) = (name.to_owned(), SystemClock.now_ms());
    let retry = move |tx: &mut Tx<'_>| {
        let mut told = Vec::new();
        for id in ids {
            if refusals::retry(tx, &name, id, now_ms)? {
                told.push(id.to_string());
            }
        }
        Ok(told)
    };
    let told = store.write::<_, StoreError>(retry).await?;
    if told.is_empty() {
        bail!("nothing was set aside that isn't overtaken by something newer of the same address");
    }
    say(&format!("Told again: {}.", told.join(", ")))
}
