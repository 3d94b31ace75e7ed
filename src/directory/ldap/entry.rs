//! What an LDAP server says about one person or group.

use ldap3::{
    ResultEntry,
    asn1::{PL, StructureTag},
};

/// The tag of `SearchResultEntry` (RFC 4511, section 4.5.2).
const ENTRY: u64 = 4;

/// An entry of a directory, with the attributes that were asked for.
///
/// Not ldap3's `SearchEntry`: that one panics on what it does not expect, and values are kept here
/// in the order in which they come.
pub(super) struct Entry {
    pub(super) dn: String,
    attributes: Vec<(String, Vec<String>)>,
}

impl Entry {
    /// Reads what the server sent; `None` where it is no entry, such as a reference to another
    /// server. Values that are no UTF-8 are passed over.
    pub(super) fn of(entry: ResultEntry) -> Option<Self> {
        let mut parts = entry.0.match_id(ENTRY)?.expect_constructed()?.into_iter();
        let dn = text(parts.next()?)?;
        let attributes = parts.next()?.expect_constructed()?.into_iter().filter_map(attribute);
        Some(Self { dn, attributes: attributes.collect() })
    }

    /// The values of an attribute, in the server's order; its options (`;lang-de`) have to be asked
    /// for.
    pub(super) fn values(&self, attribute: &str) -> impl Iterator<Item = &str> {
        let is_it = move |(name, _): &&(String, Vec<String>)| name.eq_ignore_ascii_case(attribute);
        let found = self.attributes.iter().filter(is_it);
        found.flat_map(|(_, values)| values.iter().map(String::as_str))
    }

    /// The first value of an attribute.
    pub(super) fn first(&self, attribute: &str) -> Option<&str> {
        self.values(attribute).next()
    }
}

fn attribute(tag: StructureTag) -> Option<(String, Vec<String>)> {
    let mut parts = tag.expect_constructed()?.into_iter();
    let name = text(parts.next()?)?;
    let values = parts.next()?.expect_constructed()?.into_iter().filter_map(text);
    Some((name, values.collect()))
}

fn text(tag: StructureTag) -> Option<String> {
    match tag.payload {
        PL::P(bytes) => String::from_utf8(bytes).ok(),
        PL::C(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use ldap3::asn1::TagClass;

    use super::*;

    fn tag(id: u64, payload: PL) -> StructureTag {
        StructureTag { class: TagClass::Universal, id, payload }
    }

    fn bytes(text: &[u8]) -> StructureTag {
        tag(4, PL::P(text.to_vec()))
    }

    fn list(parts: Vec<StructureTag>) -> StructureTag {
        tag(16, PL::C(parts))
    }

    #[test]
    fn values_keep_their_order_and_names_their_meaning() {
        let values = list(vec![bytes(b"b"), bytes(b"\xff"), bytes(b"a")]);
        let attributes = list(vec![list(vec![bytes(b"Mail"), values]), bytes(b"nonsense")]);
        let entry = ResultEntry::new(tag(ENTRY, PL::C(vec![bytes(b"cn=a"), attributes])));
        let entry = Entry::of(entry).unwrap();
        assert_eq!(entry.dn, "cn=a");
        assert_eq!(entry.values("mail").collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(entry.first("cn"), None);
    }

    #[test]
    fn what_is_no_entry_is_passed_over() {
        for parts in [vec![], vec![bytes(b"cn=a")], vec![bytes(b"\xff"), list(vec![])]] {
            assert!(Entry::of(ResultEntry::new(tag(ENTRY, PL::C(parts)))).is_none());
        }
        assert!(Entry::of(ResultEntry::new(bytes(b"x"))).is_none());
        assert!(Entry::of(ResultEntry::new(tag(19, PL::C(vec![])))).is_none());
    }
}
