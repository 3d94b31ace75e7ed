//! The ways of a mail that need no server: a sendmail program, and files in a directory.

use std::{fs::DirBuilder, io, os::unix::fs::DirBuilderExt, path::Path, time::Duration};

use lettre::{AsyncSendmailTransport, AsyncTransport, Tokio1Executor, address::Envelope};
use tokio::{
    fs::{self, OpenOptions},
    io::AsyncWriteExt,
    time::timeout,
};

use super::{DeliveryError, Fault};
use crate::secret;

/// A sendmail program only puts the mail into its queue.
pub(super) const SENDMAIL_TIMEOUT: Duration = Duration::from_mins(1);

/// Hands a mail to a program that speaks sendmail's command line, for at most a minute.
pub(super) async fn run_sendmail(
    command: &Path,
    envelope: &Envelope,
    mail: &[u8],
) -> Result<(), Fault> {
    let sendmail = AsyncSendmailTransport::<Tokio1Executor>::new_with_command(command);
    match timeout(SENDMAIL_TIMEOUT, sendmail.send_raw(envelope, mail)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tracing::debug!(%error, "the sendmail program failed");
            Err(Fault::Sendmail)
        }
        Err(_elapsed) => Err(Fault::TimedOut(SENDMAIL_TIMEOUT)),
    }
}

/// Makes the directory, for its owner alone, where it is missing.
pub(super) fn make_directory(path: &Path) -> Result<(), DeliveryError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| DeliveryError::setup(path.display().to_string(), error))
}

/// Writes a mail into a file of its own, whose name sorts by time. It appears as a whole: whoever
/// watches the directory never reads half a mail.
pub(super) async fn write_file(directory: &Path, mail: &[u8], now_ms: i64) -> Result<(), Fault> {
    let name = format!("{now_ms:013}-{}.eml", secret::random_alphanumeric(8));
    let (hidden, path) = (directory.join(format!(".{name}")), directory.join(name));
    if let Err(error) = write_then_rename(&hidden, &path, mail).await {
        // What is left of it is of no use; that it can't be removed either is no news.
        let _ = fs::remove_file(&hidden).await;
        return Err(Fault::File(error));
    }
    tracing::info!(path = %path.display(), "wrote a mail");
    Ok(())
}

async fn write_then_rename(hidden: &Path, path: &Path, mail: &[u8]) -> io::Result<()> {
    // The token in the mail is for nobody else on this machine.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(hidden).await?;
    file.write_all(mail).await?;
    file.flush().await?;
    fs::rename(hidden, path).await
}
