//! The forms of stored passwords, each by the crate of its algorithm.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Fault, MOST_MEMORY};
use crate::{matrix::signing::decode_base64, secret};

/// The least bytes of a derived key that count as a hash: a part of one would be guessed.
const LEAST_OUTPUT: usize = 16;

/// The value of `name` in `name=value,…`.
fn parameter(parameters: &str, name: &str) -> Option<u32> {
    parameters.split(',').find_map(|one| number(one.strip_prefix(name)?.strip_prefix('=')?))
}

fn number(digits: &str) -> Option<u32> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Base64 in the alphabet of passlib, too, which writes `.` for `+`.
fn base64(text: &str) -> Result<Vec<u8>, Fault> {
    decode_base64(&text.trim_end_matches('=').replace('.', "+")).ok_or(Fault::Malformed)
}

/// The parts of `stored` between its dollars, if there are `N`.
fn parts<const N: usize>(stored: &str) -> Result<[&str; N], Fault> {
    let parts: Vec<_> = stored.split('$').collect();
    parts.try_into().map_err(|_| Fault::Malformed)
}

pub(super) mod bcrypt {
    use sha2::Sha384;

    use super::{Engine, Fault, STANDARD};

    /// 2 to this power of rounds; about three seconds.
    const MOST_COST: u32 = 15;

    /// `$2b$12$…`
    pub(in super::super) fn plain(password: &[u8], stored: &str) -> Result<bool, Fault> {
        let parts: bcrypt::HashParts = stored.parse().map_err(|_| Fault::Malformed)?;
        if parts.get_cost() > MOST_COST {
            return Err(Fault::Costly);
        }
        bcrypt::verify(password, stored).map_err(|_| Fault::Malformed)
    }

    /// `$wp$2y$10$…`: of the password's HMAC, so that all of a long one counts.
    pub(in super::super) fn wordpress(password: &[u8], stored: &str) -> Result<bool, Fault> {
        use pbkdf2::hmac::{Hmac, KeyInit, Mac};
        let mut mac = Hmac::<Sha384>::new_from_slice(b"wp-sha384").map_err(|_| Fault::Malformed)?;
        mac.update(password);
        let password = STANDARD.encode(mac.finalize().into_bytes());
        plain(password.as_bytes(), stored.strip_prefix("$wp").ok_or(Fault::Malformed)?)
    }
}

pub(super) mod argon2 {
    use argon2::{Argon2, Params, PasswordHash, PasswordVerifier, password_hash::Error};

    use super::{Fault, MOST_MEMORY};

    /// Memory times passes, in KiB; about two seconds.
    const MOST_WORK: u64 = 2 << 20;

    /// The version of hashes that name none.
    const FIRST_VERSION: u32 = 0x10;

    /// `$argon2id$v=19$m=65536,t=3,p=4$…`
    pub(in super::super) fn check(password: &[u8], stored: &str) -> Result<bool, Fault> {
        let mut hash = PasswordHash::new(stored).map_err(|_| Fault::Malformed)?;
        hash.version.get_or_insert(FIRST_VERSION);
        let params = Params::try_from(&hash).map_err(|_| Fault::Malformed)?;
        let memory = u64::from(params.m_cost());
        if memory > MOST_MEMORY / 1024 || memory * u64::from(params.t_cost()) > MOST_WORK {
            return Err(Fault::Costly);
        }
        match Argon2::default().verify_password(password, &hash) {
            Ok(()) => Ok(true),
            Err(Error::PasswordInvalid) if hash.hash.is_some() => Ok(false),
            Err(_) => Err(Fault::Malformed),
        }
    }
}

pub(super) mod scrypt {
    use scrypt::Params;

    use super::{Fault, LEAST_OUTPUT, MOST_MEMORY, base64, number, parameter, parts, secret};

    /// Memory times parallelism, in bytes; about two seconds.
    const MOST_WORK: u64 = 1 << 30;

