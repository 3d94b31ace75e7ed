//! Who speaks in a message, in which language.

use std::time::Duration;

use super::{
    catalogue::Catalogue,
    phrase::{Filling, Form, Rich},
};

/// Who speaks, and how.
#[derive(Debug)]
pub(super) struct Speaker {
    /// The language that is spoken.
    pub(super) locale: String,
    /// `ltr` or `rtl`.
    pub(super) direction: &'static str,
    /// The name of the brand with the server's, or the server's.
    pub(super) name: String,
    /// The server's name.
    pub(super) server: String,
    /// How it is reached.
    pub(super) base_url: String,
    /// What is said in that language.
    pub(super) words: Catalogue,
}

impl Speaker {
    pub(super) fn strong_name(&self) -> Filling {
        Filling::strong(&self.name)
    }

    /// A time as a person says it, rounded down where that changes little: `24 hours`,
    /// `90 minutes`.
    pub(super) fn in_words(&self, time: Duration) -> String {
        let words = &self.words.time;
        let seconds = time.as_secs();
        // One day is said as 24 hours.
        let units = [(86_400, 2, &words.days), (3_600, 1, &words.hours), (60, 1, &words.minutes)];
        for (unit, least, plural) in units {
            let exact = seconds.is_multiple_of(unit) && seconds >= least * unit;
            if exact || seconds >= 24 * unit {
                return plural.of(seconds / unit);
            }
        }
        words.seconds.of(seconds)
    }

    /// What stands below a page.
    pub(super) fn footer(&self) -> Rich {
        let name = Filling::plain(&self.name);
        self.words.page.footer.fill(Form::Html, &[("server", &name)])
    }
}
