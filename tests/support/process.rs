//! Servers as processes of their own.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command},
    time::Duration,
};

pub(crate) use crate::port::free_port;

/// The longest that anything may take until a client sees it: longer than what failed waits for its
/// second attempt.
const PATIENCE: Duration = Duration::from_mins(2);

/// How often a client looks.
const PERIOD: Duration = Duration::from_millis(50);

/// A running server. It is gone when this is dropped, and also when the thread that started it
/// ends in whichever way.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with these variables and no others in its environment.
    pub(crate) fn start(
        name: &'static str,
        program: &OsStr,
        arguments: &[&OsStr],
        variables: &[(&str, &OsStr)],
        log: PathBuf,
    ) -> Self {
        let output = File::options().create(true).append(true).open(&log).unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .envs(variables.iter().copied())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { name, child, log }
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        // Fails only for a process that has ended already.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Ends it as an operator does, who waits for it.
    pub(crate) fn stop(&mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{} ended with {status}", self.name);
    }

    /// Whether `is_there` becomes true while the process runs.
    pub(crate) async fn until(&mut self, mut is_there: impl AsyncFnMut() -> bool) {
        let Self { name, child, log } = self;
        eventually(&format!("{name} answers"), async || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{name} ended with {status}: {}", fs::read_to_string(&*log).unwrap());
            }
            is_there().await.then_some(())
        })
        .await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let from = log.lines().count().saturating_sub(60);
            let end: Vec<_> = log.lines().skip(from).collect();
            println!("--- the end of {}'s log:\n{}", self.name, end.join("\n"));
        }
    }
}

/// What `look` finds in the end.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut ticks = tokio::time::interval(PERIOD);
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            ticks.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    });
    found.await.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}
