//! A program of the operator's own: started for each question, which it reads as JSON on its
//! standard input and answers as JSON on its standard output.

use std::{
    io::ErrorKind,
    path::PathBuf,
    process::{ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
};

use super::{Addresses, Cursor, DirectoryError, Matches, Page, Person};
use crate::{
    config::{self, Exec, MxidTemplate},
    matrix::{id::UserId, threepid::ThreePid},
};

/// In bytes.
const LONGEST_ANSWER: u64 = 16 * 1024 * 1024;

/// What the program sees of the environment: the rest may hold secrets of this server.
const ENVIRONMENT: [&str; 4] = ["PATH", "LANG", "LC_ALL", "TZ"];

/// The program.
pub(super) struct Program {
    path: PathBuf,
    arguments: Vec<String>,
    mxid: MxidTemplate,
    addresses: Addresses,
}

impl Program {
    pub(super) fn new(settings: &config::Directory, exec: &Exec, addresses: Addresses) -> Self {
        let (path, arguments) = (exec.program.clone(), exec.arguments.clone());
        Self { path, arguments, mxid: settings.mxid.clone(), addresses }
    }

    pub(super) async fn find(
        &self,
        threepids: &[ThreePid],
    ) -> Result<Vec<(ThreePid, UserId)>, DirectoryError> {
        let address = |threepid: &ThreePid| json!({ "medium": threepid.medium().as_str(), "address": threepid.address() });
        let addresses: Vec<Value> = threepids.iter().map(address).collect();
        let answer: FindAnswer =
            self.ask(&json!({ "question": "find", "threepids": addresses })).await?;
        let owner = |found: FoundAddress| {
            let threepid = self.addresses.canonical(&found.medium, &found.address)?;
            Some((threepid, self.user(&found.user)?))
        };
        Ok(answer.found.into_iter().filter_map(owner).collect())
    }

    pub(super) async fn check(
        &self,
        user: &UserId,
        password: &SecretString,
    ) -> Result<Option<Person>, DirectoryError> {
        let Some(name) = self.mxid.name_of(user) else { return Ok(None) };
        let password = password.expose_secret();
        let question = json!({
            "question": "check", "user": name, "mxid": user.as_str(), "password": password,
        });
        let answer: CheckAnswer = self.ask(&question).await?;
        Ok(answer.person.and_then(|person| self.person(person)))
    }

    pub(super) async fn search(&self, term: &str, limit: usize) -> Result<Matches, DirectoryError> {
        let question = json!({ "question": "search", "term": term, "limit": limit });
        let answer: PeopleAnswer = self.ask(&question).await?;
        let (mut people, limited) = (self.people(answer.people), answer.limited);
        let is_longer = people.len() > limit;
        people.truncate(limit);
        Ok(Matches { people, limited: limited || is_longer })
    }

    pub(super) async fn page(&self, after: Option<&Cursor>) -> Result<Page, DirectoryError> {
        let after = after.map(|Cursor(text)| text);
        let answer = self.ask(&json!({ "question": "people", "after": after })).await?;
        Ok(self.page_of(answer))
    }

    pub(super) async fn changes(
        &self,
        since_ms: i64,
        after: Option<&Cursor>,
    ) -> Result<Option<Page>, DirectoryError> {
        let after = after.map(|Cursor(text)| text);
        let question = json!({ "question": "changes", "since_ms": since_ms, "after": after });
        match self.ask(&question).await {
            Ok(answer) => Ok(Some(self.page_of(answer))),
            Err(DirectoryError::Unsupported) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn page_of(&self, answer: PeopleAnswer) -> Page {
        Page { people: self.people(answer.people), next: answer.next.map(Cursor) }
    }

    fn people(&self, people: Vec<AnsweredPerson>) -> Vec<Person> {
        people.into_iter().filter_map(|person| self.person(person)).collect()
    }

    fn person(&self, person: AnsweredPerson) -> Option<Person> {
        let held = person.threepids.iter();
        let canonical = |held: &Held| self.addresses.canonical(&held.medium, &held.address);
        Some(Person {
            mxid: self.user(&person.user)?,
            display_name: person.display_name,
            avatar_url: person.avatar_url,
            threepids: held.filter_map(canonical).collect(),
            roles: person.roles,
        })
    }

    /// The user of a name, or of a whole user id, which no name is.
    fn user(&self, name: &str) -> Option<UserId> {
        if name.starts_with('@') { name.parse().ok() } else { self.mxid.make(name) }
    }

    /// Starts the program for one question.
    async fn ask<T: DeserializeOwned>(&self, question: &Value) -> Result<T, DirectoryError> {
        let answer = self.run(question.to_string().into_bytes()).await?;
        // What serde says may repeat what it has read.
        let malformed = |error: serde_json::Error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            DirectoryError::Malformed(format!("unexpected JSON in {place}"))
        };
        let refusal: Refusal = serde_json::from_slice(&answer).map_err(malformed)?;
        if refusal.unsupported {
            return Err(DirectoryError::Unsupported);
        }
        serde_json::from_slice(&answer).map_err(malformed)
    }

    /// Hands `input` to the program; answers what it prints.
    async fn run(&self, input: Vec<u8>) -> Result<Vec<u8>, DirectoryError> {
        let mut running = Running::start(self.command())?;
        let (stdin, stdout) = (running.child.stdin.take(), running.child.stdout.take());
        let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(DirectoryError::Unreachable("it has no input or no output".to_owned()));
        };
        let write = async move {
            match stdin.write_all(&input).await {
                // It may know its answer without reading everything.
                Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
                _ => Ok(()),
            }
        };
        let read = async move {
            let mut output = Vec::new();
            stdout.take(LONGEST_ANSWER + 1).read_to_end(&mut output).await.map(|_| output)
        };
        let failed = |error: std::io::Error| DirectoryError::Unreachable(error.to_string());
        let ((), output) = tokio::try_join!(write, read).map_err(failed)?;
        if u64::try_from(output.len()).is_ok_and(|length| length > LONGEST_ANSWER) {
            let problem = format!("it is longer than {LONGEST_ANSWER} bytes");
            return Err(DirectoryError::Malformed(problem));
        }
        let status = running.finished().await.map_err(failed)?;
        if status.success() { Ok(output) } else { Err(DirectoryError::Refused(status.to_string())) }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).env_clear();
        let kept = ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.envs(kept);
        // What it complains of goes where the log goes.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        command.process_group(0).kill_on_drop(true);
        command
    }
}

