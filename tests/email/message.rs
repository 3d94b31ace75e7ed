//! What is in a mail.

use bindery::{
    config::EmailTransport,
    delivery::{DeliveryError, Fault},
};
use mail_parser::MessageParser;

use crate::{
    Door, LINK, TOKEN, settings,
    smtp::{Behaviour, Mail, SmtpServer},
};

/// The mail that reaches the server.
async fn mailed(from: &str, to: &str, link: &str) -> Mail {
    let behaviour = Behaviour { smtputf8: true, ..Behaviour::default() };
    let server = SmtpServer::start(behaviour).await;
    let door = Door::try_to(EmailTransport::Smtp(settings(&server)), from).unwrap();
    door.mail_link(to, link).await.unwrap();
    server.seen().mails.remove(0)
}

pub(crate) fn text(raw: &[u8]) -> String {
    String::from_utf8(raw.to_vec()).unwrap()
}

/// What a person reads of an HTML page, tags and space between words aside.
pub(crate) fn words_of(html: &str) -> String {
    let body = html.split_once("<body").unwrap().1;
    let texts = body.split('<').filter_map(|piece| Some(piece.split_once('>')?.1));
    let text = unescaped(&texts.collect::<Vec<_>>().join(" "));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// HTML's words for characters, read.
pub(crate) fn unescaped(html: &str) -> String {
    let signs = [("&#60;", "<"), ("&#62;", ">"), ("&#34;", "\""), ("&#39;", "'"), ("&#38;", "&")];
    signs.iter().fold(html.to_owned(), |text, (word, sign)| text.replace(word, sign))
}

#[tokio::test]
async fn its_headers_say_who_asks_whom_and_when() {
    let raw = mailed("Example <noreply@example.org>", "Alice@Example.ORG", LINK).await.raw;
    let mail = MessageParser::new().parse(&raw).unwrap();
    let header = |name: &str| mail.header_raw(name.to_owned()).map(str::trim);
    assert_eq!(header("From"), Some("Example <noreply@example.org>"));
    assert_eq!(header("To"), Some("alice@example.org"));
    assert_eq!(header("Subject"), Some("Confirm your e-mail address for id.example.org"));
    assert_eq!(header("Date"), Some("Mon, 23 Nov 2026 07:08:09 +0000"));
    assert_eq!(header("MIME-Version"), Some("1.0"));
    assert_eq!(header("Auto-Submitted"), Some("auto-generated"));
    let id = header("Message-ID").unwrap();
    assert!(id.starts_with('<') && id.ends_with("@id.example.org>"), "{id}");
    assert!(!mail.headers_raw().any(|(name, _)| name.to_ascii_lowercase().starts_with("list-")));
}

#[tokio::test]
async fn each_mail_has_an_id_of_its_own() {
    let server = SmtpServer::start(Behaviour::default()).await;
    let door = Door::smtp(settings(&server));
    for _ in 0..2 {
        door.mail("alice@example.org").await.unwrap();
    }
    let [one, other] = [0, 1].map(|at| {
        let raw = server.seen().mails[at].raw.clone();
        MessageParser::new().parse(&raw).unwrap().message_id().unwrap().to_owned()
    });
    assert_ne!(one, other);
}

#[tokio::test]
async fn text_and_html_say_the_same() {
    let raw = mailed("noreply@example.org", "alice@example.org", LINK).await.raw;
    let mail = MessageParser::new().parse(&raw).unwrap();
    let content_type = mail.header_raw("Content-Type").unwrap().trim();
    assert!(content_type.starts_with("multipart/alternative"), "{content_type}");
    let (text, html) = (mail.body_text(0).unwrap(), mail.body_html(0).unwrap());
    let said = words_of(&html);
    for sentence in [
        "Is this your e-mail address?",
        "The identity server id.example.org asks you to confirm that it is yours.",
        LINK,
        TOKEN,
        "valid for 24 hours",
        "whoever has them can claim this address.",
        "If you did not ask for this, ignore this mail.",
        "Nothing happens unless the link is opened or the token is entered.",
    ] {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(sentence), "{sentence:?} is not in {text}");
        assert!(said.replace(" .", ".").contains(sentence), "{sentence:?} is not in {said}");
    }
}

