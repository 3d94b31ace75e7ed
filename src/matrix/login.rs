//! The body of a login ([spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3login)):
//! whom it names, and the same with a user id in the name's place.
//!
//! All that isn't about who logs in stays as it was written, numbers and unknown keys too.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// A login that names somebody by what may have to be looked up.
pub struct Login<'a> {
    members: Members<'a>,
    length: usize,
    /// Whom it names.
    pub named: Named,
}

/// How a login names somebody.
#[derive(Clone, PartialEq, Eq)]
pub enum Named {
    /// By medium and address.
    ThreePid {
        /// The medium.
        medium: String,
        /// The address as it was typed.
        address: String,
    },
    /// By a phone number as it is dialled from a country.
    Phone {
        /// The two letters of the country.
        country: String,
        /// The number as it was typed.
        number: String,
    },
    /// By a user name with an `@` that isn't its first character.
    Address(String),
}

/// Why a login goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLogin {
    /// One reader would take the first of them, another one the last.
    #[error("a key stands twice in the login")]
    Twice,
    /// No name has them.
    #[error("a name holds no control characters")]
    ControlCharacter,
}

/// The members of an object in their order, each with its text.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    /// `None` for what is no object.
    fn read(text: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    fn has_twins(&self) -> bool {
        let mut names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.windows(2).any(|pair| matches!(pair, [one, other] if one == other))
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.get())
    }

    /// The text that is a member's value; `None` too where it is something else.
    fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?).ok()
    }
}

impl<'a> Deserialize<'a> for Members<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'a> Visitor<'a> for InOrder {
            type Value = Members<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Members<'a>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// What stood for `identifier` before there was one; homeservers read it still, some even beside
/// an identifier.
const FORMER: [&str; 3] = ["user", "medium", "address"];

impl<'a> Login<'a> {
    /// Reads a login with a password. `None` where it names a user by user id or by user name, or
    /// isn't such a login at all, JSON or not: what becomes of that is the homeserver's to say.
    ///
    /// # Errors
    /// When it can be read in two ways, or holds what no name holds.
    pub fn read(body: &'a [u8]) -> Result<Option<Self>, InvalidLogin> {
        let Some(members) = Members::read(body) else { return Ok(None) };
        if members.has_twins() {
            return Err(InvalidLogin::Twice);
        }
        // The types of modules have passwords as well.
        let is_password = members.text("type").is_some_and(|kind| kind == "m.login.password")
            || members.get("password").is_some();
        if !is_password {
            return Ok(None);
        }
        let named = match members.get("identifier").filter(|value| *value != "null") {
            Some(identifier) => match Members::read(identifier.as_bytes()) {
                Some(identifier) if identifier.has_twins() => return Err(InvalidLogin::Twice),
                Some(identifier) => of_identifier(&identifier)?,
                None => None,
            },
            None => of_former(&members)?,
        };
        Ok(named.map(|named| Self { members, length: body.len(), named }))
    }

    /// How long the rest can become, in bytes. Names may be written longer than they came: six bytes
    /// for a control character.
    fn longest(&self) -> usize {
        let names: usize = self.members.0.iter().map(|(name, _)| 6 * name.len() + 8).sum();
        self.length + names + "{\"identifier\":}".len()
    }

