//! `bindery invites`: what the operator does about invitations.

use anyhow::bail;
use clap::Subcommand;

use super::{date, existing_store, say};
use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    store::{
        StoreError,
        invites::{self, Invite, Outcome, State},
    },
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// List all invitations, a line each: token, state, address, room, sender
    List,
    /// Show one invitation, with all that its homeserver sent
    Show {
        /// Its token
        token: String,
    },
    /// Deliver now what is owed or has failed
    Retry {
        /// Its token
        token: String,
    },
    /// Take an invitation back that hasn't been delivered
    Revoke {
        /// Its token
        token: String,
    },
}

pub(super) async fn run(command: Command, config: Config) -> anyhow::Result<()> {
    let store = existing_store(&config.database)?;
    let now_ms = SystemClock.now_ms();
    match command {
        Command::List => {
            let all: Vec<Invite> = store.read::<_, StoreError>(invites::list).await?;
            all.iter().try_for_each(|invite| say(&line(invite)))
        }
        Command::Show { token } => {
            let found = store.read::<_, StoreError>(move |tx| invites::find(tx, &token)).await?;
            match found {
                Some(invite) => say(&details(&invite)),
                None => bail!("there is no invitation with that token"),
            }
        }
        Command::Retry { token } => {
            let owed =
                store.write::<_, StoreError>(move |tx| invites::retry(tx, &token, now_ms)).await?;
            if !owed {
                bail!("nothing is owed and nothing has failed under that token");
            }
            say("It is due now; a running server delivers it within half a minute.")
        }
        Command::Revoke { token } => {
            let revoked = store
                .write::<_, StoreError>(move |tx| {
                    invites::settle(tx, &token, Outcome::Revoked, (now_ms, None))
                })
                .await?;
            if !revoked {
                bail!("no invitation with that token waits or is owed");
            }
            say("It is revoked: a bind of the address delivers it no more.")
        }
    }
}

fn state(invite: &Invite) -> &'static str {
    match &invite.state {
        State::Waiting => "waiting",
        State::Owed { .. } => "owed",
        State::Settled { outcome, .. } => outcome.as_str(),
    }
}

fn line(invite: &Invite) -> String {
    let Invite { token, threepid, room_id, sender, .. } = invite;
    format!("{token}\t{}\t{}\t{room_id}\t{sender}", state(invite), threepid.address())
}

fn details(invite: &Invite) -> String {
    let Invite { token, threepid, room_id, sender, created_at, attempts, .. } = invite;
    let mut lines = vec![
        format!("token: {token}"),
        format!("state: {}", state(invite)),
        format!("address: {} ({})", threepid.address(), threepid.medium().as_str()),
        format!("room: {room_id}"),
        format!("sender: {sender}"),
        format!("created: {}", date(*created_at)),
        format!("attempts: {attempts}"),
    ];
    match &invite.state {
        State::Waiting => {}
        State::Owed { mxid, due_at, .. } => {
            lines.push(format!("owed to: {mxid}"));
            lines.push(format!("next attempt: {}", date(*due_at)));
        }
        State::Settled { at, .. } => {
            lines.push(format!("settled: {}", date(*at)));
        }
    }
    lines.extend(invite.last_error.iter().map(|error| format!("last error: {error}")));
    lines.push(format!("request: {}", invite.request));
    lines.join("\n")
}
