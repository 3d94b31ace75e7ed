//! Ed25519 signing keys and signed JSON, by the
//! [appendix of the specification](https://spec.matrix.org/v1.19/appendices/#signing-json).

use std::fmt;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose},
};
use ed25519_dalek::{Signature, Signer, VerifyingKey};
use serde_json::{Map, Value};

use super::{
    id::ServerName,
    json::{NotCanonical, Object, canonical},
};
use crate::secret;

/// Reads base64 as other servers write it: padded or not, with stray bits in the last character
/// (the specification's own test seed has them).
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Unpadded standard base64, the form of keys and signatures.
#[must_use]
pub fn encode_base64(bytes: &[u8]) -> String {
    general_purpose::STANDARD_NO_PAD.encode(bytes)
}

/// Reads base64 of either alphabet, padded or not.
#[must_use]
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

/// A signing key with its version, the `0` of `ed25519:0`.
#[derive(Clone)]
pub struct SigningKey {
    version: String,
    key: ed25519_dalek::SigningKey,
}

/// Why a line is no signing key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The line has other than three words.
    #[error("expected `ed25519 <version> <unpadded base64 seed>`")]
    Form,
    /// The algorithm is unknown.
    #[error("the algorithm {0:?} is not known; only `ed25519` is")]
    Algorithm(String),
    /// The version has other characters than the specification allows.
    #[error("the version {0:?} may hold only the characters a-z A-Z 0-9 and _")]
    Version(String),
    /// The seed can't be read.
    #[error("the seed must be the base64 of 32 bytes")]
    Seed,
}

impl SigningKey {
    /// Makes a key of fresh randomness with a random version.
    #[must_use]
    pub fn generate() -> Self {
        Self {
            version: format!("a_{}", secret::random_alphanumeric(6)),
            key: ed25519_dalek::SigningKey::from_bytes(&secret::random_bytes()),
        }
    }

    /// Reads a line of a key file in Synapse's format.
    ///
    /// # Errors
    /// When the line isn't `ed25519 <version> <unpadded base64 seed>`.
    pub fn from_line(line: &str) -> Result<Self, InvalidKey> {
        let mut words = line.split_whitespace();
        let (Some(algorithm), Some(version), Some(seed), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(InvalidKey::Form);
        };
        if algorithm != "ed25519" {
            return Err(InvalidKey::Algorithm(algorithm.to_owned()));
        }
        if !version.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(InvalidKey::Version(version.to_owned()));
        }
        let seed = decode_base64(seed).and_then(|s| s.try_into().ok()).ok_or(InvalidKey::Seed)?;
        Ok(Self { version: version.to_owned(), key: ed25519_dalek::SigningKey::from_bytes(&seed) })
    }

    /// The line of a key file that [`Self::from_line`] reads. It holds the secret seed.
    #[must_use]
    pub fn to_line(&self) -> String {
        format!("ed25519 {} {}", self.version, encode_base64(self.key.as_bytes()))
    }

    /// The key of a seed, under the version `0`: what the mail of an invitation holds.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        Self { version: "0".to_owned(), key }
    }

    /// The secret half.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// The id under which signatures name the key, such as `ed25519:0`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("ed25519:{}", self.version)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// Signs `object` under `name`; signatures that it already carries stay.
    ///
    /// # Errors
    /// When the object has no canonical form.
    pub fn sign(&self, name: &ServerName, object: &mut Object) -> Result<(), NotCanonical> {
        self.sign_as(name, &self.id(), object)
    }

    /// As [`Self::sign`], under another id: that which the reader knows the key by.
    ///
    /// # Errors
    /// When the object has no canonical form.
    pub fn sign_as(
        &self,
        name: &ServerName,
        key_id: &str,
        object: &mut Object,
    ) -> Result<(), NotCanonical> {
        let signature = self.key.sign(signed_text(object)?.as_bytes());
        let of_server = object
            .entry("signatures")
            .or_insert_with(|| Value::Object(Map::new()))
            .as_object_mut()
            .and_then(|all| {
                all.entry(name.as_str())
                    .or_insert_with(|| Value::Object(Map::new()))
                    .as_object_mut()
            })
            .ok_or(NotCanonical)?;
        of_server.insert(key_id.to_owned(), Value::from(encode_base64(&signature.to_bytes())));
        Ok(())
    }
}

