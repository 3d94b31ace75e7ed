//! The door to people: sends a message to a 3PID, by the way that the configuration names.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    clock::SharedClock,
    config::{self, Config},
    matrix::{medium::Medium, threepid::ThreePid},
    messages::{Invitation, Mail, Messages, MessagesError, Style, ValidationMessage},
};

mod email;
mod fault;
mod gateway;
mod local;
mod provider;
mod sms;
mod smtp;

pub use fault::{DeliveryError, Fault, ProviderFault, Reply, Step};
use provider::Outgoing;

/// Sends messages to people.
pub struct Delivery {
    messages: Arc<Messages>,
    writer: email::Writer,
    transport: Transport,
    /// `None` where no text messages are sent.
    sms: Option<sms::Sms>,
    /// The ways to other mediums, by their names.
    others: BTreeMap<String, gateway::Gateway>,
}

/// A mail as it would be sent, for eyes.
///
/// # Errors
/// When an address can't be written into a mail.
pub fn draft(
    config: &Config,
    clock: SharedClock,
    to: &ThreePid,
    (sender, mail): (Option<&lettre::message::Mailbox>, Mail),
) -> Result<Vec<u8>, DeliveryError> {
    let writer = email::Writer::new(config.email.from.clone(), config.server.name.clone(), clock);
    Ok(writer.letter(to, sender, mail)?.raw)
}

/// The ways of a mail.
enum Transport {
    Smtp(Box<smtp::Smtp>),
    Sendmail(PathBuf),
    Directory(PathBuf),
    Log,
}

/// What of a message its provider may be told.
struct Parts<'a> {
    text: String,
    token: &'a str,
    link: &'a str,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").finish_non_exhaustive()
    }
}

impl Delivery {
    /// Gets the configured ways ready; connects to nothing yet.
    ///
    /// # Errors
    /// When the configuration names something that is of no use: a file, a directory, a template.
    pub fn new(
        config: &Config,
        messages: Arc<Messages>,
        clock: SharedClock,
    ) -> Result<Self, DeliveryError> {
        let config::Config { email, server, .. } = config;
        let transport = Transport::new(&email.transport, server, &clock)?;
        let writer = email::Writer::new(email.from.clone(), server.name.clone(), clock);
        let mut others = BTreeMap::new();
        for (name, medium) in &config.mediums {
            let key = format!("mediums.{name}.http");
            others.insert(name.clone(), gateway::Gateway::new(&key, &medium.sender)?);
        }
        Ok(Self { messages, writer, transport, sms: sms::Sms::new(&config.sms)?, others })
    }

    /// The longest that it takes until a message by this medium is handed over or given up.
    #[must_use]
    pub fn timeout(&self, medium: &Medium) -> Duration {
        let known = match medium {
            Medium::Email => Some(self.transport.timeout()),
            Medium::Msisdn => self.sms.as_ref().map(sms::Sms::timeout),
            Medium::Other(_) => self.others.get(medium.as_str()).map(gateway::Gateway::timeout),
        };
        known.unwrap_or_default()
    }

    /// Sends the validation message to the canonical address: whoever owns a look-alike of it must
    /// not be able to claim it. Returns once the transport has taken the message.
    ///
    /// # Errors
    /// When the transport has not taken it, or did not say so in time.
    pub async fn send_validation(
        &self,
        to: &ThreePid,
        style: &Style,
        message: &ValidationMessage<'_>,
    ) -> Result<(), DeliveryError> {
        if *to.medium() == Medium::Email {
            let mail = self.messages.validation_mail(style, message).map_err(unwritable)?;
            return self.send_mail(to, style, mail).await;
        }
        let text = self.messages.validation_text(style, message).map_err(unwritable)?;
        let parts = Parts { text, token: message.token, link: message.link };
        self.send_text(to, style, &parts).await
    }

    /// Sends the message that tells the owner of an address of an invitation. Returns once the
    /// transport has taken the message.
    ///
    /// # Errors
    /// When the transport has not taken it, or did not say so in time.
    pub async fn send_invitation(
        &self,
        to: &ThreePid,
        style: &Style,
        invitation: &Invitation<'_>,
    ) -> Result<(), DeliveryError> {
        if *to.medium() == Medium::Email {
            let mail = self.messages.invitation_mail(style, invitation).map_err(unwritable)?;
            return self.send_mail(to, style, mail).await;
        }
        let text = self.messages.invitation_text(style, invitation).map_err(unwritable)?;
        let parts = Parts { text, token: "", link: invitation.link };
        self.send_text(to, style, &parts).await
    }

    async fn send_mail(
        &self,
        to: &ThreePid,
        style: &Style,
        mail: Mail,
    ) -> Result<(), DeliveryError> {
        let letter = self.writer.letter(to, self.messages.sender(style), mail)?;
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

    async fn send_text(
        &self,
        to: &ThreePid,
        style: &Style,
        parts: &Parts<'_>,
    ) -> Result<(), DeliveryError> {
        let address = to.address();
        let Parts { text, token, link } = parts;
        let message = Outgoing {
            address,
            to: address,
            text,
            token,
            link,
            originator: None,
            locale: self.messages.locale(style),
            brand: self.messages.brand(style).unwrap_or_default(),
        };
        let nobody = || Fault::Medium(to.medium().clone());
        match to.medium() {
            Medium::Msisdn => {
                let sms = self.sms.as_ref().ok_or_else(nobody)?;
                sms.send(&Outgoing { to: &format!("+{address}"), ..message }).await
            }
            medium => self.others.get(medium.as_str()).ok_or_else(nobody)?.send(&message).await,
        }
    }
}

impl Transport {
    fn new(
        transport: &config::EmailTransport,
        server: &config::Server,
        clock: &SharedClock,
    ) -> Result<Self, DeliveryError> {
        Ok(match transport {
            config::EmailTransport::Smtp(smtp) => {
                Self::Smtp(Box::new(smtp::Smtp::new(smtp, &server.name, clock.clone())?))
            }
            config::EmailTransport::Sendmail { command } => Self::Sendmail(command.clone()),
            config::EmailTransport::Directory(path) => {
                local::make_directory(path)?;
                Self::Directory(path.clone())
            }
            config::EmailTransport::Log => Self::Log,
        })
    }

    fn timeout(&self) -> Duration {
        match self {
            Self::Smtp(smtp) => smtp.timeout(),
            Self::Sendmail(_) => local::SENDMAIL_TIMEOUT,
            Self::Directory(_) | Self::Log => Duration::ZERO,
        }
    }
}

fn unwritable(error: MessagesError) -> Fault {
    Fault::Message(Box::new(error))
}
