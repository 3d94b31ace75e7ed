//! Third-party identifiers (3PIDs) in their canonical form.
//!
//! The canonical form of an e-mail address is the Unicode full case folding of the whole of it
//! ([appendix](https://spec.matrix.org/v1.19/appendices/#e-mail)), without normalisation. What
//! is refused beside the letter of that, and why:
//!
//! - White space, control and invisible characters, quoted local parts, comments, IP literals:
//!   two spellings that a person can't tell apart must not be two identifiers.
//! - A domain that IDNA (UTS #46, strict) does not accept: no mail can reach it.
//! - A domain that case folding turns into another domain (`straße.example` would become
//!   `strasse.example`, a stranger's): it has to be written as its A-label (`xn--…`).
//! - U-labels and A-labels of one domain stay two identifiers, since clients hash what people
//!   type and the specification knows no conversion.
//! - More than 64 bytes before the `@` or 253 in the domain's ASCII form: SMTP's limits.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use icu_casemap::CaseMapper;
use sha2::{Digest, Sha256};

use super::{medium::Medium, phone::Phone};
use crate::text;

/// The SHA-256 of a 3PID and a pepper.
pub type LookupHash = [u8; 32];

/// A 3PID whose address is in its canonical form: it can be compared, stored and hashed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ThreePid {
    medium: Medium,
    address: String,
}

/// Why a text is no address of its medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// Not of the form `user@domain`.
    #[error("An e-mail address has the form user@example.org, with exactly one @")]
    Form,
    /// A character that no canonical address has.
    #[error("An e-mail address holds no spaces, control characters, quotes or brackets")]
    Character,
    /// Too long for SMTP.
    #[error("An e-mail address has at most 64 bytes before the @")]
    TooLong,
    /// Not a domain name.
    #[error("The part after the @ is not a domain name")]
    Domain,
    /// Case folding would make it another domain.
    #[error("The domain can be mistaken for another one: write it in its ASCII form (xn--…)")]
    AmbiguousDomain,
    /// No phone has such a number.
    #[error("Not a phone number: a digit is missing or too many, or something else than digits")]
    Msisdn,
    /// Not a country with phone numbers.
    #[error("A country is the two letters of ISO 3166-1, such as GB")]
    Country,
    /// Not what the operator says that addresses of the medium are.
    #[error("This is no address of that medium")]
    Pattern,
}

impl ThreePid {
    /// Brings an e-mail address into its canonical form.
    ///
    /// # Errors
    /// When it is none, by the rules at the head of this module.
    pub fn email(address: &str) -> Result<Self, InvalidAddress> {
        let (local, domain) = address.split_once('@').ok_or(InvalidAddress::Form)?;
        if local.is_empty() || domain.is_empty() || domain.contains('@') {
            return Err(InvalidAddress::Form);
        }
        let local = fold(local);
        let folded_domain = fold(domain);
        if local.chars().any(is_forbidden) {
            return Err(InvalidAddress::Character);
        }
        if local.len() > 64 {
            return Err(InvalidAddress::TooLong);
        }
        let ascii = ascii_domain(&folded_domain)?;
        if ascii_domain(domain)? != ascii {
            return Err(InvalidAddress::AmbiguousDomain);
        }
        Ok(Self { medium: Medium::Email, address: format!("{local}@{folded_domain}") })
    }

    /// Takes the digits of a number in its international form.
    ///
    /// # Errors
    /// When no phone has such a number.
    pub fn msisdn(digits: &str) -> Result<Self, InvalidAddress> {
        let phone = Phone::of_digits(digits)?;
        Ok(Self { medium: Medium::Msisdn, address: phone.msisdn().to_owned() })
    }

    /// Takes an address that is in its canonical form: one that [`Self::address`] said before, out
    /// of a database, or that another rule has made.
    pub(crate) fn canonical(medium: Medium, address: String) -> Self {
        Self { medium, address }
    }

    /// The kind of the 3PID.
    #[must_use]
    pub fn medium(&self) -> &Medium {
        &self.medium
    }

    /// The canonical address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The hash under which the 3PID is looked up
    /// ([spec](https://spec.matrix.org/v1.19/identity-service-api/#sha256)).
    #[must_use]
    pub fn lookup_hash(&self, pepper: &str) -> LookupHash {
        lookup_hash(&self.address, self.medium.as_str(), pepper)
    }
}

/// The hash of any address, medium and pepper.
#[must_use]
pub fn lookup_hash(address: &str, medium: &str, pepper: &str) -> LookupHash {
    let mut hasher = Sha256::new();
    for part in [address, " ", medium, " ", pepper] {
        hasher.update(part.as_bytes());
    }
    hasher.finalize().into()
}

/// The hash as clients send it: URL-safe base64 without padding.
#[must_use]
pub fn encode_hash(hash: &LookupHash) -> String {
    URL_SAFE_NO_PAD.encode(hash)
}

