//! Reads a configuration section by section and gathers all that is wrong with it.

mod tree;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use serde_json::Value;
use toml::de::{DeTable, DeValue};

use self::tree::{Entry, Node, Place, Table};
use super::{Fault, Faults, Setting};

/// Reads `text` (of the file called `file`), overridden by `variables`, by means of `read`. A
/// variable of a section comes before those of its keys.
///
/// Fails with everything that is wrong: the syntax alone, or else all the keys.
pub(super) fn read<'i, T>(
    file: &'i str,
    text: &'i str,
    variables: &'i [(String, String)],
    read: impl FnOnce(&mut Section<'_, 'i>) -> Option<T>,
) -> Result<T, Faults> {
    let mut reading = Reading { file, text, faults: Vec::new(), places: BTreeMap::new() };
    let mut table = tree::from_toml(reading.parse()?, None);
    for (name, value) in variables {
        if let Some(key) = tree::key_of(name)
            && !tree::insert(&mut table, &key, name, value)
        {
            let message = format!("{}: no such key", key.join("."));
            reading.faults.push(Fault::of(name.clone(), message, format!("unset {name}")));
        }
    }
    let mut root = Section {
        reading: &mut reading,
        path: String::new(),
        place: Place::Byte(0),
        left: table,
        known: Vec::new(),
    };
    let value = read(&mut root);
    root.close();
    value.filter(|_| reading.faults.is_empty()).ok_or_else(|| reading.faults.into())
}

/// What the sections of one reading share.
struct Reading<'i> {
    file: &'i str,
    text: &'i str,
    faults: Vec<Fault>,
    /// Where each key lies that was asked for and is given, by its full name.
    places: BTreeMap<String, Place>,
}

impl<'i> Reading<'i> {
    /// The file as a table, or what is wrong with its syntax, one fault a line.
    fn parse(&self) -> Result<DeTable<'i>, Faults> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        let mut faults = BTreeMap::new();
        for error in errors {
            let (line, column) = self.position(error.span().map_or(0, |span| span.start));
            faults.entry(line).or_insert_with(|| {
                let remedy = "see https://toml.io for how to write it";
                Fault::in_file(self.file, line, error.message().to_owned(), remedy.to_owned())
                    .at_column(column)
            });
        }
        if faults.is_empty() {
            Ok(table.into_inner())
        } else {
            Err(faults.into_values().collect::<Vec<_>>().into())
        }
    }

    /// Line and column of a byte, both from 1.
    fn position(&self, byte: usize) -> (usize, usize) {
        let before = self.text.get(..byte).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column =
            before.chars().count() - before.get(..line_start).unwrap_or("").chars().count();
        (before.matches('\n').count() + 1, column + 1)
    }

    fn fault(&mut self, place: &Place, message: String, remedy: String) {
        self.faults.push(match place {
            Place::Byte(byte) => Fault::in_file(self.file, self.position(*byte).0, message, remedy),
            Place::Variable(name) => Fault::of(name.clone(), message, remedy),
        });
    }
}

/// One section while it is read. Whatever nobody has asked for when it is closed is a fault.
pub(super) struct Section<'r, 'i> {
    reading: &'r mut Reading<'i>,
    path: String,
    place: Place,
    /// What is given and has not been asked for yet.
    left: Table<'i>,
    /// What has been asked for.
    known: Vec<String>,
}

