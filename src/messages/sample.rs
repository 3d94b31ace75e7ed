//! What templates are tried with, and what a preview shows: nobody's data, and it says so.

use std::time::Duration;

use minijinja::{Value, value::Serde};

use super::{
    Failure, Front, Invitation, InvitationKind, Subject, ValidationMessage, engine::Engine,
    fault::Fault, phrase::Form, speaker::Speaker, variables::Values,
};

/// What a template gives with sample values.
pub(super) struct Sample {
    /// The template.
    pub(super) name: &'static str,
    /// What the values are an example of.
    pub(super) case: &'static str,
    /// The values.
    pub(super) values: Value,
    /// What the built-in template makes of them.
    pub(super) built_in: askama::Result<String>,
}

impl Sample {
    fn new(name: &'static str, case: &'static str, values: &impl Values) -> Self {
        Self { name, case, values: Value::from(Serde(values)), built_in: values.render(name) }
    }
}

/// The person to whom samples go.
pub(super) const RECIPIENT: &str = "alice@example.org";

pub(super) const VALIDATION: ValidationMessage<'static> = ValidationMessage {
    link: "https://id.example.org/_matrix/identity/v2/validate/email/submitToken?sid=SAMPLE&client_secret=SAMPLE&token=SAMPLE-TOKEN",
    token: "SAMPLE-TOKEN",
    lifetime: Duration::from_hours(24),
};

/// In place of a mail's token.
pub(super) const CODE: &str = "123456";

const INVITATION: Invitation<'static> = Invitation {
    kind: InvitationKind::Room,
    inviter: "@bob:example.org",
    inviter_name: Some("Bob Sample"),
    room_name: Some("Sample room"),
    link: "https://app.example.org/#/room/%21sample%3Aexample.org?email=alice%40example.org&signurl=SAMPLE",
};

/// Invitations to everything, with and without names.
pub(super) const INVITATIONS: &[(&str, Invitation<'static>)] = &[
    ("room", INVITATION),
    ("room_without_names", Invitation { inviter_name: None, room_name: None, ..INVITATION }),
    (
        "space",
        Invitation { kind: InvitationKind::Space, room_name: Some("Sample space"), ..INVITATION },
    ),
    ("direct", Invitation { kind: InvitationKind::Direct, room_name: None, ..INVITATION }),
];

/// What can come of a link.
pub(super) const RESULTS: &[(&str, Result<bool, Failure>)] = &[
    ("validated", Ok(false)),
    ("already_validated", Ok(true)),
    ("expired", Err(Failure::Expired)),
    ("too_many_attempts", Err(Failure::TooManyAttempts)),
    ("limited", Err(Failure::Limited)),
    ("unavailable", Err(Failure::Unavailable)),
    ("wrong_link", Err(Failure::WrongLink)),
];

/// Every template that is rendered by itself, with values for each of its cases.
pub(super) fn all(speaker: &Speaker) -> Vec<Sample> {
    let mut samples = vec![];
    let text = speaker.validation(Form::Text, &VALIDATION);
    samples.push(Sample::new("mail/validation.subject.txt", "", &text));
    samples.push(Sample::new("mail/validation.txt", "", &text));
    let html = speaker.validation(Form::Html, &VALIDATION);
    samples.push(Sample::new("mail/validation.html", "", &html));
    let code = ValidationMessage { token: CODE, ..VALIDATION };
    samples.push(Sample::new("text/validation.txt", "", &speaker.text_validation(&code)));
    for (case, invitation) in INVITATIONS {
        let text = speaker.invitation(Form::Text, invitation);
        for name in ["mail/invitation.subject.txt", "mail/invitation.txt", "text/invitation.txt"] {
            samples.push(Sample::new(name, case, &text));
        }
        let html = speaker.invitation(Form::Html, invitation);
        samples.push(Sample::new("mail/invitation.html", case, &html));
    }
    for (case, result) in RESULTS {
        for subject in [Subject::Email, Subject::Phone, Subject::Other] {
            samples.push(Sample::new("page/result.html", case, &speaker.result(subject, *result)));
        }
    }
    let fields = [("sid", "SAMPLE"), ("client_secret", "SAMPLE"), ("token", "SAMPLE-TOKEN")];
    let confirm = speaker.confirm((Subject::Email, RECIPIENT), "submitToken", &fields);
    samples.push(Sample::new("page/confirm.html", "", &confirm));
    let keys = [("ed25519:0".to_owned(), "SAMPLE+PUBLIC+KEY".to_owned())];
    let terms = [("Sample terms".to_owned(), "https://example.org/terms".to_owned())];
    let front = Front {
        base_url: "https://id.example.org",
        keys: &keys,
        terms: &terms,
        mediums: &["email", "msisdn", "Sample medium"],
        version: env!("CARGO_PKG_VERSION"),
    };
    samples.push(Sample::new("page/front.html", "", &speaker.front(&front)));
    let front = Front { terms: &[], ..front };
    samples.push(Sample::new("page/front.html", "without_terms", &speaker.front(&front)));
    samples
}

/// What is wrong with the templates of an engine.
pub(super) fn faults(speaker: &Speaker, engine: &Engine) -> Vec<Fault> {
    let samples = all(speaker).into_iter();
    samples.filter_map(|sample| engine.render(sample.name, sample.values).err()).collect()
}
