//! Text messages fit into one, and what strangers write does no harm.

use bindery::messages::{Invitation, InvitationKind, Messages, ValidationMessage, Wish};

use crate::{INVITATION, Operator, VALIDATION, locale, pages};

/// The basic set of GSM 03.38, but for what is written with an escape.
const GSM: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
    ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";

#[test]
fn a_code_fits_into_one_text_message_in_every_language() {
    let name = format!("{}.identity.example.org", "a".repeat(19));
    assert_eq!(name.len(), 40);
    let config = format!("server.name = '{name}'");
    let config = bindery::config::Config::from_toml(&config).unwrap();
    let messages = Messages::new(&config).unwrap();
    for tag in messages.locales(&messages.style(&Wish::default())) {
        let text = messages.validation_text(&locale(&messages, tag), &VALIDATION).unwrap();
        assert!(text.starts_with("123456 ") && text.contains(&name), "{text}");
        let strange: String = text.chars().filter(|c| !GSM.contains(*c)).collect();
        assert_eq!(strange, "", "{tag}: {text}");
        let length = text.chars().count();
        assert!(length <= 160, "{tag} has {length}: {text}");
    }
}

#[test]
fn an_invitation_in_a_text_says_who_where_and_how() {
    let messages = Operator::with(&[]).messages();
    let text = messages.invitation_text(&locale(&messages, "en"), &INVITATION).unwrap();
    let text = text.replace('\u{2060}', "");
    for words in ["Garden <club>", "Alice (@alice:example.org)", INVITATION.link, "Share the link"]
    {
        assert!(text.contains(words), "{text}");
    }
    assert!(!text.contains("mail"), "{text}");
}

#[test]
fn names_of_strangers_stay_names_in_every_language() {
    let messages = Operator::with(&[]).messages();
    let name = "{room} {{ x }} <script>\"'&\r\nBcc: x";
    for tag in ["en", "de", "fr", "es"] {
        for kind in [InvitationKind::Room, InvitationKind::Space, InvitationKind::Direct] {
            let (inviter_name, room_name) = (Some(name), Some(name));
            let invitation = Invitation { kind, inviter_name, room_name, ..INVITATION };
            let mail = messages.invitation_mail(&locale(&messages, tag), &invitation).unwrap();
            assert!(!mail.html.contains("<script"), "{}", mail.html);
            assert!(!mail.subject.contains(char::is_control), "{}", mail.subject);
            let words = mail.text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains("{room} {{ x }} <script>\"'& Bcc"), "{words}");
            // The first word sets the direction of the line.
            assert!(mail.subject.starts_with(['I', 'E']), "{}", mail.subject);
            assert!(mail.subject.contains("Bcc: x") || mail.subject.contains("Bcc\u{2060}"));
        }
    }
}

#[test]
fn pages_load_nothing_and_run_nothing() {
    let messages = Operator::with(&[]).messages();
    for tag in ["en", "de", "fr", "es"] {
        for page in pages() {
            let html = messages.page(&locale(&messages, tag), &page).unwrap();
            for unwanted in ["<script", "<img", "<link", "src=", "url(", "@import", " on"] {
                let tags = html.split('<').filter_map(|piece| piece.split_once('>'));
                let tags: Vec<_> = tags.map(|(tag, _)| format!("<{tag}")).collect();
                assert!(!tags.iter().any(|tag| tag.contains(unwanted)), "{unwanted} in {html}");
            }
            assert_eq!(html.matches("<h1>").count(), 1);
            assert!(html.contains("<main") && html.contains("<footer>"));
            assert!(!html.contains("<alice>"), "{html}");
        }
    }
}

#[test]
fn a_long_line_is_wrapped_and_a_link_is_not() {
    let messages = Operator::with(&[]).messages();
    let link = format!("https://id.example.org/{}", "x".repeat(300));
    let message = ValidationMessage { link: &link, ..VALIDATION };
    for tag in ["en", "de", "fr", "es"] {
        let text = messages.validation_mail(&locale(&messages, tag), &message).unwrap().text;
        assert!(text.contains(&format!("\n\n{link}\n\n")), "{text}");
        let long = text.lines().filter(|line| line.chars().count() > 74);
        assert_eq!(long.collect::<Vec<_>>(), [&link]);
    }
}
