//! `bindery directories`: what the operator does about the organisation's directories.

use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Subcommand;

use super::{
    date, existing_store, keys, say,
    steps::{Failed, step},
};
use crate::{
    app::App,
    clock::SystemClock,
    config::{self, Config},
    directory::{Directory, DirectoryError},
    matrix::threepid::ThreePid,
    service::directory::copy::{self, Outcome},
    store::{
        StoreError, Tx, directory_people,
        directory_syncs::{self, Sync},
    },
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// List them, a line each: name, type, what they serve for, addresses copied, when, what failed
    List,
    /// Ask one of them this and that, step by step; shows nobody's name or address
    #[command(after_help = "Exits with 1 where a step failed. Passwords are not tried.")]
    Check {
        /// Its name in the configuration
        name: String,
    },
    /// Copy all people of one of them now, or of all, for lookups by hash
    #[command(
        after_help = "Works whether or not the server runs, which does the same by itself, as \
                            often as `sync_interval` says."
    )]
    Sync {
        /// Its name in the configuration
        name: Option<String>,
    },
    /// Look an address up in each of them, and in the copies
    Find {
        /// Such as email or msisdn
        medium: String,
        /// The address; of a phone number its digits with the country code
        address: String,
    },
}

pub(super) async fn run(command: Command, config: Config) -> anyhow::Result<()> {
    let store = existing_store(&config.database)?;
    let ring = keys::read(&config.signing.key_file)?;
    let app = App::open(config, store, ring, Arc::new(SystemClock))?;
    match command {
        Command::List => list(&app).await,
        Command::Check { name } => check(named(&app, &name)?).await,
        Command::Sync { name: Some(name) } => sync(&app, &[named(&app, &name)?]).await,
        Command::Sync { name: None } => {
            let copied = app.directories.iter().filter(|one| one.settings().is_copied());
            sync(&app, &copied.collect::<Vec<_>>()).await
        }
        Command::Find { medium, address } => find(&app, &medium, &address).await,
    }
}

fn named<'a>(app: &'a App, name: &str) -> anyhow::Result<&'a Directory> {
    app.directories.get(name).with_context(|| {
        let names: Vec<_> = app.directories.iter().map(|one| &*one.settings().name).collect();
        format!("the configuration names no directory {name}, but: {}", names.join(", "))
    })
}

async fn list(app: &App) -> anyhow::Result<()> {
    for directory in app.directories.iter() {
        let name = directory.settings().name.clone();
        let find = move |tx: &mut Tx<'_>| directory_syncs::find(tx, &name);
        let state = app.store.read::<_, StoreError>(find).await?;
        say(&line(directory.settings(), &state.unwrap_or_default()))?;
    }
    Ok(())
}

fn line(settings: &config::Directory, state: &Sync) -> String {
    let uses = [
        (settings.identities, "identities"),
        (settings.login, "login"),
        (settings.search, "search"),
    ];
    let uses: Vec<_> = uses.into_iter().filter_map(|(is_on, word)| is_on.then_some(word)).collect();
    let copied_at = match state.full_at {
        _ if !settings.is_copied() => "not copied".to_owned(),
        None => "never".to_owned(),
        Some(at) => date(at),
    };
    let error = state.last_error.as_deref().unwrap_or("-").escape_debug();
    let (name, kind) = (&settings.name, settings.kind.as_str());
    let addresses = state.addresses;
    format!("{name}\t{kind}\t{}\t{addresses}\t{copied_at}\t{error}", uses.join(","))
}

