//! Text messages, and those to other mediums, through the front door: what a provider on loopback
//! is asked, and what is made of its answers.
#![expect(clippy::unwrap_used, reason = "a test may fail")]
#![expect(clippy::indexing_slicing, reason = "a test may fail")]

use std::{sync::Arc, time::Duration};

use bindery::{
    clock::ManualClock,
    config::Config,
    delivery::{Delivery, DeliveryError, Fault, ProviderFault},
    matrix::{medium::Medium, threepid::ThreePid},
    messages::{Messages, ValidationMessage, Wish},
};

mod api;
#[path = "../support/gateway.rs"]
mod gateway;
mod log;
mod setup;
mod transport;
mod twilio;

/// A number of the range that the specification's examples are of.
const NUMBER: &str = "447700900001";

const TOKEN: &str = "271828";

const LINK: &str = "https://id.example.org/validate?sid=1&token=271828";

/// The server under test, as far as it sends messages.
struct Door {
    delivery: Delivery,
    messages: Arc<Messages>,
}

impl Door {
    /// With these lines in the configuration.
    fn with(toml: &str) -> Self {
        Self::try_with(toml).unwrap()
    }

    fn try_with(toml: &str) -> Result<Self, DeliveryError> {
        let config = Config::from_toml(&format!("email.transport = 'log'\n{toml}")).unwrap();
        let messages = Arc::new(Messages::new(&config).unwrap());
        let clock = Arc::new(ManualClock::at(1_795_417_689_123));
        Ok(Self { delivery: Delivery::new(&config, messages.clone(), clock)?, messages })
    }

    /// Sends a code to the number of these digits.
    async fn text(&self, digits: &str) -> Result<(), DeliveryError> {
        self.send(&ThreePid::msisdn(digits).unwrap(), TOKEN, LINK).await
    }

    async fn send(&self, to: &ThreePid, token: &str, link: &str) -> Result<(), DeliveryError> {
        let message = ValidationMessage { link, token, lifetime: Duration::from_hours(1) };
        let style = self.messages.style(&Wish::default());
        self.delivery.send_validation(to, &style, &message).await
    }
}

/// What went wrong with the provider.
fn provider_fault(outcome: &Result<(), DeliveryError>) -> &ProviderFault {
    let Err(
        DeliveryError::InvalidAddress(fault)
        | DeliveryError::Refused(fault)
        | DeliveryError::Unsent(fault),
    ) = outcome
    else {
        panic!("no failure: {outcome:?}")
    };
    let Fault::Provider(fault) = fault else { panic!("not the provider's: {fault:?}") };
    fault
}

/// An address of a medium that the configuration adds.
fn badge(number: &str, config: &str) -> ThreePid {
    let config = Config::from_toml(config).unwrap();
    let others = config.mediums.iter().map(|(name, medium)| (name.as_str(), medium.rule.clone()));
    bindery::matrix::medium::Mediums::new(others).threepid("badge", number).unwrap()
}

#[tokio::test]
async fn without_a_provider_nothing_goes_to_phones() {
    let door = Door::with("server.name = 'id.example.org'");
    let outcome = door.text(NUMBER).await;
    let Err(error @ DeliveryError::Refused(Fault::Medium(Medium::Msisdn))) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(error.surely_unsent());
}