/// Redacted: the seed never reaches a log.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id())
    }
}

/// Whether `object` carries a signature by `name` with the key `key_id` that verifies with the
/// public key `public`.
#[must_use]
pub fn verifies(object: &Object, name: &ServerName, key_id: &str, public: &[u8; 32]) -> bool {
    let signature = object
        .get("signatures")
        .and_then(|all| all.get(name.as_str())?.get(key_id)?.as_str())
        .and_then(decode_base64)
        .and_then(|bytes| Signature::from_slice(&bytes).ok());
    let (Some(signature), Ok(key), Ok(text)) =
        (signature, VerifyingKey::from_bytes(public), signed_text(object))
    else {
        return false;
    };
    key.verify_strict(text.as_bytes(), &signature).is_ok()
}

/// What of `object` is signed: all but `signatures` and `unsigned`.
fn signed_text(object: &Object) -> Result<String, NotCanonical> {
    let mut object = object.clone();
    object.remove("signatures");
    object.remove("unsigned");
    canonical(&object)
}

/// The server's long-term keys: the first one signs, all of them stay published.
#[derive(Clone, Debug)]
pub struct KeyRing {
    first: SigningKey,
    retired: Vec<SigningKey>,
}

/// Why a key file can't be used, with its line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeyFile {
    /// A line is no key.
    #[error("line {line}: {fault}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        fault: InvalidKey,
    },
    /// Two keys have one version.
    #[error("line {line}: the version of {id} is used by an earlier line")]
    Twice {
        /// Counted from 1.
        line: usize,
        /// The id that both have.
        id: String,
    },
    /// There is no key in it.
    #[error("it holds no key; `bindery keys make` makes one")]
    Empty,
}

impl KeyRing {
    /// A ring of one key.
    #[must_use]
    pub fn new(key: SigningKey) -> Self {
        Self { first: key, retired: Vec::new() }
    }

