//! Rows of any columns, as texts.

use std::collections::BTreeMap;

use diesel::{
    deserialize::{self, FromSql, QueryableByName},
    row::{Field, NamedRow, Row as DieselRow},
    sql_types::Text,
    sqlite::Sqlite,
};

/// What was found for the address of this place among those asked for, or for the only one.
pub(super) struct Row {
    pub(super) place: usize,
    columns: BTreeMap<String, String>,
}

impl Row {
    /// The value of a column; `None` where it is NULL, empty or not there.
    pub(super) fn get(&self, column: &str) -> Option<&str> {
        self.columns.get(column).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether a column says yes, in the words of either database.
    pub(super) fn is_true(&self, column: &str) -> bool {
        self.get(column).is_some_and(|value| !matches!(value, "0" | "f" | "false"))
    }
}

impl QueryableByName<Sqlite> for Row {
    fn build<'a>(row: &impl NamedRow<'a, Sqlite>) -> deserialize::Result<Self> {
        let mut columns = BTreeMap::new();
        for index in 0..row.field_count() {
            let Some(field) = DieselRow::get(row, index) else { continue };
            if let (Some(name), Some(value)) = (field.field_name(), field.value()) {
                // SQLite turns numbers into texts by itself.
                let value = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
                columns.insert(name.to_ascii_lowercase(), value);
            }
        }
        Ok(Self { place: 0, columns })
    }
}

/// PostgreSQL tells a row as one JSON object, whatever the types of its columns.
#[cfg(feature = "postgres")]
impl QueryableByName<diesel::pg::Pg> for Row {
    fn build<'a>(row: &impl NamedRow<'a, diesel::pg::Pg>) -> deserialize::Result<Self> {
        use serde_json::{Map, Value};
        let place: i64 = NamedRow::get::<diesel::sql_types::BigInt, _>(row, "bindery_place")?;
        let text: String = NamedRow::get::<Text, _>(row, "bindery_columns")?;
        let columns: Map<String, Value> =
            serde_json::from_str(&text).map_err(|_| "a row is no JSON object")?;
        let column = |(name, value): (String, Value)| match value {
            Value::Null => None,
            Value::String(text) => Some((name, text)),
            other => Some((name, other.to_string())),
        };
        let columns = columns.into_iter().filter_map(column).collect();
        Ok(Self { place: usize::try_from(place)?, columns })
    }
}

/// A row of which nothing is wanted.
pub(super) struct Nothing;

impl<DB: diesel::backend::Backend> QueryableByName<DB> for Nothing {
    fn build<'a>(_: &impl NamedRow<'a, DB>) -> deserialize::Result<Self> {
        Ok(Self)
    }
}
