//! Shows an operator what people will read, and where it comes from.

use super::{
    Mail, Messages, MessagesError, Style,
    engine::BUILT_IN,
    one_line,
    sample::{self, Data, INVITATIONS},
    variables::templates,
    wrapped,
};

/// What sample data look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preview {
    /// What one template gives.
    Part(String),
    /// A whole mail.
    Mail(Mail),
}

impl Messages {
    /// Whom sample mails go to.
    pub const SAMPLE_RECIPIENT: &str = sample::RECIPIENT;

    /// What can be previewed: names, each with a case if there are several.
    #[must_use]
    pub fn samples(&self, style: &Style) -> Vec<(&'static str, &'static str)> {
        let all = sample::all(&self.library.voice(style).speaker);
        let mut found: Vec<_> = all.iter().map(|sample| (sample.name, sample.case)).collect();
        found.push(("mail/validation", ""));
        found.extend(INVITATIONS.iter().map(|(case, ..)| ("mail/invitation", *case)));
        found.sort_unstable();
        found.dedup();
        found
    }

    /// A template, or with `mail/validation` or `mail/invitation` a whole mail, with sample data of
    /// a case, or the first one; none where there is nothing of that name or case.
    ///
    /// # Errors
    /// When a built-in template fails.
    pub fn preview(
        &self,
        style: &Style,
        name: &str,
        case: Option<&str>,
    ) -> Result<Option<Preview>, MessagesError> {
        let voice = self.library.voice(style);
        let is_case = |of_sample: &str| case.is_none_or(|case| case == of_sample);
        let data = Data::of(&voice.speaker);
        if name == "mail/validation" && is_case("") {
            return Ok(Some(Preview::Mail(self.validation_mail(style, &data.validation())?)));
        }
        if name == "mail/invitation" {
            let mut invitations = data.invitations();
            let Some((_, invitation)) = invitations.find(|(case, _)| is_case(case)) else {
                return Ok(None);
            };
            return Ok(Some(Preview::Mail(self.invitation_mail(style, &invitation)?)));
        }
        let mut samples = sample::all(&voice.speaker).into_iter();
        let sample = samples.find(|sample| sample.name == name && is_case(sample.case));
        let Some(sample) = sample else { return Ok(None) };
        let text = sample.render(voice.engine.as_ref())?;
        Ok(Some(Preview::Part(match name {
            "mail/validation.subject.txt" | "mail/invitation.subject.txt" => one_line(&text),
            "mail/validation.txt" | "mail/invitation.txt" => wrapped(&text),
            _ => text,
        })))
    }

    /// The text of a template as it is used in this style; with `builtin/` before its name as it is
    /// built in.
    #[must_use]
    pub fn source(&self, style: &Style, name: &str) -> Option<String> {
        let engine = self.library.voice(style).engine.as_ref();
        if let Some(source) = engine.and_then(|engine| engine.source(name)) {
            return Some(source.text.clone());
        }
        let name = name.strip_prefix(BUILT_IN).unwrap_or(name);
        let template = templates().into_iter().find(|template| template.name == name)?;
        Some(template.source.to_owned())
    }

    /// The files that override a template, for whatever brand and language.
    #[must_use]
    pub fn overrides(&self, name: &str) -> Vec<&str> {
        let engines = self.library.voices().filter_map(|voice| voice.engine.as_ref());
        let sources = engines.filter_map(|engine| engine.source(name));
        let mut paths: Vec<_> = sources.map(|source| source.path.as_str()).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// The locales that there are for the brand of this style.
    #[must_use]
    pub fn locales(&self, style: &Style) -> Vec<&str> {
        self.library.locales(style.brand.as_ref()).collect()
    }
}
