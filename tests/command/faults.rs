//! Killed processes, full disks, locked databases: what was answered is kept, and service goes on.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use diesel::{Connection, SqliteConnection, connection::SimpleConnection};
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    database::TestDatabase,
    process::{BINDERY, Bindery, Done, Home, MXID, Person, addresses, client, until},
};

/// Sends all binds, a few at a time; answers the address of each that succeeded, as it does.
fn bind_all(
    you: &Person,
    emails: &[String],
    bodies: Vec<Value>,
) -> mpsc::UnboundedReceiver<String> {
    const AT_ONCE: usize = 16;
    let (succeeded, successes) = mpsc::unbounded_channel();
    let work: Vec<(String, Value)> = emails.iter().cloned().zip(bodies).collect();
    for share in work.chunks(work.len().div_ceil(AT_ONCE)) {
        let (you, share, succeeded) = (you.clone(), share.to_vec(), succeeded.clone());
        tokio::spawn(async move {
            for (email, body) in share {
                if you.bind(&body).await.status == 200 {
                    succeeded.send(email).unwrap();
                }
            }
        });
    }
    successes
}

#[tokio::test]
async fn each_bind_that_was_answered_survives_a_kill() {
    let home = Home::new();
    let mut server = home.serve().await;
    let you = Person::of(&home, &server);
    let emails = addresses(200);
    let bodies = you.validated(&home, &emails).await;

    let mut successes = bind_all(&you, &emails, bodies.clone());
    let mut bound = Vec::new();
    while bound.len() < 60 {
        bound.push(successes.recv().await.unwrap());
    }
    server.kill().await;
    while let Some(email) = successes.recv().await {
        bound.push(email);
    }
    assert!(bound.len() < emails.len(), "the kill came too late");

    let server = home.serve().await;
    let you = you.at(&server);
    bound.sort();
    assert_eq!(you.find(&bound).await, bound);
    // And the rest can be bound as if nothing had happened.
    let mut successes = bind_all(&you, &emails, bodies);
    while successes.recv().await.is_some() {}
    assert_eq!(you.find(&emails).await, emails);
}

/// Keeps everybody else from writing to the database, until it is dropped.
enum WriteLock {
    Sqlite(SqliteConnection),
    #[cfg(feature = "postgres")]
    Postgres(diesel::PgConnection),
}

impl WriteLock {
    fn on(database: &TestDatabase) -> Self {
        #[cfg(feature = "postgres")]
        if database.is_postgres() {
            let mut connection = diesel::PgConnection::establish(&database.url).unwrap();
            connection.batch_execute("BEGIN; LOCK TABLE associations IN EXCLUSIVE MODE").unwrap();
            return Self::Postgres(connection);
        }
        let file = database.url.strip_prefix("sqlite:").unwrap();
        let mut connection = SqliteConnection::establish(file).unwrap();
        connection.batch_execute("PRAGMA busy_timeout = 10000; BEGIN IMMEDIATE").unwrap();
        Self::Sqlite(connection)
    }

    fn release(self) {
        match self {
            Self::Sqlite(mut connection) => connection.batch_execute("ROLLBACK").unwrap(),
            #[cfg(feature = "postgres")]
            Self::Postgres(mut connection) => connection.batch_execute("ROLLBACK").unwrap(),
        }
    }
}

#[tokio::test]
async fn a_lock_that_another_program_holds_is_waited_for_and_never_seen_by_clients() {
    let home = Home::new();
    let server = home.serve().await;
    let you = Person::of(&home, &server);
    let emails = addresses(5);
    let bodies = you.validated(&home, &emails).await;

    let lock = WriteLock::on(&home.database);
    let mut binds = JoinSet::new();
    for body in bodies {
        let you = you.clone();
        binds.spawn(async move { you.bind(&body).await });
    }
    for _ in 0..20 {
        assert_eq!(you.find(&emails).await.len(), 0, "looking up goes on");
    }
    assert!(binds.try_join_next().is_none(), "a bind didn't wait");
    lock.release();
    for bound in binds.join_all().await {
        bound.ok();
    }
    assert_eq!(you.find(&emails).await, emails);
}

#[tokio::test]
async fn a_database_that_hangs_does_not_keep_the_server_from_stopping() {
    let home = Home::new();
    let mut server = home.serve().await;
    let you = Person::of(&home, &server);
    let emails = addresses(1);
    let bodies = you.validated(&home, &emails).await;

    let _lock = WriteLock::on(&home.database);
    let (waiting, body) = (you.clone(), bodies[0].clone());
    tokio::spawn(async move { waiting.bind(&body).await });
    for _ in 0..20 {
        you.find(&emails).await;
    }
    let asked = Instant::now();
    server.signal("TERM");
    assert!(server.ended().await.success());
    assert!(asked.elapsed() < Duration::from_secs(11), "{:?}", asked.elapsed());
}

/// A disk that can be full.
#[derive(Debug, Clone, Copy)]
enum Disk {
    /// A small file system, which only the server sees; it is gone when the server is.
    Small,
    /// Files that may not grow: for where nothing may be mounted, as in most containers.
    Limit,
}

/// A server in a home's folder whose database lies on such a disk.
struct OnDisk {
    disk: Disk,
    server: Bindery,
    /// Where the test finds the database.
    folder: PathBuf,
}