/// The program while it runs. Dropped, it is killed with all that it has started.
struct Running {
    child: Child,
    /// Its process group, until it has ended: then another may be called so.
    group: Option<Pid>,
}

impl Running {
    fn start(mut command: Command) -> Result<Self, DirectoryError> {
        let child = command.spawn().map_err(|error| {
            DirectoryError::Unreachable(format!("the program can't be started: {error}"))
        })?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Self { child, group })
    }

    async fn finished(mut self) -> std::io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.group = None;
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // Fails where nobody is left.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// A program that can't answer a question says so.
#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    unsupported: bool,
}

#[derive(Deserialize)]
struct FindAnswer {
    found: Vec<FoundAddress>,
}

#[derive(Deserialize)]
struct FoundAddress {
    medium: String,
    address: String,
    user: String,
}

#[derive(Deserialize)]
struct CheckAnswer {
    /// To be there: an answer to something else is none.
    #[serde(deserialize_with = "Option::deserialize")]
    person: Option<AnsweredPerson>,
}

#[derive(Deserialize)]
struct PeopleAnswer {
    people: Vec<AnsweredPerson>,
    #[serde(default)]
    limited: bool,
    next: Option<String>,
}

#[derive(Deserialize)]
struct AnsweredPerson {
    user: String,
    display_name: Option<String>,
    avatar_url: Option<String>,
    #[serde(default)]
    threepids: Vec<Held>,
    #[serde(default)]
    roles: Vec<String>,
}

#[derive(Deserialize)]
struct Held {
    medium: String,
    address: String,
}