impl<'i> Section<'_, 'i> {
    /// The value of a key, or `default` where it is not given or wrong.
    pub(super) fn get<T: Setting>(&mut self, key: &str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// The value of a key that has to be given.
    pub(super) fn required<T: Setting>(&mut self, key: &str) -> Option<T> {
        if !self.given(key) {
            let remedy = example(key, None, T::EXAMPLE);
            self.fault(&[key], &format!("missing; expected {}", T::EXPECTED), &remedy);
        }
        self.optional(key)
    }

    /// The value of a key that may be given.
    pub(super) fn optional<T: Setting>(&mut self, key: &str) -> Option<T> {
        let Entry { place, node } = self.take(key)?;
        let value = match &node {
            Node::Table(_) => None,
            Node::Value(value) => T::of(value).or_else(|| T::of(&reread(value, &place)?)),
        };
        if value.is_none() {
            self.mistaken(key, &place, T::EXPECTED, (T::EXAMPLE, &found(&node)));
        }
        value
    }

    /// The values of a key that takes a list; each element that is wrong is a fault of its own.
    pub(super) fn list<T: Setting>(&mut self, key: &str, default: Vec<T>) -> Vec<T> {
        let Some(Entry { place, node }) = self.take(key) else { return default };
        let example = format!("[{}]", T::EXAMPLE);
        let reread = match &node {
            Node::Value(value) => reread(value, &place),
            Node::Table(_) => None,
        };
        let ((Some(DeValue::Array(array)), _) | (_, Node::Value(DeValue::Array(array)))) =
            (&reread, &node)
        else {
            let expected = format!("a list in brackets, each element {}", T::EXPECTED);
            self.mistaken(key, &place, &expected, (&example, &found(&node)));
            return default;
        };
        let mut values = Vec::with_capacity(array.len());
        for (index, element) in array.iter().enumerate() {
            if let Some(value) = T::of(element.get_ref()) {
                values.push(value);
                continue;
            }
            let place = match &place {
                Place::Byte(_) => Place::Byte(element.span().start),
                variable @ Place::Variable(_) => variable.clone(),
            };
            let pair = (&*example, &*found_value(element.get_ref()));
            self.mistaken(&format!("{key}[{index}]"), &place, T::EXPECTED, pair);
        }
        values
    }

    /// Any value as JSON, for what is sent on.
    pub(super) fn json(&mut self, key: &str) -> Option<Value> {
        let Entry { place, node } = self.take(key)?.open();
        let value = tree::to_json(&node);
        if value.is_none() {
            let expected = "texts, numbers, true, false, lists and tables";
            self.mistaken(key, &place, expected, ("{ to = \"{{ to }}\" }", &found(&node)));
        }
        value
    }

    /// Where the key of this full name (`server.name`) was given, by what has been read so far.
    pub(super) fn was_given(&self, full_name: &str) -> bool {
        self.reading.places.contains_key(full_name)
    }

    /// Where a key lies that has been asked for, for who finds a fault in it later: file and line,
    /// or the variable, and its full name.
    pub(super) fn place_of(&self, key: &str) -> String {
        let name = self.full(key);
        match self.reading.places.get(&name).unwrap_or(&self.place) {
            Place::Byte(byte) => {
                format!("{}:{}: {name}", self.reading.file, self.reading.position(*byte).0)
            }
            Place::Variable(variable) => format!("{variable}: {name}"),
        }
    }

    /// A secret, given as `key` itself or as `key_file`, a file that holds it.
    ///
    /// A variable goes before the file in this too, whichever of the two it gives.
    pub(super) fn secret(&mut self, key: &str) -> Option<SecretString> {
        let key_file = format!("{key}_file");
        let is_variable = |entry: &Entry<'_>| matches!(entry.place, Place::Variable(_));
        let is_variable = |key| self.left.get(key).map(is_variable);
        match (is_variable(key), is_variable(&key_file)) {
            (Some(true), Some(false)) => drop(self.left.remove(&key_file)),
            (Some(false), Some(true)) => drop(self.left.remove(key)),
            (Some(_), Some(_)) => {
                let message = format!("given beside {key}, which says the same");
                self.refuse(&key_file, &message, "remove one of the two");
            }
            _ => {}
        }
        let file: Option<PathBuf> = self.optional(&key_file);
        self.plain_secret(key).or_else(|| self.secret_in(&key_file, &file?))
    }

    /// A secret as the value of `key`; no fault shows what is there.
    pub(super) fn plain_secret(&mut self, key: &str) -> Option<SecretString> {
        let Entry { place, node } = self.take(key)?;
        match node {
            Node::Value(DeValue::String(text)) if !text.is_empty() => {
                Some(SecretString::from(text.into_owned()))
            }
            _ => {
                let remedy = format!("quote it, or use {key}_file");
                let message = format!("{}: expected a text that is not empty", self.full(key));
                self.reading.fault(&place, message, remedy);
                None
            }
        }
    }

    /// The content of a secret's file without the newline at its end.
    fn secret_in(&mut self, key_file: &str, file: &Path) -> Option<SecretString> {
        let (problem, remedy) = match fs::read_to_string(file) {
            Ok(text) => match text.trim_end_matches(['\r', '\n']) {
                "" => ("is empty".to_owned(), "write the secret into it"),
                secret => return Some(SecretString::from(secret)),
            },
            Err(error) => (format!("can't be read: {error}"), "name a file that can be read"),
        };
        self.fault(&[key_file], &format!("{} {problem}", file.display()), remedy);
        None
    }

    /// A subsection; `read` sees an empty one where it is not given.
    pub(super) fn section<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut Section<'_, 'i>) -> T,
    ) -> T {
        let path = self.full(key);
        let (place, left, wrong) = match self.take(key).map(Entry::open) {
            None => (self.place.clone(), Table::new(), None),
            Some(Entry { place, node: Node::Table(table) }) => (place, table, None),
            Some(Entry { place, node: Node::Value(value) }) => (place, Table::new(), Some(value)),
        };
        if let Some(value) = &wrong {
            // Not the value itself: it might be a secret at the wrong place.
            let message = format!("{path}: expected a section, found {}", kind(value));
            self.reading.fault(&place, message, format!("write for example: [{path}]"));
        }
        let faults = self.reading.faults.len();
        let mut section =
            Section { reading: &mut *self.reading, path, place, left, known: Vec::new() };
        let value = read(&mut section);
        section.close();
        if wrong.is_some() {
            // What is missing from it is missing for this reason alone.
            self.reading.faults.truncate(faults);
        }
        value
    }

    /// The subsections of a key that takes several (`[[peers.replicate]]`).
    pub(super) fn sections<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&mut Section<'_, 'i>) -> T,
    ) -> Vec<T> {
        let path = self.full(key);
        let Some(Entry { place, node }) = self.take(key) else { return Vec::new() };
        let Some(tables) = tree::tables(node, &place) else {
            let message = format!("{path}: expected a list of sections");
            self.reading.fault(&place, message, format!("write for example: [[{path}]]"));
            return Vec::new();
        };
        let mut values = Vec::with_capacity(tables.len());
        for (index, (place, left)) in tables.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            let mut section =
                Section { reading: &mut *self.reading, path, place, left, known: Vec::new() };
            values.push(read(&mut section));
            section.close();
        }
        values
    }

    /// Whether a key is given, rightly or wrongly, and has not been asked for yet.
    pub(super) fn given(&self, key: &str) -> bool {
        self.left.contains_key(key)
    }

    /// The given keys that have not been asked for yet.
    pub(super) fn remaining(&self) -> Vec<String> {
        self.left.keys().cloned().collect()
    }

    /// Names something else that is known here, for who writes an unknown key.
    pub(super) fn also_known(&mut self, what: &str) {
        self.known.push(what.to_owned());
    }

    /// Refuses a key that may not be given, whatever its value.
    pub(super) fn refuse(&mut self, key: &str, message: &str, remedy: &str) {
        self.take(key);
        self.fault(&[key], message, remedy);
    }

    /// A fault of the first of `keys`; it lies where the first of them lies that is given.
    pub(super) fn fault(&mut self, keys: &[&str], message: &str, remedy: &str) {
        let full = |key: &&str| self.full(key);
        let names: Vec<_> = keys.iter().map(full).collect();
        let place = names.iter().find_map(|name| self.reading.places.get(name));
        let place = place.unwrap_or(&self.place).clone();
        let name = names.first().map_or("", String::as_str);
        self.reading.fault(&place, format!("{name}: {message}"), remedy.to_owned());
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn take(&mut self, key: &str) -> Option<Entry<'i>> {
        self.known.push(key.to_owned());
        let entry = self.left.remove(key)?;
        self.reading.places.insert(self.full(key), entry.place.clone());
        Some(entry)
    }

    /// A fault of a value that is not what is expected; the pair is an example and what was found.
    fn mistaken(&mut self, key: &str, place: &Place, expected: &str, pair: (&str, &str)) {
        let message = format!("{}: expected {expected}, found {}", self.full(key), pair.1);
        let key = key.split('[').next().unwrap_or(key);
        self.reading.fault(place, message, example(key, Some(place), pair.0));
    }

    /// Makes a fault of each key that nobody asked for.
    fn close(mut self) {
        self.known.sort_unstable();
        self.known.dedup();
        for (key, entry) in std::mem::take(&mut self.left) {
            let near =
                self.known.iter().map(|known| (strsim::damerau_levenshtein(&key, known), known));
            let near = near.min().filter(|(edits, known)| *edits <= 1 + known.len() / 4);
            let hint =
                near.map_or_else(String::new, |(_, known)| format!("; did you mean {known}?"));
            let message = format!("{}: unknown key{hint}", self.full(&key));
            let remedy = format!("known here: {}", self.known.join(", "));
            self.reading.fault(&entry.place, message, remedy);
        }
    }
}

