//! `[messages]` and `[brands]`: whose words people read, and in which language.

use std::{collections::BTreeMap, path::PathBuf};

use lettre::message::Mailbox;

use super::{BaseUrl, Language, Section, ServerName, Text, is_name};

/// `[messages]`: mails, text messages and pages.
#[derive(Debug, Clone)]
pub struct Messages {
    /// Where the operator's own templates and words lie.
    pub directory: Option<PathBuf>,
    /// The language where nothing tells another one.
    pub locale: String,
}

/// `[brands.<name>]`: another name and other words for the people of some homeservers.
#[derive(Debug, Clone)]
pub struct Brand {
    /// Whose users see it without asking for it.
    pub homeservers: Vec<ServerName>,
    /// What messages call the service.
    pub name: Option<String>,
    /// The sender of its mails.
    pub from: Option<Mailbox>,
    /// The language where nothing tells another one.
    pub locale: Option<String>,
    /// The web client that invitations link to; never ends with a slash.
    pub web_client: Option<String>,
    /// Where its own templates and words lie.
    pub directory: Option<PathBuf>,
}

pub(super) fn read_messages(s: &mut Section<'_, '_>) -> Messages {
    let directory = directory(s);
    Messages { directory, locale: s.get("locale", Language("en".to_owned())).0 }
}

pub(super) fn read_brands(s: &mut Section<'_, '_>) -> BTreeMap<String, Brand> {
    let mut brands: BTreeMap<String, Brand> = BTreeMap::new();
    for name in s.remaining() {
        if is_name(&name) {
            let brand = s.section(&name, brand);
            brands.insert(name, brand);
        } else {
            let message = "a brand's name has 1 to 64 of a-z, 0-9 and . _ -";
            s.refuse(&name, message, "write for example: [brands.acme]");
        }
    }
    brands
}

fn brand(s: &mut Section<'_, '_>) -> Brand {
    let text = |BaseUrl(url): BaseUrl| url.as_str().trim_end_matches('/').to_owned();
    Brand {
        homeservers: s.list("homeservers", Vec::new()),
        name: s.optional("name").map(|Text(name)| name),
        from: s.optional("from"),
        locale: s.optional("locale").map(|Language(code)| code),
        web_client: s.optional("web_client").map(text),
        directory: directory(s),
    }
}

/// A directory that has to be there.
fn directory(s: &mut Section<'_, '_>) -> Option<PathBuf> {
    let directory: PathBuf = s.optional("directory")?;
    if !directory.is_dir() {
        let message = format!("{} is no directory that can be read", directory.display());
        s.fault(&["directory"], &message, "make it, or name another one");
    }
    Some(directory)
}
