//! What a database is asked, and what its rows mean.

use std::sync::{Mutex, MutexGuard, PoisonError};

use secrecy::{ExposeSecret, SecretString};

use super::{
    super::{Addresses, Cursor, DirectoryError, Matches, Page, Person, passwords},
    Reader, Row, Statement, Value, Values,
};
use crate::{
    config::{self, DatabaseKind, MxidTemplate, Parameter, Query, Sql},
    matrix::{id::UserId, threepid::ThreePid},
};

/// The most rows of a page; a person has one for each address.
const ROWS_OF_A_PAGE: usize = 2000;

/// The most addresses of one question.
const ADDRESSES_AT_ONCE: usize = 1000;

/// The columns that say who it is: one of them has to be there.
const WHO: &[&str] = &["uid", "mxid"];

/// Those that hold addresses.
const ADDRESS: &[&str] = &["address", "email", "msisdn"];

/// The queries, and what is needed to understand their rows.
pub(super) struct Questions {
    name: String,
    mxid: MxidTemplate,
    addresses: Addresses,
    find: Statement,
    login: Option<Statement>,
    threepids: Option<Statement>,
    people: Option<Statement>,
    changes: Option<Statement>,
    search: Option<Statement>,
    /// The last hash that a password was compared with.
    usual: Mutex<Option<SecretString>>,
}

impl Questions {
    pub(super) fn new(settings: &config::Directory, sql: &Sql, addresses: Addresses) -> Self {
        let is_sqlite = matches!(sql.database, DatabaseKind::Sqlite(_));
        let sign = if is_sqlite { '?' } else { '$' };
        let statement = |query: &Option<Query>| query.as_ref().map(|q| Statement::new(q, sign));
        Self {
            name: settings.name.clone(),
            mxid: settings.mxid.clone(),
            addresses,
            find: if is_sqlite {
                Statement::new(&sql.find, sign)
            } else {
                Statement::for_each_address(&sql.find)
            },
            login: statement(&sql.login),
            threepids: statement(&sql.threepids),
            people: statement(&sql.people),
            changes: statement(&sql.changes),
            search: statement(&sql.search),
            usual: Mutex::new(None),
        }
    }

    /// Whether the database understands each query; in words which one it doesn't, and why.
    pub(super) fn try_out(&self, reader: &mut Reader) -> Result<(), String> {
        let hash: &[&str] = &["password_hash"];
        let queries = [
            (Some(&self.find), WHO),
            (self.login.as_ref(), hash),
            (self.threepids.as_ref(), ADDRESS),
            (self.people.as_ref(), WHO),
            (self.changes.as_ref(), WHO),
            (self.search.as_ref(), WHO),
        ];
        for (statement, columns) in queries {
            let Some(statement) = statement else { continue };
            reader
                .try_out(statement, columns)
                .map_err(|problem| format!("{}: {problem}", statement.place))?;
        }
        Ok(())
    }

    /// Whose the addresses are.
    pub(super) fn find(
        &self,
        reader: &mut Reader,
        threepids: &[ThreePid],
    ) -> Result<Vec<(ThreePid, UserId)>, DirectoryError> {
        let mut found = Vec::new();
        for chunk in threepids.chunks(ADDRESSES_AT_ONCE) {
            for row in reader.rows_of_each(&self.find, chunk)? {
                if let (Some(threepid), Some(mxid)) = (chunk.get(row.place), self.user(&row)) {
                    found.push((threepid.clone(), mxid));
                }
            }
        }
        Ok(found)
    }

    /// Who `user` is, if the password is right.
    pub(super) fn check(
        &self,
        reader: &mut Reader,
        user: &UserId,
        password: &str,
    ) -> Result<Option<Person>, DirectoryError> {
        let Some(login) = &self.login else { return Err(DirectoryError::Unsupported) };
        let Some(name) = self.mxid.name_of(user) else { return Ok(None) };
        let values = vec![
            (Parameter::Uid, Value::Text(name.to_owned())),
            (Parameter::Mxid, Value::Text(user.as_str().to_owned())),
        ];
        let found = reader.rows(login, &values)?;
        let [row] = found.as_slice() else {
            if found.len() > 1 {
                let directory = self.name.as_str();
                tracing::warn!(directory, "a login finds several people, and so it is nobody's");
            }
            self.spend_time(password);
            return Ok(None);
        };
        let hash = row.get("password_hash").unwrap_or_default();
        if !self.is_right(password, hash) || self.user(row).is_some_and(|mxid| mxid != *user) {
            return Ok(None);
        }
        let mut person = Person::new(user.clone());
        self.describe(&mut person, row);
        if let Some(threepids) = &self.threepids {
            for row in reader.rows(threepids, &values)? {
                self.describe(&mut person, &row);
            }
        }
        Ok(Some(person))
    }

    /// Whether the password is the one of a stored hash. One that can't be compared is somebody's
    /// trouble and not the directory's: the others log in all the same.
    fn is_right(&self, password: &str, hash: &str) -> bool {
        match passwords::verify(password, hash) {
            Ok(is_right) => {
                *locked(&self.usual) = Some(SecretString::from(hash));
                is_right
            }
            Err(error) => {
                let directory = self.name.as_str();
                tracing::warn!(directory, %error, "somebody can't log in");
                false
            }
        }
    }

