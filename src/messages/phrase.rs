//! A sentence of a catalogue, with places for what is different each time.

use std::{collections::BTreeMap, fmt};

use icu_locale_core::LanguageIdentifier;
use icu_plurals::{PluralCategory, PluralRules};
use serde::Serialize;

/// A text with `{placeholders}`; `{{` and `}}` stand for braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Phrase(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Words(String),
    Place(String),
}

/// Whether a text is for an HTML template or another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Html,
}

/// A filled phrase: HTML in the templates whose names end with `.html`, text in the others.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub(super) struct Rich(pub(super) String);

impl fmt::Display for Rich {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What comes into a place, in both forms.
#[derive(Debug, Clone)]
pub(super) struct Filling {
    text: String,
    html: String,
}

impl Filling {
    /// The text as it is.
    pub(super) fn plain(text: &str) -> Self {
        Self { text: text.to_owned(), html: escaped(text) }
    }

    /// The text between two tags.
    pub(super) fn marked(open: &str, text: &str, close: &str) -> Self {
        Self { text: text.to_owned(), html: format!("{open}{}{close}", escaped(text)) }
    }

    /// The text in bold, broken anywhere where it is too long for a line.
    pub(super) fn strong(text: &str) -> Self {
        let open = "<strong style=\"overflow-wrap:anywhere; word-break:break-word;\">";
        Self::marked(open, text, "</strong>")
    }

    /// The other filling between brackets behind this one.
    pub(super) fn with(&self, other: &Self) -> Self {
        Self {
            text: format!("{} ({})", self.text, other.text),
            html: format!("{} ({})", self.html, other.html),
        }
    }
}

/// The text as HTML, in an element or a quoted attribute.
pub(super) fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&#38;"),
            '<' => html.push_str("&#60;"),
            '>' => html.push_str("&#62;"),
            '"' => html.push_str("&#34;"),
            '\'' => html.push_str("&#39;"),
            _ => html.push(c),
        }
    }
    html
}

impl Phrase {
    /// Reads a phrase that may have these places.
    pub(super) fn parse(text: &str, places: &[&str]) -> Result<Self, String> {
        let mut pieces = vec![];
        let mut words = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, sign) = rest.split_at(at);
            words.push_str(before);
            if let Some(after) = sign.strip_prefix("{{").or_else(|| sign.strip_prefix("}}")) {
                words.extend(sign.chars().next());
                rest = after;
            } else if let Some((name, after)) =
                sign.strip_prefix('{').and_then(|sign| sign.split_once('}'))
            {
                pieces.push(Piece::Words(std::mem::take(&mut words)));
                pieces.push(Piece::Place(known(name, places)?.to_owned()));
                rest = after;
            } else {
                return Err("a brace has no partner; a brace itself is written {{ or }}".to_owned());
            }
        }
        words.push_str(rest);
        pieces.push(Piece::Words(words));
        Ok(Self(pieces))
    }

    /// Whether it has this place.
    pub(super) fn has(&self, place: &str) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Place(name) if name == place))
    }

    /// The phrase without anything filled in, for a template to escape.
    pub(super) fn plain(&self) -> String {
        self.fill(Form::Text, &[]).0
    }

    /// The phrase with these in its places.
    pub(super) fn fill(&self, form: Form, fillings: &[(&str, &Filling)]) -> Rich {
        let filled = self.0.iter().map(|piece| match (piece, form) {
            (Piece::Words(words), Form::Text) => words.clone(),
            (Piece::Words(words), Form::Html) => escaped(words),
            (Piece::Place(name), form) => {
                let filling = fillings.iter().find(|(known, _)| known == name);
                filling.map_or_else(String::new, |(_, filling)| match form {
                    Form::Text => filling.text.clone(),
                    Form::Html => filling.html.clone(),
                })
            }
        });
        Rich(filled.collect())
    }
}

fn known<'a>(name: &'a str, places: &[&str]) -> Result<&'a str, String> {
    if places.contains(&name) {
        return Ok(name);
    }
    let places: Vec<_> = places.iter().map(|place| format!("{{{place}}}")).collect();
    Err(if places.is_empty() {
        format!("{{{name}}} is not known; nothing can be filled in here")
    } else {
        format!("{{{name}}} is not known; here can stand: {}", places.join(", "))
    })
}

