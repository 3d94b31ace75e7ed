//! Mail through the front door: what is sent, by every way, to a real SMTP server or program.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use bindery::{
    clock::ManualClock,
    config::{self, Config, EmailTransport, SmtpSecurity},
    delivery::{Delivery, DeliveryError},
    matrix::threepid::ThreePid,
    messages::{Messages, Style, ValidationMessage, Wish},
};

mod dialogue;
mod invitation;
mod local;
mod message;
#[path = "../support/smtp.rs"]
mod smtp;

const TOKEN: &str = "LJwSazmv46n0hlMlsb_iYxI0_HXEqy_yj6Jm636cdT8";

const LINK: &str = "https://id.example.org/_matrix/identity/v2/validate/email/submitToken\
    ?sid=1&client_secret=monkeys_are.GREAT&token=LJwSazmv46n0hlMlsb_iYxI0_HXEqy_yj6Jm636cdT8";

/// 2026-11-23T07:08:09.123Z
const NOW_MS: i64 = 1_795_417_689_123;

/// Mail settings that fit `server`.
fn settings(server: &smtp::SmtpServer) -> config::Smtp {
    config::Smtp {
        host: "localhost".to_owned(),
        port: server.port,
        security: SmtpSecurity::None,
        login: None,
        ca_file: None,
        timeout: Duration::from_secs(20),
        max_connections: NonZeroU32::new(4).unwrap(),
    }
}

struct Door {
    delivery: Delivery,
    style: Style,
    clock: Arc<ManualClock>,
}

impl Door {
    fn to(transport: EmailTransport) -> Self {
        Self::try_to(transport, "Example <noreply@example.org>").unwrap()
    }

    fn smtp(settings: config::Smtp) -> Self {
        Self::to(EmailTransport::Smtp(settings))
    }

    fn try_to(transport: EmailTransport, from: &str) -> Result<Self, DeliveryError> {
        let mut config = Config::from_toml("server.name = 'id.example.org'").unwrap();
        config.email = config::Email { from: from.parse().unwrap(), transport };
        let messages = Arc::new(Messages::new(&config).unwrap());
        let style = messages.style(&Wish::default());
        let clock = Arc::new(ManualClock::at(NOW_MS));
        Ok(Self { delivery: Delivery::new(&config, messages, clock.clone())?, style, clock })
    }

    async fn mail(&self, address: &str) -> Result<(), DeliveryError> {
        self.mail_link(address, LINK).await
    }

    async fn mail_link(&self, address: &str, link: &str) -> Result<(), DeliveryError> {
        let to = ThreePid::email(address).unwrap();
        let lifetime = Duration::from_hours(24);
        let message = ValidationMessage { link, token: TOKEN, lifetime };
        self.delivery.send_validation(&to, &self.style, &message).await
    }
}
