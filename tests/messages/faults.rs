//! What is wrong with an operator's files is told at the start, with file and line.

use bindery::{config::Config, messages::Messages};

use crate::Operator;

#[test]
fn each_fault_names_its_file_and_line() {
    for (file, text, said) in [
        (
            "locales/de.toml",
            "[validation]\n\nheadng = 'x'",
            ":3: validation: headng is not known; did you mean heading?",
        ),
        (
            "locales/de.toml",
            "[validaton]\n",
            ":1: section: validaton is not known; did you mean validation?",
        ),
        (
            "locales/de.toml",
            "[validation]\nheading = 'a {link}'",
            ":2: validation.heading: {link} is not known",
        ),
        (
            "locales/de.toml",
            "[validation]\nintroduction = 'a {serve}'",
            ":2: validation.introduction: {serve} is not known; here can stand: {server}",
        ),
        (
            "locales/de.toml",
            "[validation]\nheading = 7",
            ":2: validation.heading: has to be a text",
        ),
        ("locales/de.toml", "[time]\nhours = '{n} h'", ":2: time.hours: has to be a table"),
        (
            "locales/de.toml",
            "[time]\ndays = { other = 'x' }\nhours = { one = 'x' }",
            ":3: time.hours: the form `other`",
        ),
        (
            "locales/de.toml",
            "[time]\nhours = { lots = 'x', other = 'x' }",
            ":2: time.hours: lots is no category",
        ),
        ("locales/de.toml", "[validation]\nheading = ", ":2: "),
        (
            "locales/de.toml",
            "[text]\nvalidation = 'Ihr Code'",
            ":2: text.validation: {token} is missing",
        ),
        ("locales/German.toml", "", ": German is no locale"),
        ("locales/de-at.toml", "", ": the locale de-at has to be written de-AT"),
        ("locales/de.json", "{}", ": a catalogue is called <locale>.toml"),
        ("mail/validation.txt", "a\nb {{ tokn }}", ":2: undefined value"),
        ("mail/validation.html", "a\n\n{% if token %}", ":3: syntax error"),
        ("mail/validation.html", "\n{% extends 'mail/bse.html' %}", ":2: template not found"),
        ("mail/base.html", "\n\n\n{{ subjekt }}", ":4: undefined value"),
        (
            "page/result.html",
            "{% for i in range(9999) %}\n{% for j in range(9999) %}{% endfor %}{% endfor %}",
            ":2: ",
        ),
        ("page/result.html", "{% include '../../../etc/passwd' %}", ":1: template not found"),
        ("fr/page/front.html", "{{ title|shout }}", ":1: unknown filter"),
        ("mail/validation.htm", "", ": this is no template's name; there are: mail/base.html, "),
        ("mails/validation.html", "", ": this is no template's name"),
        ("DE/mail/validation.html", "x", ": the locale DE has to be written de"),
    ] {
        let faults = Operator::with(&[(file, text)]).faults();
        let expected = format!("messages/{file}{said}");
        assert!(faults.contains(&expected), "{expected:?} is not in\n{faults}");
        assert_eq!(faults.lines().count(), 1, "{faults}");
    }
}

#[test]
fn all_faults_are_told_at_once_in_order() {
    let operator = Operator::with(&[
        ("locales/de.toml", "[validation]\nx = 'x'\n[time]\ndays = { other = '{m}' }"),
        ("text/validation.txt", "{{ x }}"),
    ]);
    operator.write("acme/text/invitation.txt", "{{ y }}");
    let faults = operator.faults();
    let places: Vec<_> = faults.lines().map(|line| line.split_once(": ").unwrap().0).collect();
    assert_eq!(
        places,
        [
            "acme/text/invitation.txt:1",
            "messages/locales/de.toml:2",
            "messages/locales/de.toml:4",
            "messages/text/validation.txt:1",
        ]
    );
}

#[test]
fn a_locale_of_the_configuration_has_to_be_there() {
    let config = Config::from_toml("messages.locale = 'nl'\n[brands.a]\nlocale = 'pl'").unwrap();
    let faults = Messages::new(&config).unwrap_err().to_string();
    assert_eq!(
        faults,
        "brands.a.locale: nothing is written in pl; there are: de, en, es, fr\n\
         messages.locale: nothing is written in nl; there are: de, en, es, fr"
    );
}

#[test]
fn hidden_files_are_left_alone() {
    Operator::with(&[(".git/config", "x"), ("mail/.validation.txt.swp", "\u{0}")]).messages();
}

#[test]
fn the_command_tells_the_faults_each_in_a_line() {
    let operator = Operator::with(&[("text/validation.txt", "{{ x }}"), ("nope", "")]);
    for command in [&["serve"][..], &["config", "check"], &["templates", "list"]] {
        let (code, out, err) = operator.run(command);
        assert_eq!((code, out.as_str(), err.lines().count()), (2, "", 2), "{err}");
        assert!(err.contains("/messages/text/validation.txt:1: undefined value"), "{err}");
    }
}
