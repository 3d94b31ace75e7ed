//! PostgreSQL servers of a test's own, from the programs on this machine.
#![cfg(feature = "postgres")]

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use diesel::{Connection, PgConnection, connection::SimpleConnection};
use tempfile::TempDir;

use crate::{
    port::free_port,
    process::{signal, until},
};

/// A PostgreSQL server that the test may do anything to. It ends with the test, however that ends.
pub(crate) struct Cluster {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    server: Option<Child>,
}

impl Cluster {
    /// An empty one; `None` where the tests are about SQLite this time.
    pub(crate) fn new() -> Option<Self> {
        std::env::var("TEST_DATABASE_URL").ok()?;
        let cluster = Self::without_data();
        let mut init = cluster.command("initdb");
        init.args(["--username=bindery", "--auth=trust", "--no-sync", "--locale=C.UTF-8"]);
        let init = init.stdout(Stdio::null()).output().unwrap();
        assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
        Some(cluster)
    }

    fn without_data() -> Self {
        let Some(programs) = programs() else {
            panic!("the programs of PostgreSQL are missing, try: apt-get install postgresql");
        };
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        if is_root() {
            let owned = Command::new("chown").arg("postgres:").arg(folder.path()).status();
            assert!(owned.unwrap().success());
        }
        Self { programs, folder, port, server: None }
    }

    /// A server that follows this one, which runs.
    pub(crate) async fn standby(&self) -> Self {
        let mut standby = Self::without_data();
        let mut copy = standby.command("pg_basebackup");
        copy.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "bindery"]);
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]);
        let copy = copy.output().unwrap();
        assert!(copy.status.success(), "{}", String::from_utf8_lossy(&copy.stderr));
        standby.start().await;
        until("a standby that follows", async || {
            self.is_true("EXISTS (SELECT 1 FROM pg_stat_replication WHERE state = 'streaming')")
        })
        .await;
        standby
    }

    /// Makes a standby the one that takes writes.
    pub(crate) fn promote(&self) {
        self.execute("SELECT pg_promote()");
    }

    /// Runs SQL of no result.
    pub(crate) fn execute(&self, sql: &str) {
        PgConnection::establish(&self.url()).unwrap().batch_execute(sql).unwrap();
    }

    /// Something if the condition holds.
    pub(crate) fn is_true(&self, condition: &str) -> Option<()> {
        use diesel::{RunQueryDsl, dsl::sql, select, sql_types::Bool};
        let mut connection = PgConnection::establish(&self.url()).unwrap();
        select(sql::<Bool>(condition)).get_result(&mut connection).unwrap_or(false).then_some(())
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

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://bindery@{}/postgres", self.address())
    }

    pub(crate) async fn start(&mut self) {
        let mut command = self.command("postgres");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-k"]);
        command.arg(self.folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some(command.spawn().unwrap());
        let url = self.url();
        until("PostgreSQL", async || PgConnection::establish(&url).ok()).await;
    }

    /// Lets it fall over: no connection is closed in order.
    pub(crate) async fn crash(&mut self) {
        let mut server = self.server.take().unwrap();
        signal(server.id(), "QUIT");
        until("the end of PostgreSQL", async || server.try_wait().unwrap()).await;
    }

    /// Takes it away as a power failure would.
    pub(crate) async fn kill(&mut self) {
        self.signal_all("KILL");
        let mut server = self.server.take().unwrap();
        until("the end of PostgreSQL", async || server.try_wait().unwrap()).await;
    }

    /// Sends a signal to it and to what serves its connections.
    pub(crate) fn signal_all(&self, name: &str) {
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
    let wanted = ["initdb", "pg_basebackup", "postgres"];
    all.retain(|folder| wanted.iter().all(|program| folder.join(program).exists()));
    all.sort();
    all.pop()
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() == 0
}
