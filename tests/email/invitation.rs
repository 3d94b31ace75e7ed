//! What is in an invitation mail, whatever its names are.

use bindery::{
    config::EmailTransport,
    delivery::DeliveryError,
    matrix::threepid::ThreePid,
    messages::{Invitation, InvitationKind},
};
use mail_parser::MessageParser;

use crate::{
    Door,
    message::{text, unescaped, words_of},
    settings,
    smtp::{Behaviour, SmtpServer},
};

const LINK: &str = "https://app.example.org/#/room/%21garden%3Aexample.org\
    ?email=bob%40example.org&room_name=Garden%20club&signurl=https%3A%2F%2Fid.example.org%2F\
    _matrix%2Fidentity%2Fv2%2Fsign-ed25519%3Ftoken%3Dabc.=_-%26private_key%3DLJwSazmv46n0hlMlsb_iYxI0";

const GARDEN: Invitation<'static> = Invitation {
    kind: InvitationKind::Room,
    inviter: "@alice:example.org",
    inviter_name: Some("Alice"),
    room_name: Some("Garden club"),
    link: LINK,
};

/// An invitation mail as its reader gets it.
struct Letter {
    raw: String,
    subject: String,
    text: String,
    html: String,
}

async fn mailed(invitation: &Invitation<'_>) -> Letter {
    let server = SmtpServer::start(Behaviour::default()).await;
    let door = Door::smtp(settings(&server));
    let to = ThreePid::email("bob@example.org").unwrap();
    door.delivery.send_invitation(&to, &door.style, invitation).await.unwrap();
    let raw = server.seen().mails.remove(0).raw;
    let mail = MessageParser::new().parse(&raw).unwrap();
    Letter {
        subject: mail.subject().unwrap().to_owned(),
        text: mail.body_text(0).unwrap().replace("\r\n", "\n"),
        html: mail.body_html(0).unwrap().into_owned(),
        raw: text(&raw),
    }
}

/// The mail for a room and an inviter of this name.
async fn named(name: &str) -> Letter {
    mailed(&Invitation { inviter_name: Some(name), room_name: Some(name), ..GARDEN }).await
}

/// To the eye: without the word joiners that keep programs from making links.
fn seen(text: &str) -> String {
    text.replace('\u{2060}', "")
}

/// The names of the headers, in order.
fn headers(raw: &str) -> Vec<String> {
    let mail = MessageParser::new().parse(raw).unwrap();
    mail.headers_raw().map(|(name, _)| name.to_owned()).collect()
}

#[tokio::test]
async fn the_subject_says_from_whom_and_to_what() {
    use InvitationKind::{Direct, Room, Space};
    for (kind, inviter_name, room_name, subject) in [
        (Room, Some("Alice"), Some("Garden"), "Invitation from Alice to the room \"Garden\""),
        (Room, Some("Alice"), None, "Invitation from Alice to a room on Matrix"),
        (Room, None, None, "Invitation from @alice:example.org to a room on Matrix"),
        (Space, Some("Alice"), Some("Garden"), "Invitation from Alice to the space \"Garden\""),
        (Space, Some("Alice"), None, "Invitation from Alice to a space on Matrix"),
        (Direct, Some("Alice"), Some("Bob"), "Invitation from Alice to a direct chat on Matrix"),
        (Direct, None, None, "Invitation from @alice:example.org to a direct chat on Matrix"),
    ] {
        let mail = mailed(&Invitation { kind, inviter_name, room_name, ..GARDEN }).await;
        assert_eq!(seen(&mail.subject), subject);
    }
}

#[tokio::test]
async fn it_says_who_invites_to_what_and_what_to_do() {
    let text = seen(&mailed(&GARDEN).await.text);
    for words in [
        "You are invited to \"Garden club\"\n",
        "This invitation to a room on Matrix comes from Alice (@alice:example.org).\n",
        "Matrix is an open network for chats and calls",
        "Open the invitation:\n\nhttps://app.example.org/#/room/",
        "create an account or log in to yours, and confirm there that\nyou own the e-mail address",
        "The invitation is for this address only.",
        "If you did not expect this invitation, ignore this mail.",
    ] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    let space = Invitation { kind: InvitationKind::Space, ..GARDEN };
    assert!(mailed(&space).await.text.contains("This invitation to a space on Matrix"));
    let direct = Invitation { kind: InvitationKind::Direct, ..GARDEN };
    let text = mailed(&direct).await.text;
    assert!(text.contains("You are invited to a direct chat\n") && !text.contains("Garden club"));
}