impl OnDisk {
    async fn serve(home: &Home, disk: Disk) -> Self {
        let folder = home.path().join(disk.name());
        fs::create_dir(&folder).unwrap();
        let mut command = disk.command(&folder);
        command.args([BINDERY, "serve", "--config", "bindery.toml"]).current_dir(home.path());
        command.env("BINDERY_DATABASE__URL", url_in(&folder));
        let mut server = Bindery::spawn(command);
        server.listens().await;
        let folder = match disk {
            Disk::Small => Path::new(&format!("/proc/{}/root", server.pid()))
                .join(folder.strip_prefix("/").unwrap()),
            Disk::Limit => folder,
        };
        Self { disk, server, folder }
    }

    fn person(&self, home: &Home) -> Person {
        // Where the server sees its disk: SQLite resolves links, and would leave it again.
        let mut command = match self.disk {
            Disk::Small => {
                let mut command = Command::new("nsenter");
                command.args(["--mount", "--target", &self.server.pid().to_string(), "--"]);
                command
            }
            Disk::Limit => Command::new("env"),
        };
        command.args([BINDERY, "account", "token", MXID]);
        command.env("BINDERY_DATABASE__URL", url_in(&home.path().join(self.disk.name())));
        let token = Done::of(command.output().unwrap()).ok().trim_end().to_owned();
        Person { base: self.server.base.clone(), token, client: client() }
    }

    fn fill(&self) {
        match self.disk {
            Disk::Small => {
                let mut filler = File::create(self.folder.join("filler")).unwrap();
                while filler.write_all(&[0; 4096]).is_ok() {}
            }
            Disk::Limit => self.limit("0"),
        }
    }

    fn free(&self) {
        match self.disk {
            Disk::Small => fs::remove_file(self.folder.join("filler")).unwrap(),
            Disk::Limit => self.limit("unlimited"),
        }
    }

    /// How long any file may be, in bytes.
    fn limit(&self, length: &str) {
        let pid = self.server.pid().to_string();
        let limit = format!("--fsize={length}:");
        assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
    }
}

impl Disk {
    fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Limit => "limit",
        }
    }

    /// A command that runs its arguments on a disk mounted at `folder`, or under the limit.
    fn command(self, folder: &Path) -> Command {
        let mut command = match self {
            Self::Small => {
                let mut command = Command::new("unshare");
                let mount = "mount -t tmpfs -o size=4m bindery \"$0\" && exec \"$@\"";
                command.args(["--mount", "--", "sh", "-c", mount]);
                command
            }
            Self::Limit => {
                let mut command = Command::new("sh");
                // Without the trap the signal that tells of the limit would end the process.
                command.args(["-c", "trap '' XFSZ; exec \"$@\""]);
                command
            }
        };
        command.arg(folder);
        command
    }

    fn can_be_had(self, folder: &Path) -> bool {
        let tried = self.command(folder).arg("true").stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    }
}

fn url_in(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("bindery.db").display())
}

#[tokio::test]
async fn a_full_disk_stops_writing_only_and_only_while_it_is_full() {
    let home = Home::new();
    if home.database.is_postgres() {
        return; // The disk is somebody else's.
    }
    let disks = [Disk::Small, Disk::Limit];
    for disk in disks.into_iter().filter(|disk| disk.can_be_had(home.path())) {
        let on_disk = OnDisk::serve(&home, disk).await;
        let you = on_disk.person(&home);
        let emails: Vec<String> =
            addresses(8).iter().map(|email| format!("{}.{email}", disk.name())).collect();
        let bodies = you.validated(&home, &emails).await;
        let (before, later) = bodies.split_at(4);
        for body in before {
            you.bind(body).await.ok();
        }

        on_disk.fill();
        for body in later {
            let refused = you.bind(body).await;
            assert!(refused.is_unavailable(), "{disk:?}: {refused:?}");
            assert_eq!(you.find(&emails).await, emails[..4], "{disk:?}");
        }
        let refused = you.request_token("another@example.org").await;
        assert!(refused.is_unavailable(), "{disk:?}: {refused:?}");
        assert_eq!(you.get("/health/ready").await.status, 200);

        on_disk.free();
        until("a bind after the disk has room again", async || {
            (you.bind(&later[0]).await.status == 200).then_some(())
        })
        .await;
        for body in later {
            you.bind(body).await.ok();
        }
        you.request_token("another@example.org").await.ok();
        assert_eq!(you.find(&emails).await, emails);
        assert_eq!(integrity(&on_disk.folder), "ok");
    }
}

/// What SQLite finds wrong with a copy of its files, while nobody writes.
fn integrity(folder: &Path) -> String {
    use diesel::prelude::*;
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = diesel::sql_types::Text)]
        integrity_check: String,
    }
    let copy = tempfile::tempdir().unwrap();
    for file in ["bindery.db", "bindery.db-wal"] {
        fs::copy(folder.join(file), copy.path().join(file)).unwrap();
    }
    let file = copy.path().join("bindery.db");
    let mut connection = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    let found: Found =
        diesel::sql_query("PRAGMA integrity_check").get_result(&mut connection).unwrap();
    found.integrity_check
}