/// A variable's text as the TOML value that it may be.
fn reread<'t>(value: &'t DeValue<'_>, place: &Place) -> Option<DeValue<'t>> {
    match (value, place) {
        (DeValue::String(text), Place::Variable(_)) => {
            DeValue::parse(text).ok().map(toml::Spanned::into_inner)
        }
        _ => None,
    }
}

/// How a key could be written, in the file or as a variable.
fn example(key: &str, place: Option<&Place>, value: &str) -> String {
    match place {
        Some(Place::Variable(name)) if value.starts_with('[') => {
            format!("write for example: {name}='{value}'")
        }
        Some(Place::Variable(name)) => format!("write for example: {name}={value}"),
        _ => format!("write for example: {key} = {value}"),
    }
}

fn found(node: &Node<'_>) -> Cow<'static, str> {
    match node {
        Node::Table(_) => "a section".into(),
        Node::Value(value) => found_value(value),
    }
}

/// A value as a fault shows it.
fn found_value(value: &DeValue<'_>) -> Cow<'static, str> {
    match value {
        // A URL with a login: nobody's password is to be shown, at whichever key it was written.
        DeValue::String(text) if text.contains("://") && text.contains('@') => {
            "a URL with a user name".into()
        }
        DeValue::String(text) if text.chars().count() <= 80 => format!("{text:?}").into(),
        DeValue::Integer(number) => number.to_string().into(),
        DeValue::Float(number) => number.to_string().into(),
        DeValue::Boolean(truth) => truth.to_string().into(),
        other => kind(other).into(),
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}
