//! What is wrong with a configuration, in words for the operator.

use std::fmt;

/// Everything that is wrong with a configuration: sorted by line, then by variable.
///
/// No value of a secret key is ever part of it.
#[derive(Debug)]
pub struct Faults(Vec<Fault>);

/// One thing that is wrong, and what to do about it.
#[derive(Debug)]
pub(super) struct Fault {
    /// Sorts the faults; a variable has none.
    line: Option<usize>,
    place: String,
    message: String,
    remedy: String,
}

impl Fault {
    /// A fault at `line` (from 1) of `file`.
    pub(super) fn in_file(file: &str, line: usize, message: String, remedy: String) -> Self {
        Self { line: Some(line), place: format!("{file}:{line}"), message, remedy }
    }

    /// A fault of `place` as a whole: a file, or a variable of the environment.
    pub(super) fn of(place: String, message: String, remedy: String) -> Self {
        Self { line: None, place, message, remedy }
    }

    /// The same fault, its column (from 1) named too.
    pub(super) fn at_column(mut self, column: usize) -> Self {
        self.place = format!("{}:{column}", self.place);
        self
    }
}

impl From<Vec<Fault>> for Faults {
    fn from(mut faults: Vec<Fault>) -> Self {
        faults.sort_by(|a, b| match (a.line, b.line) {
            (Some(a), Some(b)) => a.cmp(&b),
            (None, None) => a.place.cmp(&b.place),
            (a, b) => b.is_some().cmp(&a.is_some()),
        });
        Self(faults)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{}: {}\n    {}", fault.place, fault.message, fault.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
