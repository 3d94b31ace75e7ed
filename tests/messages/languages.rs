//! In which language somebody is spoken to.

use bindery::messages::{Messages, Wish};

use crate::{INVITATION, Operator, VALIDATION, locale, pages};

/// The locale that comes of a wish.
fn chosen(messages: &Messages, hint: Option<&str>, accept_language: Option<&str>) -> String {
    let style = messages.style(&Wish { locale: hint, accept_language, ..Wish::default() });
    messages.locale(&style).to_owned()
}

#[test]
fn a_hint_counts_more_than_the_browser_and_what_is_not_there_is_passed_over() {
    let messages = Operator::with(&[]).messages();
    for (hint, accept_language, found) in [
        (None, None, "en"),
        (Some("fr"), Some("de"), "fr"),
        (Some("xx"), Some("de"), "de"),
        (Some("fr-CA"), None, "fr"),
        (Some("es_MX.UTF-8"), None, "es"),
        (Some(""), Some("it, DE-at;q=0.5, fr;q=0.9"), "fr"),
        (Some("tlh"), Some("*"), "en"),
        (None, Some("\u{ff}\u{0};;;q=,"), "en"),
    ] {
        assert_eq!(chosen(&messages, hint, accept_language), found, "{hint:?} {accept_language:?}");
    }
}

#[test]
fn every_message_is_in_the_language_and_says_which() {
    let messages = Operator::with(&[]).messages();
    for (tag, subject, room, title) in [
        ("en", "Confirm your", "to the room", "Your e-mail address is confirmed"),
        ("de", "Bestätigen Sie", "in den Raum", "Ihre E-Mail-Adresse ist bestätigt"),
        ("fr", "Confirmez votre", "le salon", "Votre adresse e-mail est confirmée"),
        ("es", "Confirme su", "a la sala", "Su dirección de correo electrónico está confirmada"),
    ] {
        let style = locale(&messages, tag);
        let mail = messages.validation_mail(&style, &VALIDATION).unwrap();
        assert!(mail.subject.starts_with(subject), "{}", mail.subject);
        let invitation = messages.invitation_mail(&style, &INVITATION).unwrap();
        assert!(invitation.subject.contains(room), "{}", invitation.subject);
        let page = messages.page(&style, &pages()[0]).unwrap();
        assert!(page.contains(&format!("<h1>{title}</h1>")), "{page}");
        let html = format!("<html lang=\"{tag}\" dir=\"ltr\">");
        for text in [mail.html, invitation.html, page] {
            assert!(text.contains(&html), "{text}");
        }
    }
}

#[test]
fn no_language_lacks_a_text() {
    // What is the same as in English was forgotten, or is the same word.
    let read = |tag: &str| -> toml::Table {
        let file = format!("{}/templates/locales/{tag}.toml", env!("CARGO_MANIFEST_DIR"));
        toml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
    };
    let english = read("en");
    let same = ["front.name", "front.version", "time.minutes"];
    for tag in ["de", "fr", "es"] {
        let other = read(tag);
        for (section, texts) in &english {
            for (key, text) in texts.as_table().unwrap() {
                let name = format!("{section}.{key}");
                let translated = other.get(section).and_then(|section| section.get(key));
                assert!(translated.is_some(), "{tag} lacks {name}");
                assert!(translated != Some(text) || same.contains(&&*name), "{tag}: {name}");
            }
        }
    }
}

#[test]
fn what_a_language_lacks_is_said_in_the_more_general_one_and_at_last_in_english() {
    let operator = Operator::with(&[
        ("locales/de-AT.toml", "[validation]\nheading = 'Is des Ihre Adress?'"),
        ("locales/de.toml", "[validation]\nbutton = 'Ja, meine!'"),
        ("locales/pl.toml", "[validation]\nheading = 'Czy to Twój adres?'"),
    ]);
    let messages = operator.messages();
    let text = |tag| messages.validation_mail(&locale(&messages, tag), &VALIDATION).unwrap();
    let austrian = text("de-AT");
    assert!(austrian.text.starts_with("Is des Ihre Adress?\n"), "{}", austrian.text);
    assert!(austrian.html.contains("Ja, meine!"), "{}", austrian.html);
    assert!(austrian.text.contains("Jemand, vermutlich Sie"), "{}", austrian.text);
    let german = text("de-CH");
    assert!(german.text.starts_with("Ist das Ihre E-Mail-Adresse?\n"), "{}", german.text);
    let polish = text("pl");
    assert!(polish.text.starts_with("Czy to Twój adres?\n"), "{}", polish.text);
    assert!(polish.text.contains("Someone, most likely you"), "{}", polish.text);
}

#[test]
fn numbers_follow_the_rules_of_the_language_they_are_said_in() {
    let hours = "[time]\nhours = { one = '{n} godzina', few = '{n} godziny', many = '{n} godzin', other = '{n} godziny' }";
    let operator = Operator::with(&[("locales/pl.toml", hours)]);
    let messages = operator.messages();
    let said = |tag, hours| {
        let lifetime = std::time::Duration::from_hours(hours);
        let message = bindery::messages::ValidationMessage { lifetime, ..VALIDATION };
        messages.validation_mail(&locale(&messages, tag), &message).unwrap().text
    };
    for (hours, words) in [(1, "1 godzina"), (3, "3 godziny"), (5, "5 godzin"), (22, "22 godziny")]
    {
        assert!(said("pl", hours).contains(&format!(" {words}.")), "{}", said("pl", hours));
    }
    // Polish days come from the English catalogue, and with its rules.
    assert!(said("pl", 21 * 24).contains("21 days"), "{}", said("pl", 21 * 24));
    for (tag, one, many) in [
        ("en", "1 hour.", "2 hours."),
        ("de", "1 Stunde.", "2 Stunden."),
        ("es", "1 hora.", "2 horas."),
    ] {
        assert!(said(tag, 1).contains(one) && said(tag, 2).contains(many), "{tag}");
    }
}

#[test]
fn a_language_from_right_to_left_is_marked_so() {
    let operator =
        Operator::with(&[("locales/he.toml", "[mail]\nother_way = 'או פתחו קישור זה:'")]);
    let messages = operator.messages();
    let style = locale(&messages, "he");
    let marked = "<html lang=\"he\" dir=\"rtl\">";
    assert!(messages.validation_mail(&style, &VALIDATION).unwrap().html.contains(marked));
    for page in pages() {
        assert!(messages.page(&style, &page).unwrap().contains(marked));
    }
}
