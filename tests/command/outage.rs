//! PostgreSQL goes away and comes back.
//!
//! The server of `TEST_DATABASE_URL` is left alone: the tests here stop and freeze one of their
//! own, from the programs on this machine, and pass where it has none.
#![cfg(feature = "postgres")]

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use diesel::{Connection, PgConnection, RunQueryDsl, connection::SimpleConnection};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Home, Person, addresses, signal, until};

/// A PostgreSQL server that the test may do anything to. It ends with the test, however that ends.
struct Cluster {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    server: Option<Child>,
}

impl Cluster {
    /// An empty one; `None` where PostgreSQL is not installed.
    fn new() -> Option<Self> {
        let programs = programs()?;
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if is_root() {
            let owned = Command::new("chown").arg("postgres:").arg(folder.path()).status();
            assert!(owned.unwrap().success());
        }
        let cluster = Self { programs, folder, port, server: None };
        let mut init = cluster.command("initdb");
        init.args(["--username=bindery", "--auth=trust", "--no-sync", "--locale=C.UTF-8"]);
        let init = init.stdout(Stdio::null()).output().unwrap();
        assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
        Some(cluster)
    }

    /// One of its programs on its data, as a user that it consents to run as.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        // Ends quickly when the thread of the test does.
        command.args(["--pdeathsig", "QUIT"]);
        if is_root() {
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
        }
        command.arg("--").arg(self.programs.join(program));
        command.arg("-D").arg(self.folder.path().join("data")).current_dir(self.folder.path());
        command
    }

    fn url(&self) -> String {
        format!("postgres://bindery@127.0.0.1:{}/postgres", self.port)
    }

    async fn start(&mut self) {
        let mut command = self.command("postgres");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-k"]);
        command.arg(self.folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some(command.spawn().unwrap());
        let url = self.url();
        until("PostgreSQL", async || PgConnection::establish(&url).ok()).await;
    }

    /// Lets it fall over: no connection is closed in order.
    async fn crash(&mut self) {
        let mut server = self.server.take().unwrap();
        signal(server.id(), "QUIT");
        until("the end of PostgreSQL", async || server.try_wait().unwrap()).await;
    }

    /// Sends a signal to it and to what serves its connections.
    fn signal_all(&self, name: &str) {
        let server = self.server.as_ref().unwrap().id();
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children"));
        signal(server, name);
        for child in children.unwrap().split_whitespace() {
            signal(child.parse().unwrap(), name);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            // One that is stopped ends as soon as it goes on.
            signal(server.id(), "QUIT");
            self.signal_all("CONT");
            self.server.take().unwrap().wait().unwrap();
        }
    }
}

/// Where the newest version's programs are; Debian keeps them off the `PATH`.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok().into_iter().flatten();
    let on_debian = versions.map(|version| version.unwrap().path().join("bin"));
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut all: Vec<PathBuf> = std::env::split_paths(&on_path).chain(on_debian).collect();
    all.retain(|folder| folder.join("initdb").exists());
    all.sort();
    all.pop()
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The longest that anybody may wait for an answer while the database is away.
const BOUND: Duration = Duration::from_secs(15);

/// Each request that needs the database is told, in time, to come back later: all of them, once
/// what is in memory isn't believed any more.
async fn all_are_put_off(you: &Person, bind: &Value) {
    until("that memory is not believed any more", async || {
        let details = you.get("/_matrix/identity/v2/hash_details").await;
        details.is_unavailable().then_some(())
    })
    .await;
    let asked = Instant::now();
    let (bound, read, ready, live) = tokio::join!(
        you.bind(bind),
        you.get("/_matrix/identity/v2/hash_details"),
        you.get("/health/ready"),
        you.get("/health/live"),
    );
    assert!(asked.elapsed() < BOUND, "{:?}", asked.elapsed());
    for refused in [bound, read, ready] {
        assert!(refused.is_unavailable(), "{refused:?}");
    }
    live.ok();
}

/// Waits until the server says that it is ready; then everything has to work at once.
async fn serves_again(you: &Person, bind: &Value, emails: &[String]) {
    until("a server that is ready", async || {
        (you.get("/health/ready").await.status == 200).then_some(())
    })
    .await;
    you.bind(bind).await.ok();
    assert_eq!(you.find(emails).await, emails);
}

#[tokio::test]
async fn while_postgresql_is_away_clients_are_put_off_and_then_served_by_the_same_process() {
    if std::env::var("TEST_DATABASE_URL").is_err() {
        return; // This time the tests are about SQLite.
    }
    let Some(mut cluster) = Cluster::new() else { return };
    cluster.start().await;
    let home = Home::new();
    home.use_database(&cluster.url());
    let server = home.serve().await;
    let you = Person::of(&home, &server);
    let emails = addresses(3);
    let bodies = you.validated(&home, &emails).await;
    serves_again(&you, &bodies[0], &emails[..1]).await;

    cluster.crash().await;
    let crashed = Instant::now();
    while crashed.elapsed() < Duration::from_secs(10) {
        all_are_put_off(&you, &bodies[1]).await;
    }
    cluster.start().await;
    serves_again(&you, &bodies[1], &emails[..2]).await;

    // It takes connections and says nothing more: neither an answer nor an end.
    cluster.signal_all("STOP");
    all_are_put_off(&you, &bodies[2]).await;
    cluster.signal_all("CONT");
    serves_again(&you, &bodies[2], &emails).await;
}

#[tokio::test]
async fn background_work_that_hangs_does_not_keep_the_server_from_stopping() {
    let home = Home::new();
    if !home.database.is_postgres() {
        return; // On SQLite the start would have to wait as well.
    }
    home.serve().await.kill().await;
    let mut locking = PgConnection::establish(&home.database.url).unwrap();
    locking.batch_execute("BEGIN; LOCK TABLE sessions IN EXCLUSIVE MODE").unwrap();
    // It looks for expired sessions as soon as it has started.
    let mut server = home.serve().await;
    let waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'sessions'::regclass";
    until("work that waits", async || {
        (diesel::sql_query(waiting).execute(&mut locking) == Ok(1)).then_some(())
    })
    .await;
    let asked = Instant::now();
    server.signal("TERM");
    assert!(server.ended().await.success());
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}
