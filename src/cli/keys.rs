//! `bindery keys`: the long-term signing keys.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use anyhow::{Context, bail};
use clap::Subcommand;

use super::say;
use crate::{
    config::Config,
    matrix::signing::{KeyRing, SigningKey, encode_base64},
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a new key, which signs from the server's next start on
    #[command(
        after_help = "The new key becomes the first line of the key file. Earlier keys stay \
                            in it and stay published, so that what they signed still verifies."
    )]
    Make,
    /// List the ids of the keys; the first one signs
    List,
    /// Print each key's id and public half; the first one signs
    Public,
}

pub(super) fn run(command: &Command, config: &Config) -> anyhow::Result<()> {
    let path = &config.signing.key_file;
    match command {
        Command::Make => {
            let key = SigningKey::generate();
            make(path, &key)?;
            say(&format!("Made the key {} in {}.", key.id(), path.display()))?;
            say("A server that runs signs with it after its next start.")
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
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "there is no key file {} (`signing.key_file`), and what was signed before verifies \
             with no other key: put the file back, from a backup or from another node; if it is \
             lost, or there never was one, `bindery keys make` makes a new one",
            path.display()
        ),
        read => {
            read.with_context(|| format!("the key file {} (`signing.key_file`)", path.display()))?
        }
    };
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
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| folder.display().to_string())?;
    let fresh = path.with_extension("new");
    // What an attempt that crashed left may be readable for others.
    let _ = fs::remove_file(&fresh);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .with_context(|| fresh.display().to_string())?;
    write!(file, "{}\n{earlier}", key.to_line())?;
    file.sync_all()?;
    fs::rename(&fresh, path).with_context(|| path.display().to_string())?;
    // Without this the new name may not outlive a power failure, but signatures made with it do.
    File::open(folder)?.sync_all().with_context(|| folder.display().to_string())
}
