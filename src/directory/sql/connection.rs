//! Connections of which nothing can be written.

use std::{fmt::Write, path::Path, time::Duration};

use diesel::{
    connection::{AnsiTransactionManager, SimpleConnection, TransactionManager},
    prelude::*,
    r2d2::{ManageConnection, R2D2Connection},
    result::{DatabaseErrorKind, Error},
    sql_query,
    sql_types::{BigInt, Text},
};
#[cfg(feature = "postgres")]
use secrecy::ExposeSecret;

use super::{super::DirectoryError, Nothing, Row, Statement, Value, Values};
use crate::{config::DatabaseKind, matrix::threepid::ThreePid};

/// A connection to either database.
pub(super) enum Reader {
    Sqlite(Box<SqliteConnection>),
    #[cfg(feature = "postgres")]
    Postgres(PgConnection),
}

/// Binds the values of a query in their order.
macro_rules! bound {
    ($query:expr, $values:expr) => {
        $values.into_iter().fold($query.into_boxed(), |query, value| match value {
            Value::Text(text) => query.bind::<Text, _>(text),
            Value::Number(number) => query.bind::<BigInt, _>(number),
        })
    };
}

/// Runs one diesel query on whichever database is open, the values bound.
macro_rules! load {
    ($reader:expr, $text:expr, $values:expr) => {
        match $reader {
            Reader::Sqlite(conn) => bound!(sql_query($text), $values).load(&mut **conn),
            #[cfg(feature = "postgres")]
            Reader::Postgres(conn) => bound!(sql_query($text), $values).load(conn),
        }
    };
}

impl Reader {
    /// The rows that a statement finds.
    pub(super) fn rows(
        &mut self,
        statement: &Statement,
        values: &Values,
    ) -> Result<Vec<Row>, DirectoryError> {
        let text = statement.select(self.all_columns());
        load!(self, text, statement.binds(values)).map_err(|error| fault(statement, &error))
    }

    /// The rows for each of the addresses, the place of the address in each.
    pub(super) fn rows_of_each(
        &mut self,
        statement: &Statement,
        threepids: &[ThreePid],
    ) -> Result<Vec<Row>, DirectoryError> {
        #[cfg(feature = "postgres")]
        if let Self::Postgres(conn) = self {
            let addresses = threepids.iter().map(|one| (one.medium().as_str(), one.address()));
            return load_each(conn, statement.select(OF_EACH), addresses)
                .map_err(|error| fault(statement, &error));
        }
        let mut found = Vec::new();
        for (place, threepid) in threepids.iter().enumerate() {
            for mut row in self.rows(statement, &of_address(threepid))? {
                row.place = place;
                found.push(row);
            }
        }
        Ok(found)
    }

    /// Whether the database understands a statement, and finds one of `columns` in what it selects.
    /// In words what is wrong, in the database's own where it is the statement: nothing but the
    /// statement is in them.
    pub(super) fn try_out(
        &mut self,
        statement: &Statement,
        columns: &[&str],
    ) -> Result<(), String> {
        self.explain(statement, "*").map_err(|error| one_line(&error.to_string()))?;
        let is_there =
            |column: &&str| self.explain(statement, &format!("bindery_row.{column}")).is_ok();
        if columns.iter().any(is_there) {
            return Ok(());
        }
        Err(format!("it selects no column called {}", columns.join(" or ")))
    }

    /// Has a statement explained, which runs no part of it.
    fn explain(&mut self, statement: &Statement, columns: &str) -> QueryResult<Vec<Nothing>> {
        let text = format!("EXPLAIN {}", statement.select(columns));
        #[cfg(feature = "postgres")]
        if let Self::Postgres(conn) = self
            && statement.is_of_each()
        {
            return load_each(conn, text, std::iter::once(("", "")));
        }
        load!(self, text, statement.binds(&Values::new()))
    }

    fn all_columns(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "bindery_row.*",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => {
                "0::bigint AS bindery_place, row_to_json(bindery_row)::text AS bindery_columns"
            }
        }
    }

    /// Begins what may take no longer than `limit`, and can write nothing even where a pooler in
    /// between gives each transaction another connection.
    pub(super) fn begin(&mut self, limit: Duration) -> Result<(), DirectoryError> {
        let limit = limit.as_millis().max(1);
        match self {
            // It has no time-out but the one for the locks of others.
            Self::Sqlite(conn) => {
                let begin = format!("PRAGMA busy_timeout = {limit}; BEGIN");
                AnsiTransactionManager::begin_transaction_sql(&mut **conn, &begin)
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(conn) => {
                let begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {limit}");
                AnsiTransactionManager::begin_transaction_sql(conn, &begin)
            }
        }
        .map_err(|error| DirectoryError::Unreachable(one_line(&error.to_string())))
    }

    /// Ends it. A connection on which that fails is broken, as the pool sees by itself.
    pub(super) fn end(&mut self) {
        let ended = match self {
            Self::Sqlite(conn) => AnsiTransactionManager::rollback_transaction(&mut **conn),
            #[cfg(feature = "postgres")]
            Self::Postgres(conn) => AnsiTransactionManager::rollback_transaction(conn),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a transaction of a directory could not be ended");
        }
    }
}

/// What is selected where many addresses are asked for at once.
#[cfg(feature = "postgres")]
const OF_EACH: &str = "bindery_asked.place - 1 AS bindery_place, \
                       row_to_json(bindery_row)::text AS bindery_columns";

