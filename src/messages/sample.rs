//! What templates are tried with, and what a preview shows: nobody's data, and it says so.

use std::time::Duration;

use minijinja::{Value, value::Serde};

use super::{
    Failure, Front, Invitation, InvitationKind, Subject, ValidationMessage,
    engine::Engine,
    fault::{Fault, MessagesError},
    phrase::Form,
    speaker::Speaker,
    variables::Values,
};

/// What a template gives with sample values.
pub(super) struct Sample {
    /// The template.
    pub(super) name: &'static str,
    /// What the values are an example of.
    pub(super) case: &'static str,
    /// The values.
    values: Value,
    /// What the built-in template makes of them.
    built_in: askama::Result<String>,
}

impl Sample {
    fn new(name: &'static str, case: &'static str, values: &impl Values) -> Self {
        Self { name, case, values: Value::from(Serde(values)), built_in: values.render(name) }
    }

    /// Renders it by the operator's templates, if there are any and they can, or the built-in one.
    pub(super) fn render(self, engine: Option<&Engine>) -> Result<String, MessagesError> {
        if let Some(Ok(text)) = engine.map(|engine| engine.render(self.name, self.values)) {
            return Ok(text);
        }
        let failed = |source| MessagesError::Template { name: self.name, source };
        self.built_in.map_err(failed)
    }
}

/// The person to whom samples go.
pub(super) const RECIPIENT: &str = "alice@example.org";

/// In place of a mail's token.
const CODE: &str = "123456";

/// Kinds of invitations, the names of inviter and room.
type Invited = (&'static str, InvitationKind, Option<&'static str>, Option<&'static str>);

/// Invitations to everything, with and without names.
pub(super) const INVITATIONS: &[Invited] = &[
    ("room", InvitationKind::Room, Some("Bob Sample"), Some("Sample room")),
    ("room_without_names", InvitationKind::Room, None, None),
    ("space", InvitationKind::Space, Some("Bob Sample"), Some("Sample space")),
    ("space_without_names", InvitationKind::Space, None, None),
    ("direct", InvitationKind::Direct, Some("Bob Sample"), None),
];

/// Sample data of one server.
pub(super) struct Data {
    base_url: String,
    validation_link: String,
    invitation_link: String,
}

impl Data {
    pub(super) fn of(speaker: &Speaker) -> Self {
        let base_url = &speaker.base_url;
        Self {
            validation_link: format!(
                "{base_url}/_matrix/identity/v2/validate/email/submitToken?sid=SAMPLE\
                 &client_secret=SAMPLE&token=SAMPLE-TOKEN"
            ),
            invitation_link: format!(
                "https://app.example.org/#/room/%21sample%3Aexample.org?email=alice%40example.org\
                 &signurl={base_url}/_matrix/identity/v2/sign-ed25519?token=SAMPLE"
            ),
            base_url: base_url.clone(),
        }
    }

    pub(super) fn validation(&self) -> ValidationMessage<'_> {
        let lifetime = Duration::from_hours(24);
        ValidationMessage { link: &self.validation_link, token: "SAMPLE-TOKEN", lifetime }
    }

    pub(super) fn invitations(&self) -> impl Iterator<Item = (&'static str, Invitation<'_>)> {
        INVITATIONS.iter().map(|&(case, kind, inviter_name, room_name)| {
            let link = &self.invitation_link;
            let inviter = "@bob:example.org";
            (case, Invitation { kind, inviter, inviter_name, room_name, link })
        })
    }
}

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
    let data = Data::of(speaker);
    let mut samples = vec![];
    add_validations(speaker, &data, &mut samples);
    for (case, invitation) in data.invitations() {
        let text = speaker.invitation(Form::Text, &invitation);
        for name in ["mail/invitation.subject.txt", "mail/invitation.txt", "text/invitation.txt"] {
            samples.push(Sample::new(name, case, &text));
        }
        let html = speaker.invitation(Form::Html, &invitation);
        samples.push(Sample::new("mail/invitation.html", case, &html));
    }
    add_pages(speaker, &data, &mut samples);
    samples
}

fn add_validations(speaker: &Speaker, data: &Data, samples: &mut Vec<Sample>) {
    let text = speaker.validation(Form::Text, &data.validation());
    samples.push(Sample::new("mail/validation.subject.txt", "", &text));
    samples.push(Sample::new("mail/validation.txt", "", &text));
    let html = speaker.validation(Form::Html, &data.validation());
    samples.push(Sample::new("mail/validation.html", "", &html));
    let code = ValidationMessage { token: CODE, ..data.validation() };
    samples.push(Sample::new("text/validation.txt", "", &speaker.text_validation(&code)));
}

fn add_pages(speaker: &Speaker, data: &Data, samples: &mut Vec<Sample>) {
    for (case, result) in RESULTS {
        for subject in [Subject::Email, Subject::Phone, Subject::Other] {
            samples.push(Sample::new("page/result.html", case, &speaker.result(subject, *result)));
        }
    }
    let fields = [("sid", "SAMPLE"), ("client_secret", "SAMPLE"), ("token", "SAMPLE-TOKEN")];
    let confirm = speaker.confirm((Subject::Email, RECIPIENT), "submitToken", &fields);
    samples.push(Sample::new("page/confirm.html", "", &confirm));
    let keys = [("ed25519:0".to_owned(), "SAMPLE+PUBLIC+KEY+SAMPLE+PUBLIC+KEY+SAMPLE".to_owned())];
    let terms = [("Sample terms".to_owned(), "https://example.org/terms".to_owned())];
    let front = Front {
        base_url: &data.base_url,
        keys: &keys,
        terms: &terms,
        mediums: &["email", "msisdn", "Sample medium"],
        version: env!("CARGO_PKG_VERSION"),
    };
    samples.push(Sample::new("page/front.html", "with_terms", &speaker.front(&front)));
    let front = Front { terms: &[], ..front };
    samples.push(Sample::new("page/front.html", "without_terms", &speaker.front(&front)));
}

/// What is wrong with the templates of an engine.
pub(super) fn faults(speaker: &Speaker, engine: &Engine) -> Vec<Fault> {
    let samples = all(speaker).into_iter();
    samples.filter_map(|sample| engine.render(sample.name, sample.values).err()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{config::Config, messages::Messages};

    /// HTML with each sign written in one way; the engines have several.
    fn spelt(html: &str) -> String {
        let signs = [
            ("&quot;", "&#34;"),
            ("&#x27;", "&#39;"),
            ("&lt;", "&#60;"),
            ("&gt;", "&#62;"),
            ("&amp;", "&#38;"),
            ("&#x2f;", "/"),
        ];
        signs.iter().fold(html.to_owned(), |html, (from, to)| html.replace(from, to))
    }

    #[test]
    fn both_engines_make_the_same_of_every_template_in_every_language() {
        let config = Config::from_toml("server.name = 'id.example.org'").unwrap();
        let messages = Messages::new(&config).unwrap();
        let engine = Engine::new(BTreeMap::new()).unwrap();
        let mut seen = 0;
        for voice in messages.library.voices() {
            for sample in all(&voice.speaker) {
                let by_engine = engine.render(sample.name, sample.values).unwrap();
                let built_in = sample.built_in.unwrap();
                assert_eq!(spelt(&by_engine), built_in, "{} {}", sample.name, voice.speaker.locale);
                seen += 1;
            }
        }
        assert!(seen > 150, "{seen}");
    }
}
