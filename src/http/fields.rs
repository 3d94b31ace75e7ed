//! The fields of a request, read with the leniency that real clients need: `null` and `""` in an
//! optional field mean that it isn't there, a whole number may be a decimal string.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::error::ApiError;
use crate::{
    matrix::{
        json::Object,
        medium::{InvalidThreepid, Medium, Mediums},
        signing::decode_base64,
        threepid::ThreePid,
    },
    store::sessions::SessionKey,
};

/// The fields of a JSON object, a form or a query.
#[derive(Debug, Default)]
pub(super) struct Fields(Object);

impl Fields {
    /// Reads a JSON object.
    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(object)) => Ok(Self(object)),
            Ok(_) => Err(ApiError::BadJson("The body must be a JSON object".to_owned())),
            Err(_) => Err(ApiError::NotJson),
        }
    }

    /// Reads `a=b&c=d`; of a name that comes twice the first counts.
    pub(super) fn from_form(bytes: &[u8]) -> Self {
        let mut object = Map::new();
        for (name, value) in url::form_urlencoded::parse(bytes) {
            object.entry(name).or_insert_with(|| Value::from(value));
        }
        Self(object)
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A value that must be there.
    pub(super) fn value(&self, name: &'static str) -> Result<&Value, ApiError> {
        self.get(name).ok_or(ApiError::MissingParams(name))
    }

    /// A text that must be there.
    pub(super) fn text(&self, name: &'static str) -> Result<&str, ApiError> {
        let value = self.get(name).ok_or(ApiError::MissingParams(name))?;
        value.as_str().ok_or_else(|| wrong(name, "a string"))
    }

    /// A text that may be missing, `null` or empty.
    pub(super) fn optional_text(&self, name: &'static str) -> Result<Option<&str>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => {
                let text = value.as_str().ok_or_else(|| wrong(name, "a string"))?;
                Ok(Some(text).filter(|text| !text.is_empty()))
            }
        }
    }

    /// A text that is parsed.
    pub(super) fn parsed<T: FromStr<Err: std::fmt::Display>>(
        &self,
        name: &'static str,
    ) -> Result<T, ApiError> {
        let text = self.text(name)?;
        text.parse().map_err(|error| ApiError::InvalidParam(format!("{name}: {error}")))
    }

    /// A `client_secret`, `sid` or token of an invitation: 1 to 255 characters out of
    /// `[0-9a-zA-Z.=_-]`.
    pub(super) fn opaque_id(&self, name: &'static str) -> Result<&str, ApiError> {
        let text = self.text(name)?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'=' | b'_' | b'-');
        if (1..=255).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(text)
        } else {
            Err(wrong(name, "1 to 255 characters out of 0-9 a-z A-Z . = _ -"))
        }
    }

    /// The bytes of a base64 text, of either alphabet; `None` where it isn't one.
    pub(super) fn base64(&self, name: &'static str) -> Result<Option<Vec<u8>>, ApiError> {
        // A `+` that wasn't escaped in a query arrives as a space.
        Ok(decode_base64(&self.text(name)?.replace(' ', "+")))
    }

    /// The `sid` and `client_secret`.
    pub(super) fn session_key(&self) -> Result<SessionKey, ApiError> {
        let sid = self.opaque_id("sid")?.to_owned();
        Ok(SessionKey { sid, client_secret: self.opaque_id("client_secret")?.to_owned() })
    }

    /// A whole number of 53 bits, or a string of its decimal digits (as matrix-js-sdk sends it).
    pub(super) fn integer(&self, name: &'static str) -> Result<i64, ApiError> {
        let value = self.get(name).ok_or(ApiError::MissingParams(name))?;
        let number = match value {
            Value::String(digits) => digits.parse().ok(),
            other => other.as_i64(),
        };
        number
            .filter(|number: &i64| number.unsigned_abs() < 1 << 53)
            .ok_or_else(|| wrong(name, "a whole number"))
    }

    /// A list of strings.
    pub(super) fn texts(&self, name: &'static str) -> Result<Vec<String>, ApiError> {
        let value = self.get(name).ok_or(ApiError::MissingParams(name))?;
        value
            .as_array()
            .and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect())
            .ok_or_else(|| wrong(name, "a list of strings"))
    }

    /// An object in the object.
    pub(super) fn object(&self, name: &'static str) -> Result<Self, ApiError> {
        let value = self.get(name).ok_or(ApiError::MissingParams(name))?;
        let object = value.as_object().ok_or_else(|| wrong(name, "an object"))?;
        Ok(Self(object.clone()))
    }

    /// The `medium` and `address` of a 3PID of one of `mediums`.
    pub(super) fn threepid(&self, mediums: &Mediums) -> Result<ThreePid, ApiError> {
        let (medium, address) = (self.text("medium")?, self.text("address")?);
        mediums.threepid(medium, address).map_err(|fault| not_a_threepid(&fault))
    }

    /// The `medium` and `address` of a 3PID of any medium, served here or elsewhere.
    pub(super) fn threepid_anywhere(&self, mediums: &Mediums) -> Result<ThreePid, ApiError> {
        let (medium, address) = (self.text("medium")?, self.text("address")?);
        mediums.threepid_anywhere(medium, address).map_err(|fault| not_a_threepid(&fault))
    }

    /// The brand that the message shall have; whatever is there is no error.
    pub(super) fn brand(&self) -> Option<&str> {
        self.optional_text("brand").ok().flatten()
    }

    /// The language that a client asks for: `locale`, or the same under the name of a proposal
    /// (`org.matrix.msc….locale`). Whatever is there is no error.
    pub(super) fn locale(&self) -> Option<&str> {
        let proposed = |name: &str| name.starts_with("org.matrix.msc") && name.ends_with("locale");
        let hint = self.0.get("locale").and_then(Value::as_str);
        hint.filter(|hint| !hint.is_empty()).or_else(|| {
            self.0.iter().find(|(name, _)| proposed(name)).and_then(|(_, value)| value.as_str())
        })
    }

    /// All fields as they came.
    pub(super) fn into_object(self) -> Object {
        self.0
    }

    /// Whether a field is there, and not empty.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value != "")
    }
}

pub(super) fn not_a_threepid(fault: &InvalidThreepid) -> ApiError {
    match *fault {
        InvalidThreepid::Medium => ApiError::UnknownMedium,
        InvalidThreepid::Address(Medium::Email, fault) => ApiError::InvalidEmail(fault),
        InvalidThreepid::Address(_, fault) => ApiError::InvalidAddress(fault),
    }
}

fn wrong(name: &'static str, expected: &str) -> ApiError {
    ApiError::InvalidParam(format!("{name} must be {expected}"))
}
