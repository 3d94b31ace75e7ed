//! Distinguished names ([RFC 4514](https://www.rfc-editor.org/rfc/rfc4514)), as far as one is
//! compared with another.

/// A name in the form in which equal ones are the same text: case, spaces and ways to escape make
/// no difference, as it is for nearly all attributes that names are made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dn(Vec<Vec<(String, String)>>);

impl Dn {
    /// Reads a name; `None` if it is none.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let mut names = Vec::new();
        for relative in split(text, &[',', ';']) {
            let mut parts = Vec::new();
            for part in split(relative, &['+']) {
                let (attribute, value) = part.split_once('=')?;
                let attribute = attribute.trim().to_lowercase();
                if attribute.is_empty() {
                    return None;
                }
                parts.push((attribute, same_form(&unescape(value)?)));
            }
            parts.sort();
            names.push(parts);
        }
        Some(Self(names))
    }
}

/// The pieces between separators that are not escaped.
fn split<'t>(text: &'t str, separators: &[char]) -> Vec<&'t str> {
    let (mut pieces, mut start, mut is_escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        if is_escaped {
            is_escaped = false;
        } else if c == '\\' {
            is_escaped = true;
        } else if separators.contains(&c) {
            pieces.extend(text.get(start..at));
            start = at + c.len_utf8();
        }
    }
    pieces.extend(text.get(start..));
    pieces
}

/// A value without its escapes: `\,` and the like, and `\2c`.
fn unescape(value: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), value.trim());
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let hex = escaped.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let length = if let Some(byte) = hex {
            bytes.push(byte);
            2
        } else {
            let c = escaped.chars().next()?;
            bytes.extend_from_slice(c.to_string().as_bytes());
            c.len_utf8()
        };
        rest = escaped.get(length..)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

fn same_form(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_are_the_same() {
        let name = Dn::of("cn=Admins\\, all,ou=groups+l=Bonn,dc=example,dc=org").unwrap();
        for spelling in [
            "CN=admins\\2c all, OU=groups + L=bonn, DC=example, DC=org",
            "cn=ADMINS\\,  all,l=Bonn+ou=Groups;dc=example;dc=org",
        ] {
            assert_eq!(Dn::of(spelling), Some(name.clone()), "{spelling}");
        }
    }

    #[test]
    fn other_names_are_others() {
        let name = Dn::of("cn=admins,dc=example,dc=org").unwrap();
        for other in [
            "cn=admins,dc=example",
            "cn=admins\\,dc=example,dc=org",
            "cn=admins2,dc=example,dc=org",
            "ou=admins,dc=example,dc=org",
        ] {
            assert_ne!(Dn::of(other), Some(name.clone()), "{other}");
        }
    }

    #[test]
    fn what_is_no_name_is_none() {
        for text in ["", "admins", "cn=a,,dc=b", "=a", "cn=a\\", "cn=\\ff"] {
            assert_eq!(Dn::of(text), None, "{text}");
        }
    }
}
