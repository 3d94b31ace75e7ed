//! What people read, through the front door of the library and of `bindery templates`: languages,
//! brands, and what an operator has written over.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::{fs, path::Path, process::Command, time::Duration};

use bindery::{
    config::Config,
    messages::{
        Failure, Front, Invitation, InvitationKind, Messages, Page, Style, Subject,
        ValidationMessage, Wish,
    },
};
use tempfile::TempDir;

mod brands;
mod command;
mod faults;
mod languages;
mod overrides;
mod papers;
mod texts;

const LINK: &str = "https://id.example.org/submitToken?sid=1&token=2";

const VALIDATION: ValidationMessage<'static> =
    ValidationMessage { link: LINK, token: "123456", lifetime: Duration::from_hours(24) };

const INVITATION: Invitation<'static> = Invitation {
    kind: InvitationKind::Room,
    inviter: "@alice:example.org",
    inviter_name: Some("Alice"),
    room_name: Some("Garden <club>"),
    link: LINK,
};

/// The directories of an operator, and the configuration that names them.
struct Operator {
    folder: TempDir,
}

impl Operator {
    /// With these files below `messages/`, each with its text.
    fn with(files: &[(&str, &str)]) -> Self {
        let operator = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(operator.folder.path().join("messages")).unwrap();
        fs::create_dir(operator.folder.path().join("acme")).unwrap();
        for (name, text) in files {
            operator.write(&format!("messages/{name}"), text);
        }
        operator
    }

    /// Writes a file below the operator's folder.
    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn toml(&self) -> String {
        let folder = self.folder.path().display();
        format!(
            "server.name = 'id.example.org'\n\
             messages.directory = '{folder}/messages'\n\
             [brands.acme]\nname = 'Acme'\nhomeservers = ['acme.example', 'other.example']\n\
             from = 'Acme <noreply@acme.example>'\nlocale = 'de'\n\
             web_client = 'https://chat.acme.example'\ndirectory = '{folder}/acme'\n\
             [brands.bare]\n"
        )
    }

    fn messages(&self) -> Messages {
        Messages::new(&Config::from_toml(&self.toml()).unwrap()).unwrap()
    }

    /// All that is wrong with the files.
    fn faults(&self) -> String {
        let config = Config::from_toml(&self.toml()).unwrap();
        let faults = Messages::new(&config).unwrap_err().to_string();
        faults.replace(&format!("{}/", self.folder.path().display()), "")
    }

    /// Runs `bindery` with this configuration; answers the exit code and both outputs.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        self.write("bindery.toml", &self.toml());
        run(self.folder.path(), arguments)
    }
}

fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bindery"));
    command.env_clear().current_dir(folder).env("BINDERY_CONFIG", folder.join("bindery.toml"));
    let output = command.args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The style of a locale.
fn locale(messages: &Messages, locale: &str) -> Style {
    messages.style(&Wish { locale: Some(locale), ..Wish::default() })
}

/// Every page.
fn pages() -> Vec<Page<'static>> {
    let mut pages = vec![];
    for subject in [Subject::Email, Subject::Phone, Subject::Other] {
        pages.push(Page::Validated(subject));
        pages.push(Page::AlreadyValidated(subject));
        for failure in [
            Failure::Expired,
            Failure::TooManyAttempts,
            Failure::Limited,
            Failure::Unavailable,
            Failure::WrongLink,
        ] {
            pages.push(Page::Failed { subject, failure });
        }
        let fields = &[("token", "1\"<2")];
        let (address, action) = ("<alice>@example.org", "submitToken");
        pages.push(Page::Confirm { subject, address, action, fields });
    }
    pages.push(Page::Front(Front {
        base_url: "https://id.example.org",
        keys: &[],
        terms: &[],
        mediums: &["email"],
        version: "1",
    }));
    pages
}
