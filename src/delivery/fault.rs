//! Why messages are not delivered.

use std::{error::Error, fmt, io, time::Duration};

use crate::matrix::medium::Medium;

/// Why a message was not delivered, sorted by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// Such an address does not exist: it may be mistyped.
    #[error("there is no such address: {0}")]
    InvalidAddress(Fault),
    /// The address can't be reached, now or later: the person needs another one.
    #[error("the recipient was refused: {0}")]
    Refused(Fault),
    /// The message was not sent, or nobody knows; it may be tried again.
    #[error("the message could not be sent: {0}")]
    Unsent(Fault),
    /// The configuration says something that is of no use.
    #[error("{what} can't be used: {error}")]
    Setup {
        /// The file, or the key of the setting.
        what: String,
        /// What is wrong with it.
        error: Box<dyn Error + Send + Sync>,
    },
}

impl DeliveryError {
    pub(super) fn setup(
        what: impl Into<String>,
        error: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Setup { what: what.into(), error: error.into() }
    }

    /// Whether the message can't have gone out: false where a provider fell silent, or broke off,
    /// when it may already have had it.
    #[must_use]
    pub fn surely_unsent(&self) -> bool {
        match self {
            Self::InvalidAddress(fault) | Self::Refused(fault) | Self::Unsent(fault) => {
                !fault.leaves_open()
            }
            Self::Setup { .. } => true,
        }
    }
}

/// What went wrong. No address can be in it: mail servers like to repeat the one that they
/// refuse, so of their answers only the codes are kept.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// No connection to the mail server.
    #[error("the mail server can't be reached: {0}")]
    Unreachable(io::Error),
    /// No TLS with it.
    #[error("no TLS with the mail server: {0}")]
    Tls(io::Error),
    /// STARTTLS is configured, and the server has none.
    #[error("the mail server does not offer STARTTLS, and without TLS nothing is sent")]
    NoStarttls,
    /// A login is configured, and the server knows no way that is known here.
    #[error("the mail server offers no login by PLAIN or LOGIN")]
    NoLogin,
    /// The address needs an extension that the server has not.
    #[error("the mail server takes only ASCII before the @ of an address (it has no SMTPUTF8)")]
    NoSmtpUtf8,
    /// The server said no.
    #[error("the mail server answered {reply} to {step}")]
    Reply {
        /// To what.
        step: Step,
        /// In which words.
        reply: Reply,
    },
    /// The connection ended, or something was said on it that is not SMTP.
    #[error("the connection to the mail server broke off at {0}")]
    Broken(Step),
    /// It took too long.
    #[error("it took longer than {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The sendmail program could not be run or failed; why is logged at debug.
    #[error("the sendmail program failed")]
    Sendmail,
    /// The mail's file could not be written.
    #[error("the file could not be written: {0}")]
    File(io::Error),
    /// The address has no form in which a mail could carry it.
    #[error("the address can't be written into a mail")]
    Address,
    /// The message could not be put together.
    #[error("the message could not be written: {0}")]
    Message(Box<dyn Error + Send + Sync>),
    /// No message goes to such an address.
    #[error("nothing can be sent to a 3PID of the medium {}", .0.as_str())]
    Medium(Medium),
    /// A provider of text messages, or one for another medium.
    #[error(transparent)]
    Provider(ProviderFault),
}

impl Fault {
    /// Whether the message may have gone out all the same.
    fn leaves_open(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::Broken(Step::Message) | Self::Sendmail => true,
            Self::Provider(fault) => fault.leaves_open(),
            _ => false,
        }
    }
}

/// What went wrong with a provider. Neither the number, nor the text, nor a secret can be in it:
/// providers repeat what they were sent, so of their answers only numbers are kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderFault {
    /// No connection to it: it has heard of nothing.
    #[error("the provider can't be reached: {0}")]
    Unreachable(String),
    /// It was sent the message, or part of it, and did not answer in time.
    #[error("the provider took longer than {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// It was sent the message, or part of it, and hung up, or did not answer as a web server does.
    #[error("the connection to the provider broke off")]
    Broken,
    /// It said no.
    #[error("the provider answered {status}{}", with_code(*.code))]
    Answer {
        /// The status of HTTP.
        status: u16,
        /// Its own code.
        code: Option<i64>,
    },
    /// It took the message, and gave it up at once.
    #[error("the provider gave the message up{}", with_code(*.code))]
    GivenUp {
        /// Its own code.
        code: Option<i64>,
    },
    /// Its answer says neither yes nor no.
    #[error("the provider's answer, {0}, is not one that was expected")]
    Unexpected(u16),
    /// The request can't be written; the key of the setting.
    #[error("`{0}` can't be filled in for this message")]
    Unwritable(String),
}

impl ProviderFault {
    fn leaves_open(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::Broken | Self::GivenUp { .. } | Self::Unexpected(_) => true,
            // Something behind the provider's door may have broken after it had sent the message.
            Self::Answer { status, .. } => *status >= 500,
            Self::Unreachable(_) | Self::Unwritable(_) => false,
        }
    }
}

impl From<ProviderFault> for Fault {
    fn from(fault: ProviderFault) -> Self {
        Self::Provider(fault)
    }
}

fn with_code(code: Option<i64>) -> String {
    code.map(|code| format!(", code {code}")).unwrap_or_default()
}

/// How far an SMTP dialogue had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The greetings of both sides.
    Hello,
    /// The login.
    Login,
    /// The sender.
    Mail,
    /// The recipient.
    Recipient,
    /// The wish to send the message.
    Data,
    /// The message itself: from here on it may have been accepted.
    Message,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hello => "the greeting",
            Self::Login => "AUTH",
            Self::Mail => "MAIL",
            Self::Recipient => "RCPT",
            Self::Data => "DATA",
            Self::Message => "the message",
        })
    }
}

/// The codes of an SMTP reply, without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Such as `550`.
    pub code: u16,
    /// The enhanced status code, such as `5.1.1`
    /// ([RFC 3463](https://www.rfc-editor.org/rfc/rfc3463)).
    pub status: Option<String>,
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        self.status.iter().try_for_each(|status| write!(f, " {status}"))
    }
}

impl From<Fault> for DeliveryError {
    fn from(fault: Fault) -> Self {
        match &fault {
            Fault::Reply { step: Step::Recipient, reply } if reply.code >= 500 => {
                Self::Refused(fault)
            }
            Fault::NoSmtpUtf8 | Fault::Address | Fault::Medium(_) => Self::Refused(fault),
            _ => Self::Unsent(fault),
        }
    }
}
