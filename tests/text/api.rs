//! Any HTTP API: the request that templates make, whatever is in the values, and what is made of
//! the answer.

use bindery::{
    delivery::{DeliveryError, ProviderFault},
    matrix::threepid::ThreePid,
};
use serde_json::{Value, json};

use crate::{
    Door, LINK, NUMBER, TOKEN, badge,
    gateway::{Answer, Gateway, Received},
    provider_fault,
};

/// Values that would like to be more than values.
const HOSTILE: [&str; 7] = [
    r#"","to":"+15005550006","x":""#,
    "&to=%2B15005550006#?/../",
    "{{ secret }}{% raw %}",
    "two\r\nlines: of a header",
    "</text><to>+1</to>",
    "\u{0}\u{202e}“ä”",
    "..",
];

/// `[sms.http]` with these lines; `GATEWAY` in them is the gateway's URL.
fn toml(gateway: &Gateway, lines: &str) -> String {
    let lines = lines.replace("GATEWAY", &gateway.url());
    format!("[sms]\nprovider = 'http'\n[sms.http]\n{lines}\n")
}

/// The request by which a code goes to [`NUMBER`].
async fn request(lines: &str) -> Received {
    let gateway = Gateway::start().await;
    Door::with(&toml(&gateway, lines)).text(NUMBER).await.unwrap();
    gateway.requests().remove(0)
}

async fn send(door: &Door, token: &str) -> Result<(), DeliveryError> {
    door.send(&ThreePid::msisdn(NUMBER).unwrap(), token, LINK).await
}

#[tokio::test]
async fn all_that_a_template_may_want_is_there() {
    let request = request(
        r#"url = "GATEWAY/send"
        secret = "hush"
        json = { address = "{{ address }}", to = "{{ to }}", text = "{{ text }}", token = "{{ token }}",
            link = "{{ link }}", from = "{{ originator }}", form = "{{ originator_form }}",
            secret = "{{ secret }}", locale = "{{ locale }}", brand = "{{ brand }}" }
        [sms.countries.GB]
        originators = ["alpha:Bindery"]"#,
    )
    .await;
    assert_eq!((&*request.method, &*request.target), ("POST", "/send"));
    assert_eq!(request.headers["content-type"], "application/json");
    let mut json = request.json();
    let text = json["text"].take();
    assert!(text.as_str().unwrap().contains(TOKEN), "{text}");
    let expected = json!({ "address": NUMBER, "to": "+447700900001", "text": null, "token": TOKEN,
        "link": LINK, "from": "Bindery", "form": "alpha", "secret": "hush", "locale": "en",
        "brand": "" });
    assert_eq!(json, expected);
}

#[tokio::test]
async fn json_keeps_its_form() {
    let request = request(
        r#"url = "GATEWAY/"
        method = "PUT"
        json = { messages = [{ to = ["{{ to }}"], html = "<{{ link }}>", flash = false, ttl = 60 }] }"#,
    )
    .await;
    assert_eq!(request.method, "PUT");
    let message =
        json!({ "to": ["+447700900001"], "html": format!("<{LINK}>"), "flash": false, "ttl": 60 });
    assert_eq!(request.json(), json!({ "messages": [message] }));
}