#[tokio::test]
async fn without_names_it_says_what_is_known() {
    for nothing in [None, Some(""), Some(" \r\n\u{200b}\u{202e}\t ")] {
        let mail =
            mailed(&Invitation { inviter_name: nothing, room_name: nothing, ..GARDEN }).await;
        let text = seen(&mail.text);
        assert!(text.contains("You are invited to a room\n"), "{text}");
        assert!(text.contains(" comes from @alice:example.org.\n"), "{text}");
        assert_eq!(badge(&mail.html), "A");
    }
}

#[tokio::test]
async fn text_and_html_say_the_same() {
    use InvitationKind::{Direct, Room, Space};
    let squeezed = |text: &str| text.replace(|c: char| c.is_whitespace() || c == '"', "");
    for (kind, inviter_name, room_name) in [
        (Room, Some("Alice & <Bob>"), Some("Garden's club")),
        (Space, None, Some("#garden:example.org")),
        (Direct, Some("Алиса"), None),
        (Room, None, None),
    ] {
        let mail = mailed(&Invitation { kind, inviter_name, room_name, ..GARDEN }).await;
        let html = squeezed(&words_of(&mail.html));
        for paragraph in mail.text.split("\n\n") {
            let words = squeezed(paragraph.trim_end_matches(':'));
            assert!(html.contains(&words), "{words:?} is not in {html}");
        }
    }
}

#[tokio::test]
async fn the_link_is_whole_in_text_and_html() {
    let long = format!("{LINK}&more={}", "x".repeat(2_000));
    for (link, name) in [(LINK, "Garden"), (LINK, "Сад 🌻"), (&long, "Garden")] {
        let mail = mailed(&Invitation { link, room_name: Some(name), ..GARDEN }).await;
        assert!(mail.text.contains(&format!("\n\n{link}\n\n")), "{}", mail.text);
        let hrefs = mail.html.split("href=\"").skip(1);
        let hrefs: Vec<_> = hrefs.map(|rest| unescaped(rest.split('"').next().unwrap())).collect();
        assert_eq!(hrefs, [link, link]);
        assert!(words_of(&mail.html).contains(link));
    }
}

#[tokio::test]
async fn its_headers_are_those_of_a_validation_mail() {
    let server = SmtpServer::start(Behaviour::default()).await;
    Door::smtp(settings(&server)).mail("bob@example.org").await.unwrap();
    let validation = text(&server.seen().mails.remove(0).raw);
    let invitation = mailed(&GARDEN).await.raw;
    assert_eq!(headers(&invitation), headers(&validation));
    for header in ["Auto-Submitted: auto-generated", "Date: Mon, 23 Nov 2026 07:08:09 +0000"] {
        assert!(invitation.contains(&format!("\r\n{header}\r\n")), "{invitation}");
    }
}

#[tokio::test]
async fn the_html_asks_for_nothing_from_outside() {
    let html = mailed(&GARDEN).await.html;
    for unwanted in ["<script", "<img", "<link", "src=", "url(", "@import", "<form"] {
        assert!(!html.contains(unwanted), "{unwanted}");
    }
}

/// The letter in the round badge.
fn badge(html: &str) -> &str {
    let cell = html.split_once("<td class=\"badge\"").unwrap().1;
    cell.split_once('>').unwrap().1.split_once('<').unwrap().0
}

#[tokio::test]
async fn a_badge_shows_the_first_letter_instead_of_a_picture() {
    for (name, letter) in [
        ("garden", "G"),
        ("#сад:example.org", "С"),
        ("🎉 party", "P"),
        ("🎉", "🎉"),
        ("\"<", "&#34;"),
        ("דלת", "ד"),
    ] {
        assert_eq!(badge(&named(name).await.html), letter, "{name}");
    }
    assert_eq!(badge(&mailed(&Invitation { room_name: None, ..GARDEN }).await.html), "A");
}

#[tokio::test]
async fn html_in_a_name_is_only_text() {
    let name = "\"'><script>alert(1)</script><a href=x>&amp;";
    let mail = named(name).await;
    assert_eq!(mail.html.matches("<a ").count(), 2);
    assert!(!mail.html.contains("<script"), "{}", mail.html);
    assert!(seen(&words_of(&mail.html)).contains(name));
    assert!(seen(&mail.text).contains(name));
}

#[tokio::test]
async fn a_name_adds_no_headers_and_no_lines() {
    let plain = mailed(&GARDEN).await;
    for end in ["\r\n", "\n", "\r", "\u{85}", "\u{2028}", "\u{2029}", "\u{b}", "\0"] {
        let mail = named(&format!("x{end}Bcc: eve@example.org{end}{end}.{end}Hello")).await;
        assert_eq!(headers(&mail.raw), headers(&plain.raw));
        let paragraphs = |text: &str| text.split("\n\n").count();
        assert_eq!(paragraphs(&mail.text), paragraphs(&plain.text), "{}", mail.text);
        assert!(!mail.subject.contains(char::is_control), "{}", mail.subject);
    }
    let inviter = "@alice:example.org\r\nBcc: eve@example.org";
    let mail = mailed(&Invitation { inviter, inviter_name: None, ..GARDEN }).await;
    assert_eq!(headers(&mail.raw), headers(&plain.raw));
}

