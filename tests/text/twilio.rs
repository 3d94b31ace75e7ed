//! Twilio: what it is asked, and what its codes mean.

use bindery::delivery::{DeliveryError, ProviderFault};

use crate::{
    Door, NUMBER, TOKEN,
    gateway::{
        Answer, Gateway, Message,
        twilio::{ACCOUNT_SID, SERVICE_SID},
    },
    provider_fault,
};

#[tokio::test]
async fn a_message_goes_from_the_configured_sender_to_the_number() {
    let gateway = Gateway::start().await;
    Door::with(&gateway.twilio_toml()).text(NUMBER).await.unwrap();
    let messages = gateway.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!((&*messages[0].to, &*messages[0].from), ("+447700900001", "+15005550006"));
    assert!(messages[0].text.contains(TOKEN), "{messages:?}");
    let request = gateway.requests().remove(0);
    assert_eq!(request.target, format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json"));
    let agent = &request.headers["user-agent"];
    assert!(agent.starts_with("Bindery/"), "{agent}");
}

#[tokio::test]
async fn a_messaging_service_may_choose_the_sender() {
    let gateway = Gateway::start().await;
    let service = format!("twilio.messaging_service_sid = '{SERVICE_SID}'");
    let toml = gateway.twilio_toml().replace("twilio.from = '+15005550006'", &service);
    Door::with(&toml).text(NUMBER).await.unwrap();
    let fields = gateway.requests()[0].fields();
    assert_eq!(fields["MessagingServiceSid"], SERVICE_SID);
    assert!(!fields.contains_key("From"));
}

#[tokio::test]
async fn a_country_may_have_senders_of_any_form() {
    let gateway = Gateway::start().await;
    let toml = gateway.twilio_toml()
        + "countries.originators = ['long:+15005550001']\n\
           countries.GB.originators = ['alpha:Bindery']\n\
           countries.US.originators = ['short:12345']\n\
           countries.DE.per_day = 5\n";
    let door = Door::with(&toml);
    for (number, sender) in [
        (NUMBER, "Bindery"),
        ("12025550123", "12345"),
        ("4915112345678", "+15005550001"),
        ("33612345678", "+15005550001"),
        // Of no country: satellites.
        ("881612345678", "+15005550001"),
    ] {
        door.text(number).await.unwrap();
        let message = gateway.messages().pop().unwrap();
        assert_eq!((message.to, message.from), (format!("+{number}"), sender.to_owned()));
    }
}

#[tokio::test]
async fn a_number_hears_always_from_the_same_of_several_senders() {
    let gateway = Gateway::start().await;
    let toml = gateway.twilio_toml()
        + "countries.originators = ['long:+15005550001', 'long:+15005550002', 'alpha:Bindery']\n";
    let mut rounds = Vec::new();
    for _ in 0..2 {
        let door = Door::with(&toml);
        for last in 0..30 {
            door.text(&format!("4477009000{last:02}")).await.unwrap();
        }
        rounds.push(gateway.messages().split_off(rounds.len() * 30));
    }
    let senders = |round: &[Message]| -> Vec<String> {
        round.iter().map(|message| message.from.clone()).collect()
    };
    assert_eq!(senders(&rounds[0]), senders(&rounds[1]));
    for sender in ["+15005550001", "+15005550002", "Bindery"] {
        assert!(senders(&rounds[0]).iter().any(|from| from == sender), "{sender} never sends");
    }
}

#[tokio::test]
async fn a_number_that_twilio_finds_invalid_is_told_from_others() {
    let gateway = Gateway::start().await;
    let door = Door::with(&gateway.twilio_toml());
    for code in [21211, 21214, 21217, 21265, 21421, 21614] {
        gateway.answer_with(Answer::twilio_error(400, code));
        let outcome = door.text(NUMBER).await;
        assert!(matches!(outcome, Err(DeliveryError::InvalidAddress(_))), "{outcome:?}");
        let answer = ProviderFault::Answer { status: 400, code: Some(code) };
        assert_eq!(*provider_fault(&outcome), answer);
        assert!(outcome.unwrap_err().surely_unsent());
    }
}

#[tokio::test]
async fn a_number_that_twilio_does_not_write_to_is_refused() {
    let gateway = Gateway::start().await;
    let door = Door::with(&gateway.twilio_toml());
    for (status, code) in [
        (400, 21408),
        (400, 21610),
        (400, 21612),
        (400, 21635),
        (400, 21608),
        (403, 21215),
        (403, 21216),
    ] {
        gateway.answer_with(Answer::twilio_error(status, code));
        let outcome = door.text(NUMBER).await;
        assert!(matches!(outcome, Err(DeliveryError::Refused(_))), "{outcome:?}");
        assert!(outcome.unwrap_err().surely_unsent());
    }
}

#[tokio::test]
async fn trouble_with_the_account_or_the_sender_is_not_blamed_on_the_number() {
    let gateway = Gateway::start().await;
    let door = Door::with(&gateway.twilio_toml());
    for (status, code) in [(401, 20003), (429, 20429), (400, 21606), (400, 21212), (400, 21401)] {
        gateway.answer_with(Answer::twilio_error(status, code));
        let outcome = door.text(NUMBER).await;
        assert!(matches!(outcome, Err(DeliveryError::Unsent(_))), "{outcome:?}");
        let told = outcome.unwrap_err();
        assert!(told.surely_unsent());
        assert_eq!(
            told.to_string(),
            format!("the message could not be sent: the provider answered {status}, code {code}")
        );
    }
}

#[tokio::test]
async fn a_message_that_is_given_up_at_once_counts_as_failed() {
    let gateway = Gateway::start().await;
    let door = Door::with(&gateway.twilio_toml());
    for status in ["failed", "undelivered", "canceled"] {
        for code in [30003, 30004, 30005, 30006, 30007] {
            gateway.answer_with(Answer::twilio_message(status, Some(code)));
            let outcome = door.text(NUMBER).await;
            assert!(matches!(outcome, Err(DeliveryError::Refused(_))), "{outcome:?}");
        }
        for code in [None, Some(30008)] {
            gateway.answer_with(Answer::twilio_message(status, code));
            let outcome = door.text(NUMBER).await;
            assert_eq!(*provider_fault(&outcome), ProviderFault::GivenUp { code });
            assert!(matches!(outcome, Err(DeliveryError::Unsent(_))));
        }
    }
    for status in ["queued", "accepted", "sending", "sent", "delivered", "scheduled"] {
        gateway.answer_with(Answer::twilio_message(status, None));
        door.text(NUMBER).await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_is_not_twilios_leaves_it_open_whether_the_message_went_out() {
    let gateway = Gateway::start().await;
    let door = Door::with(&gateway.twilio_toml());
    for (answer, status) in [
        (Answer::Text(201, "<html>".to_owned()), 201),
        (Answer::Text(200, String::new()), 200),
        (Answer::Header(302, "Location: https://example.org/".to_owned()), 302),
        (Answer::Long(70_000), 200),
    ] {
        gateway.answer_with(answer);
        let outcome = door.text(NUMBER).await;
        assert_eq!(*provider_fault(&outcome), ProviderFault::Unexpected(status));
        assert!(!outcome.unwrap_err().surely_unsent());
    }
    gateway.answer_with(Answer::Text(502, "<html>bad gateway</html>".to_owned()));
    let outcome = door.text(NUMBER).await;
    assert_eq!(*provider_fault(&outcome), ProviderFault::Answer { status: 502, code: None });
    assert!(!outcome.unwrap_err().surely_unsent());
    assert_eq!(gateway.requests().len(), 5);
}

#[tokio::test]
async fn what_twilio_would_refuse_fails_a_test() {
    let gateway = Gateway::start().await;
    let toml = gateway.twilio_toml().replace("+15005550006", "").replace("AC", "AX");
    assert!(bindery::config::Config::from_toml(&toml).is_err());
    let toml = gateway.twilio_toml().replace(ACCOUNT_SID, "AX1");
    let outcome = Door::with(&toml).text(NUMBER).await;
    let answer = ProviderFault::Answer { status: 400, code: Some(20001) };
    assert_eq!(*provider_fault(&outcome), answer);
    assert_eq!(gateway.take_faults().len(), 1);
}
