//! A database of a test's own: a SQLite file, or, where `TEST_DATABASE_URL` names a PostgreSQL
//! server, a schema there. It is gone when the test ends.

use tempfile::TempDir;

pub(crate) struct TestDatabase {
    /// What `database.url` says.
    pub(crate) url: String,
    /// Where a test may put its files.
    pub(crate) folder: TempDir,
    #[cfg(feature = "postgres")]
    schema: Option<postgres::Schema>,
}

impl TestDatabase {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        #[cfg(feature = "postgres")]
        if let Ok(server) = std::env::var("TEST_DATABASE_URL") {
            let schema = postgres::Schema::new(&server);
            return Self { url: schema.url.clone(), folder, schema: Some(schema) };
        }
        Self {
            url: format!("sqlite:{}", folder.path().join("bindery.db").display()),
            folder,
            #[cfg(feature = "postgres")]
            schema: None,
        }
    }

    /// Whether the tests run on PostgreSQL this time.
    pub(crate) fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }

    /// Everything that is stored, as far as it can be read as text.
    pub(crate) fn contents(&self) -> String {
        #[cfg(feature = "postgres")]
        if self.schema.is_some() {
            return postgres::contents(&self.url);
        }
        // The file, and the log in which the newest changes lie.
        let files = ["bindery.db", "bindery.db-wal"].map(|name| self.folder.path().join(name));
        let bytes = files.iter().flat_map(|file| std::fs::read(file).unwrap()).collect::<Vec<_>>();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs SQL of no result: for what can't be brought about through the front door.
    pub(crate) fn execute(&self, sql: &str) {
        use diesel::{Connection, connection::SimpleConnection};
        #[cfg(feature = "postgres")]
        if self.schema.is_some() {
            let mut connection = diesel::PgConnection::establish(&self.url).unwrap();
            connection.batch_execute(sql).unwrap();
            return;
        }
        let file = self.url.strip_prefix("sqlite:").unwrap();
        let mut connection = diesel::SqliteConnection::establish(file).unwrap();
        connection.batch_execute("PRAGMA busy_timeout = 10000").unwrap();
        connection.batch_execute(sql).unwrap();
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::sync::atomic::{AtomicU32, Ordering};

    use diesel::{
        Connection, PgConnection, RunQueryDsl, connection::SimpleConnection, dsl::sql,
        sql_types::Text,
    };

    /// All rows of the schema; bytes that are not ASCII as escapes.
    pub(super) fn contents(url: &str) -> String {
        let mut connection = PgConnection::establish(url).unwrap();
        connection.batch_execute("SET bytea_output = 'escape'").unwrap();
        let table = |name: &str| {
            format!("(SELECT coalesce(string_agg(t::text, ' '), '') FROM {name} AS t)")
        };
        let tables =
            ["access_tokens", "accepted_terms", "sessions", "session_tokens", "invites"].map(table);
        diesel::select(sql::<Text>(&tables.join(" || "))).get_result(&mut connection).unwrap()
    }

    static NEXT: AtomicU32 = AtomicU32::new(0);

    pub(super) struct Schema {
        server: String,
        name: String,
        pub(super) url: String,
    }

    impl Schema {
        pub(super) fn new(server: &str) -> Self {
            let number = NEXT.fetch_add(1, Ordering::SeqCst);
            let name = format!("test_{}_{number}", std::process::id());
            let mut connection = PgConnection::establish(server).unwrap();
            connection.batch_execute(&format!("CREATE SCHEMA {name}")).unwrap();
            let url = format!("{server}?options=-c%20search_path%3D{name}");
            Self { server: server.to_owned(), name, url }
        }
    }

    impl Drop for Schema {
        fn drop(&mut self) {
            // A server that a test took away can't be tidied up.
            if let Ok(mut connection) = PgConnection::establish(&self.server) {
                let _ = connection.batch_execute(&format!("DROP SCHEMA {} CASCADE", self.name));
            }
        }
    }
}
