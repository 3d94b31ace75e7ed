//! `bindery account`: what the operator does about users' access tokens.

use clap::Subcommand;

use super::{existing_store, say};
use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    matrix::id::UserId,
    service,
    store::{StoreError, accounts},
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make an access token for a user and print it; no homeserver is asked
    #[command(
        after_help = "Whoever has the token acts as that user here: for trying out, and for \
                            scripts. Clients get theirs through the homeserver."
    )]
    Token {
        /// The user, such as @you:example.org
        mxid: UserId,
    },
    /// List the users who have access tokens, and how many each has
    List,
    /// Forget all access tokens of a user
    Logout {
        /// The user, such as @you:example.org
        mxid: UserId,
    },
}

pub(super) async fn run(command: Command, config: Config) -> anyhow::Result<()> {
    let store = existing_store(&config.database)?;
    match command {
        Command::Token { mxid } => {
            say(&service::account::issue_token(&store, mxid, SystemClock.now_ms()).await?)
        }
        Command::List => {
            for account in store.read::<_, StoreError>(accounts::list).await? {
                say(&format!("{}\t{}", account.mxid, account.tokens))?;
            }
            Ok(())
        }
        Command::Logout { mxid } => {
            let of_user = mxid.clone();
            let count = store
                .write::<_, StoreError>(move |tx| accounts::remove_tokens_of(tx, &of_user))
                .await?;
            let tokens = if count == 1 { "access token" } else { "access tokens" };
            say(&format!("Forgot {count} {tokens} of {mxid}."))
        }
    }
}