async fn check(directory: &Directory) -> anyhow::Result<()> {
    // Nobody can have an address there (RFC 2606).
    let nobody = ThreePid::email("bindery-check@directory.invalid")?;
    let found = possible(directory.find(std::slice::from_ref(&nobody)));
    let found = step("looking an address up", found, |found| match found {
        None => UNABLE.to_owned(),
        Some(found) if found.is_empty() => "answers, and knows nobody with it".to_owned(),
        Some(_) => "answers, but finds somebody with an address that nobody has".to_owned(),
    });
    let mut is_well = found.await?.is_ok();
    let found = possible(directory.search("bindery-check", 1));
    let found = step("searching", found, |found| match found {
        None => UNABLE.to_owned(),
        Some(_) => "answers".to_owned(),
    });
    is_well &= found.await?.is_ok();
    let page = step("listing people", possible(directory.page(None)), |page| match page {
        None => format!("{UNABLE}; lookups by hash don't find its people"),
        Some(page) => {
            let reachable = page.people.iter().filter(|person| !person.threepids.is_empty());
            let more = if page.next.is_some() { ", and there are more" } else { "" };
            let (people, reachable) = (page.people.len(), reachable.count());
            format!("{people} people, {reachable} of them with an address{more}")
        }
    });
    is_well &= page.await?.is_ok();
    if is_well { Ok(()) } else { bail!("not everything works") }
}

const UNABLE: &str = "it can't be asked that";

/// That a kind of directory can't be asked something is no failure.
async fn possible<T>(
    asked: impl Future<Output = Result<T, DirectoryError>>,
) -> Result<Option<T>, DirectoryError> {
    match asked.await {
        Err(DirectoryError::Unsupported) => Ok(None),
        answer => answer.map(Some),
    }
}

/// Why a directory was not copied.
#[derive(Debug, thiserror::Error)]
enum Uncopied {
    #[error("it is not to be copied")]
    NotWanted,
    #[error("another node is at it")]
    Elsewhere,
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Failed for Uncopied {
    fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::NotWanted => Some("see `identities`, `sync_interval` and `type` in its settings"),
            Self::Elsewhere => Some("wait until it is done, or for two minutes if it has crashed"),
            Self::Failed(_) => {
                Some("`bindery directories check` tells what works and what doesn't")
            }
            Self::Store(_) => None,
        }
    }
}

async fn sync(app: &App, directories: &[&Directory]) -> anyhow::Result<()> {
    let mut is_well = true;
    for directory in directories {
        let copied = async {
            if !directory.settings().is_copied() {
                return Err(Uncopied::NotWanted);
            }
            match copy::copy_now(app, directory).await? {
                Outcome::Copied { addresses, claimed_twice } => Ok((addresses, claimed_twice)),
                Outcome::Failed(error) => Err(Uncopied::Failed(error)),
                Outcome::Elsewhere | Outcome::NotDue | Outcome::Updated { .. } => {
                    Err(Uncopied::Elsewhere)
                }
            }
        };
        let done = step(&directory.settings().name, copied, |(addresses, claimed_twice)| {
            let several = match claimed_twice {
                0 => String::new(),
                several => format!("; {several} more are several people's, and so nobody's"),
            };
            format!("{addresses} addresses{several}")
        });
        is_well &= done.await?.is_ok();
    }
    if is_well { Ok(()) } else { bail!("not everything was copied") }
}

async fn find(app: &App, medium: &str, address: &str) -> anyhow::Result<()> {
    let threepid = app.mediums.threepid(medium, address);
    let threepid = threepid.with_context(|| format!("{address} is no address of {medium}"))?;
    let mut is_known = false;
    for directory in app.directories.iter() {
        let found = possible(directory.find(std::slice::from_ref(&threepid)));
        let name = &directory.settings().name;
        let found = step(name, found, |found| match found {
            None => UNABLE.to_owned(),
            Some(found) => match found.get(&threepid) {
                Some(mxid) => mxid.to_string(),
                None => "unknown there".to_owned(),
            },
        });
        is_known |= found.await?.is_ok_and(|found| found.is_some_and(|found| !found.is_empty()));
    }
    let names = app.copied_directories();
    let copied = move |tx: &mut Tx<'_>| directory_people::find(tx, &names, &threepid);
    let copied = app.store.read::<_, StoreError>(copied).await?;
    say(&format!("      in the copies: {}", copied.as_deref().unwrap_or("unknown")))?;
    if is_known || copied.is_some() { Ok(()) } else { bail!("no directory knows it") }
}
