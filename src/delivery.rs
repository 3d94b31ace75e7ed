//! The door to people: sends a message to a 3PID, by the way that the configuration names.

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    clock::SharedClock,
    config,
    matrix::{medium::Medium, threepid::ThreePid},
    messages::{Invitation, Mail, Messages, MessagesError, Style, ValidationMessage},
};

mod email;
mod local;
mod smtp;

/// Sends messages to people.
#[derive(Debug)]
pub struct Delivery {
    messages: Arc<Messages>,
    writer: email::Writer,
    transport: Transport,
}

/// A mail as it would be sent, for eyes.
///
/// # Errors
/// When an address can't be written into a mail.
pub fn draft(
    config: &config::Config,
    clock: SharedClock,
    to: &ThreePid,
    (sender, mail): (Option<&lettre::message::Mailbox>, Mail),
) -> Result<Vec<u8>, DeliveryError> {
    let writer = email::Writer::new(config.email.from.clone(), config.server.name.clone(), clock);
    Ok(writer.letter(to, sender, mail)?.raw)
}

/// The ways of a mail.
#[derive(Debug)]
enum Transport {
    Smtp(Box<smtp::Smtp>),
    Sendmail(PathBuf),
    Directory(PathBuf),
    Log,
}

/// Why a message was not delivered, sorted by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The address can't be reached, now or later: the person needs another one.
    #[error("the recipient was refused: {0}")]
    Refused(Fault),
    /// The message was not sent, or nobody knows; it may be tried again.
    #[error("the message could not be sent: {0}")]
    Unsent(Fault),
    /// The configuration names a file or directory that is of no use.
    #[error("{} can't be used for mail: {error}", .path.display())]
    Setup {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        error: io::Error,
    },
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
    Message(Box<dyn std::error::Error + Send + Sync>),
    /// No message goes to such an address yet.
    #[error("nothing can be sent to a 3PID of the medium {}", .0.as_str())]
    Medium(Medium),
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

impl Delivery {
    /// Gets the configured way ready; connects to nothing yet.
    ///
    /// # Errors
    /// When `ca_file` can't be read, or the mail directory can't be made.
    pub fn new(
        email: &config::Email,
        server: &config::Server,
        messages: Arc<Messages>,
        clock: SharedClock,
    ) -> Result<Self, DeliveryError> {
        let transport = match &email.transport {
            config::EmailTransport::Smtp(smtp) => {
                Transport::Smtp(Box::new(smtp::Smtp::new(smtp, &server.name, clock.clone())?))
            }
            config::EmailTransport::Sendmail { command } => Transport::Sendmail(command.clone()),
            config::EmailTransport::Directory(path) => {
                local::make_directory(path)?;
                Transport::Directory(path.clone())
            }
            config::EmailTransport::Log => Transport::Log,
        };
        let writer = email::Writer::new(email.from.clone(), server.name.clone(), clock);
        Ok(Self { messages, writer, transport })
    }

    /// Sends the validation mail to the canonical address: whoever owns a look-alike of it must
    /// not be able to claim it. Returns once the transport has taken the mail.
    ///
    /// # Errors
    /// When the transport has not taken it, or did not say so in time.
    pub async fn send_validation(
        &self,
        to: &ThreePid,
        style: &Style,
        message: &ValidationMessage<'_>,
    ) -> Result<(), DeliveryError> {
        let writer = self.writer_to(to)?;
        self.mail(to, style, writer, self.messages.validation_mail(style, message)).await
    }

    /// Sends the mail that tells the owner of an address of an invitation. Returns once the
    /// transport has taken the mail.
    ///
    /// # Errors
    /// When the transport has not taken it, or did not say so in time.
    pub async fn send_invitation(
        &self,
        to: &ThreePid,
        style: &Style,
        invitation: &Invitation<'_>,
    ) -> Result<(), DeliveryError> {
        let writer = self.writer_to(to)?;
        self.mail(to, style, writer, self.messages.invitation_mail(style, invitation)).await
    }

    /// Sends a mail under the name of its brand.
    async fn mail(
        &self,
        to: &ThreePid,
        style: &Style,
        writer: &email::Writer,
        mail: Result<Mail, MessagesError>,
    ) -> Result<(), DeliveryError> {
        let mail = mail.map_err(|error| Fault::Message(Box::new(error)))?;
        let letter = writer.letter(to, self.messages.sender(style), mail)?;
        self.send(to, letter).await
    }

    /// Who writes to such a 3PID.
    fn writer_to(&self, to: &ThreePid) -> Result<&email::Writer, Fault> {
        match to.medium() {
            Medium::Email => Ok(&self.writer),
            medium => Err(Fault::Medium(medium.clone())),
        }
    }

    async fn send(&self, to: &ThreePid, letter: email::Letter) -> Result<(), DeliveryError> {
        match &self.transport {
            Transport::Smtp(smtp) => smtp.send(&letter.envelope, &letter.raw).await?,
            Transport::Sendmail(command) => {
                local::run_sendmail(command, &letter.envelope, &letter.raw).await?;
            }
            Transport::Directory(path) => {
                local::write_file(path, &letter.raw, self.writer.now_ms()).await?;
            }
            // For trying out: here alone the token and the address are shown.
            Transport::Log => tracing::info!("mail to {}:\n{}", to.address(), letter.text),
        }
        Ok(())
    }
}
