//! A query of the configuration as the statement of a database.

use crate::config::{Parameter, Piece, Query};

/// What a parameter stands for in one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
}

/// The values of one question, by their parameters.
pub(super) type Values = Vec<(Parameter, Value)>;

/// A query, its parameters numbered. Each stands inside another `SELECT`, where nothing that
/// writes can stand.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    /// Where it was written.
    pub(super) place: String,
    inner: String,
    parameters: Vec<Parameter>,
    /// Whether it is asked of each of many addresses at once.
    is_of_each: bool,
}

/// Each address that is asked for, and beside it what the statement finds for it.
const EACH: &str = "unnest($1::text[], $2::text[]) WITH ORDINALITY \
                    AS bindery_asked (medium, address, place) CROSS JOIN LATERAL ";

impl Statement {
    /// The statement of `query`; `sign` is what the database's parameters begin with.
    pub(super) fn new(query: &Query, sign: char) -> Self {
        let (mut inner, mut parameters) = (String::new(), Vec::new());
        for piece in &query.pieces {
            match piece {
                Piece::Text(text) => inner.push_str(text),
                Piece::Parameter(parameter) => {
                    let known = parameters.iter().position(|known| known == parameter);
                    let index = known.unwrap_or_else(|| {
                        parameters.push(*parameter);
                        parameters.len() - 1
                    });
                    inner.push(sign);
                    inner.push_str(&(index + 1).to_string());
                }
            }
        }
        Self { place: query.place.clone(), inner, parameters, is_of_each: false }
    }

    /// The same for many addresses at once, which only PostgreSQL can: they come as two arrays, and
    /// the query is asked of each.
    pub(super) fn for_each_address(query: &Query) -> Self {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Parameter(parameter) => format!("bindery_asked.{}", parameter.as_str()),
        };
        let inner = query.pieces.iter().map(text).collect();
        Self { place: query.place.clone(), inner, parameters: Vec::new(), is_of_each: true }
    }

    /// `columns` of what it finds.
    ///
    /// A comment at its end must not swallow the bracket, hence the line break.
    pub(super) fn select(&self, columns: &str) -> String {
        let each = if self.is_of_each { EACH } else { "" };
        format!("SELECT {columns} FROM {each}(\n{}\n) AS bindery_row", self.inner)
    }

    /// Whether it is asked of each of many addresses at once: its binds are two arrays then.
    #[cfg(feature = "postgres")]
    pub(super) fn is_of_each(&self) -> bool {
        self.is_of_each
    }

    /// Its binds, in their order.
    pub(super) fn binds(&self, values: &Values) -> Vec<Value> {
        let value = |parameter: &Parameter| {
            let known = values.iter().find(|(known, _)| known == parameter);
            known.map_or_else(|| placeholder(*parameter), |(_, value)| value.clone())
        };
        self.parameters.iter().map(value).collect()
    }
}

/// A value of the right type that is nobody's, to try a statement with.
fn placeholder(parameter: Parameter) -> Value {
    match parameter {
        Parameter::Limit => Value::Number(1),
        Parameter::Since => Value::Number(0),
        _ => Value::Text(String::new()),
    }
}
