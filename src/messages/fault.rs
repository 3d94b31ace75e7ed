//! What is wrong with an operator's texts and templates, in words for the operator.

use std::{fmt, path::Path};

/// Why there are no messages, or why one could not be written.
#[derive(Debug, thiserror::Error)]
pub enum MessagesError {
    /// Files or settings of the operator are wrong.
    #[error(transparent)]
    Setup(#[from] Faults),
    /// A built-in template failed.
    #[error("the template {name} can't be rendered")]
    Template {
        /// Which one.
        name: &'static str,
        /// Why.
        source: askama::Error,
    },
}

/// All that is wrong, each with file and line.
#[derive(Debug)]
pub struct Faults(Vec<Fault>);

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fault {
    place: String,
    /// Sorts the faults of a file.
    line: usize,
    message: String,
}

impl Fault {
    /// A fault at `line` (from 1) of `file`.
    pub(super) fn at_line(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self { place: file.to_owned(), line, message: message.into() }
    }

    /// A fault of a file or setting as a whole.
    pub(super) fn of(place: &str, message: impl Into<String>) -> Self {
        Self::at_line(place, 0, message)
    }

    /// A fault of a file that can't be read.
    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        Self::of(&path.display().to_string(), format!("can't be read: {error}"))
    }
}

impl Faults {
    /// One fault of a file as a whole.
    pub(super) fn of(place: &str, message: &str) -> Self {
        Self(vec![Fault::of(place, message)])
    }

    /// The faults as an error, if there are any.
    pub(super) fn check(mut faults: Vec<Fault>) -> Result<(), Self> {
        faults.sort();
        faults.dedup();
        if faults.is_empty() { Ok(()) } else { Err(Self(faults)) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.place, self.message),
            line => write!(f, "{}:{line}: {}", self.place, self.message),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
