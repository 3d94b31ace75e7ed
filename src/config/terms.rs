//! `[terms]`: what people accept before they use the server.

use std::collections::BTreeMap;

use url::Url;

use super::{Section, Text, is_language};

/// A policy that people accept before they use the server.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Its version.
    pub version: String,
    /// Its texts, by ISO 639 language code; at least one.
    pub texts: BTreeMap<String, PolicyText>,
}

impl Policy {
    /// Its text in the language of `locale`, or else in English, or else in any.
    #[must_use]
    pub fn text_in(&self, locale: &str) -> Option<&PolicyText> {
        let language = locale.split(['-', '_']).next().unwrap_or_default();
        let of = |code: &str| self.texts.get(code);
        of(locale).or_else(|| of(language)).or_else(|| of("en")).or(self.texts.values().next())
    }
}

/// A policy in one language.
#[derive(Debug, Clone)]
pub struct PolicyText {
    /// What the policy is called.
    pub name: String,
    /// Where it can be read.
    pub url: Url,
}

pub(super) fn read_terms(s: &mut Section<'_, '_>) -> BTreeMap<String, Policy> {
    let mut policies = BTreeMap::new();
    for id in s.remaining() {
        if !is_opaque_id(&id) {
            let message = "a policy id has 1 to 255 letters, digits and any of - . _ ~";
            s.refuse(&id, message, "write for example: [terms.privacy]");
        } else if let Some(policy) = s.section(&id, policy) {
            policies.insert(id, policy);
        }
    }
    policies
}

/// By [opaque identifiers](https://spec.matrix.org/v1.19/appendices/#opaque-identifiers).
fn is_opaque_id(id: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    (1..=255).contains(&id.len()) && id.bytes().all(fits)
}

fn policy(s: &mut Section<'_, '_>) -> Option<Policy> {
    let version = s.required("version").map(|Text(version)| version);
    let mut languages = s.remaining();
    languages.retain(|key| is_language(key));
    if languages.is_empty() {
        let remedy = "write for example: en = { name = \"Privacy policy\", url = \"https://…\" }";
        s.fault(&["en"], "missing; a policy needs at least one language", remedy);
    }
    s.also_known("a language code such as en");
    let mut texts = BTreeMap::new();
    for language in languages {
        if let Some(text) = s.section(&language, policy_text) {
            texts.insert(language, text);
        }
    }
    Some(Policy { version: version?, texts })
}

fn policy_text(s: &mut Section<'_, '_>) -> Option<PolicyText> {
    let (name, url) = (s.required("name"), s.required("url"));
    let Text(name) = name?;
    Some(PolicyText { name, url: url? })
}
