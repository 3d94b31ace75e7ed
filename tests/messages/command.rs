//! `bindery templates`.

use mail_parser::MessageParser;

use crate::Operator;

#[test]
fn list_says_where_each_template_comes_from_and_what_it_can_say() {
    let operator = Operator::with(&[("de/text/validation.txt", "{{ token }}")]);
    let (code, list, _) = operator.run(&["templates", "list"]);
    assert_eq!(code, 0);
    let of = |name: &str| {
        let (_, rest) =
            list.split_once(&format!("{name}\n    ")).unwrap_or_else(|| panic!("{list}"));
        rest.lines().take(2).collect::<Vec<_>>().join("\n")
    };
    let text = of("text/validation.txt");
    assert!(text.contains("/messages/de/text/validation.txt, built in"), "{text}");
    assert!(text.contains("variables: locale, direction, server, link, token"), "{text}");
    assert!(of("page/front.html").starts_with("from: built in\n"), "{list}");
}

#[test]
fn show_gives_the_source_that_is_used_and_the_built_in_one() {
    let operator = Operator::with(&[("de/text/validation.txt", "Mein: {{ token }}")]);
    let show = |arguments: &[&str]| operator.run(&[&["templates", "show"], arguments].concat());
    let german = show(&["text/validation.txt", "--locale", "de-AT"]);
    assert_eq!(german, (0, "Mein: {{ token }}\n".to_owned(), String::new()));
    assert_eq!(show(&["text/validation.txt"]).1, "{{ message }}\n");
    assert_eq!(show(&["builtin/text/validation.txt", "--locale", "de"]).1, "{{ message }}\n");
    let (code, _, error) = show(&["mail/nothing.txt"]);
    assert!(code == 1 && error.contains("no template mail/nothing.txt"), "{error}");
}

#[test]
fn preview_shows_a_whole_mail_with_data_that_are_nobodys() {
    let operator = Operator::with(&[]);
    let arguments =
        ["templates", "preview", "mail/validation", "--locale", "fr", "--brand", "acme"];
    let (code, eml, _) = operator.run(&arguments);
    assert_eq!(code, 0);
    let mail = MessageParser::new().parse(eml.as_bytes()).unwrap();
    assert_eq!(mail.subject(), Some("Confirmez votre adresse e-mail pour Acme (id.example.org)"));
    assert_eq!(mail.to().unwrap().first().unwrap().address(), Some("alice@example.org"));
    assert_eq!(mail.from().unwrap().first().unwrap().address(), Some("noreply@acme.example"));
    let text = mail.body_text(0).unwrap();
    assert!(text.contains("https://id.example.org/") && text.contains("SAMPLE-TOKEN"), "{text}");
    assert!(mail.body_html(0).unwrap().contains("lang=\"fr\""));
}

#[test]
fn preview_shows_each_part_and_case() {
    let operator = Operator::with(&[]);
    let preview =
        |arguments: &[&str]| operator.run(&[&["templates", "preview"], arguments].concat());
    assert!(preview(&["text/validation.txt"]).1.starts_with("123456 is your code"));
    let expired = preview(&["page/result.html", "--case", "expired", "--locale", "es"]).1;
    assert!(expired.contains("Este enlace ha caducado"), "{expired}");
    let space = preview(&["mail/invitation.subject.txt", "--case", "space"]).1;
    assert_eq!(space, "Invitation from Bob Sample to the space \"Sample space\"\n");
    let (code, _, error) = preview(&["page/result.html", "--case", "lost"]);
    assert!(code == 1 && error.contains("page/result.html [--case already_validated|"), "{error}");
    let (code, _, error) = preview(&["text/validation.txt", "--brand", "nobody"]);
    assert!(code == 1 && error.contains("no brand nobody"), "{error}");
    let (code, _, error) = preview(&["text/validation.txt", "--locale", "nl"]);
    assert!(
        code == 1 && error.contains("nothing is written in nl; there are: de, en, es"),
        "{error}"
    );
}