#[tokio::test]
async fn what_nobody_sees_or_turns_the_text_around_is_taken_out() {
    let mail = named("\u{202e}Ga\u{ad}r\u{200b}d\u{2066}en\u{e0041} \u{feff}club\u{2069}").await;
    assert_eq!(mail.subject, "Invitation from Garden club to the room \"Garden club\"");
    for part in [&mail.text, &mail.html] {
        assert!(part.contains("Garden club"));
        assert!(!part.contains(['\u{202e}', '\u{2066}', '\u{2069}', '\u{200b}', '\u{ad}']));
    }
}

#[tokio::test]
async fn an_endless_name_is_cut() {
    let mail = named(&"ж".repeat(10_000)).await;
    let cut = "ж".repeat(63) + "…";
    assert_eq!(mail.subject, format!("Invitation from {cut} to the room \"{cut}\""));
    assert!(mail.text.contains(&format!("\"{cut}\"")));
    assert!(mail.html.contains(&format!(">{cut}<")));
    assert!(mail.raw.split("\r\n").all(|line| line.len() < 998 && line.is_ascii()));
    let inviter = format!("@{}:example.org", "a".repeat(10_000));
    let mail = mailed(&Invitation { inviter: &inviter, ..GARDEN }).await;
    assert!(mail.raw.len() < 20_000);
}

#[tokio::test]
async fn names_of_all_scripts_and_emoji_arrive_whole() {
    for name in [
        "Сад 🌻",
        "👩\u{200d}👩\u{200d}👧 ❤\u{fe0f}\u{200d}🔥",
        "דלת הגן",
        "می\u{200c}خواهم",
        "क्\u{200d}ष",
        "庭園クラブ",
        "Zoë",
    ] {
        let mail = named(name).await;
        assert_eq!(mail.subject, format!("Invitation from {name} to the room \"{name}\""));
        assert!(mail.text.contains(&format!("to \"{name}\"\n")), "{}", mail.text);
        assert!(mail.html.contains(&format!("<strong dir=\"auto\">{name}</strong>")));
        let lines: Vec<_> = mail.raw.split("\r\n").collect();
        let subject = lines.iter().position(|line| line.starts_with("Subject: ")).unwrap();
        assert!(lines[subject].contains("=?utf-8?") && mail.raw.is_ascii(), "{}", lines[subject]);
    }
}

/// How programs find what to make a link of: a scheme, `www.`, two labels, an address.
fn looks_like_a_link(text: &str) -> bool {
    text.split_whitespace().any(|word| {
        let signs: Vec<_> = word.chars().collect();
        word.contains("://")
            || word.contains("www.")
            || signs.windows(3).any(|three| {
                matches!(three, [a, '.' | '@' | '。', b] if a.is_alphanumeric() && b.is_alphanumeric())
            })
    })
}

#[tokio::test]
async fn a_name_gives_nothing_to_click() {
    for name in [
        "Win $$$ at evil.example/x",
        "https://evil.example/x?y=1",
        "HTTP://192.0.2.1/",
        "www.evil.example",
        "mailto:eve@evil.example",
        "eve@evil.example",
        "evil。example",
        "e\u{200b}vil.\u{200b}example",
    ] {
        assert!(looks_like_a_link(&name.replace('\u{200b}', "")), "{name}");
        let mail = named(name).await;
        let html = words_of(&mail.html).replace(LINK, "");
        for part in [&mail.subject, &mail.text.replace(LINK, ""), &html] {
            assert!(!looks_like_a_link(part), "{part}");
            assert!(seen(part).contains(&name.replace('\u{200b}', "")), "{part}");
        }
    }
    let inviter = "@www.evil.example/x:evil.example";
    let mail = mailed(&Invitation { inviter, inviter_name: None, ..GARDEN }).await;
    assert!(!looks_like_a_link(&mail.text.replace(LINK, "")), "{}", mail.text);
    assert!(seen(&mail.text).contains(inviter));
}

#[tokio::test]
async fn nobody_is_invited_by_phone() {
    let door = Door::to(EmailTransport::Log);
    let to = ThreePid::msisdn("447700900001").unwrap();
    let outcome = door.delivery.send_invitation(&to, &door.style, &GARDEN).await;
    assert!(matches!(outcome, Err(DeliveryError::Refused(_))));
}
