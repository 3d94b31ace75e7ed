//! What a validation mail says.

use std::time::Duration;

use askama::Template;

use super::{super::ValidationMessage, Words};

#[derive(Template)]
#[template(path = "mail/validation.subject.txt")]
struct Subject<'a> {
    server: &'a str,
}

#[derive(Template)]
#[template(path = "mail/validation.txt")]
struct Text<'a> {
    server: &'a str,
    link: &'a str,
    token: &'a str,
    lifetime: &'a str,
}

#[derive(Template)]
#[template(path = "mail/validation.html")]
struct Html<'a> {
    subject: &'a str,
    server: &'a str,
    link: &'a str,
    token: &'a str,
    lifetime: &'a str,
}

pub(super) fn words(server: &str, message: &ValidationMessage<'_>) -> askama::Result<Words> {
    let ValidationMessage { link, token, .. } = *message;
    let lifetime = &in_words(message.lifetime);
    let subject = Subject { server }.render()?;
    let text = Text { server, link, token, lifetime }.render()?;
    let html = Html { subject: &subject, server, link, token, lifetime }.render()?;
    Ok(Words { subject, text, html })
}

/// A time as a person says it, rounded down where that changes little: `24 hours`, `90 minutes`.
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    for (unit, name) in [(86_400, "days"), (3_600, "hours"), (60, "minutes")] {
        let exact = seconds.is_multiple_of(unit);
        if (exact && seconds >= 2 * unit) || seconds >= 24 * unit {
            return format!("{} {name}", seconds / unit);
        }
    }
    format!("{seconds} seconds")
}
