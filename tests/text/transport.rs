//! The way to a provider: when it is gone, slow or strange; what is kept open, and what is never
//! done twice. Whatever holds for Twilio holds for every other API.

use std::time::Duration;

use bindery::delivery::{DeliveryError, ProviderFault};
use tokio::time::timeout;

use crate::{
    Door, NUMBER,
    gateway::{Answer, Gateway},
    provider_fault,
};

/// `[sms]` for the gateway as Twilio and as any API.
fn both(gateway: &Gateway) -> [String; 2] {
    let http = format!(
        "[sms]\nprovider = 'http'\nhttp.url = '{}/send'\n\
         http.json = {{ to = '{{{{ to }}}}', text = '{{{{ text }}}}' }}\n",
        gateway.url()
    );
    [gateway.twilio_toml(), http]
}

fn impatient(toml: &str) -> String {
    let section = if toml.contains("'twilio'") { "twilio" } else { "http" };
    format!("{toml}{section}.timeout = '1s'\n")
}

fn is_unsent(outcome: &Result<(), DeliveryError>) -> bool {
    matches!(outcome, Err(DeliveryError::Unsent(_)))
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_unreachable_and_was_sent_nothing() {
    let gateway = Gateway::start().await;
    let tomls = both(&gateway);
    drop(gateway);
    // The task that listened ends at the next turn.
    tokio::task::yield_now().await;
    for toml in tomls {
        let outcome = Door::with(&toml).text(NUMBER).await;
        let fault = provider_fault(&outcome);
        assert!(matches!(fault, ProviderFault::Unreachable(_)), "{fault:?}");
        assert!(is_unsent(&outcome));
        assert!(outcome.unwrap_err().surely_unsent());
    }
}

#[tokio::test]
async fn a_provider_that_falls_silent_is_asked_once_and_may_have_sent_the_message() {
    let gateway = Gateway::start().await;
    gateway.answer_with(Answer::Silence);
    for toml in both(&gateway) {
        let door = Door::with(&impatient(&toml));
        let outcome = timeout(Duration::from_secs(10), door.text(NUMBER)).await.unwrap();
        assert_eq!(*provider_fault(&outcome), ProviderFault::TimedOut(Duration::from_secs(1)));
        assert!(is_unsent(&outcome));
        assert!(!outcome.unwrap_err().surely_unsent());
    }
    assert_eq!(gateway.requests().len(), 2);
}

#[tokio::test]
async fn a_provider_that_hangs_up_is_asked_once_and_may_have_sent_the_message() {
    let gateway = Gateway::start().await;
    for toml in both(&gateway) {
        let door = Door::with(&toml);
        // The second time over a connection that was good.
        for (answer, requests) in [(Answer::HangsUp, 1), (Answer::Nonsense, 1)] {
            gateway.answer_with(Answer::Success);
            door.text(NUMBER).await.unwrap();
            let before = gateway.requests().len();
            gateway.answer_with(answer);
            let outcome = door.text(NUMBER).await;
            assert_eq!(*provider_fault(&outcome), ProviderFault::Broken);
            assert!(is_unsent(&outcome));
            assert!(!outcome.unwrap_err().surely_unsent());
            assert_eq!(gateway.requests().len() - before, requests);
        }
    }
}

#[tokio::test]
async fn a_provider_in_trouble_is_asked_once() {
    let gateway = Gateway::start().await;
    for toml in both(&gateway) {
        for status in [500, 502, 503, 429] {
            gateway.answer_with(Answer::Text(status, "trouble".to_owned()));
            let before = gateway.requests().len();
            let outcome = Door::with(&toml).text(NUMBER).await;
            assert!(is_unsent(&outcome), "{outcome:?}");
            let answer = ProviderFault::Answer { status, code: None };
            assert_eq!(*provider_fault(&outcome), answer);
            assert_eq!(outcome.unwrap_err().surely_unsent(), status == 429);
            assert_eq!(gateway.requests().len() - before, 1);
        }
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (gateway, elsewhere) = (Gateway::start().await, Gateway::start().await);
    let location = format!("Location: {}/send", elsewhere.url());
    for toml in both(&gateway) {
        for status in [301, 302, 303, 307, 308] {
            gateway.answer_with(Answer::Header(status, location.clone()));
            assert!(is_unsent(&Door::with(&toml).text(NUMBER).await));
        }
    }
    assert_eq!(elsewhere.requests().len(), 0);
}

#[tokio::test]
async fn messages_share_a_connection() {
    for twilio_or_http in [0, 1] {
        let gateway = Gateway::start().await;
        let door = Door::with(&both(&gateway)[twilio_or_http]);
        for _ in 0..3 {
            door.text(NUMBER).await.unwrap();
        }
        assert_eq!((gateway.requests().len(), gateway.connections()), (3, 1));
    }
}

#[tokio::test]
async fn many_messages_at_once_do_not_get_mixed_up() {
    let gateway = Gateway::start().await;
    for toml in both(&gateway) {
        let door = Door::with(&toml);
        let numbers: Vec<_> = (0..50).map(|last| format!("4477009001{last:02}")).collect();
        let sent = numbers.iter().map(|number| door.text(number));
        for outcome in futures_util::future::join_all(sent).await {
            outcome.unwrap();
        }
        let mut heard: Vec<_> = gateway.messages().into_iter().map(|message| message.to).collect();
        let mut heard = heard.split_off(heard.len() - 50);
        heard.sort();
        assert_eq!(heard, numbers.iter().map(|number| format!("+{number}")).collect::<Vec<_>>());
    }
}
