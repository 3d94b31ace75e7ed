//! Search filters ([RFC 4515](https://www.rfc-editor.org/rfc/rfc4515)).
//!
//! A [`Filter`] is either the operator's own text or was put together here, where each value that
//! comes from elsewhere is escaped. So nothing that people type can change what is asked.

use std::fmt::{self, Write};

/// A search filter in its text form, complete with its parentheses.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Filter(String);

impl Filter {
    /// The operator's filter, which was checked when the configuration was read.
    pub(super) fn configured(text: &str) -> Self {
        let is_enclosed = text.starts_with('(');
        Self(if is_enclosed { text.to_owned() } else { format!("({text})") })
    }

    /// The operator's filter with values in place of what it has in braces: `{dn}` and the like.
    pub(super) fn filled(template: &str, values: &[(&str, &str)]) -> Self {
        let mut text = String::with_capacity(template.len());
        let mut rest = template;
        // From left to right and once: a value that has braces in it stays what it is.
        while let Some((before, after)) = rest.split_once('{') {
            text.push_str(before);
            let known = after.split_once('}').and_then(|(name, after)| {
                let (_, value) = values.iter().find(|(known, _)| *known == name)?;
                Some((*value, after))
            });
            rest = if let Some((value, after)) = known {
                text.push_str(&escape(value));
                after
            } else {
                text.push('{');
                after
            };
        }
        text.push_str(rest);
        Self::configured(&text)
    }

    /// Whoever has exactly `value`, by the rules of the attribute.
    pub(super) fn equals(attribute: &str, value: &str) -> Self {
        Self(format!("({attribute}={})", escape(value)))
    }

    /// Whoever has the attribute at all.
    pub(super) fn present(attribute: &str) -> Self {
        Self(format!("({attribute}=*)"))
    }

    /// Whoever has a value with `part` in it; `part` must not be empty.
    pub(super) fn contains(attribute: &str, part: &str) -> Self {
        Self(format!("({attribute}=*{}*)", escape(part)))
    }

    /// Whoever has the attribute's value at `time` or later.
    pub(super) fn since(attribute: &str, time: &str) -> Self {
        Self(format!("({attribute}>={})", escape(time)))
    }

    /// What all of `filters` let pass.
    pub(super) fn all(filters: impl IntoIterator<Item = Self>) -> Self {
        Self::joined('&', filters)
    }

    /// What at least one of `filters` lets pass.
    pub(super) fn any(filters: impl IntoIterator<Item = Self>) -> Self {
        Self::joined('|', filters)
    }

    fn joined(operator: char, filters: impl IntoIterator<Item = Self>) -> Self {
        let mut text = format!("({operator}");
        for Self(filter) in filters {
            text.push_str(&filter);
        }
        text.push(')');
        Self(text)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Redacted: a filter holds the addresses and names that somebody asks for.
impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter(…)")
    }
}

/// A value as a filter has it (section 3 of the RFC); controls are escaped too, for the sake of
/// whoever reads the server's log.
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        if c.is_ascii_control() || matches!(c, '*' | '(' | ')' | '\\') {
            // Writing into a text can't fail.
            let _ = write!(escaped, "\\{:02x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use ldap3::{
        asn1::{ASNTag, PL, StructureTag},
        parse_filter,
    };
    use proptest::prelude::*;

    use super::*;

    /// What a server is sent for `filter`.
    fn sent(filter: &Filter) -> StructureTag {
        parse_filter(filter.as_str()).unwrap().into_structure()
    }

    fn parts(tag: StructureTag) -> Vec<StructureTag> {
        tag.expect_constructed().unwrap()
    }

    fn text(tag: &StructureTag) -> &[u8] {
        match &tag.payload {
            PL::P(bytes) => bytes,
            PL::C(_) => panic!("not a value: {tag:?}"),
        }
    }

    #[test]
    fn a_value_with_braces_is_not_filled_again() {
        let values = [("dn", "uid={uid},dc=x"), ("uid", "*")];
        let filter = Filter::filled("(&(member={dn})(x={y})(memberUid={uid}))", &values);
        assert_eq!(filter.as_str(), "(&(member=uid={uid},dc=x)(x={y})(memberUid=\\2a))");
    }

    #[test]
    fn a_filter_without_parentheses_gets_them() {
        assert_eq!(Filter::configured("uid=*").as_str(), "(uid=*)");
        assert_eq!(Filter::configured("(uid=*)").as_str(), "(uid=*)");
    }

    #[test]
    fn nothing_asked_for_shows_when_a_filter_is_printed() {
        assert_eq!(format!("{:?}", Filter::equals("mail", "alice@example.org")), "Filter(…)");
    }

    proptest! {
        #[test]
        fn any_value_arrives_as_it_is_and_alone(value in any::<String>()) {
            let tag = sent(&Filter::equals("uid", &value));
            prop_assert_eq!(tag.id, 3, "an equality");
            let parts = parts(tag);
            prop_assert_eq!(text(&parts[0]), b"uid");
            prop_assert_eq!(text(&parts[1]), value.as_bytes());
        }

        #[test]
        fn any_part_arrives_as_it_is_and_alone(part in ".+") {
            let tag = sent(&Filter::contains("cn", &part));
            prop_assert_eq!(tag.id, 4, "a match of substrings");
            let substrings = parts(parts(tag).remove(1));
            prop_assert_eq!(substrings.len(), 1);
            prop_assert_eq!(substrings[0].id, 1, "anywhere");
            prop_assert_eq!(text(&substrings[0]), part.as_bytes());
        }

        #[test]
        fn values_stay_inside_what_surrounds_them(
            values in proptest::collection::vec("[a*()\\\\\0|&!=é]{0,12}", 1..5),
        ) {
            let inner = values.iter().map(|value| Filter::equals("mail", value));
            let outer = Filter::all([Filter::configured("objectClass=person"), Filter::any(inner)]);
            let [_, any] = <[_; 2]>::try_from(parts(sent(&outer))).unwrap();
            let found: Vec<_> = parts(any).into_iter().map(|tag| parts(tag).remove(1)).collect();
            let found: Vec<_> = found.iter().map(text).collect();
            let given: Vec<_> = values.iter().map(String::as_bytes).collect();
            prop_assert_eq!(found, given);
        }

        #[test]
        fn a_filled_filter_has_the_value_as_it_is(value in any::<String>()) {
            let parts = parts(sent(&Filter::filled("(member={dn})", &[("dn", &value)])));
            prop_assert_eq!(text(&parts[1]), value.as_bytes());
        }
    }
}
