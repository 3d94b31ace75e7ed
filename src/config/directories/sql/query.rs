//! Queries with parameters by name, such as `:address`.
//!
//! Parameters become binds of the database and are never put into the text. In strings, quoted
//! names and comments there are none.

/// A query, and where it was written.
#[derive(Debug, Clone)]
pub struct Query {
    /// Where: file, line and key, for who has to mend it.
    pub place: String,
    /// Its text in pieces.
    pub pieces: Vec<Piece>,
}

/// A piece of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// SQL as it stands.
    Text(String),
    /// In its place goes a bind.
    Parameter(Parameter),
}

/// What queries ask with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    /// The medium of a 3PID.
    Medium,
    /// Its canonical address.
    Address,
    /// What the directory calls a person, in lower case.
    Uid,
    /// Their whole user id.
    Mxid,
    /// The last one of the page before; empty for the first page.
    After,
    /// The most rows of a page or of what is found.
    Limit,
    /// Milliseconds since the Unix epoch.
    Since,
    /// What is searched, in lower case and for `LIKE … ESCAPE '\'`, with `%` on both sides.
    Pattern,
    /// What is searched, as it was typed.
    Term,
}

impl Parameter {
    const ALL: [Self; 9] = [
        Self::Medium,
        Self::Address,
        Self::Uid,
        Self::Mxid,
        Self::After,
        Self::Limit,
        Self::Since,
        Self::Pattern,
        Self::Term,
    ];

    /// Its name in queries.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Medium => "medium",
            Self::Address => "address",
            Self::Uid => "uid",
            Self::Mxid => "mxid",
            Self::After => "after",
            Self::Limit => "limit",
            Self::Since => "since",
            Self::Pattern => "pattern",
            Self::Term => "term",
        }
    }
}

impl Query {
    /// Reads a query; in words what is wrong with it, if something is.
    pub(super) fn parse(text: &str, place: String, is_sqlite: bool) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let (mut plain, mut rest) = (String::new(), text.trim().trim_end_matches(';'));
        while let Some(first) = rest.chars().next() {
            if let Some((parameter, after)) = parameter(rest)? {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
                pieces.push(Piece::Parameter(parameter));
                rest = after;
                continue;
            }
            if first == ';' {
                return Err("it is one query, without ; in it".to_owned());
            }
            if is_positional(rest, is_sqlite) {
                return Err("parameters are written by their names, such as :address".to_owned());
            }
            let length = untouched(rest).unwrap_or(first.len_utf8());
            let (passed, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
            plain.push_str(passed);
            rest = after;
        }
        pieces.push(Piece::Text(plain));
        Ok(Self { place, pieces })
    }

    /// A query that is part of the program.
    #[must_use]
    pub fn built_in(text: &str, place: &str) -> Self {
        let pieces = || vec![Piece::Text(text.to_owned())];
        let place = place.to_owned();
        Self::parse(text, place.clone(), true).unwrap_or_else(|_| Self { place, pieces: pieces() })
    }

    /// What it asks with.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Parameter(parameter) => Some(*parameter),
        })
    }
}

/// The parameter that `rest` begins with, and what follows it.
fn parameter(rest: &str) -> Result<Option<(Parameter, &str)>, String> {
    let Some(named) = rest.strip_prefix(':') else { return Ok(None) };
    let end = named.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(named.len());
    let (name, after) = named.split_at_checked(end).unwrap_or((named, ""));
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return Ok(None);
    }
    let known = Parameter::ALL.into_iter().find(|parameter| parameter.as_str() == name);
    known
        .map(|parameter| Some((parameter, after)))
        .ok_or_else(|| format!("nothing is called :{name}"))
}

/// Whether `rest` begins with a parameter as the databases themselves write it.
fn is_positional(rest: &str, is_sqlite: bool) -> bool {
    let is_numbered = |c: char| c.is_ascii_digit();
    rest.strip_prefix('$').is_some_and(|rest| rest.starts_with(is_numbered))
        // To PostgreSQL both are operators.
        || (is_sqlite && rest.starts_with(['?', '@']))
}

/// How long the string, comment, quoted name or cast is that `rest` begins with; to the end where
/// it is not closed.
fn untouched(rest: &str) -> Option<usize> {
    let to = |start: &str, end: &str| {
        let inside = rest.strip_prefix(start)?;
        Some(inside.find(end).map_or(rest.len(), |at| start.len() + at + end.len()))
    };
    let quoted = to("--", "\n").or_else(|| to("/*", "*/")).or_else(|| to("'", "'"));
    let quoted = quoted.or_else(|| to("\"", "\"")).or_else(|| to("`", "`"));
    let cast = || rest.starts_with("::").then_some(2);
    quoted.or_else(cast).or_else(|| {
        let tag = rest.strip_prefix('$')?.split_once('$')?.0;
        let is_tag = tag.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        is_tag.then(|| to(&format!("${tag}$"), &format!("${tag}$"))).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        let query = Query::parse(text, String::new(), true)?;
        let piece = |piece: Piece| match piece {
            Piece::Text(text) => text,
            Piece::Parameter(parameter) => format!("<{}>", parameter.as_str()),
        };
        Ok(query.pieces.into_iter().map(piece).collect())
    }

    #[test]
    fn parameters_are_found_where_sql_has_values() {
        for (text, found) in [
            ("a = :address", "a = <address>"),
            ("a=:address AND m=:medium;", "a=<address> AND m=<medium>"),
            ("(:uid,:uid)", "(<uid>,<uid>)"),
            (
                "CAST(:uid AS text)::citext = :mxid::text",
                "CAST(<uid> AS text)::citext = <mxid>::text",
            ),
            ("x[1:2]", "x[1:2]"),
            ("é:uid", "é<uid>"),
            ("", ""),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(found), "{text}");
        }
    }

    #[test]
    fn strings_names_and_comments_stay_as_they_are() {
        for text in [
            "a = ':address'",
            "a = 'it''s :nothing; $1 ?'",
            "\":address\"",
            "`:address`",
            "-- :address ?\n a",
            "/* :nobody ; */ a",
            "$$ :address $$",
            "$x$ :address $$ ? $x$",
            "'not closed :address",
        ] {
            assert_eq!(shown(text).as_deref(), Ok(text), "{text}");
        }
    }

    #[test]
    fn what_would_not_be_bound_is_refused() {
        for text in ["a = $1", "a = ?", "a = ?1", "a = @address", "a = :adress", "a; DROP TABLE b"]
        {
            assert!(shown(text).is_err(), "{text}");
        }
    }
}
