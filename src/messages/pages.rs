//! What a page says.

use super::{
    Failure, Front, Subject,
    catalogue::OfAddress,
    phrase::{Filling, Form, Phrase},
    speaker::Speaker,
    variables::{Field, Key, PageConfirm, PageFront, PageResult, Term},
};

/// What a page says: what happened, the title, the explanation, what to do.
type Said<'a> = (&'static str, &'a Phrase, &'a Phrase, Option<&'a Phrase>);

impl Speaker {
    /// The page after a link was opened; `Ok` says whether the address had been confirmed before.
    pub(super) fn result(&self, subject: Subject, result: Result<bool, Failure>) -> PageResult {
        let words = &self.words.page;
        let of_address = self.of_address(subject);
        let (outcome, title, explanation, remedy) = match result {
            Ok(false) => ("validated", &of_address.validated, &words.close, None),
            Ok(true) => ("already_validated", &of_address.already_validated, &words.close, None),
            Err(failure) => self.failed(of_address, failure),
        };
        PageResult {
            locale: self.locale.clone(),
            direction: self.direction,
            server: self.name.clone(),
            outcome,
            is_confirmed: result.is_ok(),
            subject: name_of(subject),
            title: title.plain(),
            explanation: explanation.plain(),
            has_remedy: remedy.is_some(),
            remedy: remedy.map(Phrase::plain).unwrap_or_default(),
            footer: self.footer(),
        }
    }

    fn failed<'a>(&'a self, of_address: &'a OfAddress, failure: Failure) -> Said<'a> {
        let words = &self.words.page;
        match failure {
            Failure::Expired => {
                ("expired", &words.expired, &words.expired_reason, Some(&of_address.ask_again))
            }
            Failure::TooManyAttempts => (
                "too_many_attempts",
                &words.too_many_attempts,
                &words.too_many_attempts_reason,
                Some(&of_address.ask_again),
            ),
            Failure::Limited => {
                ("limited", &words.limited, &words.limited_reason, Some(&words.limited_remedy))
            }
            Failure::Unavailable => (
                "unavailable",
                &words.unavailable,
                &words.unavailable_reason,
                Some(&words.unavailable_remedy),
            ),
            Failure::WrongLink => (
                "wrong_link",
                &words.wrong_link,
                &of_address.wrong_link_reason,
                Some(&of_address.wrong_link_remedy),
            ),
        }
    }

    fn of_address(&self, subject: Subject) -> &OfAddress {
        match subject {
            Subject::Email => &self.words.page_email,
            Subject::Phone => &self.words.page_phone,
            Subject::Other => &self.words.page_other,
        }
    }

    pub(super) fn confirm(
        &self,
        (subject, address): (Subject, &str),
        action: &str,
        fields: &[(&str, &str)],
    ) -> PageConfirm {
        let words = &self.words.page;
        let field = |(name, value): &(&str, &str)| Field {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        PageConfirm {
            locale: self.locale.clone(),
            direction: self.direction,
            server: self.name.clone(),
            subject: name_of(subject),
            title: self.of_address(subject).confirm.plain(),
            address: address.to_owned(),
            introduction: words
                .confirm_introduction
                .fill(Form::Html, &[("server", &self.strong_name())]),
            action: action.to_owned(),
            fields: fields.iter().map(field).collect(),
            button: words.confirm_button.plain(),
            farewell: words.confirm_farewell.plain(),
            footer: self.footer(),
        }
    }

    pub(super) fn front(&self, front: &Front<'_>) -> PageFront {
        let words = &self.words.front;
        let file = |name| Filling::marked("<code dir=\"ltr\">", name, "</code>");
        let key = |(id, key): &(String, String)| Key { id: id.clone(), key: key.clone() };
        let term = |(name, url): &(String, String)| Term { name: name.clone(), url: url.clone() };
        let (well_known, synapse) = (file("/.well-known/matrix/client"), file("homeserver.yaml"));
        PageFront {
            locale: self.locale.clone(),
            direction: self.direction,
            server: self.name.clone(),
            title: self.name.clone(),
            introduction: words.introduction.plain(),
            explanation: words.explanation.plain(),
            confirms: words.confirms.plain(),
            mediums: front.mediums.iter().map(|medium| self.medium(medium)).collect(),
            identity: words.identity.plain(),
            name_label: words.name.plain(),
            name: self.server.clone(),
            base_url_label: words.base_url.plain(),
            base_url: front.base_url.to_owned(),
            keys_label: words.keys.plain(),
            keys_explanation: words.keys_explanation.plain(),
            keys: front.keys.iter().map(key).collect(),
            has_terms: !front.terms.is_empty(),
            terms_heading: words.terms.plain(),
            terms_explanation: words.terms_explanation.plain(),
            terms: front.terms.iter().map(term).collect(),
            homeserver: words.homeserver.plain(),
            well_known: words.well_known.fill(Form::Html, &[("file", &well_known)]),
            synapse: words.synapse.fill(Form::Html, &[("file", &synapse)]),
            footer: words.version.fill(Form::Html, &[("version", &Filling::plain(front.version))]),
        }
    }

    /// What a medium is called; others than the specification's as the operator calls them.
    fn medium(&self, medium: &str) -> String {
        match medium {
            "email" => self.words.front.email.plain(),
            "msisdn" => self.words.front.phone.plain(),
            other => other.to_owned(),
        }
    }
}

fn name_of(subject: Subject) -> &'static str {
    match subject {
        Subject::Email => "email",
        Subject::Phone => "phone",
        Subject::Other => "other",
    }
}
