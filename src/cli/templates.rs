//! `bindery templates`: what people read.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use super::say;
use crate::{
    clock::SystemClock,
    config::Config,
    delivery,
    matrix::threepid::ThreePid,
    messages::{Mail, Messages, Preview, Style, Wish, templates},
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// List the templates, where each comes from, and what it can say
    List,
    /// Print the source of a template
    #[command(after_help = "With builtin/ before the name: the built-in one, even where it is \
                            overridden. An override may extend and include both.")]
    Show {
        /// The template, such as mail/validation.html
        name: String,
        #[command(flatten)]
        whose: Whose,
    },
    /// Print what a template gives for sample data
    #[command(after_help = "`mail/validation` and `mail/invitation`, without an ending, give the \
                            whole mail as an .eml file.")]
    Preview {
        /// The template, such as mail/validation.html
        name: String,
        /// Which sample data, such as expired for page/result.html
        #[arg(long)]
        case: Option<String>,
        #[command(flatten)]
        whose: Whose,
    },
}

#[derive(Args)]
pub(super) struct Whose {
    /// The language, such as de; otherwise the operator's
    #[arg(long)]
    locale: Option<String>,
    /// The brand; otherwise none
    #[arg(long)]
    brand: Option<String>,
}

pub(super) fn run(command: Command, config: &Config) -> anyhow::Result<()> {
    let messages = Messages::new(config)?;
    match command {
        Command::List => list(&messages),
        Command::Show { name, whose } => {
            let source = messages.source(&whose.style(&messages)?, &name);
            let source = source.with_context(|| {
                format!("there is no template {name}; `bindery templates list` lists them")
            })?;
            say(source.trim_end_matches('\n'))
        }
        Command::Preview { name, case, whose } => {
            let style = whose.style(&messages)?;
            let Some(preview) = messages.preview(&style, &name, case.as_deref())? else {
                bail!(
                    "there is no preview of that; there are: {}",
                    previews(&messages, &style).join(", ")
                );
            };
            match preview {
                Preview::Part(text) => say(text.trim_end_matches('\n')),
                Preview::Mail(mail) => say(letter(config, &messages, &style, mail)?.trim_end()),
            }
        }
    }
}

impl Whose {
    fn style(&self, messages: &Messages) -> anyhow::Result<Style> {
        let (brand, locale) = (self.brand.as_deref(), self.locale.as_deref());
        let style = messages.style(&Wish { brand, locale, ..Wish::default() });
        if let Some(brand) = brand.filter(|brand| messages.brand(&style) != Some(brand)) {
            bail!("there is no brand {brand} in the configuration (`[brands.{brand}]`)");
        }
        if let Some(locale) = locale {
            let found = messages.locale(&style);
            let start = locale.get(..found.len()).unwrap_or_default();
            if !start.eq_ignore_ascii_case(found) {
                let known = messages.locales(&style).join(", ");
                bail!("nothing is written in {locale}; there are: {known}");
            }
        }
        Ok(style)
    }
}

fn list(messages: &Messages) -> anyhow::Result<()> {
    let mut list = String::new();
    for template in templates() {
        let mut origins = messages.overrides(template.name);
        origins.push("built in");
        let variables: Vec<_> = template.variables.iter().map(|variable| variable.name).collect();
        writeln!(list, "{}\n    from: {}", template.name, origins.join(", "))?;
        if !variables.is_empty() {
            writeln!(list, "    variables: {}", variables.join(", "))?;
        }
    }
    say(list.trim_end())
}

/// The names that can be previewed, with their cases.
fn previews(messages: &Messages, style: &Style) -> Vec<String> {
    let mut cases: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (name, case) in messages.samples(style) {
        cases.entry(name).or_default().push(case);
    }
    let named = |(name, cases): (&str, Vec<&str>)| match cases.join("|") {
        cases if cases.is_empty() => name.to_owned(),
        cases => format!("{name} [--case {cases}]"),
    };
    cases.into_iter().map(named).collect()
}

/// The mail as it would be sent.
fn letter(
    config: &Config,
    messages: &Messages,
    style: &Style,
    mail: Mail,
) -> anyhow::Result<String> {
    let to = ThreePid::email(Messages::SAMPLE_RECIPIENT)?;
    let mail = (messages.sender(style), mail);
    let raw = delivery::draft(config, Arc::new(SystemClock), &to, mail)?;
    Ok(String::from_utf8(raw)?)
}
