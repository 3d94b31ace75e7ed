//! The words of one language: every sentence that people read, by name.

use std::collections::BTreeMap;

use icu_locale_core::LanguageIdentifier;
use toml::de::{DeTable, DeValue};

use super::{
    fault::Fault,
    phrase::{Phrase, Plural},
};

/// What one file says: its phrases by section and key.
pub(super) type Words = BTreeMap<(&'static str, &'static str), Wording>;

/// A text as a catalogue has it.
#[derive(Debug, Clone)]
pub(super) enum Wording {
    Phrase(Phrase),
    Plural(Plural),
}

/// A key of a section: its name, whether it has a form for each kind of number, and the places
/// that it may have.
struct Key {
    name: &'static str,
    is_plural: bool,
    places: &'static [&'static str],
}

/// What a key can be.
trait Kind: Sized {
    const IS_PLURAL: bool;
    fn of(wording: &Wording) -> Option<Self>;
}

impl Kind for Phrase {
    const IS_PLURAL: bool = false;
    fn of(wording: &Wording) -> Option<Self> {
        match wording {
            Wording::Phrase(phrase) => Some(phrase.clone()),
            Wording::Plural(_) => None,
        }
    }
}

impl Kind for Plural {
    const IS_PLURAL: bool = true;
    fn of(wording: &Wording) -> Option<Self> {
        match wording {
            Wording::Plural(plural) => Some(plural.clone()),
            Wording::Phrase(_) => None,
        }
    }
}