    /// Reads a key file: a key a line, empty lines and lines that begin with `#` aside.
    ///
    /// # Errors
    /// When a line is no key, two have one version, or there is none.
    pub fn from_text(text: &str) -> Result<Self, InvalidKeyFile> {
        let mut keys: Vec<SigningKey> = Vec::new();
        for (index, content) in text.lines().enumerate() {
            let (line, content) = (index + 1, content.trim());
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let key = SigningKey::from_line(content)
                .map_err(|fault| InvalidKeyFile::Line { line, fault })?;
            if keys.iter().any(|k| k.id() == key.id()) {
                return Err(InvalidKeyFile::Twice { line, id: key.id() });
            }
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or(InvalidKeyFile::Empty)?;
        Ok(Self { first, retired: keys.collect() })
    }

    /// The key that signs.
    #[must_use]
    pub fn signing(&self) -> &SigningKey {
        &self.first
    }

    /// All keys, the signing one first.
    pub fn iter(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&self.first).chain(&self.retired)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The seed of the specification's test vectors.
    const SEED: &str = "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1";

    fn key() -> SigningKey {
        SigningKey::from_line(&format!("ed25519 1 {SEED}")).unwrap()
    }

    fn signed(value: &Value) -> Object {
        let mut object = value.as_object().unwrap().clone();
        key().sign(&"domain".parse().unwrap(), &mut object).unwrap();
        object
    }

    #[test]
    fn signatures_are_those_of_the_known_vectors() {
        let association = json!({"address": "louise@bobs.burgers", "medium": "email",
            "mxid": "@ears:matrix.org", "not_after": 4_582_425_849_161_i64,
            "not_before": 1_428_825_849_161_i64, "ts": 1_428_825_849_161_i64});
        for (value, signature) in [
            (
                json!({}),
                "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ",
            ),
            (
                json!({"one": 1, "two": "Two"}),
                "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
            ),
            (
                association,
                "h2QHOGcKSH3OHlhuLi0NnWhbHQpEzIUJt6aGNgXu0gPqmwpamdYpzCT3RwfsoLmR2NzO/fZWrV18G7ypGR08AQ",
            ),
            (
                json!({"mxid": "@alice:localhost", "token": "abc123"}),
                "yXPA++YuQpuasdXGASHhhuf2AH0AbSMdo5qTEGIJr+jYF3pxs7wYd+2qYn7NfZ2kD6oHd1fwhhFslJtjD4WVDQ",
            ),
            (
                json!({"mxid": "@foo:bar.com", "sender": "@baz:bar.com", "token": "abc123"}),
                "m6rWIAk7XyOljo72hR/3FbuNaq4j8B3FLzrskNgvdOYnXquLyCkljF+40RewSZbMKfF8FugVJOn8SVZxhgahCQ",
            ),
        ] {
            let object = signed(&value);
            assert_eq!(object["signatures"], json!({"domain": {"ed25519:1": signature}}));
            assert!(verifies(&object, &"domain".parse().unwrap(), "ed25519:1", &key().public()));
        }
        assert_eq!(encode_base64(&key().public()), "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI");
    }

    #[test]
    fn a_changed_object_or_another_signer_does_not_verify() {
        let domain = "domain".parse().unwrap();
        let mut object = signed(&json!({"one": 1}));
        assert!(!verifies(&object, &"other".parse().unwrap(), "ed25519:1", &key().public()));
        assert!(!verifies(&object, &domain, "ed25519:2", &key().public()));
        assert!(!verifies(&object, &domain, "ed25519:1", &SigningKey::generate().public()));
        object.insert("unsigned".to_owned(), json!({"age": 1}));
        assert!(verifies(&object, &domain, "ed25519:1", &key().public()));
        object.insert("one".to_owned(), json!(2));
        assert!(!verifies(&object, &domain, "ed25519:1", &key().public()));
    }

    #[test]
    fn a_signature_is_what_ruma_makes() {
        let mut object = ruma_common::CanonicalJsonObject::new();
        object.insert("ä".to_owned(), "ß".to_owned().into());
        let pair = ruma_signatures::Ed25519KeyPair::from_der(
            &pkcs8(&decode_base64(SEED).unwrap()),
            "1".to_owned(),
        )
        .unwrap();
        ruma_signatures::sign_json("domain", &pair, &mut object).unwrap();
        let ours = Value::Object(signed(&json!({"ä": "ß"}))).to_string();
        assert_eq!(ours, serde_json::to_value(&object).unwrap().to_string());
    }

    /// RFC 8410's form of a seed.
    fn pkcs8(seed: &[u8]) -> Vec<u8> {
        let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        [&head, seed].concat()
    }

    #[test]
    fn a_key_file_keeps_its_order_and_names_its_faults() {
        let (a, b) = (SigningKey::generate(), SigningKey::generate());
        let text = format!("# keys\n{}\n\n{}\n", a.to_line(), b.to_line());
        let ring = KeyRing::from_text(&text).unwrap();
        assert_eq!(ring.signing().id(), a.id());
        assert_eq!(
            ring.iter().map(SigningKey::public).collect::<Vec<_>>(),
            [a.public(), b.public()]
        );
        assert_eq!(KeyRing::from_text("# none\n").unwrap_err(), InvalidKeyFile::Empty);
        for (text, fault) in [
            ("ed25519 1", InvalidKey::Form),
            ("rsa 1 x", InvalidKey::Algorithm("rsa".to_owned())),
            ("ed25519 a-b x", InvalidKey::Version("a-b".to_owned())),
            ("ed25519 1 x", InvalidKey::Seed),
        ] {
            let wrong = KeyRing::from_text(&format!("\n{text}")).unwrap_err();
            assert_eq!(wrong, InvalidKeyFile::Line { line: 2, fault });
        }
        let twice = KeyRing::from_text(&format!("{}\n{}", a.to_line(), a.to_line())).unwrap_err();
        assert_eq!(twice, InvalidKeyFile::Twice { line: 2, id: a.id() });
    }
}
