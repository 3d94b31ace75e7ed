//! The kinds of 3PIDs: e-mail addresses, phone numbers, and what an operator adds to them.

use std::{collections::BTreeMap, fmt, sync::Arc};

use regex::Regex;

use super::threepid::{InvalidAddress, ThreePid, fold, is_forbidden};

/// The kind of a 3PID.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Medium {
    /// An e-mail address.
    Email,
    /// A phone number.
    Msisdn,
    /// What an operator added, or a neighbour knows; by its name.
    Other(Arc<str>),
}

impl Medium {
    /// The medium of this name; whether it is served here is not asked.
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name {
            "email" => Self::Email,
            "msisdn" => Self::Msisdn,
            other => Self::Other(other.into()),
        }
    }

    /// The medium's name in the protocol.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Email => "email",
            Self::Msisdn => "msisdn",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// In bytes: the longest address of a medium that an operator added.
const LONGEST_ADDRESS: usize = 255;

/// What the addresses of a medium are that an operator added.
#[derive(Debug, Clone)]
pub struct Rule {
    pattern: Regex,
    /// Whether case distinguishes no addresses: they are case-folded then, as those of e-mail are.
    folds_case: bool,
}

impl Rule {
    /// A rule of the expression `pattern`, which is anchored here: it is about the whole of an
    /// address, whichever of its alternatives matches.
    ///
    /// # Errors
    /// When it is no regular expression.
    pub fn new(pattern: &str, folds_case: bool) -> Result<Self, regex::Error> {
        // By itself first: parentheses that don't match could find partners in ours.
        Regex::new(pattern)?;
        Ok(Self { pattern: Regex::new(&format!(r"\A(?:{pattern})\z"))?, folds_case })
    }

    /// Brings an address into its canonical form.
    fn canonical(&self, address: &str) -> Result<String, InvalidAddress> {
        let trimmed = address.trim();
        let address = if self.folds_case { fold(trimmed) } else { trimmed.to_owned() };
        let fits = (1..=LONGEST_ADDRESS).contains(&address.len())
            && !address.chars().any(is_forbidden)
            && self.pattern.is_match(&address);
        if fits { Ok(address) } else { Err(InvalidAddress::Pattern) }
    }
}

/// Why a medium and an address are no 3PID.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidThreepid {
    /// The medium is not served here.
    #[error("this server doesn't handle that medium")]
    Medium,
    /// The address is none of its medium.
    #[error("{1}")]
    Address(Medium, InvalidAddress),
}

/// The mediums that this server knows.
#[derive(Debug, Default)]
pub struct Mediums(BTreeMap<Arc<str>, Rule>);

impl Mediums {
    /// E-mail and phone, and `others` by their names.
    pub fn new<'a>(others: impl IntoIterator<Item = (&'a str, Rule)>) -> Self {
        Self(others.into_iter().map(|(name, rule)| (name.into(), rule)).collect())
    }

    /// The medium of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Medium> {
        match Medium::named(name) {
            Medium::Other(_) => {
                self.0.get_key_value(name).map(|(name, _)| Medium::Other(name.clone()))
            }
            medium => Some(medium),
        }
    }

    /// Brings an address into its canonical form.
    ///
    /// # Errors
    /// When the medium is unknown, or it is no address of that medium.
    pub fn threepid(&self, medium: &str, address: &str) -> Result<ThreePid, InvalidThreepid> {
        let medium = self.get(medium).ok_or(InvalidThreepid::Medium)?;
        let threepid = match &medium {
            Medium::Email => ThreePid::email(address),
            Medium::Msisdn => ThreePid::msisdn(address),
            Medium::Other(name) => match self.0.get(name) {
                Some(rule) => rule
                    .canonical(address)
                    .map(|address| ThreePid::canonical(medium.clone(), address)),
                None => return Err(InvalidThreepid::Medium),
            },
        };
        threepid.map_err(|fault| InvalidThreepid::Address(medium, fault))
    }

    /// As [`Self::threepid`], but of a medium that isn't served here any word is an address as it
    /// stands: another server may serve it.
    ///
    /// # Errors
    /// When the medium is no word, or it is no address of that medium.
    pub fn threepid_anywhere(
        &self,
        medium: &str,
        address: &str,
    ) -> Result<ThreePid, InvalidThreepid> {
        let word = |text: &str| {
            (1..=LONGEST_ADDRESS).contains(&text.len())
                && !text.chars().any(|c| c.is_whitespace() || c.is_control())
        };
        match self.threepid(medium, address) {
            Err(InvalidThreepid::Medium) if word(medium) && word(address) => {
                Ok(ThreePid::canonical(Medium::named(medium), address.to_owned()))
            }
            read => read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mediums(pattern: &str, folds_case: bool) -> Mediums {
        Mediums::new([("badge", Rule::new(pattern, folds_case).unwrap())])
    }

    #[test]
    fn an_added_medium_has_addresses_by_its_pattern_as_a_whole() {
        let mediums = mediums("[a-z]{2}|[a-z]{2}-[0-9]{4}", true);
        let address = |text: &str| {
            mediums.threepid("badge", text).map(|threepid| threepid.address().to_owned())
        };
        assert_eq!(address(" AB-0123 ").as_deref(), Ok("ab-0123"));
        let refused = InvalidThreepid::Address(Medium::named("badge"), InvalidAddress::Pattern);
        for text in ["", "ab-01234", "xab-0123", "ab-0123\nab-0123", "a b"] {
            assert_eq!(address(text).unwrap_err(), refused, "{text:?}");
        }
    }

    #[test]
    fn case_distinguishes_where_the_operator_says_so() {
        let kept = mediums("[A-Za-z]+", false);
        assert_eq!(kept.threepid("badge", "Ab").unwrap().address(), "Ab");
    }

    #[test]
    fn elsewhere_any_word_is_an_address() {
        let mediums = Mediums::default();
        let anywhere = |medium, address| mediums.threepid_anywhere(medium, address).ok();
        let address = |threepid: Option<ThreePid>| threepid.map(|t| t.address().to_owned());
        assert_eq!(address(anywhere("badge", "Ab@B.test")).as_deref(), Some("Ab@B.test"));
        assert_eq!(address(anywhere("email", "Ab@B.test")).as_deref(), Some("ab@b.test"));
        for (medium, text) in [("badge", ""), ("", "ab"), ("ba dge", "ab"), ("badge", "a\nb")] {
            assert_eq!(anywhere(medium, text), None, "{medium} {text}");
        }
        assert_eq!(anywhere("email", "ab"), None);
    }

    #[test]
    fn a_medium_that_nobody_added_is_unknown() {
        let mediums = Mediums::default();
        assert_eq!(mediums.threepid("badge", "x").unwrap_err(), InvalidThreepid::Medium);
        assert_eq!(mediums.get("msisdn"), Some(Medium::Msisdn));
    }
}
