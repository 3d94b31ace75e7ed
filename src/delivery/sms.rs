//! Text messages: from which sender, and by which provider.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{DeliveryError, gateway::Gateway, provider::Outgoing};
use crate::{
    config::{self, Originator, SmsCountries, SmsProvider},
    matrix::phone::Phone,
};

#[cfg(feature = "twilio")]
mod twilio;

/// Sends text messages.
pub(super) struct Sms {
    provider: Provider,
    countries: SmsCountries,
    timeout: Duration,
}

/// The ways of a text message.
enum Provider {
    Log,
    #[cfg(feature = "twilio")]
    Twilio(Box<twilio::Twilio>),
    Http(Box<Gateway>),
}

impl Sms {
    /// `None` where none are to be sent.
    pub(super) fn new(sms: &config::Sms) -> Result<Option<Self>, DeliveryError> {
        let (provider, timeout) = match &sms.provider {
            None => return Ok(None),
            Some(SmsProvider::Log) => (Provider::Log, Duration::ZERO),
            Some(SmsProvider::Twilio(settings)) => (twilio(settings)?, settings.timeout),
            Some(SmsProvider::Http(settings)) => {
                let gateway = Gateway::new("sms.http", settings)?;
                (Provider::Http(Box::new(gateway)), settings.timeout)
            }
        };
        Ok(Some(Self { provider, countries: sms.countries.clone(), timeout }))
    }

    /// The longest that a message takes.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sends the message from a sender that suits its address.
    pub(super) async fn send(&self, message: &Outgoing<'_>) -> Result<(), DeliveryError> {
        let originator = self.originator(message.address);
        let message = Outgoing { originator, ..*message };
        match &self.provider {
            // For trying out: here alone the token and the number are shown.
            Provider::Log => {
                tracing::info!("text message to {}:\n{}", message.to, message.text);
                Ok(())
            }
            #[cfg(feature = "twilio")]
            Provider::Twilio(twilio) => twilio.send(&message).await,
            Provider::Http(gateway) => gateway.send(&message).await,
        }
    }

    /// One number hears always from the same sender, so that its messages are in one conversation.
    fn originator(&self, digits: &str) -> Option<&Originator> {
        let country = Phone::of_digits(digits).ok().and_then(|phone| phone.country());
        let candidates = self.countries.originators(country);
        let [first, second, ..]: [u8; 32] = Sha256::digest(digits).into();
        let draw = usize::from(u16::from_be_bytes([first, second]));
        candidates.get(draw.checked_rem(candidates.len())?)
    }
}

#[cfg(feature = "twilio")]
fn twilio(settings: &config::Twilio) -> Result<Provider, DeliveryError> {
    Ok(Provider::Twilio(Box::new(twilio::Twilio::new(settings)?)))
}

#[cfg(not(feature = "twilio"))]
fn twilio(_: &config::Twilio) -> Result<Provider, DeliveryError> {
    Err(DeliveryError::setup("`sms.provider`", "this build has no Twilio (feature `twilio`)"))
}
