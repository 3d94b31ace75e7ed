//! `bindery peers quarantine`: what neighbours sent that can't be believed.

use anyhow::bail;
use clap::{Args, Subcommand};

use super::{date, existing_store, say};
use crate::{
    config::Config,
    store::{
        StoreError,
        quarantine::{self, Quarantined},
    },
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// List it, a line each: number, date, neighbour, the neighbour's number, reason
    List,
    /// Show one of them, with what was sent
    Show {
        /// Its number
        id: i64,
    },
    /// Forget one of them, or all
    Drop(Which),
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// Its number
    id: Option<i64>,
    /// Forget all
    #[arg(long)]
    all: bool,
}

pub(super) async fn run(command: Command, config: Config) -> anyhow::Result<()> {
    let store = existing_store(&config.database)?;
    match command {
        Command::List => {
            let all: Vec<Quarantined> = store.read::<_, StoreError>(quarantine::list).await?;
            all.iter().try_for_each(|one| say(&line(one)))
        }
        Command::Show { id } => {
            let found = store.read::<_, StoreError>(move |tx| quarantine::find(tx, id)).await?;
            match found {
                Some(one) => say(&details(&one)),
                None => bail!("there is nothing with that number"),
            }
        }
        Command::Drop(Which { id, .. }) => {
            let dropped = store.write::<_, StoreError>(move |tx| quarantine::drop(tx, id)).await?;
            match (dropped, id) {
                (0, Some(_)) => bail!("there is nothing with that number"),
                (count, _) => say(&format!("Forgotten: {count}.")),
            }
        }
    }
}

fn line(one: &Quarantined) -> String {
    let Quarantined { id, origin, origin_id, received_at, reason, .. } = one;
    // It is the neighbour's text.
    let origin_id = origin_id.escape_debug();
    format!("{id}\t{}\t{origin}\t{origin_id}\t{reason}", date(*received_at))
}

fn details(one: &Quarantined) -> String {
    [
        format!("number: {}", one.id),
        format!("neighbour: {}", one.origin),
        format!("the neighbour's number: {}", one.origin_id.escape_debug()),
        format!("received: {}", date(one.received_at)),
        format!("reason: {}", one.reason),
        // It may hold anything, which a terminal must not obey.
        format!("sent: {}", one.body.escape_debug()),
    ]
    .join("\n")
}
