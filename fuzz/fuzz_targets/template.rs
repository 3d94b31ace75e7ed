//! Whatever comes into a template: in HTML it is text, a subject has one line, and in a text message
//! nothing is lost.
#![no_main]

use std::{sync::LazyLock, time::Duration};

use bindery::{
    config::Config,
    messages::{
        Front, Invitation, InvitationKind, Messages, Page, Style, Subject, ValidationMessage, Wish,
    },
};
use libfuzzer_sys::fuzz_target;

static MESSAGES: LazyLock<Messages> = LazyLock::new(|| {
    let config = Config::from_toml("server.name = 'id.example.org'").expect("a configuration");
    Messages::new(&config).expect("the built-in texts")
});

/// The locales that somebody wishes: by a hint and by a browser.
type Locales<'a> = (&'a str, &'a str);

/// The kind, the inviter's id and name, the room's name.
type Invited<'a> = (u8, &'a str, Option<&'a str>, Option<&'a str>);

/// A link, a token, and their lifetime in seconds.
type Link<'a> = (&'a str, &'a str, u64);

/// As many tags as in a page with nothing filled in: no value has made one.
fn assert_no_tag_was_added(html: &str, plain: &str) {
    let signs = |html: &str| ['<', '>', '"'].map(|sign| html.matches(sign).count());
    assert_eq!(signs(html), signs(plain));
}

fn assert_one_line(subject: &str) {
    assert!(!subject.contains(char::is_control), "{subject:?}");
}

fuzz_target!(|values: (Locales<'_>, Invited<'_>, Link<'_>)| {
    let ((hint, accepted), invited, (link, token, seconds)) = values;
    let (locale, accept_language) = (Some(hint), Some(accepted));
    let style = &MESSAGES.style(&Wish { locale, accept_language, ..Wish::default() });
    let lifetime = Duration::from_secs(seconds);
    validation(style, &ValidationMessage { link, token, lifetime });
    invitation(style, invited, link);
    pages(style, invited.1, token);
    pages(style, link, accepted);
});

fn validation(style: &Style, message: &ValidationMessage<'_>) {
    let mail = MESSAGES.validation_mail(style, message).expect("a mail");
    assert_one_line(&mail.subject);
    let plain = ValidationMessage { link: "x", token: "x", ..*message };
    let plain = MESSAGES.validation_mail(style, &plain).expect("a mail");
    assert_no_tag_was_added(&mail.html, &plain.html);
    let text = MESSAGES.validation_text(style, message).expect("a text");
    assert!(text.contains(message.token.trim()));
}

fn invitation(style: &Style, invited: Invited<'_>, link: &str) {
    let (kind, inviter, inviter_name, room_name) = invited;
    let kind = match kind % 3 {
        0 => InvitationKind::Room,
        1 => InvitationKind::Space,
        _ => InvitationKind::Direct,
    };
    let invitation = Invitation { kind, inviter, inviter_name, room_name, link };
    let mail = MESSAGES.invitation_mail(style, &invitation).expect("a mail");
    assert_one_line(&mail.subject);
    assert!(mail.html.matches("<a ").count() == 2 && !mail.html.contains("<script"));
    MESSAGES.invitation_text(style, &invitation).expect("a text");
}

fn pages(style: &Style, text: &str, other: &str) {
    let (subject, action) = (Subject::Other, "submitToken");
    let confirm = |address, value| {
        let fields = &[("token", value)];
        let page = Page::Confirm { subject, address, action, fields };
        MESSAGES.page(style, &page).expect("a page")
    };
    assert_no_tag_was_added(&confirm(text, other), &confirm("x", "x"));
    let front = |text: &str| {
        let rows = [(text.to_owned(), text.to_owned())];
        let front =
            Front { base_url: text, keys: &rows, terms: &rows, mediums: &[text], version: text };
        MESSAGES.page(style, &Page::Front(front)).expect("a page")
    };
    // The name of a medium chooses a text, but none with tags.
    assert_no_tag_was_added(&front(text), &front("x"));
}
