//! What people read: mails, text messages and pages, in their language and under the name of the
//! brand that they know.

mod catalogue;
mod engine;
mod fault;
mod files;
mod library;
mod locale;
mod mails;
mod pages;
mod phrase;
mod preview;
mod sample;
mod speaker;
mod variables;

use std::{fmt, sync::Arc, time::Duration};

use lettre::message::Mailbox;

use crate::{config::Config, matrix::id::ServerName};

pub use fault::{Faults, MessagesError};
use library::Library;
use phrase::Form;
pub use preview::Preview;
pub use variables::{Template, Variable, templates};

/// What people read.
pub struct Messages {
    library: Library,
}

/// In which language and under which name somebody is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Style {
    brand: Option<Arc<str>>,
    locale: Arc<str>,
}

/// What is known of what somebody wants to be spoken to in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'a> {
    /// The brand that a request names.
    pub brand: Option<&'a str>,
    /// The homeserver that somebody belongs to, which may have a brand.
    pub homeserver: Option<&'a ServerName>,
    /// The locale that a request names.
    pub locale: Option<&'a str>,
    /// What a browser sends.
    pub accept_language: Option<&'a str>,
}

/// What a mail says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The subject, in one line.
    pub subject: String,
    /// The text part.
    pub text: String,
    /// The HTML part.
    pub html: String,
}

/// What a person needs to prove that an address is theirs.
#[derive(Clone, Copy)]
pub struct ValidationMessage<'a> {
    /// The link that proves it when it is opened.
    pub link: &'a str,
    /// The token inside of the link, for apps that want it typed.
    pub token: &'a str,
    /// How long both are valid.
    pub lifetime: Duration,
}

/// Who is invited to what, as the inviter's homeserver told it: the names are strangers' words, of
/// any length and with anything in them.
#[derive(Clone, Copy)]
pub struct Invitation<'a> {
    /// What the invitation is to.
    pub kind: InvitationKind,
    /// The user id of the inviter.
    pub inviter: &'a str,
    /// The display name of the inviter.
    pub inviter_name: Option<&'a str>,
    /// The name of the room or space, or else its alias; a direct chat's is not shown.
    pub room_name: Option<&'a str>,
    /// The link, http or https, that opens the web client; it holds the secrets of the invitation.
    pub link: &'a str,
}

/// What somebody is invited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvitationKind {
    /// A room.
    Room,
    /// A space: a room that groups others.
    Space,
    /// A chat of two.
    Direct,
}

/// What kind of address a page speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An e-mail address.
    Email,
    /// A phone number.
    Phone,
    /// Another one.
    Other,
}

/// A page.
#[derive(Clone, Copy, Debug)]
pub enum Page<'a> {
    /// The address is confirmed.
    Validated(Subject),
    /// It had been confirmed before.
    AlreadyValidated(Subject),
    /// Asks for the click that confirms it.
    Confirm {
        /// What it is.
        subject: Subject,
        /// The address.
        address: &'a str,
        /// Where the form goes.
        action: &'a str,
        /// What the form sends, names and values.
        fields: &'a [(&'a str, &'a str)],
    },
    /// It could not be confirmed.
    Failed {
        /// What it is.
        subject: Subject,
        /// Why not.
        failure: Failure,
    },
    /// The page at the root of the server.
    Front(Front<'a>),
}

/// Why an address could not be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The link is too old.
    Expired,
    /// Too many wrong tokens came: it is of no more use.
    TooManyAttempts,
    /// It was tried too often in a short time.
    Limited,
    /// The server can't.
    Unavailable,
    /// The link is not, or no longer, a right one.
    WrongLink,
}

/// What the page at the root says of the server.
#[derive(Clone, Copy, Debug)]
pub struct Front<'a> {
    /// Its base URL.
    pub base_url: &'a str,
    /// Ids and public halves of its keys, in base64; the first one signs.
    pub keys: &'a [(String, String)],
    /// Names, in the language of the page, and URLs of the terms.
    pub terms: &'a [(String, String)],
    /// The mediums that it serves; others than the specification's by the names that people know.
    pub mediums: &'a [&'a str],
    /// The version of the program.
    pub version: &'a str,
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").finish_non_exhaustive()
    }
}

impl Messages {
    /// Reads the texts and templates of the operator, and tries all of them.
    ///
    /// # Errors
    /// With all that is wrong with them, each with file and line.
    pub fn new(config: &Config) -> Result<Self, MessagesError> {
        Ok(Self { library: Library::open(config)? })
    }

    /// The style that fits a wish best; what is not there is passed over.
    #[must_use]
    pub fn style(&self, wish: &Wish<'_>) -> Style {
        self.library.style(wish)
    }

