//! Errors with all that caused them.

use std::error::Error;

/// An error and its causes, in a line; libpq's messages have several.
#[must_use]
pub fn causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_line = cause.to_string();
        // A transparent error reads as its cause.
        if !line.ends_with(&cause_line) {
            line.push_str(": ");
            line.push_str(&cause_line);
        }
        next = cause.source();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