    /// The same login of `user`.
    #[must_use]
    pub fn with_user(&self, user: &str) -> Zeroizing<Vec<u8>> {
        let identifier = serde_json::json!({ "type": "m.id.user", "user": user }).to_string();
        // All of it at once: what a vector leaves behind when it grows is not wiped.
        let mut text = Zeroizing::new(Vec::with_capacity(self.longest() + identifier.len()));
        text.extend_from_slice(b"{\"identifier\":");
        text.extend_from_slice(identifier.as_bytes());
        for (name, value) in &self.members.0 {
            if name == "identifier" || FORMER.contains(&name.as_str()) {
                continue;
            }
            text.push(b',');
            text.extend_from_slice(serde_json::Value::from(name.as_str()).to_string().as_bytes());
            text.push(b':');
            text.extend_from_slice(value.get().as_bytes());
        }
        text.push(b'}');
        text
    }
}

/// Whom an `identifier` names ([spec](https://spec.matrix.org/v1.19/client-server-api/#identifier-types)).
fn of_identifier(identifier: &Members<'_>) -> Result<Option<Named>, InvalidLogin> {
    let text = |name| clean(identifier.text(name));
    Ok(match identifier.text("type").as_deref() {
        Some("m.id.thirdparty") => threepid(text("medium")?, text("address")?),
        Some("m.id.phone") => {
            // `number` is what Synapse asked for before it read the specification.
            let (phone, number) = (text("phone")?, text("number")?);
            text("country")?
                .zip(phone.or(number))
                .map(|(country, number)| Named::Phone { country, number })
        }
        Some("m.id.user") => text("user")?.and_then(address),
        _ => None,
    })
}

/// Whom a login names that has no identifier.
fn of_former(members: &Members<'_>) -> Result<Option<Named>, InvalidLogin> {
    let text = |name| clean(members.text(name));
    let threepid = threepid(text("medium")?, text("address")?);
    Ok(threepid.or(text("user")?.and_then(address)))
}

fn threepid(medium: Option<String>, address: Option<String>) -> Option<Named> {
    medium.zip(address).map(|(medium, address)| Named::ThreePid { medium, address })
}

/// A user name that looks like an e-mail address.
fn address(user: String) -> Option<Named> {
    (user.contains('@') && !user.starts_with('@')).then_some(Named::Address(user))
}

fn clean(text: Option<String>) -> Result<Option<String>, InvalidLogin> {
    match text {
        Some(text) if text.chars().any(char::is_control) => Err(InvalidLogin::ControlCharacter),
        text => Ok(text),
    }
}

/// Redacted, so that an address can't reach a log by accident.
impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ThreePid { .. } => "m.id.thirdparty:…",
            Self::Phone { .. } => "m.id.phone:…",
            Self::Address(_) => "m.id.user:…",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// Something between a login and nonsense.
    fn near_login() -> impl Strategy<Value = String> {
        let text = || {
            prop_oneof![
                "\"(a|@|:|\\\\n|\\\\ud83d\\\\ude00){0,4}\"",
                "\"[^\"\\\\\\pC]{0,4}\"",
                Just("[1.50, null]".to_owned()),
            ]
        };
        let members = |keys: &'static [&str]| {
            let member = (prop::sample::select(keys), text());
            let member = member.prop_map(|(key, text)| format!(",\"{key}\": {text}"));
            prop::collection::vec(member, 0..3).prop_map(|members| members.concat())
        };
        let named = (text(), text(), "m.id.(thirdparty|phone|user)").prop_map(|(a, b, kind)| {
            let [one, other] = match kind.as_str() {
                "m.id.phone" => ["country", "phone"],
                "m.id.user" => ["user", "x"],
                _ => ["medium", "address"],
            };
            format!("\"type\":\"{kind}\",\"{one}\":{a},\"{other}\":{b}")
        });
        let inner = members(&["user", "number", "address"]);
        let outer = members(&["type", "user", "medium", "address", "y", "\\u0075ser"]);
        (named, inner, outer).prop_map(|(named, inner, outer)| {
            format!("{{\"password\":\"p\",\"identifier\":{{{named}{inner}}}{outer}}}")
        })
    }

    proptest! {
        #[test]
        fn a_login_that_is_written_anew_names_one_user_and_has_lost_nothing(body in near_login()) {
            let Ok(Some(login)) = Login::read(body.as_bytes()) else { return Ok(()) };
            let text = login.with_user("@alice:hs.example");
            prop_assert!(matches!(Login::read(&text), Ok(None)));
            let mut was: Value = serde_json::from_str(&body).unwrap();
            for name in FORMER {
                was.as_object_mut().unwrap().remove(name);
            }
            was["identifier"] = json!({ "type": "m.id.user", "user": "@alice:hs.example" });
            prop_assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), was);
        }

        #[test]
        fn any_bytes_are_read_or_not(body in any::<Vec<u8>>()) {
            let _ = Login::read(&body);
        }
    }

    fn rewritten(body: &str) -> Option<String> {
        let login = Login::read(body.as_bytes()).unwrap()?;
        Some(String::from_utf8(login.with_user("@alice:hs.example").to_vec()).unwrap())
    }

    fn named(body: &str) -> Option<Named> {
        Login::read(body.as_bytes()).unwrap().map(|login| login.named)
    }

    #[test]
    fn all_that_is_not_about_who_logs_in_stays_as_it_was_written() {
        let body = r#"{ "type":"m.login.password", "identifier" :{"type":"m.id.thirdparty",
            "medium":"email","address":"a@b.test"}, "password": "pä\u0073s\"", "device_id":"D",
            "n": 1.50e2, "big":123456789012345678901234567890, "user":"x", "x\ny": [ 1,{"a":null} ],
            "refresh_token": true}"#;
        let expected = concat!(
            r#"{"identifier":{"type":"m.id.user","user":"@alice:hs.example"},"#,
            r#""type":"m.login.password","password":"pä\u0073s\"","device_id":"D","#,
            r#""n":1.50e2,"big":123456789012345678901234567890,"x\ny":[ 1,{"a":null} ],"#,
            r#""refresh_token":true}"#,
        );
        assert_eq!(rewritten(body).as_deref(), Some(expected));
    }

    #[test]
    fn the_rewritten_login_fits_into_what_was_reserved_for_it() {
        let user = "@alice:hs.example";
        let identifier = r#"{"type":"m.id.user","user":"@alice:hs.example"}"#;
        for name in ["\\u0001", "<", "é", "\\ud83d\\ude00", "\\\""] {
            let body = format!(r#"{{"user":"a@b","password":"p","{}":0}}"#, name.repeat(100));
            let login = Login::read(body.as_bytes()).unwrap().unwrap();
            let text: Vec<u8> = std::mem::take(&mut *login.with_user(user));
            // It would be more if it had grown.
            assert_eq!(text.capacity(), login.longest() + identifier.len(), "{name}");
        }
    }

    #[test]
    fn people_are_named_in_many_ways() {
        let threepid = |medium: &str, address: &str| {
            Some(Named::ThreePid { medium: medium.to_owned(), address: address.to_owned() })
        };
        let phone = |country: &str, number: &str| {
            Some(Named::Phone { country: country.to_owned(), number: number.to_owned() })
        };
        let address = |text: &str| Some(Named::Address(text.to_owned()));
        for (named_so, expected) in [
            (r#""medium":"email","address":"a@b""#, threepid("email", "a@b")),
            (r#""medium":"email","address":"a@b","identifier":null"#, threepid("email", "a@b")),
            (
                r#""identifier":{"type":"m.id.phone","country":"GB","phone":"07"}"#,
                phone("GB", "07"),
            ),
            (
                r#""identifier":{"type":"m.id.phone","country":"GB","number":"07"}"#,
                phone("GB", "07"),
            ),
            (r#""identifier":{"type":"m.id.user","user":"a@b"}"#, address("a@b")),
            (r#""user":"a@b""#, address("a@b")),
            (r#""user":"@a:b""#, None),
            (r#""user":"a""#, None),
            (r#""identifier":{"type":"m.id.user","user":"@a:b"},"user":"a@b""#, None),
            (r#""identifier":{"type":"m.id.thirdparty","medium":"email"}"#, None),
            (r#""identifier":{"type":"m.id.thirdparty","medium":1,"address":"a@b"}"#, None),
            (r#""identifier":{"type":"org.example","medium":"email","address":"a@b"}"#, None),
            (r#""identifier":["m.id.user"]"#, None),
            (r#""medium":"email""#, None),
        ] {
            let body = format!(r#"{{"type":"m.login.password","password":"p",{named_so}}}"#);
            assert_eq!(named(&body), expected, "{body}");
        }
    }

    #[test]
    fn what_is_no_login_with_a_password_is_left_alone() {
        let threepid =
            r#""identifier":{"type":"m.id.thirdparty","medium":"email","address":"a@b"}"#;
        for body in [
            "",
            "no JSON",
            "[]",
            "\"m.login.password\"",
            "{}",
            "\u{feff}{\"user\":\"a@b\",\"password\":\"p\"}",
            &format!(r#"{{"type":"m.login.token","token":"t",{threepid}}}"#),
            &format!(r#"{{"type":"m.login.application_service",{threepid}}}"#),
            &format!(r#"{{"type":"m.login.password","password":"p",{threepid}"#),
            r#"{"type":"m.login.password","user":"\ud800@b"}"#,
        ] {
            assert_eq!(named(body), None, "{body}");
        }
        assert!(named(&format!(r#"{{"type":"org.example","password":"p",{threepid}}}"#)).is_some());
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for body in [
            r#"{"type":"m.login.password","user":"a@b","user":"b@b"}"#,
            r#"{"type":"m.login.password","user":"a@b","\u0075ser":"b@b"}"#,
            r#"{"password":"p","identifier":{"type":"m.id.user","user":"a","user":"b"}}"#,
        ] {
            assert_eq!(Login::read(body.as_bytes()).err(), Some(InvalidLogin::Twice), "{body}");
        }
        for address in [r"a@b\r\nX: y", r"a@b\u0000", r"a@b\u007f", r"a@b\n"] {
            let body = format!(r#"{{"password":"p","medium":"email","address":"{address}"}}"#);
            let refused = Login::read(body.as_bytes()).err();
            assert_eq!(refused, Some(InvalidLogin::ControlCharacter), "{body}");
        }
    }
}