#[tokio::test]
async fn a_form_and_a_raw_body_are_filled_in() {
    let form =
        request("url = 'GATEWAY/'\nform = { to = '{{ to }}', 'a b' = '{{ token }} & more' }");
    let form = form.await;
    assert_eq!(form.headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(form.body, "a+b=271828+%26+more&to=%2B447700900001");
    let raw = request(
        "url = 'GATEWAY/'\ncontent_type = 'text/xml'\nbody = '<to>{{ to }}</to>{{ \"<&\" | escape }}'",
    );
    let raw = raw.await;
    assert_eq!(raw.headers["content-type"], "text/xml");
    assert_eq!(raw.body, "<to>+447700900001</to>&lt;&amp;");
}

#[tokio::test]
async fn a_message_may_be_all_in_the_url() {
    let request = request(
        "url = 'GATEWAY/to/{{ to }}/send?text={{ token }}%20{{ link }}&key={{ secret }}'\n\
         method = 'GET'\nsecret = 'h/u s&h'",
    )
    .await;
    assert_eq!(request.method, "GET");
    assert_eq!(
        request.target,
        "/to/%2B447700900001/send?text=271828%20https%3A%2F%2Fid.example.org%2Fvalidate%3Fsid%3D1\
         %26token%3D271828&key=h%2Fu%20s%26h"
    );
    assert!(request.body.is_empty());
}

#[tokio::test]
async fn headers_may_hold_a_secret() {
    let request = request(
        "url = 'GATEWAY/'\nsecret = 'hush'\n\
         headers = { Authorization = 'Bearer {{ secret }}', Content-Type = 'text/x-mine' }",
    )
    .await;
    assert_eq!(request.headers["authorization"], "Bearer hush");
    assert_eq!(request.headers["content-type"], "text/x-mine");
}

#[tokio::test]
async fn no_value_breaks_out_of_json_a_form_or_the_query() {
    let gateway = Gateway::start().await;
    for lines in [
        "url = 'GATEWAY/a'\njson = { to = '{{ to }}', text = '{{ token }}' }",
        "url = 'GATEWAY/a'\nform = { to = '{{ to }}', text = '{{ token }}' }",
        "url = 'GATEWAY/a?text={{ token }}.&to={{ to }}'\nmethod = 'GET'",
    ] {
        let door = Door::with(&toml(&gateway, lines));
        for hostile in HOSTILE.into_iter().filter(|value| *value != "..") {
            send(&door, hostile).await.unwrap();
            let message = gateway.messages().pop().unwrap();
            let text = message.text.strip_suffix('.').unwrap_or(&message.text);
            assert_eq!((text, &*message.to), (hostile, "+447700900001"));
            assert!(gateway.requests().pop().unwrap().target.starts_with("/a"));
        }
    }
}

#[tokio::test]
async fn a_value_in_a_path_leads_nowhere_else() {
    let gateway = Gateway::start().await;
    let door = Door::with(&toml(&gateway, "url = 'GATEWAY/to/{{ token }}/end'"));
    for hostile in HOSTILE {
        let outcome = send(&door, hostile).await;
        if hostile == ".." {
            let key = ProviderFault::Unwritable("sms.http.url".to_owned());
            assert_eq!(*provider_fault(&outcome), key);
            assert!(outcome.unwrap_err().surely_unsent());
        } else {
            outcome.unwrap();
            let target = gateway.requests().pop().unwrap().target;
            assert!(target.starts_with("/to/") && target.ends_with("/end"), "{target}");
            assert_eq!(target.split('/').count(), 4, "{target}");
        }
    }
}

#[tokio::test]
async fn a_line_end_does_not_get_into_a_header() {
    let gateway = Gateway::start().await;
    let door =
        Door::with(&toml(&gateway, "url = 'GATEWAY/'\nheaders = { X-Code = '{{ token }}' }"));
    let outcome = send(&door, "1\r\nX-Other: 2").await;
    let key = ProviderFault::Unwritable("sms.http.headers.X-Code".to_owned());
    assert_eq!(*provider_fault(&outcome), key);
    assert!(gateway.requests().is_empty());
}

#[tokio::test]
async fn the_answers_body_may_decide() {
    let gateway = Gateway::start().await;
    let lines = "url = 'GATEWAY/'\naccepted = '\"status\": *\"ok\"'\nrefused = 'blocked|landline'";
    let door = Door::with(&toml(&gateway, lines));
    let text = |status, text: &str| Answer::Text(status, text.to_owned());

    gateway.answer_with(text(202, r#"{"status": "ok"}"#));
    door.text(NUMBER).await.unwrap();

    for status in [200, 400, 500] {
        gateway.answer_with(text(status, "this number is blocked"));
        let outcome = door.text(NUMBER).await;
        assert!(matches!(outcome, Err(DeliveryError::Refused(_))), "{outcome:?}");
    }
    gateway.answer_with(text(200, r#"{"status": "no credit"}"#));
    let outcome = door.text(NUMBER).await;
    assert_eq!(*provider_fault(&outcome), ProviderFault::Unexpected(200));
    assert!(matches!(outcome, Err(DeliveryError::Unsent(_))));
    gateway.answer_with(text(400, r#"{"status": "ok"}"#));
    let outcome = door.text(NUMBER).await;
    assert!(matches!(outcome, Err(DeliveryError::Unsent(_))), "{outcome:?}");
}

#[tokio::test]
async fn of_a_long_answer_the_beginning_is_read() {
    let gateway = Gateway::start().await;
    for (lines, succeeds) in
        [("", true), ("accepted = '^a{1000}'", true), ("accepted = 'b'", false)]
    {
        let door = Door::with(&toml(&gateway, &format!("url = 'GATEWAY/'\n{lines}")));
        gateway.answer_with(Answer::Long(10_000_000));
        assert_eq!(door.text(NUMBER).await.is_ok(), succeeds, "{lines}");
    }
}

#[tokio::test]
async fn another_medium_has_an_api_of_its_own() {
    let (phones, badges) = (Gateway::start().await, Gateway::start().await);
    let toml = format!(
        "{}[mediums.badge]\npattern = '[a-z]{{2}}[0-9]{{4}}'\n[mediums.badge.http]\nurl = '{}/b'\n\
         json = {{ to = '{{{{ to }}}}', address = '{{{{ address }}}}', text = '{{{{ text }}}}' }}\n",
        phones.twilio_toml(),
        badges.url()
    );
    let door = Door::with(&toml);
    door.send(&badge("AB1234", &toml), TOKEN, LINK).await.unwrap();
    assert!(phones.requests().is_empty());
    let json = badges.requests().remove(0).json();
    assert_eq!((&json["to"], &json["address"]), (&json!("ab1234"), &Value::from("ab1234")));
    assert!(json["text"].as_str().unwrap().contains(TOKEN), "{json}");
}