/// The sections of a catalogue, each with its keys, and behind each key the places that it may have.
macro_rules! catalogue {
    ($(
        $(#[$about:meta])*
        $($section:ident)+: $Section:ident { $($key:ident: $Kind:ident($($place:ident)*),)* }
    )*) => {
        $(
            $(#[$about])*
            #[derive(Debug, Clone)]
            pub(super) struct $Section { $(pub(super) $key: $Kind,)* }

            impl $Section {
                const KEYS: &[Key] = &[$(Key {
                    name: stringify!($key),
                    is_plural: <$Kind as Kind>::IS_PLURAL,
                    places: &[$(stringify!($place),)*],
                },)*];

                fn of(section: &'static str, sources: &[&Words]) -> Option<Self> {
                    Some(Self { $($key: pick(sources, (section, stringify!($key)))?,)* })
                }
            }
        )*

        /// All that is said in one language.
        #[derive(Debug, Clone)]
        pub(super) struct Catalogue { $($(pub(super) $section: $Section,)+)* }

        const SECTIONS: &[(&str, &[Key])] = &[$($((stringify!($section), $Section::KEYS),)+)*];

        impl Catalogue {
            /// Takes each text out of the first source that has it; `None` if one has none.
            pub(super) fn of(sources: &[&Words]) -> Option<Self> {
                Some(Self { $($($section: $Section::of(stringify!($section), sources)?,)+)* })
            }
        }
    };
}

fn pick<K: Kind>(sources: &[&Words], key: (&'static str, &'static str)) -> Option<K> {
    sources.iter().find_map(|words| words.get(&key)).and_then(K::of)
}

catalogue! {
    /// Lengths of time.
    time: Time {
        seconds: Plural(n),
        minutes: Plural(n),
        hours: Plural(n),
        days: Plural(n),
    }
    /// What stands in every mail.
    mail: Mail {
        other_way: Phrase(),
    }
    /// The mail that asks whether an address is somebody's own.
    validation: Validation {
        subject: Phrase(server),
        heading: Phrase(),
        introduction: Phrase(server),
        open_link: Phrase(),
        button: Phrase(),
        enter_token: Phrase(),
        validity: Phrase(lifetime),
        farewell: Phrase(),
    }
    /// The mail that tells of an invitation.
    invitation: Invitation {
        explanation: Phrase(),
        to_accept: Phrase(),
        open_link: Phrase(),
        button: Phrase(),
        only_you: Phrase(),
        secrecy: Phrase(),
        farewell: Phrase(),
    }
    /// What that mail says of a room or space, which may have a name.
    invitation_room invitation_space: Place {
        subject: Phrase(inviter),
        subject_named: Phrase(inviter room),
        heading: Phrase(),
        heading_named: Phrase(room),
        introduction: Phrase(inviter),
    }
    /// What it says of a chat of two.
    invitation_direct: Chat {
        subject: Phrase(inviter),
        heading: Phrase(),
        introduction: Phrase(inviter),
    }
    /// Text messages.
    text: Text {
        validation: Phrase(token server lifetime),
    }
    /// What pages say of every kind of address.
    page: Page {
        footer: Phrase(server),
        close: Phrase(),
        expired: Phrase(),
        expired_reason: Phrase(),
        too_many_attempts: Phrase(),
        too_many_attempts_reason: Phrase(),
        limited: Phrase(),
        limited_reason: Phrase(),
        limited_remedy: Phrase(),
        unavailable: Phrase(),
        unavailable_reason: Phrase(),
        unavailable_remedy: Phrase(),
        wrong_link: Phrase(),
        confirm_introduction: Phrase(server),
        confirm_button: Phrase(),
        confirm_farewell: Phrase(),
    }
    /// What they say of one kind.
    page_email page_phone page_other: OfAddress {
        validated: Phrase(),
        already_validated: Phrase(),
        ask_again: Phrase(),
        wrong_link_reason: Phrase(),
        wrong_link_remedy: Phrase(),
        confirm: Phrase(),
    }
    /// The front page.
    front: Front {
        introduction: Phrase(),
        explanation: Phrase(),
        confirms: Phrase(),
        email: Phrase(),
        phone: Phrase(),
        identity: Phrase(),
        name: Phrase(),
        base_url: Phrase(),
        keys: Phrase(),
        keys_explanation: Phrase(),
        terms: Phrase(),
        terms_explanation: Phrase(),
        homeserver: Phrase(),
        well_known: Phrase(file),
        synapse: Phrase(file),
        version: Phrase(version),
    }
}

/// Reads a catalogue of this language; `file` names it in the faults.
pub(super) fn read(file: &str, text: &str, language: &LanguageIdentifier) -> (Words, Vec<Fault>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reading = Reading { file, text, language, words: Words::new(), faults: vec![] };
    for error in errors {
        reading.fault(error.span().map_or(0, |span| span.start), error.message());
    }
    if reading.faults.is_empty() {
        for (section, value) in table.get_ref() {
            reading.section(section, value);
        }
    }
    (reading.words, reading.faults)
}

struct Reading<'a> {
    file: &'a str,
    text: &'a str,
    language: &'a LanguageIdentifier,
    words: Words,
    faults: Vec<Fault>,
}

type Spanned<T> = toml::Spanned<T>;

impl Reading<'_> {
    fn fault(&mut self, byte: usize, message: &str) {
        let before = self.text.get(..byte).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        self.faults.push(Fault::at_line(self.file, line, message));
    }

    fn section(&mut self, name: &Spanned<impl AsRef<str>>, value: &Spanned<DeValue<'_>>) {
        let at = name.span().start;
        let Some((section, keys)) =
            SECTIONS.iter().find(|(section, _)| *section == name.get_ref().as_ref())
        else {
            let known = SECTIONS.iter().map(|(section, _)| *section);
            return self.unknown(at, "section", name.get_ref().as_ref(), known);
        };
        let DeValue::Table(table) = value.get_ref() else {
            return self.fault(at, &format!("{section} has to be a section, [{section}]"));
        };
        for (name, value) in table {
            let at = name.span().start;
            let name: &str = name.get_ref().as_ref();
            let Some(key) = keys.iter().find(|key| key.name == name) else {
                self.unknown(at, section, name, keys.iter().map(|key| key.name));
                continue;
            };
            match self.wording(key, value.get_ref()) {
                Ok(wording) => {
                    self.words.insert((section, key.name), wording);
                }
                Err(error) => self.fault(at, &format!("{section}.{name}: {error}")),
            }
        }
    }

    fn unknown<'k>(
        &mut self,
        at: usize,
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'k str>,
    ) {
        let known: Vec<_> = known.collect();
        let near = known
            .iter()
            .max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)));
        let near = near.filter(|near| strsim::jaro_winkler(name, near) > 0.8);
        let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
        let known = known.join(", ");
        self.fault(at, &format!("{what}: {name} is not known{hint} (known are: {known})"));
    }

    fn wording(&self, key: &Key, value: &DeValue<'_>) -> Result<Wording, String> {
        match value {
            DeValue::String(text) if !key.is_plural => {
                let phrase = Phrase::parse(text, key.places)?;
                // Without the code nobody could do anything with the message.
                if key.places.contains(&"token") && !phrase.has("token") {
                    return Err("{token} is missing".to_owned());
                }
                Ok(Wording::Phrase(phrase))
            }
            DeValue::Table(forms) if key.is_plural => {
                let mut texts = vec![];
                for (name, form) in forms {
                    let DeValue::String(text) = form.get_ref() else {
                        return Err(format!("{} has to be a text", name.get_ref()));
                    };
                    texts.push((name.get_ref().as_ref(), text.as_ref()));
                }
                Plural::parse(self.language, texts.into_iter()).map(Wording::Plural)
            }
            _ if key.is_plural => {
                Err("has to be a table: { one = \"…\", other = \"…\" }".to_owned())
            }
            _ => Err("has to be a text".to_owned()),
        }
    }
}
