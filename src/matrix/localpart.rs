//! Names from elsewhere as localparts of user ids, by the specification's
//! [mapping](https://spec.matrix.org/v1.19/appendices/#mapping-from-other-character-sets).

use std::fmt::Write;

/// The name with capitals in lower case, and each byte that user ids don't hold as `=` and two hex
/// digits.
#[must_use]
pub fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'/' | b'+' => {
                escaped.push(char::from(byte.to_ascii_lowercase()));
            }
            _ => {
                // Writing into a text can't fail.
                let _ = write!(escaped, "={byte:02x}");
            }
        }
    }
    escaped
}

/// The name that was escaped, in lower case as far as it is ASCII; `None` for what no name becomes.
#[must_use]
pub fn unescape(localpart: &str) -> Option<String> {
    let mut pieces = localpart.split('=');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (hex, plain) = piece.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        bytes.extend_from_slice(plain.as_bytes());
    }
    let name = String::from_utf8(bytes).ok()?;
    // Anything else would be a second spelling of one user id.
    (escape(&name) == localpart).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_user_ids_dont_hold_is_escaped() {
        for (name, localpart) in [
            ("Alice.B-C_d/e+f9", "alice.b-c_d/e+f9"),
            ("alice@example.org", "alice=40example.org"),
            ("jörg", "j=c3=b6rg"),
            ("a=b", "a=3db"),
            ("a b\0", "a=20b=00"),
        ] {
            assert_eq!(escape(name), localpart);
            assert_eq!(unescape(localpart).unwrap(), name.to_ascii_lowercase());
        }
    }

    #[test]
    fn what_no_name_becomes_is_no_name() {
        for localpart in ["a=4", "a=", "a=4G", "a=61", "a=C3=B6", "a=ff", "a b", "A", "a=+1"] {
            assert_eq!(unescape(localpart), None, "{localpart}");
        }
    }

    proptest! {
        #[test]
        fn names_come_back_from_their_localparts(name in any::<String>()) {
            let localpart = escape(&name);
            let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._=-/+".contains(&b);
            prop_assert!(localpart.bytes().all(fits));
            prop_assert_eq!(unescape(&localpart), Some(name.to_ascii_lowercase()));
        }
    }
}
