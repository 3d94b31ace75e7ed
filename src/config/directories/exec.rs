//! `[directories.exec]`

use std::path::PathBuf;

use super::super::{Section, Text};

/// A program that answers questions, one each time it is started.
#[derive(Debug, Clone)]
pub struct Exec {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

pub(super) fn read(s: &mut Section<'_, '_>) -> Option<Exec> {
    let is_given = s.given("command");
    let mut words = s.list("command", Vec::new()).into_iter().map(|Text(word)| word);
    let program = words.next().map(PathBuf::from);
    if !is_given || program.as_ref().is_none_or(|program| !program.is_absolute()) {
        let message = "expected a program with its whole path, and its arguments";
        let remedy = "write for example: command = [\"/usr/local/bin/people\", \"--json\"]";
        s.fault(&["command"], message, remedy);
    }
    Some(Exec { program: program?, arguments: words.collect() })
}
