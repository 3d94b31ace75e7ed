//! File and environment as one tree, in which each value knows where it was written.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

/// What the names of all variables begin with.
const PREFIX: &str = "BINDERY_";

/// Deeper than any key; without a bound a long name would make a tree too deep to be dropped.
const MAX_DEPTH: usize = 8;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// At this byte of the file.
    Byte(usize),
    /// In this variable of the environment.
    Variable(String),
}

/// A section, by key.
pub(super) type Table<'i> = BTreeMap<String, Entry<'i>>;

/// A value or section and its place.
#[derive(Debug)]
pub(super) struct Entry<'i> {
    pub(super) place: Place,
    pub(super) node: Node<'i>,
}

/// A section, or a value that is none.
#[derive(Debug)]
pub(super) enum Node<'i> {
    Table(Table<'i>),
    /// A variable's value is its text as a string, whatever type is wanted.
    Value(DeValue<'i>),
}

/// The tree of a TOML table; everything in it lies in `variable`, or else at its byte of the file.
pub(super) fn from_toml<'i>(table: DeTable<'i>, variable: Option<&str>) -> Table<'i> {
    let entries = table.into_iter().map(|(key, value)| {
        let place = match variable {
            Some(name) => Place::Variable(name.to_owned()),
            None => Place::Byte(key.span().start),
        };
        let node = match value.into_inner() {
            DeValue::Table(inner) => Node::Table(from_toml(inner, variable)),
            value => Node::Value(value),
        };
        (key.into_inner().into_owned(), Entry { place, node })
    });
    entries.collect()
}

/// The key that a variable stands for: `["server", "name"]` for `BINDERY_SERVER__NAME`; `None` if
/// it stands for none, as `BINDERY_CONFIG` and everybody else's.
pub(super) fn key_of(variable: &str) -> Option<Vec<String>> {
    let key = variable.strip_prefix(PREFIX).filter(|key| key.contains("__"))?;
    Some(key.split("__").map(str::to_lowercase).collect())
}

/// Puts a variable's value in the place of the file's; `false` if a section of its key is no section.
pub(super) fn insert<'i>(
    mut table: &mut Table<'i>,
    key: &[String],
    variable: &str,
    text: &'i str,
) -> bool {
    let Some((last, sections)) = key.split_last().filter(|_| key.len() <= MAX_DEPTH) else {
        return false;
    };
    let place = Place::Variable(variable.to_owned());
    for section in sections {
        let entry = match table.remove(section) {
            Some(entry) => entry.open(),
            None => Entry { place: place.clone(), node: Node::Table(Table::new()) },
        };
        let Node::Table(inner) = &mut table.entry(section.clone()).or_insert(entry).node else {
            return false;
        };
        table = inner;
    }
    let value = DeValue::String(Cow::Borrowed(text));
    table.insert(last.clone(), Entry { place, node: Node::Value(value) });
    true
}

impl Entry<'_> {
    /// Turns a variable's text into the section it describes, such as `{ host = "localhost" }`.
    pub(super) fn open(mut self) -> Self {
        if let Place::Variable(name) = &self.place
            && let Node::Value(DeValue::String(Cow::Borrowed(text))) = self.node
            && let Ok(DeValue::Table(table)) = DeValue::parse(text).map(toml::Spanned::into_inner)
        {
            self.node = Node::Table(from_toml(table, Some(name)));
        }
        self
    }
}

/// The same value as JSON; `None` where a date or a number that JSON has not is in it.
pub(super) fn to_json(node: &Node<'_>) -> Option<Value> {
    match node {
        Node::Table(table) => {
            let members =
                table.iter().map(|(key, entry)| Some((key.clone(), to_json(&entry.node)?)));
            Some(Value::Object(members.collect::<Option<Map<_, _>>>()?))
        }
        Node::Value(value) => value_to_json(value),
    }
}

fn value_to_json(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => {
            Value::from(i64::from_str_radix(number.as_str(), number.radix()).ok()?)
        }
        DeValue::Float(number) => Value::from(number.as_str().parse::<f64>().ok()?),
        DeValue::Boolean(truth) => Value::from(*truth),
        DeValue::Datetime(_) => return None,
        DeValue::Array(array) => {
            let elements = array.iter().map(|element| value_to_json(element.get_ref()));
            Value::Array(elements.collect::<Option<_>>()?)
        }
        DeValue::Table(table) => {
            let members = table.iter().map(|(key, value)| {
                Some((key.get_ref().to_string(), value_to_json(value.get_ref())?))
            });
            Value::Object(members.collect::<Option<Map<_, _>>>()?)
        }
    })
}