    /// The digits of `$7$`, in their order.
    const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    /// What a hash was made with: the logarithm of N, r, p, and the salt.
    pub(super) struct Made<'s>(pub(super) u32, pub(super) u32, pub(super) u32, pub(super) &'s [u8]);

    pub(super) fn check(password: &[u8], made: &Made<'_>, expected: &[u8]) -> Result<bool, Fault> {
        let Made(log_n, r, p, salt) = *made;
        let n = 1_u64.checked_shl(log_n).unwrap_or(u64::MAX);
        let memory = n.saturating_mul(u64::from(r)).saturating_mul(128);
        if memory > MOST_MEMORY || memory.saturating_mul(u64::from(p)) > MOST_WORK {
            return Err(Fault::Costly);
        }
        let log_n = u8::try_from(log_n).map_err(|_| Fault::Malformed)?;
        let params = Params::new(log_n, r, p).map_err(|_| Fault::Malformed)?;
        if !(LEAST_OUTPUT..=64).contains(&expected.len()) {
            return Err(Fault::Malformed);
        }
        let mut output = vec![0; expected.len()];
        scrypt::scrypt(password, salt, &params, &mut output).map_err(|_| Fault::Malformed)?;
        Ok(secret::same(&output, expected))
    }

    /// `$scrypt$ln=17,r=8,p=1$<salt>$<hash>`
    pub(in super::super) fn phc(password: &[u8], stored: &str) -> Result<bool, Fault> {
        let [_, _, parameters, salt, expected] = parts(stored)?;
        let parameter = |name| parameter(parameters, name).ok_or(Fault::Malformed);
        let salt = base64(salt)?;
        let made = Made(parameter("ln")?, parameter("r")?, parameter("p")?, &salt);
        check(password, &made, &base64(expected)?)
    }

    /// `$7$<N, r and p in 11 characters><salt>$<hash>`, as crypt has it.
    pub(in super::super) fn crypt(password: &[u8], stored: &str) -> Result<bool, Fault> {
        let [_, _, setting, expected] = parts(stored)?;
        let (log_n, rest) = setting.split_at_checked(1).ok_or(Fault::Malformed)?;
        let (r, rest) = rest.split_at_checked(5).ok_or(Fault::Malformed)?;
        let (p, salt) = rest.split_at_checked(5).ok_or(Fault::Malformed)?;
        let made = Made(number64(log_n)?, number64(r)?, number64(p)?, salt.as_bytes());
        check(password, &made, &bytes64(expected)?)
    }

    /// As Django has it: `scrypt$<N>$<salt>$<r>$<p>$<hash>`.
    pub(super) fn django(password: &[u8], stored: &str) -> Result<bool, Fault> {
        let [_, n, salt, r, p, expected] = parts(stored)?;
        let number = |digits| number(digits).ok_or(Fault::Malformed);
        let n = number(n)?;
        if !n.is_power_of_two() {
            return Err(Fault::Malformed);
        }
        let made = Made(n.ilog2(), number(r)?, number(p)?, salt.as_bytes());
        check(password, &made, &base64(expected)?)
    }

    fn digit(byte: u8) -> Result<u32, Fault> {
        let place = DIGITS.iter().position(|digit| *digit == byte).ok_or(Fault::Malformed)?;
        u32::try_from(place).map_err(|_| Fault::Malformed)
    }

    /// A number of up to five digits, the lowest first.
    fn number64(text: &str) -> Result<u32, Fault> {
        text.bytes().rev().try_fold(0, |number, byte| Ok(number << 6 | digit(byte)?))
    }

    /// Four digits for three bytes, the lowest first.
    fn bytes64(text: &str) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::with_capacity(text.len());
        for group in text.as_bytes().chunks(4) {
            let group = std::str::from_utf8(group).map_err(|_| Fault::Malformed)?;
            let [low, middle, high, _] = number64(group)?.to_le_bytes();
            bytes.extend([low, middle, high].iter().take(group.len() * 6 / 8));
        }
        Ok(bytes)
    }
}

pub(super) mod pbkdf2 {
    use pbkdf2::pbkdf2_hmac;
    use sha2::{Sha256, Sha512};

    use super::{Fault, LEAST_OUTPUT, base64, number, parameter, parts, secret};

    /// About three seconds with SHA-512; five times of what Django takes.
    const MOST_ROUNDS: u32 = 5_000_000;

