//! What an operator has written over, without a rebuild.

use bindery::messages::{Page, Subject, Wish};

use crate::{INVITATION, Operator, VALIDATION, locale, pages};

#[test]
fn every_template_can_be_overridden_alone() {
    let mail = Wish::default();
    for name in [
        "mail/validation.subject.txt",
        "mail/validation.txt",
        "mail/validation.html",
        "mail/invitation.subject.txt",
        "mail/invitation.txt",
        "mail/invitation.html",
        "mail/base.html",
        "text/validation.txt",
        "text/invitation.txt",
        "page/base.html",
        "page/style.css",
        "page/result.html",
        "page/confirm.html",
        "page/front.html",
    ] {
        let messages = Operator::with(&[(name, "OVER WRITTEN")]).messages();
        let plain = Operator::with(&[]).messages();
        let style = messages.style(&mail);
        let all = |messages: &bindery::messages::Messages| {
            let validation = messages.validation_mail(&style, &VALIDATION).unwrap();
            let invitation = messages.invitation_mail(&style, &INVITATION).unwrap();
            let mut all = vec![
                ("mail/validation.subject.txt", validation.subject),
                ("mail/validation.txt", validation.text),
                ("mail/validation.html", validation.html),
                ("mail/invitation.subject.txt", invitation.subject),
                ("mail/invitation.txt", invitation.text),
                ("mail/invitation.html", invitation.html),
                ("text/validation.txt", messages.validation_text(&style, &VALIDATION).unwrap()),
                ("text/invitation.txt", messages.invitation_text(&style, &INVITATION).unwrap()),
            ];
            for page in pages() {
                let name = match page {
                    Page::Confirm { .. } => "page/confirm.html",
                    Page::Front(_) => "page/front.html",
                    _ => "page/result.html",
                };
                all.push((name, messages.page(&style, &page).unwrap()));
            }
            all
        };
        let frame = ["mail/base.html", "page/base.html", "page/style.css"].contains(&name);
        for ((part, now), (_, before)) in all(&messages).into_iter().zip(all(&plain)) {
            let inside = frame && part.starts_with(&name[..5]) && part.contains(".html");
            let titled =
                name.ends_with(".subject.txt") && part == name.replace("subject.txt", "html");
            let changed = part == name || inside || titled;
            assert_eq!(now.contains("OVER WRITTEN"), changed, "{name}: {part}");
            assert!(!before.contains("OVER WRITTEN"));
        }
    }
}

#[test]
fn an_override_extends_what_it_overrides_and_includes_others() {
    let operator = Operator::with(&[
        (
            "mail/validation.html",
            "{% extends 'builtin/mail/validation.html' %}\
             {% block button %}{{ super() }}! {% include 'mail/validation.subject.txt' %}{% endblock %}",
        ),
        ("mail/base.html", "<i>{% block button %}{% endblock %}</i>"),
    ]);
    operator.write(
        "messages/page/result.html",
        "{% extends 'page/base.html' %}{% block content %}{{ title }}{% endblock %}",
    );
    let messages = operator.messages();
    let html = messages.validation_mail(&locale(&messages, "en"), &VALIDATION).unwrap().html;
    assert_eq!(html, "<i>Confirm this address! Confirm your e-mail address for id.example.org</i>");
    let page = messages.page(&locale(&messages, "de"), &Page::Validated(Subject::Phone)).unwrap();
    assert!(page.contains("Ihre Telefonnummer ist bestätigt\n</main>"), "{page}");
}

#[test]
fn an_override_can_be_for_one_language_only() {
    let operator = Operator::with(&[
        ("text/validation.txt", "any: {{ token }}"),
        ("de/text/validation.txt", "de: {{ token }}"),
        ("de-AT/text/validation.txt", "at: {{ token }}"),
    ]);
    let messages = operator.messages();
    for (tag, text) in [
        ("en", "any: 123456"),
        ("de-CH", "de: 123456"),
        ("de-AT", "at: 123456"),
        ("fr", "any: 123456"),
    ] {
        let style = locale(&messages, tag);
        assert_eq!(messages.validation_text(&style, &VALIDATION).unwrap(), text);
    }
}

#[test]
fn an_override_escapes_html_and_no_text() {
    let operator = Operator::with(&[
        ("mail/invitation.html", "{{ room }} {{ introduction|safe }}"),
        ("mail/invitation.txt", "{{ room }}"),
        ("mail/invitation.subject.txt", "{{ room }}\n\nBcc: x\r\n"),
    ]);
    let messages = operator.messages();
    let mail = messages.invitation_mail(&locale(&messages, "en"), &INVITATION).unwrap();
    assert!(mail.html.starts_with("Garden &lt;club&gt; This"), "{}", mail.html);
    assert!(mail.html.contains("<strong dir=\"auto\">Alice</strong>"), "{}", mail.html);
    assert_eq!(mail.text, "Garden <club>\n");
    assert_eq!(mail.subject, "Garden <club> Bcc: x");
}

#[test]
fn where_an_override_fails_after_all_the_built_in_one_is_used() {
    let operator = Operator::with(&[(
        "text/validation.txt",
        "{% if token != '123456' %}{{ nothing_of_that_name }}{% endif %}mine",
    )]);
    let messages = operator.messages();
    let style = locale(&messages, "en");
    assert_eq!(messages.validation_text(&style, &VALIDATION).unwrap(), "mine");
    let other = bindery::messages::ValidationMessage { token: "654321", ..VALIDATION };
    let text = messages.validation_text(&style, &other).unwrap();
    assert!(text.starts_with("654321 is your code for id.example.org"), "{text}");
}