/// Reads a hash as clients send it; what isn't one can match nothing.
#[must_use]
pub fn decode_hash(text: &str) -> Option<LookupHash> {
    let mut hash = [0; 32];
    // 43 characters: a longer text would not fit into the 32 bytes.
    (text.len() == 43 && URL_SAFE_NO_PAD.decode_slice(text, &mut hash).ok()? == 32).then_some(hash)
}

/// The first ten bytes of a hash as clients send it, read from its first characters: enough to see
/// that it isn't known. What isn't a hash may have a beginning all the same.
#[must_use]
pub fn decode_beginning(text: &str) -> Option<[u8; 10]> {
    let (high, rest) = text.as_bytes().split_first_chunk::<10>()?;
    let (high, low) = (sextets(high), sextets(rest.first_chunk::<4>()?));
    if text.len() != 43 || (high | low) & INVALID != 0 {
        return None;
    }
    // 84 bits, of which the last four begin the eleventh byte.
    let bits = u128::from(high) << 20 | u128::from(low) >> 4;
    let [.., b0, b1, b2, b3, b4, b5, b6, b7, b8, b9] = bits.to_be_bytes();
    Some([b0, b1, b2, b3, b4, b5, b6, b7, b8, b9])
}

/// The bits of up to ten characters, with [`INVALID`] where one of them has none.
fn sextets(characters: &[u8]) -> u64 {
    let (mut bits, mut all) = (0, 0);
    for character in characters {
        let value = SEXTETS.get(usize::from(*character)).copied().unwrap_or(NO_SEXTET);
        all |= value;
        bits = bits << 6 | u64::from(value & 0x3f);
    }
    bits | u64::from(all & NO_SEXTET) << 56
}

/// Set where a character isn't one of URL-safe base64.
const INVALID: u64 = 1 << 63;

/// What no character of URL-safe base64 stands for.
const NO_SEXTET: u8 = 0x80;

/// The six bits that each character of URL-safe base64 stands for.
const SEXTETS: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut sextets = [NO_SEXTET; 256];
    let mut value = 0;
    while value < 64 {
        #[expect(clippy::indexing_slicing, reason = "a constant: a wrong index wouldn't compile")]
        {
            sextets[alphabet[value as usize] as usize] = value;
        }
        value += 1;
    }
    sextets
};

/// Unicode full case folding (CaseFolding.txt, statuses C and F).
pub(super) fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    CaseMapper::new().fold_string(text).into_owned()
}

/// The ASCII form of a domain, as DNS and SMTP know it.
fn ascii_domain(domain: &str) -> Result<String, InvalidAddress> {
    let hyphens_and_letters =
        |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if !domain.chars().all(|c| hyphens_and_letters(c) && !is_forbidden(c)) {
        return Err(InvalidAddress::Domain);
    }
    let ascii = idna::domain_to_ascii_strict(domain).map_err(|_| InvalidAddress::Domain)?;
    match ascii.len() {
        0 => Err(InvalidAddress::Domain),
        // A number in the last place would be an IPv4 address to many programs.
        _ if ascii.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit())) => {
            Err(InvalidAddress::Domain)
        }
        _ => Ok(ascii),
    }
}

/// Whether no canonical address holds `c`: white space, control, invisible or of special meaning
/// in e-mail headers.
pub(super) fn is_forbidden(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c, '"' | '(' | ')' | ',' | ':' | ';' | '<' | '>' | '@' | '[' | '\\' | ']')
        || text::is_invisible(c)
}