    /// Takes as long as for somebody whose password is wrong: time tells nobody who there is.
    fn spend_time(&self, password: &str) {
        let usual = locked(&self.usual).clone();
        if let Some(hash) = usual {
            let _ = passwords::verify(password, hash.expose_secret());
        }
    }

    /// People of whom `term` tells something.
    pub(super) fn search(
        &self,
        reader: &mut Reader,
        term: &str,
        limit: usize,
    ) -> Result<Matches, DirectoryError> {
        let Some(search) = &self.search else { return Err(DirectoryError::Unsupported) };
        // To the databases it is the end of a text, or none at all.
        if term.contains('\0') {
            return Ok(Matches::default());
        }
        let more = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let values = vec![
            (Parameter::Pattern, Value::Text(pattern(term))),
            (Parameter::Term, Value::Text(term.to_owned())),
            (Parameter::Limit, Value::Number(more)),
        ];
        let rows = reader.rows(search, &values)?;
        let mut people: Vec<Person> = Vec::new();
        for person in rows.iter().filter_map(|row| self.person(row)) {
            if !people.iter().any(|known| known.mxid == person.mxid) {
                people.push(person);
            }
        }
        people.truncate(limit);
        Ok(Matches { people, limited: rows.len() > limit })
    }

    /// Everybody, in pages.
    pub(super) fn page(
        &self,
        reader: &mut Reader,
        after: Option<Cursor>,
    ) -> Result<Page, DirectoryError> {
        let Some(people) = &self.people else { return Err(DirectoryError::Unsupported) };
        self.rows_as_page(reader, people, &of_page(after))
    }

    /// Those who have changed since then, in pages.
    pub(super) fn changes(
        &self,
        reader: &mut Reader,
        since_ms: i64,
        after: Option<Cursor>,
    ) -> Result<Option<Page>, DirectoryError> {
        let Some(changes) = &self.changes else { return Ok(None) };
        let mut values = of_page(after);
        values.push((Parameter::Since, Value::Number(since_ms)));
        self.rows_as_page(reader, changes, &values).map(Some)
    }

    /// The people of a page, of whom each has one row or several that follow each other. The last
    /// one of a full page may have more rows, and so belongs to the next.
    fn rows_as_page(
        &self,
        reader: &mut Reader,
        statement: &Statement,
        values: &Values,
    ) -> Result<Page, DirectoryError> {
        let rows = reader.rows(statement, values)?;
        let mut groups: Vec<&[Row]> = rows.chunk_by(|a, b| key(a) == key(b)).collect();
        let mut next = None;
        if rows.len() >= ROWS_OF_A_PAGE {
            groups.pop();
            let last = groups.last().and_then(|rows| key(rows.first()?));
            let ends = (Parameter::After, Value::Text(last.unwrap_or_default().to_owned()));
            if values.contains(&ends) {
                let problem = format!(
                    "{}: a page ends where it began; it has to be ordered by what it compares \
                     with :after",
                    statement.place
                );
                return Err(DirectoryError::Malformed(problem));
            }
            next = last.map(|last| Cursor(last.to_owned()));
        }
        let mut people: Vec<Person> = Vec::new();
        for row in groups.into_iter().flatten() {
            match (people.last_mut(), self.user(row)) {
                (Some(person), Some(mxid)) if person.mxid == mxid => self.describe(person, row),
                _ => people.extend(self.person(row)),
            }
        }
        Ok(Page { people, next })
    }

    fn user(&self, row: &Row) -> Option<UserId> {
        match row.get("mxid") {
            Some(mxid) => mxid.parse().ok(),
            None => self.mxid.make(row.get("uid")?),
        }
    }

    fn person(&self, row: &Row) -> Option<Person> {
        let mut person = Person::new(self.user(row)?);
        self.describe(&mut person, row);
        Some(person)
    }

    /// Adds what a row says of somebody. Who was removed has no addresses.
    fn describe(&self, person: &mut Person, row: &Row) {
        let text = |column| row.get(column).map(str::to_owned);
        person.display_name = person.display_name.take().or_else(|| text("name"));
        person.avatar_url = person.avatar_url.take().or_else(|| text("avatar_url"));
        if row.is_true("removed") {
            return;
        }
        let named = row.get("medium").zip(row.get("address"));
        let of = |medium: &'static str| Some((medium, row.get(medium)?));
        for (medium, address) in [named, of("email"), of("msisdn")].into_iter().flatten() {
            let threepid = self.addresses.canonical(medium, address);
            person.threepids.extend(threepid.filter(|one| !person.threepids.contains(one)));
        }
    }
}

fn of_page(after: Option<Cursor>) -> Values {
    let after = after.map_or_else(String::new, |Cursor(after)| after);
    let limit = i64::try_from(ROWS_OF_A_PAGE).unwrap_or(i64::MAX);
    vec![(Parameter::After, Value::Text(after)), (Parameter::Limit, Value::Number(limit))]
}

/// What pages are ordered by.
fn key(row: &Row) -> Option<&str> {
    row.get("key").or_else(|| row.get("uid")).or_else(|| row.get("mxid"))
}

/// `term` somewhere in a text, for `LIKE` with a backslash as its escape.
fn pattern(term: &str) -> String {
    let mut pattern = "%".to_owned();
    for c in term.to_lowercase().chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
