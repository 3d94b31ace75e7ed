//! Counts of what directories were asked.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::Label;

/// What directories are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Question {
    /// Whose an address is.
    Find,
    /// Whether a password is right.
    Check,
    /// Who is called so.
    Search,
    /// Who there is, for the copy.
    Copy,
}

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answered {
    /// It was answered.
    Answered,
    /// The directory failed.
    Failed,
    /// It wasn't asked: it fails, or has enough to do.
    Skipped,
}

impl Question {
    const ALL: [Self; 4] = [Self::Find, Self::Check, Self::Search, Self::Copy];

    fn as_str(self) -> &'static str {
        match self {
            Self::Find => "find",
            Self::Check => "check",
            Self::Search => "search",
            Self::Copy => "copy",
        }
    }
}

impl Answered {
    const ALL: [Self; 3] = [Self::Answered, Self::Failed, Self::Skipped];

    fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameLabel {
    directory: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    directory: String,
    question: Label,
    outcome: Label,
}

/// The counts; clones share them.
#[derive(Debug, Clone, Default)]
pub struct DirectoryCounts {
    questions: Family<Labels, Counter>,
    failing: Family<NameLabel, Gauge>,
    addresses: Family<NameLabel, Gauge>,
    copied_at: Family<NameLabel, Gauge>,
}

impl DirectoryCounts {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "bindery_directory_questions",
            "Questions to directories, by question and by what came of them",
            Family::clone(&self.questions),
        );
        registry.register(
            "bindery_directory_failing",
            "Whether a directory fails (1) or answers (0)",
            Family::clone(&self.failing),
        );
        registry.register(
            "bindery_directory_addresses",
            "Addresses in the copy of a directory that are one person's",
            Family::clone(&self.addresses),
        );
        registry.register(
            "bindery_directory_copied_timestamp_seconds",
            "When the copy of a directory was begun, in seconds since the Unix epoch",
            Family::clone(&self.copied_at),
        );
    }

    /// Shows the counts of a directory before it is asked anything.
    pub fn know(&self, directory: &str) {
        for question in Question::ALL {
            for outcome in Answered::ALL {
                self.of(directory, question, outcome).inc_by(0);
            }
        }
        self.set_failing(directory, false);
    }

    /// Says whether a directory fails.
    pub fn set_failing(&self, directory: &str, is_failing: bool) {
        let label = NameLabel { directory: directory.to_owned() };
        self.failing.get_or_create_owned(&label).set(i64::from(is_failing));
    }

    /// Says what the copy of a directory holds, and when it was begun, in milliseconds since the Unix
    /// epoch.
    pub fn set_copy(&self, directory: &str, addresses: i64, at_ms: i64) {
        let label = NameLabel { directory: directory.to_owned() };
        self.addresses.get_or_create_owned(&label).set(addresses);
        self.copied_at.get_or_create_owned(&label).set(at_ms / 1000);
    }

    /// Counts a question.
    pub fn count(&self, directory: &str, question: Question, outcome: Answered) {
        self.of(directory, question, outcome).inc();
    }

    fn of(&self, directory: &str, question: Question, outcome: Answered) -> Counter {
        let (question, outcome) = (Label(question.as_str()), Label(outcome.as_str()));
        let labels = Labels { directory: directory.to_owned(), question, outcome };
        self.questions.get_or_create_owned(&labels)
    }
}