/// Redacted, so that an address can't reach a log by accident.
impl fmt::Debug for ThreePid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:…", self.medium.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn email(address: &str) -> Result<String, InvalidAddress> {
        ThreePid::email(address).map(|threepid| threepid.address().to_owned())
    }

    #[test]
    fn an_address_is_folded_as_a_whole() {
        for (typed, canonical) in [
            ("Strauß@Example.com", "strauss@example.com"),
            ("ALICE+Tag@EXAMPLE.ORG", "alice+tag@example.org"),
            ("ΣΊΣΥΦΟΣ@example.org", "σίσυφοσ@example.org"),
            ("ﬁsh@example.org", "fish@example.org"),
            ("ſam@example.org", "sam@example.org"),
            ("\u{212a}elvin@example.org", "kelvin@example.org"),
            ("STRAẞE@example.org", "strasse@example.org"),
            ("user@BÜCHER.example", "user@bücher.example"),
            ("user@XN--BCHER-KVA.example", "user@xn--bcher-kva.example"),
            ("a@localhost", "a@localhost"),
            ("o'brien@example.org", "o'brien@example.org"),
        ] {
            assert_eq!(email(typed).as_deref(), Ok(canonical), "{typed}");
        }
    }

    #[test]
    fn normalisation_forms_stay_different_addresses() {
        assert_ne!(email("caf\u{e9}@example.org"), email("cafe\u{301}@example.org"));
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_reason() {
        use InvalidAddress::{AmbiguousDomain, Character, Domain, Form, TooLong};
        let long_local = format!("{}@example.org", "a".repeat(65));
        let long_domain = format!("a@{}org", "abc.".repeat(64));
        for (typed, reason) in [
            ("", Form),
            ("alice", Form),
            ("@example.org", Form),
            ("alice@", Form),
            ("a@b@c", Form),
            (" alice@example.org", Character),
            ("alice smith@example.org", Character),
            ("alice@example.org ", Domain),
            ("alice\r\nBcc:x@example.org", Character),
            ("Alice <alice@example.org>", Character),
            ("mailto:alice@example.org", Character),
            ("\"alice\"@example.org", Character),
            ("al\u{200b}ice@example.org", Character),
            ("alice@[127.0.0.1]", Domain),
            ("alice@127.0.0.1", Domain),
            ("alice@exa mple.org", Domain),
            ("alice@example..org", Domain),
            ("alice@.example.org", Domain),
            ("alice@-example.org", Domain),
            ("alice@a_b.org", Domain),
            ("alice@exam\u{ad}ple.org", Domain),
            ("alice@straße.example", AmbiguousDomain),
            (&long_local, TooLong),
            (&long_domain, Domain),
            ("alice@example.org.", Domain),
        ] {
            assert_eq!(email(typed), Err(reason), "{typed}");
        }
    }

    #[test]
    fn hashes_are_those_of_the_known_vectors() {
        for (address, hash) in [
            ("alice@example.com", "4kenr7N9drpCJ4AfalmlGQVsOn3o2RHjkADUpXJWZUc"),
            ("bob@example.com", "LJwSazmv46n0hlMlsb_iYxI0_HXEqy_yj6Jm636cdT8"),
            ("carl@example.com", "jDh2YLwYJg3vg9pEn3kaaXAP9jx-LlcotoH51Zgb9MA"),
            ("denny@example.com", "2tZto1arl2fUYtF6tQPJND69il3xke9OBlgFgnUt2ww"),
            ("Strauß@example.com", "Wvo9OL_UvrDZsRecvnhshdTeilXXGbhk0J5l5rX55Ok"),
        ] {
            let ours = ThreePid::email(address).unwrap().lookup_hash("matrixrocks");
            assert_eq!(encode_hash(&ours), hash);
            assert_eq!(decode_hash(hash), Some(ours));
        }
        for (digits, hash) in [
            ("18005552067", "nlo35_T5fzSGZzJApqu8lgIudJvmOQtDaHtr-I4rU7I"),
            ("12345678910", "S11EvvwnUWBDZtI4MTRKgVuiRx76Z9HnkbyRlWkBqJs"),
        ] {
            let ours = ThreePid::msisdn(digits).unwrap().lookup_hash("matrixrocks");
            assert_eq!(encode_hash(&ours), hash);
        }
    }

    #[test]
    fn what_is_no_hash_decodes_to_nothing() {
        let hash = "4kenr7N9drpCJ4AfalmlGQVsOn3o2RHjkADUpXJWZUc";
        for text in
            ["", "x", &hash[1..], &format!("{hash}="), &format!("{hash}A"), &hash.replace('k', "+")]
        {
            assert_eq!(decode_hash(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_beginning_of_a_hash_is_that_of_its_bytes(hash in any::<[u8; 32]>()) {
            prop_assert_eq!(decode_beginning(&encode_hash(&hash)), hash.first_chunk().copied());
        }

        #[test]
        fn what_has_a_beginning_is_a_hash_as_far_as_that_goes(text in "[A-Za-z0-9_+/=ä-]{43}") {
            if let Some(hash) = decode_hash(&text) {
                prop_assert_eq!(decode_beginning(&text), hash.first_chunk().copied());
            }
        }
    }

    #[test]
    fn debug_output_shows_no_address() {
        assert_eq!(format!("{:?}", ThreePid::email("alice@example.org").unwrap()), "email:…");
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_its_own_canonical_form(typed in "\\PC{1,12}@[a-zA-ZäßΣéİ]{1,8}\\.[a-z]{2,3}") {
            if let Ok(once) = email(&typed) {
                prop_assert_eq!(email(&once), Ok(once));
            }
        }

        #[test]
        fn any_text_is_read_without_a_panic_and_stays_one_line(typed in any::<String>()) {
            if let Ok(canonical) = email(&typed) {
                prop_assert_eq!(canonical.matches('@').count(), 1);
                prop_assert!(!canonical.chars().any(|c| c.is_whitespace() || c.is_control()));
            }
        }

        #[test]
        fn spellings_that_differ_in_case_are_one_address(local in "[a-zà-öø-þ0-9.+_-]{1,20}") {
            let (lower, upper) = (format!("{local}@example.org"), format!("{}@EXAMPLE.ORG", local.to_uppercase()));
            prop_assert_eq!(email(&lower), email(&upper));
        }

        #[test]
        fn an_ascii_address_is_only_lowercased(local in "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}") {
            let typed = format!("{local}@Example.ORG");
            prop_assert_eq!(email(&typed), Ok(typed.to_ascii_lowercase()));
        }
    }
}
