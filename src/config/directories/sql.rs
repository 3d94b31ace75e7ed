//! `[directories.sql]` and `[directories.synapse]`

mod query;

use super::super::{DatabaseKind, Section, Text, usable};

pub use self::query::{Parameter, Piece, Query};

/// A database of the organisation's own, and how it is asked.
#[derive(Debug, Clone)]
pub struct Sql {
    /// Where it is.
    pub database: DatabaseKind,
    /// Who has an address: `:medium` and `:address` to `uid` or `mxid`.
    pub find: Query,
    /// The hash of somebody's password: `:uid` to `password_hash`, and what they are called.
    pub login: Option<Query>,
    /// Somebody's addresses: `:uid` to `medium` and `address`, or `email`, or `msisdn`.
    pub threepids: Option<Query>,
    /// Everybody, in pages: `:after` and `:limit` to `uid` or `mxid`, and all that is known of
    /// them.
    pub people: Option<Query>,
    /// Who has changed since `:since`, in pages as `people`.
    pub changes: Option<Query>,
    /// Who is called so: `:pattern` or `:term`, and `:limit`.
    pub search: Option<Query>,
}

/// Synapse's database.
#[derive(Debug, Clone)]
pub struct SynapseDatabase {
    /// Where it is.
    pub database: DatabaseKind,
}

/// What a query may ask with, and what it has to: one of each group at the least.
struct Terms {
    may: &'static [Parameter],
    must: &'static [&'static [Parameter]],
    example: &'static str,
}

const FIND: Terms = Terms {
    may: &[Parameter::Medium, Parameter::Address],
    must: &[&[Parameter::Address]],
    example: "SELECT login AS uid FROM people WHERE :medium = 'email' AND email = :address",
};

const LOGIN: Terms = Terms {
    may: &[Parameter::Uid, Parameter::Mxid],
    must: &[&[Parameter::Uid, Parameter::Mxid]],
    example: "SELECT password_hash, name FROM people WHERE login = :uid",
};

const THREEPIDS: Terms = Terms {
    may: &[Parameter::Uid, Parameter::Mxid],
    must: &[&[Parameter::Uid, Parameter::Mxid]],
    example: "SELECT email, phone AS msisdn FROM people WHERE login = :uid",
};

const PEOPLE: Terms = Terms {
    may: &[Parameter::After, Parameter::Limit],
    must: &[&[Parameter::After], &[Parameter::Limit]],
    example: "SELECT login AS uid, email FROM people WHERE login > :after ORDER BY login LIMIT :limit",
};

const CHANGES: Terms = Terms {
    may: &[Parameter::Since, Parameter::After, Parameter::Limit],
    must: &[&[Parameter::Since], &[Parameter::After], &[Parameter::Limit]],
    example: "SELECT login AS uid, email FROM people WHERE changed_at >= :since AND login > :after \
              ORDER BY login LIMIT :limit",
};

const SEARCH: Terms = Terms {
    may: &[Parameter::Pattern, Parameter::Term, Parameter::Limit],
    must: &[&[Parameter::Pattern, Parameter::Term], &[Parameter::Limit]],
    example: "SELECT login AS uid, name FROM people WHERE lower(name) LIKE :pattern ESCAPE '\\\\' \
              LIMIT :limit",
};

pub(super) fn read(s: &mut Section<'_, '_>) -> Option<Sql> {
    let database = database(s);
    let is_sqlite = matches!(database, Some(DatabaseKind::Sqlite(_)));
    let has_find = s.given("find");
    let mut query = |key: &str, terms: &Terms| query(s, key, terms, is_sqlite);
    let find = query("find", &FIND);
    let (login, threepids) = (query("login", &LOGIN), query("threepids", &THREEPIDS));
    let (people, changes) = (query("people", &PEOPLE), query("changes", &CHANGES));
    let search = query("search", &SEARCH);
    if !has_find {
        let remedy = format!("write for example: find = \"{}\"", FIND.example);
        s.fault(&["find"], "missing; expected a query", &remedy);
    }
    Some(Sql { database: database?, find: find?, login, threepids, people, changes, search })
}

pub(super) fn read_synapse(s: &mut Section<'_, '_>) -> Option<SynapseDatabase> {
    Some(SynapseDatabase { database: database(s)? })
}

fn database(s: &mut Section<'_, '_>) -> Option<DatabaseKind> {
    use secrecy::ExposeSecret;
    if !s.given("url") && !s.given("url_file") {
        let remedy = "write for example: url = \"postgres://user@host/database\"";
        s.fault(&["url"], "missing; expected the URL of a database", remedy);
    }
    let url = s.secret("url")?;
    if let Err((message, remedy)) = usable(&url, cfg!(feature = "postgres")) {
        s.fault(&["url", "url_file"], message, remedy);
    }
    DatabaseKind::of(url.expose_secret())
}

/// The query of a key that may be given.
fn query(s: &mut Section<'_, '_>, key: &str, terms: &Terms, is_sqlite: bool) -> Option<Query> {
    let Text(text) = s.optional(key)?;
    let remedy = format!("write for example: {key} = \"{}\"", terms.example);
    let query = match Query::parse(&text, s.place_of(key), is_sqlite) {
        Ok(query) => query,
        Err(problem) => {
            s.fault(&[key], &problem, &remedy);
            return None;
        }
    };
    for parameter in query.parameters().filter(|parameter| !terms.may.contains(parameter)) {
        let known: Vec<_> = terms.may.iter().map(|one| format!(":{}", one.as_str())).collect();
        let message = format!(":{} is not known to this query", parameter.as_str());
        s.fault(&[key], &message, &format!("known here: {}", known.join(", ")));
    }
    for group in terms.must {
        if !group.iter().any(|parameter| query.parameters().any(|one| one == *parameter)) {
            let names: Vec<_> = group.iter().map(|one| format!(":{}", one.as_str())).collect();
            let message = format!("{} is missing from the query", names.join(" or "));
            s.fault(&[key], &message, &remedy);
        }
    }
    Some(query)
}
