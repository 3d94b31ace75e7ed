//! Whether a password is the one that a stored hash stands for.
//!
//! Each form says by its first characters what it is. What isn't known by them is refused, plain
//! text above all: nothing is ever compared as it stands. No error shows any part of what is
//! stored.
//!
//! Hashes come from a database that others may write to, so their cost is bounded before anything
//! is computed: [`MOST_MEMORY`] at once, and about as much time as somebody waits for a login.

mod forms;
#[cfg(test)]
mod tests;

use self::forms::{argon2, bcrypt, django, pbkdf2, scrypt, sha_crypt};

/// Why a stored hash can't be compared with anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PasswordError {
    /// No form that is served here.
    #[error("a stored password is in a form that is not supported: {0}")]
    Form(&'static str),
    /// Not what its first characters say it is.
    #[error("a stored password is malformed for {0}")]
    Malformed(&'static str),
    /// It would take more memory or time than a login may.
    #[error("a stored password costs more than a login may: {0}")]
    Costly(&'static str),
}

/// What is wrong with a hash of a known form.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Malformed,
    Costly,
}

/// In bytes; nobody types a longer one, and some forms take more time the longer it is.
const LONGEST_PASSWORD: usize = 512;

/// The memory that one hash may take: twice to four times what the usual settings ask for.
const MOST_MEMORY: u64 = 256 << 20;

type Check = fn(&[u8], &str) -> Result<bool, Fault>;

/// What a hash begins with, what it is called, and how a password is checked.
const FORMS: &[(&str, &str, Check)] = &[
    ("$2a$", "bcrypt", bcrypt::plain),
    ("$2b$", "bcrypt", bcrypt::plain),
    ("$2x$", "bcrypt", bcrypt::plain),
    ("$2y$", "bcrypt", bcrypt::plain),
    ("$wp$2", "WordPress's bcrypt", bcrypt::wordpress),
    ("$argon2id$", "Argon2", argon2::check),
    ("$argon2i$", "Argon2", argon2::check),
    ("$argon2d$", "Argon2", argon2::check),
    ("$scrypt$", "scrypt", scrypt::phc),
    ("$7$", "scrypt", scrypt::crypt),
    ("$pbkdf2-sha256$", "PBKDF2", pbkdf2::phc),
    ("$pbkdf2-sha512$", "PBKDF2", pbkdf2::phc),
    ("$5$", "SHA-crypt", sha_crypt::check),
    ("$6$", "SHA-crypt", sha_crypt::check),
    ("pbkdf2_sha256$", "Django's PBKDF2", django::pbkdf2),
    ("scrypt$", "Django's scrypt", django::scrypt),
    ("argon2$argon2", "Django's Argon2", django::argon2),
    ("bcrypt_sha256$$2", "Django's bcrypt", django::bcrypt_sha256),
    ("bcrypt$$2", "Django's bcrypt", django::bcrypt),
];

/// What is refused by its name: too weak, or made by no crate that is maintained.
const REFUSED: &[(&str, &str)] = &[
    ("$1$", "MD5-crypt"),
    ("$apr1$", "Apache's MD5-crypt"),
    ("$md5", "Sun's MD5-crypt"),
    ("$P$", "phpass, an old form of WordPress"),
    ("$H$", "phpass"),
    ("$S$", "an old form of Drupal"),
    ("$2$", "the first form of bcrypt"),
    ("$3$", "an NT hash"),
    ("$sha1$", "SHA-1-crypt"),
    ("$y$", "yescrypt"),
    ("$gy$", "gost-yescrypt"),
    ("$pbkdf2$", "PBKDF2 with SHA-1"),
    ("pbkdf2_sha1$", "Django's PBKDF2 with SHA-1"),
    ("md5$", "Django's MD5"),
    ("SCRAM-SHA-256$", "SCRAM of PostgreSQL"),
    ("{SSHA", "a salted SHA of LDAP"),
    ("{SHA", "a SHA of LDAP"),
    ("{SMD5}", "a salted MD5 of LDAP"),
    ("{MD5}", "an MD5 of LDAP"),
    ("{CRYPT}", "an old form of crypt"),
];

/// Whether `password` is the one that `stored` was made from. Takes as long as the stored form
/// wants, so it is for a thread that may block.
pub(super) fn verify(password: &str, stored: &str) -> Result<bool, PasswordError> {
    // Some databases fill up with spaces what is shorter than its column.
    let stored = without_scheme(stored.trim_end_matches(' '));
    if has_no_password(stored) {
        return Ok(false);
    }
    let Some((_, name, check)) = FORMS.iter().find(|(prefix, ..)| stored.starts_with(prefix))
    else {
        let refused = REFUSED.iter().find(|(prefix, _)| stored.starts_with(prefix));
        let name = refused.map_or("plain text, or a hash that does not say what it is", |(_, n)| n);
        return Err(PasswordError::Form(name));
    };
    if password.is_empty() || password.len() > LONGEST_PASSWORD || password.contains('\0') {
        return Ok(false);
    }
    check(password.as_bytes(), stored).map_err(|fault| match fault {
        Fault::Malformed => PasswordError::Malformed(name),
        Fault::Costly => PasswordError::Costly(name),
    })
}

/// What follows a scheme in braces, where the hash itself says what it is: `{CRYPT}$6$…`.
fn without_scheme(stored: &str) -> &str {
    let rest = stored.strip_prefix('{').and_then(|stored| stored.split_once('}'));
    rest.map(|(_, rest)| rest).filter(|rest| rest.starts_with('$')).unwrap_or(stored)
}

/// Whether nobody can log in by password: what Unix (`*`, `!`) and Django (`!`) write in its place.
fn has_no_password(stored: &str) -> bool {
    stored.is_empty() || stored.starts_with(['!', '*'])
}
