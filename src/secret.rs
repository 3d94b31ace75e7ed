//! Random secrets, how they are kept at rest, and how they are compared.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{Rng, RngExt};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The SHA-256 of a secret: what the database holds in the secret's place.
pub type SecretHash = Vec<u8>;

/// A fresh secret of 256 random bits, in URL-safe base64 (43 characters).
#[must_use]
pub fn random_token() -> String {
    URL_SAFE_NO_PAD.encode(random_bytes::<32>())
}

/// `length` random characters out of `[0-9a-zA-Z]`.
#[must_use]
pub fn random_alphanumeric(length: usize) -> String {
    random().sample_iter(rand::distr::Alphanumeric).take(length).map(char::from).collect()
}

/// `length` random decimal digits: a code that people type.
#[must_use]
pub fn random_digits(length: usize) -> String {
    let mut random = random();
    (0..length).map(|_| char::from(b'0' + random.random_range(0..10))).collect()
}

/// `N` random bytes.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    random().fill_bytes(&mut bytes);
    bytes
}

fn random() -> impl Rng {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that draws")]
    rand::rng()
}

/// What is stored in place of `secret`. A plain hash suffices: such secrets have 256 random bits, so
/// there is nothing to guess.
#[must_use]
pub fn hash(secret: &str) -> SecretHash {
    Sha256::digest(secret.as_bytes()).to_vec()
}

/// What is stored in place of a short `code`: its digits alone could be found by trying all of them,
/// so the hash is made with a secret that only the client has.
#[must_use]
pub fn hash_code(code: &str, client_secret: &str) -> SecretHash {
    // No client secret has a space in it.
    hash(&format!("{client_secret} {code}"))
}

/// Whether `secret` is the one that `hash` stands for; takes as long for a wrong one as for the
/// right one.
#[must_use]
pub fn matches(secret: &str, hash: &[u8]) -> bool {
    same(&self::hash(secret), hash)
}

/// Whether two hashes are the same; takes as long where they are not.
#[must_use]
pub fn same(one: &[u8], other: &[u8]) -> bool {
    bool::from(one.ct_eq(other))
}
