//! How user ids are made of what a directory calls its people.

use std::str::FromStr;

use crate::matrix::id::{ServerName, UserId};

/// A template of user ids such as `@{uid}:example.org`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MxidTemplate {
    placeholder: String,
    /// What goes around the name; `None` where names are whole user ids.
    around: Option<Around>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Around {
    before: String,
    after: String,
    server: ServerName,
}

/// Why a text is no [`MxidTemplate`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a user id with one name in braces in place of what differs")]
pub struct InvalidTemplate;

impl MxidTemplate {
    /// The template of a directory whose names are whole user ids.
    #[must_use]
    pub fn whole() -> Self {
        Self { placeholder: "mxid".to_owned(), around: None }
    }

    /// What stands in the braces: the name of what differs, such as an attribute's.
    #[must_use]
    pub fn placeholder(&self) -> &str {
        &self.placeholder
    }

    /// The homeserver of all who are made; `None` where names are whole user ids.
    #[must_use]
    pub fn server_name(&self) -> Option<&ServerName> {
        self.around.as_ref().map(|around| &around.server)
    }

    /// The user of that name, in lower case as Matrix has it; `None` where no user id can be made
    /// of it ([grammar](https://spec.matrix.org/v1.19/appendices/#user-identifiers)).
    #[must_use]
    pub fn make(&self, name: &str) -> Option<UserId> {
        let Some(Around { before, after, server }) = &self.around else {
            return name.parse().ok();
        };
        let name = name.to_ascii_lowercase();
        (!name.is_empty() && name.chars().all(is_of_localpart))
            .then(|| format!("@{before}{name}{after}:{server}").parse().ok())
            .flatten()
    }

    /// The name of which `user` is made, in lower case; `None` for the users of other templates.
    #[must_use]
    pub fn name_of<'a>(&self, user: &'a UserId) -> Option<&'a str> {
        let Some(Around { before, after, server }) = &self.around else {
            return Some(user.as_str());
        };
        if user.server_name() != server {
            return None;
        }
        let (localpart, _) = user.as_str().strip_prefix('@')?.split_once(':')?;
        let name = localpart.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?;
        // What could not have been made is nobody here, whatever a directory makes of it.
        (self.make(name)? == *user).then_some(name)
    }
}

fn is_of_localpart(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || "._=-/+".contains(c)
}

impl FromStr for MxidTemplate {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, InvalidTemplate> {
        let (localpart, server) =
            text.strip_prefix('@').and_then(|rest| rest.split_once(':')).ok_or(InvalidTemplate)?;
        let (before, rest) = localpart.split_once('{').ok_or(InvalidTemplate)?;
        let (placeholder, after) = rest.split_once('}').ok_or(InvalidTemplate)?;
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_-.;".contains(c);
        let is_right = !placeholder.is_empty()
            && placeholder.chars().all(is_word)
            && [before, after].iter().all(|part| part.chars().all(is_of_localpart));
        let server = server.parse().map_err(|_| InvalidTemplate)?;
        if !is_right {
            return Err(InvalidTemplate);
        }
        let around = Around { before: before.to_owned(), after: after.to_owned(), server };
        Ok(Self { placeholder: placeholder.to_owned(), around: Some(around) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> MxidTemplate {
        text.parse().unwrap()
    }

    fn user(id: &str) -> UserId {
        id.parse().unwrap()
    }

    #[test]
    fn a_template_makes_users_of_names_and_names_of_users() {
        let plain = template("@{uid}:example.org");
        assert_eq!(plain.make("Alice.B").unwrap(), user("@alice.b:example.org"));
        assert_eq!(plain.name_of(&user("@alice.b:example.org")), Some("alice.b"));
        assert_eq!(plain.placeholder(), "uid");
        let around = template("@staff.{uid}-x:example.org:8448");
        assert_eq!(around.make("bob").unwrap(), user("@staff.bob-x:example.org:8448"));
        assert_eq!(around.name_of(&user("@staff.bob-x:example.org:8448")), Some("bob"));
        let whole = MxidTemplate::whole();
        assert_eq!(whole.make("@Bob:hs.example").unwrap(), user("@Bob:hs.example"));
        assert_eq!(whole.name_of(&user("@Bob:hs.example")), Some("@Bob:hs.example"));
    }

    #[test]
    fn what_no_user_id_holds_makes_nobody() {
        let plain = template("@{uid}:example.org");
        for name in ["", "a b", "a:evil.example", "a\0", "ä", "a\n", "*", "a)(uid=*"] {
            assert_eq!(plain.make(name), None, "{name:?}");
        }
        assert_eq!(plain.make(&"a".repeat(300)), None);
        for other in ["@alice:other.example", "@Alice:example.org", "@a b:example.org"] {
            assert_eq!(plain.name_of(&user(other)), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in [
            "",
            "{uid}",
            "@{uid}",
            "@uid:example.org",
            "@{}:example.org",
            "@{a}{b}:example.org",
            "@{uid}:{domain}",
            "@{u d}:example.org",
            "@A{uid}:example.org",
            "@{uid}:a b",
        ] {
            assert_eq!(text.parse::<MxidTemplate>(), Err(InvalidTemplate), "{text}");
        }
    }
}