    /// The mail that asks whether an address is somebody's own.
    ///
    /// # Errors
    /// When a built-in template fails.
    pub fn validation_mail(
        &self,
        style: &Style,
        message: &ValidationMessage<'_>,
    ) -> Result<Mail, MessagesError> {
        let voice = self.library.voice(style);
        let mut html = voice.speaker.validation(Form::Html, message);
        let text = voice.speaker.validation(Form::Text, message);
        let subject = one_line(&voice.render("mail/validation.subject.txt", &text)?);
        html.subject.clone_from(&subject);
        Ok(Mail {
            text: wrapped(&voice.render("mail/validation.txt", &text)?),
            html: voice.render("mail/validation.html", &html)?,
            subject,
        })
    }

    /// The mail that tells somebody of an invitation.
    ///
    /// # Errors
    /// When a built-in template fails.
    pub fn invitation_mail(
        &self,
        style: &Style,
        invitation: &Invitation<'_>,
    ) -> Result<Mail, MessagesError> {
        let voice = self.library.voice(style);
        let mut html = voice.speaker.invitation(Form::Html, invitation);
        let text = voice.speaker.invitation(Form::Text, invitation);
        let subject = one_line(&voice.render("mail/invitation.subject.txt", &text)?);
        html.subject.clone_from(&subject);
        Ok(Mail {
            text: wrapped(&voice.render("mail/invitation.txt", &text)?),
            html: voice.render("mail/invitation.html", &html)?,
            subject,
        })
    }

    /// The code, for text messages and all mediums but e-mail.
    ///
    /// # Errors
    /// When a built-in template fails.
    pub fn validation_text(
        &self,
        style: &Style,
        message: &ValidationMessage<'_>,
    ) -> Result<String, MessagesError> {
        let voice = self.library.voice(style);
        let text = voice.render("text/validation.txt", &voice.speaker.text_validation(message))?;
        Ok(text.trim().to_owned())
    }

    /// The invitation, for text messages and all mediums but e-mail.
    ///
    /// # Errors
    /// When a built-in template fails.
    pub fn invitation_text(
        &self,
        style: &Style,
        invitation: &Invitation<'_>,
    ) -> Result<String, MessagesError> {
        let voice = self.library.voice(style);
        let values = voice.speaker.invitation(Form::Text, invitation);
        Ok(voice.render("text/invitation.txt", &values)?.trim().to_owned())
    }

    /// A page, in HTML.
    ///
    /// # Errors
    /// When a built-in template fails.
    pub fn page(&self, style: &Style, page: &Page<'_>) -> Result<String, MessagesError> {
        let voice = self.library.voice(style);
        let speaker = &voice.speaker;
        let result = |values| voice.render("page/result.html", &values);
        match *page {
            Page::Validated(subject) => result(speaker.result(subject, Ok(false))),
            Page::AlreadyValidated(subject) => result(speaker.result(subject, Ok(true))),
            Page::Failed { subject, failure } => result(speaker.result(subject, Err(failure))),
            Page::Confirm { subject, address, action, fields } => {
                let values = speaker.confirm((subject, address), action, fields);
                voice.render("page/confirm.html", &values)
            }
            Page::Front(front) => voice.render("page/front.html", &speaker.front(&front)),
        }
    }

    /// From whom mail comes, where the brand says so.
    #[must_use]
    pub fn sender(&self, style: &Style) -> Option<&Mailbox> {
        self.library.brand(style)?.from.as_ref()
    }

    /// The web client that invitations open, where the brand says so.
    #[must_use]
    pub fn web_client(&self, style: &Style) -> Option<&str> {
        self.library.brand(style)?.web_client.as_deref()
    }

    /// The brand, if it is one's.
    #[must_use]
    pub fn brand<'a>(&self, style: &'a Style) -> Option<&'a str> {
        style.brand.as_deref()
    }

    /// The locale.
    #[must_use]
    pub fn locale<'a>(&self, style: &'a Style) -> &'a str {
        &style.locale
    }
}

/// Whatever a template makes, a subject has one line.
fn one_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// In characters, as lines of mails should have at most
/// ([RFC 5322](https://www.rfc-editor.org/rfc/rfc5322#section-2.1.1), section 2.1.1).
const WIDTH: usize = 74;

/// The text in lines that fit; what has no spaces, such as a link, stays whole.
fn wrapped(text: &str) -> String {
    let mut wrapped = String::with_capacity(text.len() + 64);
    for line in text.lines() {
        let mut width = 0;
        for word in line.trim_end().split(' ') {
            // Word joiners, which keep programs from making links, take no room.
            let length = word.chars().filter(|c| *c != '\u{2060}').count();
            if width > 0 && width + 1 + length > WIDTH {
                wrapped.push('\n');
                width = 0;
            } else if width > 0 {
                wrapped.push(' ');
                width += 1;
            }
            wrapped.push_str(word);
            width += length;
        }
        wrapped.push('\n');
    }
    wrapped
}