/// Asks for many addresses at once.
#[cfg(feature = "postgres")]
fn load_each<'a, T: QueryableByName<diesel::pg::Pg> + 'static>(
    conn: &mut PgConnection,
    text: String,
    addresses: impl Iterator<Item = (&'a str, &'a str)>,
) -> QueryResult<Vec<T>> {
    use diesel::sql_types::Array;
    let (mediums, addresses): (Vec<_>, Vec<_>) = addresses.unzip();
    sql_query(text).bind::<Array<Text>, _>(mediums).bind::<Array<Text>, _>(addresses).load(conn)
}

fn of_address(threepid: &ThreePid) -> Values {
    use crate::config::Parameter::{Address, Medium};
    vec![
        (Medium, Value::Text(threepid.medium().as_str().to_owned())),
        (Address, Value::Text(threepid.address().to_owned())),
    ]
}

/// What the database says may repeat what it was asked, so only somebody who debugs sees it.
fn fault(statement: &Statement, error: &Error) -> DirectoryError {
    let place = &statement.place;
    tracing::debug!(%place, %error, "a query of a directory failed");
    match error {
        Error::DatabaseError(
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand,
            _,
        ) => DirectoryError::Unreachable("the connection was closed".to_owned()),
        Error::DatabaseError(_, info) if info.message().contains("statement timeout") => {
            DirectoryError::TimedOut
        }
        Error::DeserializationError(_) => DirectoryError::Malformed(format!("{place}: its rows")),
        _ => DirectoryError::Refused(format!("the query of {place}")),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Makes connections for the pool.
pub(super) struct Manager {
    database: DatabaseKind,
    timeout: Duration,
}

impl Manager {
    pub(super) fn new(database: DatabaseKind, timeout: Duration) -> Self {
        Self { database, timeout }
    }

    fn connect_now(&self) -> ConnectionResult<Reader> {
        match &self.database {
            DatabaseKind::Sqlite(path) => {
                let conn = read_only(path, self.timeout)?;
                Ok(Reader::Sqlite(Box::new(conn)))
            }
            #[cfg(feature = "postgres")]
            DatabaseKind::Postgres(url) => {
                let url = with_time_outs(url.expose_secret(), self.timeout);
                let mut conn = PgConnection::establish(&url)?;
                conn.batch_execute(
                    "SET default_transaction_read_only = on; \
                     SET idle_in_transaction_session_timeout = '60s'",
                )
                .map_err(ConnectionError::CouldntSetupConfiguration)?;
                Ok(Reader::Postgres(conn))
            }
            #[cfg(not(feature = "postgres"))]
            DatabaseKind::Postgres(_) => Err(ConnectionError::BadConnection(
                "this build has no PostgreSQL: build it with `--features postgres`".to_owned(),
            )),
        }
    }
}

/// Without time-outs of its own a server that is gone without a word is waited for until the
/// kernel gives up.
#[cfg(feature = "postgres")]
fn with_time_outs(url: &str, timeout: Duration) -> String {
    // In seconds, at least the two that libpq knows.
    let connect = timeout.as_secs().max(2).to_string();
    let time_outs = [
        ("connect_timeout", connect.as_str()),
        ("tcp_user_timeout", "30000"),
        ("keepalives_idle", "10"),
    ];
    let missing = time_outs.iter().filter(|(name, _)| !url.contains(&format!("{name}=")));
    missing.fold(url.to_owned(), |url, (name, value)| {
        let separator = if url.contains('?') { '&' } else { '?' };
        format!("{url}{separator}{name}={value}")
    })
}

/// A connection to a SQLite file that is neither made nor changed.
fn read_only(path: &Path, timeout: Duration) -> ConnectionResult<SqliteConnection> {
    use std::os::unix::ffi::OsStrExt;
    let mut url = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
        if is_plain {
            url.push(char::from(*byte));
        } else {
            write!(url, "%{byte:02X}")
                .map_err(|_| ConnectionError::BadConnection(String::new()))?;
        }
    }
    let mut conn = SqliteConnection::establish(&format!("{url}?mode=ro"))?;
    let wait = format!("PRAGMA busy_timeout = {}; PRAGMA query_only = ON", timeout.as_millis());
    conn.batch_execute(&wait).map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(conn)
}

impl ManageConnection for Manager {
    type Connection = Reader;
    type Error = diesel::r2d2::Error;

    fn connect(&self) -> Result<Reader, Self::Error> {
        self.connect_now().map_err(diesel::r2d2::Error::ConnectionError)
    }

    fn is_valid(&self, reader: &mut Reader) -> Result<(), Self::Error> {
        match reader {
            Reader::Sqlite(conn) => conn.ping(),
            #[cfg(feature = "postgres")]
            Reader::Postgres(conn) => conn.ping(),
        }
        .map_err(diesel::r2d2::Error::QueryError)
    }

    fn has_broken(&self, reader: &mut Reader) -> bool {
        std::thread::panicking()
            || match reader {
                Reader::Sqlite(conn) => conn.is_broken(),
                #[cfg(feature = "postgres")]
                Reader::Postgres(conn) => conn.is_broken(),
            }
    }
}

/// Whoever waits for a connection reports what went wrong.
#[derive(Debug)]
pub(super) struct QuietErrors;

impl diesel::r2d2::HandleError<diesel::r2d2::Error> for QuietErrors {
    fn handle_error(&self, error: diesel::r2d2::Error) {
        tracing::debug!(%error, "no connection to a directory could be made");
    }
}