/// A phrase for each category of numbers that a language tells apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plural {
    language: LanguageIdentifier,
    forms: BTreeMap<PluralCategory, Phrase>,
    other: Phrase,
}

/// The place of the number.
const NUMBER: &str = "n";

impl Plural {
    /// The forms by the names that the Unicode CLDR gives to the categories, of which `other` has
    /// to be there.
    pub(super) fn parse<'a>(
        language: &LanguageIdentifier,
        forms: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, String> {
        let mut read = BTreeMap::new();
        for (name, text) in forms {
            let category = PluralCategory::get_for_cldr_string(name).ok_or_else(|| {
                format!("{name} is no category; there are: zero, one, two, few, many, other")
            })?;
            let phrase = Phrase::parse(text, &[NUMBER]);
            read.insert(category, phrase.map_err(|error| format!("{name}: {error}"))?);
        }
        let other = read.remove(&PluralCategory::Other);
        let other = other.ok_or("the form `other`, which is for all other numbers, is missing")?;
        Ok(Self { language: language.clone(), forms: read, other })
    }

    /// The form for this number, with the number in it.
    pub(super) fn of(&self, number: u64) -> String {
        let rules = PluralRules::try_new_cardinal((&self.language).into());
        let category = rules.map_or(PluralCategory::Other, |rules| rules.category_for(number));
        let phrase = self.forms.get(&category).unwrap_or(&self.other);
        phrase.fill(Form::Text, &[(NUMBER, &Filling::plain(&number.to_string()))]).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_is_filled_as_text_and_as_html() {
        let phrase = Phrase::parse("{{<{name}>}} & {name}", &["name"]).unwrap();
        let name = Filling::marked("<b>", "A \"<i>", "</b>");
        let fill = |form| phrase.fill(form, &[("name", &name)]).0;
        assert_eq!(fill(Form::Text), "{<A \"<i>>} & A \"<i>");
        let html = "<b>A &#34;&#60;i&#62;</b>";
        assert_eq!(fill(Form::Html), format!("{{&#60;{html}&#62;}} &#38; {html}"));
    }

    #[test]
    fn what_is_filled_in_is_not_read_again() {
        let phrase = Phrase::parse("{a}{b}", &["a", "b"]).unwrap();
        let (a, b) = (Filling::plain("{b}"), Filling::plain("{a}"));
        assert_eq!(phrase.fill(Form::Text, &[("a", &a), ("b", &b)]).0, "{b}{a}");
    }

    #[test]
    fn a_phrase_that_is_wrong_is_refused() {
        for (text, said) in [
            ("{nam}", "{nam} is not known; here can stand: {name}, {room}"),
            ("a {name", "no partner"),
            ("name}", "no partner"),
            ("{}", "{} is not known"),
        ] {
            let error = Phrase::parse(text, &["name", "room"]).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        assert!(Phrase::parse("{x}", &[]).unwrap_err().contains("nothing can be filled in"));
    }

    #[test]
    fn each_language_has_its_own_plurals() {
        let forms = [("one", "{n} dzień"), ("few", "{n} dni"), ("other", "{n} dnia")];
        let polish: LanguageIdentifier = "pl".parse().unwrap();
        let days = Plural::parse(&polish, forms.into_iter()).unwrap();
        let said: Vec<_> = [1, 2, 5, 22].map(|number| days.of(number)).into();
        assert_eq!(said, ["1 dzień", "2 dni", "5 dnia", "22 dni"]);
        let wrong = |forms: &[(&'static str, &'static str)]| {
            Plural::parse(&polish, forms.iter().copied()).unwrap_err()
        };
        assert!(wrong(&[("one", "x")]).contains("`other`"));
        assert!(wrong(&[("several", "x"), ("other", "y")]).contains("several is no category"));
        assert!(wrong(&[("other", "{m}")]).contains("other: {m} is not known"));
    }
}
