//! `bindery keys`: the long-term signing keys.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::Context;
use clap::Subcommand;

use super::say;
use crate::{
    config::Config,
    matrix::signing::{KeyRing, SigningKey, encode_base64},
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a new key that signs from the next start on; earlier keys stay published
    Make,
    /// List the ids of the keys, the signing one first
    List,
    /// Print each key's id and public half
    Public,
}

pub(super) fn run(command: &Command, config: &Config) -> anyhow::Result<()> {
    let path = &config.signing.key_file;
    match command {
        Command::Make => {
            let key = SigningKey::generate();
            make(path, &key)?;
            say(&format!("Made the key {} in {}.", key.id(), path.display()))
        }
        Command::List => read(path)?.iter().try_for_each(|key| say(&key.id())),
        Command::Public => read(path)?
            .iter()
            .try_for_each(|key| say(&format!("{} {}", key.id(), encode_base64(&key.public())))),
    }
}

/// Reads the key file.
///
/// # Errors
/// When it isn't there or holds something else than keys.
pub(super) fn read(path: &Path) -> anyhow::Result<KeyRing> {
    let text = fs::read_to_string(path).with_context(|| {
        format!(
            "the key file {} (`signing.key_file`) can't be read; `bindery keys make` makes one",
            path.display()
        )
    })?;
    KeyRing::from_text(&text).with_context(|| format!("the key file {}", path.display()))
}

/// Puts `key` in front of the keys in the file, which is made if it isn't there. The file is
/// replaced in one step, so that a crash leaves the old one or the new one.
///
/// # Errors
/// When the file holds something else than keys or can't be written.
pub(super) fn make(path: &Path, key: &SigningKey) -> anyhow::Result<()> {
    let earlier = match fs::read_to_string(path) {
        Ok(text) => {
            KeyRing::from_text(&text)
                .with_context(|| format!("the key file {}", path.display()))?;
            text
        }
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .with_context(|| fresh.display().to_string())?;
    write!(file, "{}\n{earlier}", key.to_line())?;
    file.sync_all()?;
    fs::rename(&fresh, path).with_context(|| path.display().to_string())
}
