//! The ways that need no server: a program, a directory, the log.

use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::{Arc, Mutex},
};

use bindery::{
    config::EmailTransport,
    delivery::{DeliveryError, Fault},
};
use mail_parser::MessageParser;
use tracing::instrument::WithSubscriber;

use crate::{Door, LINK, NOW_MS, TOKEN};

/// What is logged at info while `work` is done.
async fn logged(work: impl Future<Output = ()>) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    work.with_subscriber(log.finish()).await;
    String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_sendmail_program_gets_sender_recipient_and_message() {
    let directory = tempfile::tempdir().unwrap();
    let command = directory.path().join("sendmail");
    symlink(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/sendmail.sh"), &command).unwrap();
    let door = Door::to(EmailTransport::Sendmail { command });

    door.mail("-oQ/tmp@example.org").await.unwrap();
    let arguments = fs::read_to_string(directory.path().join("arguments")).unwrap();
    assert_eq!(arguments, "-i\n-f\nnoreply@example.org\n--\n-oq/tmp@example.org\n");
    let input = fs::read(directory.path().join("input")).unwrap();
    assert!(MessageParser::new().parse(&input).unwrap().body_text(0).unwrap().contains(LINK));

    fs::write(directory.path().join("fail"), "").unwrap();
    let error = door.mail("alice@example.org").await.unwrap_err();
    assert!(matches!(error, DeliveryError::Unsent(Fault::Sendmail)));
    assert!(!format!("{error:?} {error}").contains("alice"));
}

#[tokio::test]
async fn a_sendmail_program_that_is_missing_fails() {
    let door = Door::to(EmailTransport::Sendmail { command: "/nowhere/sendmail".into() });
    let outcome = door.mail("alice@example.org").await;
    assert!(matches!(outcome, Err(DeliveryError::Unsent(Fault::Sendmail))));
}

#[tokio::test]
async fn a_directory_gets_a_private_file_a_mail() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("data/mail");
    let door = Door::to(EmailTransport::Directory(directory.clone()));
    let log = logged(async {
        door.mail("alice@example.org").await.unwrap();
        door.clock.advance(std::time::Duration::from_millis(1));
        door.mail("bob@example.org").await.unwrap();
    })
    .await;

    assert_eq!(mode(&directory), 0o700);
    let mut files: Vec<_> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 2);
    for (at, address) in ["alice@example.org", "bob@example.org"].into_iter().enumerate() {
        let name = files[at].file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with(&format!("{}-", NOW_MS + i64::try_from(at).unwrap())), "{name}");
        assert!(Path::new(name).extension().is_some_and(|extension| extension == "eml"));
        assert_eq!(mode(&files[at]), 0o600);
        let raw = fs::read(&files[at]).unwrap();
        let mail = MessageParser::new().parse(&raw).unwrap();
        assert_eq!(mail.to().unwrap().first().unwrap().address(), Some(address));
        assert!(mail.body_text(0).unwrap().contains(LINK));
        assert!(log.contains(name));
    }
    assert!(!log.contains("alice") && !log.contains(TOKEN), "{log}");
}

#[tokio::test]
async fn a_file_where_the_directory_should_be_is_named() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("mail");
    fs::write(&path, "").unwrap();
    let door = Door::try_to(EmailTransport::Directory(path.clone()), "noreply@example.org");
    assert!(door.err().unwrap().to_string().starts_with(path.to_str().unwrap()));
}

#[tokio::test]
async fn a_directory_that_went_away_fails_the_mail() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("mail");
    let door = Door::to(EmailTransport::Directory(directory.clone()));
    fs::remove_dir(&directory).unwrap();
    let outcome = door.mail("alice@example.org").await;
    assert!(matches!(outcome, Err(DeliveryError::Unsent(Fault::File(_)))));
}

#[tokio::test]
async fn the_log_gets_the_whole_message() {
    let door = Door::to(EmailTransport::Log);
    let log = logged(async { door.mail("alice@example.org").await.unwrap() }).await;
    for part in ["alice@example.org", "Confirm your e-mail address", LINK, TOKEN] {
        assert!(log.contains(part), "{part:?} is not in {log}");
    }
}
