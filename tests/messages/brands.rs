//! Under whose name somebody is spoken to.

use bindery::{
    matrix::id::ServerName,
    messages::{Messages, Wish},
};

use crate::{Operator, VALIDATION};

fn brand_of(messages: &Messages, brand: Option<&str>, homeserver: Option<&str>) -> Option<String> {
    let homeserver = homeserver.map(|name| name.parse::<ServerName>().unwrap());
    let wish = Wish { brand, homeserver: homeserver.as_ref(), ..Wish::default() };
    messages.brand(&messages.style(&wish)).map(ToOwned::to_owned)
}

#[test]
fn the_brand_is_the_one_that_is_named_or_the_homeservers() {
    let messages = Operator::with(&[]).messages();
    for (brand, homeserver, found) in [
        (None, None, None),
        (Some("acme"), None, Some("acme")),
        (Some("bare"), Some("acme.example"), Some("bare")),
        (Some("nobody"), Some("acme.example"), Some("acme")),
        (Some("../acme"), None, None),
        (None, Some("other.example"), Some("acme")),
        (None, Some("third.example"), None),
    ] {
        assert_eq!(brand_of(&messages, brand, homeserver).as_deref(), found, "{brand:?}");
    }
}

#[test]
fn a_brand_has_its_name_sender_web_client_and_language() {
    let messages = Operator::with(&[]).messages();
    let style = messages.style(&Wish { brand: Some("acme"), ..Wish::default() });
    let mail = messages.validation_mail(&style, &VALIDATION).unwrap();
    let name = "Acme (id.example.org)";
    assert_eq!(mail.subject, format!("Bestätigen Sie Ihre E-Mail-Adresse für {name}"));
    assert!(mail.text.contains(name) && mail.html.contains(&format!(">{name}</strong>")));
    assert_eq!(messages.sender(&style).unwrap().to_string(), "Acme <noreply@acme.example>");
    assert_eq!(messages.web_client(&style), Some("https://chat.acme.example"));
    let bare = messages.style(&Wish { brand: Some("bare"), ..Wish::default() });
    assert_eq!((messages.sender(&bare), messages.web_client(&bare)), (None, None));
    let mail = messages.validation_mail(&bare, &VALIDATION).unwrap();
    assert_eq!(mail.subject, "Confirm your e-mail address for id.example.org");
}

#[test]
fn a_browsers_language_counts_more_than_the_brands() {
    let messages = Operator::with(&[]).messages();
    let accept_language = Some("fr");
    let wish = Wish { brand: Some("acme"), accept_language, ..Wish::default() };
    assert_eq!(messages.locale(&messages.style(&wish)), "fr");
    let wish = Wish { accept_language: Some("it"), ..wish };
    assert_eq!(messages.locale(&messages.style(&wish)), "de");
}

#[test]
fn a_brands_words_and_templates_go_before_those_of_all() {
    let operator = Operator::with(&[
        ("locales/de.toml", "[validation]\nheading = 'Von allen'\nbutton = 'Knopf von allen'"),
        ("text/validation.txt", "all: {{ token }}"),
        ("mail/validation.subject.txt", "All: {{ subject }}"),
    ]);
    operator.write("acme/locales/de.toml", "[validation]\nheading = 'Von Acme'");
    operator.write("acme/locales/nl.toml", "[validation]\nheading = 'Van Acme'");
    operator.write("acme/de/text/validation.txt", "Acme: {{ token }}");
    let messages = operator.messages();
    let style = |brand, locale| messages.style(&Wish { brand, locale, ..Wish::default() });
    let acme = style(Some("acme"), Some("de"));
    let mail = messages.validation_mail(&acme, &VALIDATION).unwrap();
    assert!(mail.subject.starts_with("All: Bestätigen Sie"), "{}", mail.subject);
    assert!(mail.text.starts_with("Von Acme\n") && mail.html.contains("Knopf von allen"));
    assert_eq!(messages.validation_text(&acme, &VALIDATION).unwrap(), "Acme: 123456");
    let dutch = style(Some("acme"), Some("nl"));
    assert_eq!(messages.validation_text(&dutch, &VALIDATION).unwrap(), "all: 123456");
    assert!(messages.validation_mail(&dutch, &VALIDATION).unwrap().text.starts_with("Van Acme"));
    // Only the brand speaks Dutch.
    assert_eq!(messages.locale(&style(None, Some("nl"))), "en");
    let none = style(None, Some("de"));
    assert!(messages.validation_mail(&none, &VALIDATION).unwrap().text.starts_with("Von allen"));
}
