//! The `X-Matrix` authorization of homeservers
//! ([spec](https://spec.matrix.org/v1.19/server-server-api/#request-authentication)).

use std::{iter::Peekable, str::Chars};

use serde_json::Value;

use super::{id::ServerName, json::Object};

/// The parameters of one `X-Matrix` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XMatrix {
    /// Who signed.
    pub origin: ServerName,
    /// For whom; older homeservers don't say.
    pub destination: Option<String>,
    /// The id of the key, such as `ed25519:1`.
    pub key: String,
    /// The signature, in base64.
    pub sig: String,
}

impl XMatrix {
    /// Reads the value of an `Authorization` header; `None` where it isn't one of this kind.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let (scheme, parameters) = header.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("x-matrix") {
            return None;
        }
        let parameters = parameters_of(parameters)?;
        let get = |name: &str| {
            let found = parameters.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        Some(Self {
            origin: get("origin")?.parse().ok()?,
            destination: get("destination"),
            key: get("key")?,
            sig: get("sig")?,
        })
    }

    /// What was signed with this header, as an object that carries the signature. `name_of` is
    /// the key under which the destination stands: `destination`, or Synapse's `destination_is`.
    #[must_use]
    pub fn signed(&self, request: &Request<'_>, name_of: &str, destination: &str) -> Object {
        let mut object = Object::from_iter([
            ("method".to_owned(), Value::from(request.method)),
            ("uri".to_owned(), Value::from(request.uri)),
            ("origin".to_owned(), Value::from(self.origin.as_str())),
            (name_of.to_owned(), Value::from(destination)),
            ("content".to_owned(), Value::Object(request.content.clone())),
        ]);
        let of_key = Object::from_iter([(self.key.clone(), Value::from(self.sig.as_str()))]);
        let of_origin = Object::from_iter([(self.origin.to_string(), Value::Object(of_key))]);
        object.insert("signatures".to_owned(), Value::Object(of_origin));
        object
    }
}

/// The request that is signed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path and query, exactly as sent.
    pub uri: &'a str,
    /// Its body.
    pub content: &'a Object,
}

/// Reads `name=value` pairs, separated by commas; a value is a token or a quoted string (RFC 9110,
/// section 11.4). Values with colons are taken unquoted, too, as older homeservers send them.
fn parameters_of(text: &str) -> Option<Vec<(String, String)>> {
    let mut chars = text.chars().peekable();
    let mut parameters = Vec::new();
    loop {
        skip(&mut chars, |c| matches!(c, ' ' | '\t' | ','));
        if chars.peek().is_none() {
            return Some(parameters);
        }
        let name = take(&mut chars, |c| !matches!(c, '=' | ' ' | '\t' | ',' | '"'));
        skip(&mut chars, |c| matches!(c, ' ' | '\t'));
        if name.is_empty() || chars.next() != Some('=') {
            return None;
        }
        skip(&mut chars, |c| matches!(c, ' ' | '\t'));
        let value = match chars.next_if_eq(&'"') {
            Some(_) => quoted(&mut chars)?,
            None => take(&mut chars, |c| !matches!(c, ' ' | '\t' | ',' | '"')),
        };
        parameters.push((name, value));
        skip(&mut chars, |c| matches!(c, ' ' | '\t'));
        if chars.peek().is_some_and(|c| *c != ',') {
            return None;
        }
    }
}

/// The rest of a quoted string; `None` where it doesn't end.
fn quoted(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut value = String::new();
    loop {
        match chars.next()? {
            '"' => return Some(value),
            '\\' => value.push(chars.next()?),
            c => value.push(c),
        }
    }
}

fn take(chars: &mut Peekable<Chars<'_>>, wanted: impl Fn(char) -> bool) -> String {
    std::iter::from_fn(|| chars.next_if(|c| wanted(*c))).collect()
}

fn skip(chars: &mut Peekable<Chars<'_>>, unwanted: impl Fn(char) -> bool) {
    while chars.next_if(|c| unwanted(*c)).is_some() {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::matrix::signing::{decode_base64, verifies};

    #[test]
    fn a_header_is_read_in_all_its_spellings() {
        let expected = XMatrix {
            origin: "hs.example:8448".parse().unwrap(),
            destination: Some("is.example".to_owned()),
            key: "ed25519:a_1".to_owned(),
            sig: "AbC+/=".to_owned(),
        };
        for header in [
            r#"X-Matrix origin="hs.example:8448",destination="is.example",key="ed25519:a_1",sig="AbC+/=""#,
            r"x-matrix ORIGIN=hs.example:8448 , destination=is.example,	key=ed25519:a_1, sig=AbC+/=",
            r#"X-Matrix sig="AbC\+/=", extra="a, b=\"c\"", key="ed25519:a_1",destination="is.example",origin="hs.example:8448""#,
        ] {
            assert_eq!(XMatrix::parse(header).as_ref(), Some(&expected), "{header}");
        }
        let old = XMatrix::parse("X-Matrix origin=hs,key=\"ed25519:1\",sig=\"x\"").unwrap();
        assert_eq!(old.destination, None);
    }

    #[test]
    fn what_is_no_such_header_is_refused() {
        for header in [
            "",
            "X-Matrix",
            "Bearer token",
            "X-Matrix origin=hs",
            "X-Matrix origin=\"hs,key=k,sig=s",
            "X-Matrix origin=a b,key=k,sig=s",
            "X-Matrix origin,key=k,sig=s",
            "X-Matrix origin=not/a/server,key=k,sig=s",
            "X-Matrix origin=hs,key=k,signature=s",
        ] {
            assert_eq!(XMatrix::parse(header), None, "{header}");
        }
    }

    #[test]
    fn the_known_vectors_verify_in_both_forms() {
        let content = json!({"mxid": "@alice:domain", "threepid": {"address": "alice@example.com", "medium": "email"}});
        let public = decode_base64("XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI").unwrap();
        let request = Request {
            method: "POST",
            uri: "/_matrix/identity/v2/3pid/unbind",
            content: content.as_object().unwrap(),
        };
        for (name_of, sig) in [
            (
                "destination_is",
                "/aAaVn+25N2alDFjWgDvwOTzBZ+Dn2L4vs3Bsp0wuCTKMhiBRxFwDJHK1LTU99QUGrFDz1r9ZKwpe4aQMiTPCw",
            ),
            (
                "destination",
                "448EULG0swdsxZTDwOVrAC81eX2iAuaqweQgiKcsDIvY2NwXeLA1Ogwc+tylW6e1Q/QnQ4ISVtBxmniuaWi4Bg",
            ),
        ] {
            let header = format!(
                "X-Matrix origin=domain,destination=is.example.com,key=\"ed25519:1\",sig=\"{sig}\""
            );
            let x_matrix = XMatrix::parse(&header).unwrap();
            let verifies = |destination| {
                let signed = x_matrix.signed(&request, name_of, destination);
                verifies(
                    &signed,
                    &x_matrix.origin,
                    "ed25519:1",
                    &public.clone().try_into().unwrap(),
                )
            };
            assert!(verifies("is.example.com"), "{name_of}");
            assert!(!verifies("other.example.com"), "{name_of}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in any::<String>()) {
            let _ = XMatrix::parse(&text);
            let _ = XMatrix::parse(&format!("X-Matrix {text}"));
        }

        #[test]
        fn any_value_survives_quoting(value in any::<String>()) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            let header = format!("X-Matrix origin=hs,key=k,sig=\"{escaped}\"");
            prop_assert_eq!(XMatrix::parse(&header).unwrap().sig, value);
        }
    }
}