    pub(super) fn check(
        password: &[u8],
        algorithm: &str,
        (rounds, salt): (Option<u32>, &[u8]),
        expected: &[u8],
    ) -> Result<bool, Fault> {
        let rounds = rounds.filter(|rounds| *rounds > 0).ok_or(Fault::Malformed)?;
        if rounds > MOST_ROUNDS {
            return Err(Fault::Costly);
        }
        if !(LEAST_OUTPUT..=64).contains(&expected.len()) {
            return Err(Fault::Malformed);
        }
        let mut output = vec![0; expected.len()];
        match algorithm {
            "pbkdf2-sha256" => pbkdf2_hmac::<Sha256>(password, salt, rounds, &mut output),
            "pbkdf2-sha512" => pbkdf2_hmac::<Sha512>(password, salt, rounds, &mut output),
            _ => return Err(Fault::Malformed),
        }
        Ok(secret::same(&output, expected))
    }

    /// `$pbkdf2-sha256$i=600000,l=32$<salt>$<hash>`, and with the bare number of rounds, as passlib
    /// has it.
    pub(in super::super) fn phc(password: &[u8], stored: &str) -> Result<bool, Fault> {
        let [_, algorithm, parameters, salt, expected] = parts(stored)?;
        let rounds = number(parameters).or_else(|| parameter(parameters, "i"));
        check(password, algorithm, (rounds, &base64(salt)?), &base64(expected)?)
    }
}

pub(super) mod sha_crypt {
    use sha_crypt::{PasswordVerifier, ShaCrypt, password_hash::Error};

    use super::{Fault, number};

    /// Half a second, but four for the longest password.
    const MOST_ROUNDS: u32 = 2_000_000;

    /// `$6$<salt>$…`, `$6$rounds=10000$<salt>$…`
    pub(in super::super) fn check(password: &[u8], stored: &str) -> Result<bool, Fault> {
        let rounds = stored.split('$').nth(2).and_then(|part| part.strip_prefix("rounds="));
        if let Some(rounds) = rounds {
            match number(rounds) {
                Some(..1000) | None => return Err(Fault::Malformed),
                Some(rounds) if rounds > MOST_ROUNDS => return Err(Fault::Costly),
                Some(_) => {}
            }
        }
        match ShaCrypt::default().verify_password(password, stored) {
            Ok(()) => Ok(true),
            Err(Error::PasswordInvalid) => Ok(false),
            Err(_) => Err(Fault::Malformed),
        }
    }
}

/// What Django puts around the forms of others.
pub(super) mod django {
    use std::fmt::Write;

    use sha2::{Digest, Sha256};

    use super::{Fault, base64, number, parts};

    /// `pbkdf2_sha256$<rounds>$<salt>$<hash>`
    pub(in super::super) fn pbkdf2(password: &[u8], stored: &str) -> Result<bool, Fault> {
        let [_, rounds, salt, expected] = parts(stored)?;
        let made = (number(rounds), salt.as_bytes());
        super::pbkdf2::check(password, "pbkdf2-sha256", made, &base64(expected)?)
    }

    /// `scrypt$<N>$<salt>$<r>$<p>$<hash>`
    pub(in super::super) fn scrypt(password: &[u8], stored: &str) -> Result<bool, Fault> {
        super::scrypt::django(password, stored)
    }

    /// `argon2$argon2id$…`
    pub(in super::super) fn argon2(password: &[u8], stored: &str) -> Result<bool, Fault> {
        super::argon2::check(password, stored.strip_prefix("argon2").ok_or(Fault::Malformed)?)
    }

    /// `bcrypt$$2b$12$…`
    pub(in super::super) fn bcrypt(password: &[u8], stored: &str) -> Result<bool, Fault> {
        super::bcrypt::plain(password, stored.strip_prefix("bcrypt$").ok_or(Fault::Malformed)?)
    }

    /// `bcrypt_sha256$$2b$12$…`: of the password's SHA-256 in hexadecimal digits.
    pub(in super::super) fn bcrypt_sha256(password: &[u8], stored: &str) -> Result<bool, Fault> {
        let stored = stored.strip_prefix("bcrypt_sha256$").ok_or(Fault::Malformed)?;
        let mut digits = String::with_capacity(64);
        for byte in Sha256::digest(password) {
            write!(digits, "{byte:02x}").map_err(|_| Fault::Malformed)?;
        }
        super::bcrypt::plain(digits.as_bytes(), stored)
    }
}