#[tokio::test]
async fn the_html_asks_for_nothing_from_outside() {
    let raw = mailed("noreply@example.org", "alice@example.org", LINK).await.raw;
    let mail = MessageParser::new().parse(&raw).unwrap();
    let html = mail.body_html(0).unwrap();
    for unwanted in ["<script", "<img", "<link", "src=", "url(", "@import", "<form"] {
        assert!(!html.contains(unwanted), "{unwanted}");
    }
    assert_eq!(html.matches("http").count(), html.matches(&LINK.replace('&', "&#38;")).count());
}

#[tokio::test]
async fn what_is_put_into_the_html_is_escaped() {
    let link = "https://id.example.org/?a=1&b=\"'><script>alert(1)</script>";
    let raw = mailed("noreply@example.org", "alice@example.org", link).await.raw;
    let mail = MessageParser::new().parse(&raw).unwrap();
    let html = mail.body_html(0).unwrap();
    assert!(!html.contains("<script") && !html.contains("\"'"), "{html}");
    assert!(mail.body_text(0).unwrap().contains(link));
}

#[tokio::test]
async fn an_ascii_mail_is_sent_as_it_is_in_short_lines() {
    let from = "\"Bücher & Söhne\" <noreply@example.org>";
    let mail = mailed(from, "alice@example.org", LINK).await;
    assert!(mail.raw.is_ascii());
    let raw = text(&mail.raw);
    assert!(raw.split("\r\n").all(|line| line.len() < 998 && !line.contains(['\r', '\n'])));
    assert_eq!(raw.matches("Content-Transfer-Encoding: ").count(), 2);
    assert!(raw.contains(LINK), "the link can be read without decoding");
    let mail = MessageParser::new().parse(raw.as_bytes()).unwrap();
    assert_eq!(mail.from().unwrap().first().unwrap().name(), Some("Bücher & Söhne"));
}

#[tokio::test]
async fn a_long_link_is_encoded_into_short_lines() {
    let link = format!("{LINK}&more={}", "x".repeat(2_000));
    let raw = mailed("noreply@example.org", "alice@example.org", &link).await.raw;
    assert!(text(&raw).split("\r\n").all(|line| line.len() < 998));
    let mail = MessageParser::new().parse(&raw).unwrap();
    assert!(mail.body_text(0).unwrap().contains(&link));
}

#[tokio::test]
async fn a_domain_goes_to_the_server_in_its_ascii_form() {
    let mail = mailed("noreply@bücher.example", "alice@bücher.example", LINK).await;
    assert_eq!(mail.from, "<noreply@xn--bcher-kva.example>");
    assert_eq!(mail.to, ["<alice@xn--bcher-kva.example>"]);
    assert!(mail.raw.is_ascii());
}

#[tokio::test]
async fn an_address_that_is_not_ascii_needs_smtputf8() {
    let mail = mailed("noreply@example.org", "jürgen@bücher.example", LINK).await;
    assert_eq!(mail.from, "<noreply@example.org> SMTPUTF8 BODY=8BITMIME");
    assert_eq!(mail.to, ["<jürgen@xn--bcher-kva.example>"]);
    assert!(text(&mail.raw).contains("\r\nTo: jürgen@xn--bcher-kva.example\r\n"));

    let server = SmtpServer::start(Behaviour::default()).await;
    let outcome = Door::smtp(settings(&server)).mail("jürgen@bücher.example").await;
    assert!(matches!(outcome, Err(DeliveryError::Refused(Fault::NoSmtpUtf8))));
    assert!(server.seen().mails.is_empty());
}

#[tokio::test]
async fn an_address_with_odd_dots_is_quoted() {
    let mail = mailed("noreply@example.org", ".a..b.@example.org", LINK).await;
    assert_eq!(mail.to, ["<\".a..b.\"@example.org>"]);
    assert!(text(&mail.raw).contains("\r\nTo: \".a..b.\"@example.org\r\n"));
}
