//! Phone numbers: from what people type to the digits of E.164
//! ([appendix](https://spec.matrix.org/v1.19/appendices/#pstn-phone-numbers)).
//!
//! What a numbering plan makes possible is a number, valid or not: numbers are handed out sooner
//! than the data learns of them, and the specification's own example, 07700 900001 in the United
//! Kingdom, lies in a range that is kept for films.

use std::{fmt, str::FromStr};

use rlibphonenumber::{
    NumberLengthType, PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat, PhoneNumberType, Region,
};

use super::threepid::InvalidAddress;

/// The longest text that is read as a number, in characters: 15 digits with much between them.
const LONGEST_TEXT: usize = 64;

/// How often a reading is read again until it stays what it is.
const READINGS: usize = 4;

/// A country that has phone numbers, by its code of two letters (ISO 3166-1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Country([u8; 2]);

/// The text is no code of a country that has phone numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a country: expected two letters of ISO 3166-1, such as GB")]
pub struct UnknownCountry;

impl Country {
    /// The two capital letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// `None` for what is no country: the region of satellites and services all over the world.
    fn of(region: Region) -> Option<Self> {
        region.as_region_str().as_bytes().try_into().ok().map(Self)
    }

    fn region(self) -> Option<Region> {
        self.as_str().parse().ok()
    }

    /// What its numbers begin with from abroad.
    fn calling_code(self) -> Option<i32> {
        PHONE_NUMBER_UTIL.get_country_code_for_region(self.region()?)
    }
}

impl FromStr for Country {
    type Err = UnknownCountry;

    fn from_str(code: &str) -> Result<Self, UnknownCountry> {
        let country = code.parse().ok().and_then(Self::of);
        country.filter(|country| country.calling_code().is_some()).ok_or(UnknownCountry)
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a number is for, as far as the numbering plan tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NumberKind {
    /// A line to a place.
    FixedLine,
    /// A mobile phone.
    Mobile,
    /// One of the two: North America doesn't tell them apart.
    FixedLineOrMobile,
    /// Who is called pays.
    TollFree,
    /// Who calls pays more than for other calls.
    PremiumRate,
    /// Both pay.
    SharedCost,
    /// Telephony over the Internet.
    Voip,
    /// A person's number that leads to another of theirs.
    PersonalNumber,
    /// A pager.
    Pager,
    /// An organisation's number that leads to one of its places.
    Uan,
    /// A voice mailbox.
    Voicemail,
    /// The numbering plan makes it possible and says no more.
    Unknown,
}

impl From<PhoneNumberType> for NumberKind {
    fn from(kind: PhoneNumberType) -> Self {
        match kind {
            PhoneNumberType::FixedLine => Self::FixedLine,
            PhoneNumberType::Mobile => Self::Mobile,
            PhoneNumberType::FixedLineOrMobile => Self::FixedLineOrMobile,
            PhoneNumberType::TollFree => Self::TollFree,
            PhoneNumberType::PremiumRate => Self::PremiumRate,
            PhoneNumberType::SharedCost => Self::SharedCost,
            PhoneNumberType::VoIP => Self::Voip,
            PhoneNumberType::PersonalNumber => Self::PersonalNumber,
            PhoneNumberType::Pager => Self::Pager,
            PhoneNumberType::UAN => Self::Uan,
            PhoneNumberType::VoiceMail => Self::Voicemail,
            PhoneNumberType::Unknown => Self::Unknown,
        }
    }
}

/// A phone number that can be dialled from anywhere.
#[derive(Clone, PartialEq)]
pub struct Phone {
    number: PhoneNumber,
    msisdn: String,
}

impl Phone {
    /// Reads `number` as if it were dialled from `country`
    /// ([spec](https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2validatemsisdnrequesttoken)).
    ///
    /// Digits that begin with the calling code of `country` may be its international form without
    /// the `+`, which is what Element on Android sends, or a national number that happens to begin
    /// so. The reading wins that the numbering plan thinks more likely, of equals the national one.
    ///
    /// # Errors
    /// When there is no such country, or nothing there has such a number.
    pub fn parse(country: &str, number: &str) -> Result<Self, InvalidAddress> {
        let country: Country = country.parse().map_err(|_| InvalidAddress::Country)?;
        let dialled = dialled(number)?;
        let national = Self::read(&dialled, country.region());
        let code = country.calling_code().unwrap_or_default().to_string();
        let international =
            dialled.starts_with(&code).then(|| Self::read(&format!("+{dialled}"), None)).flatten();
        match (national, international) {
            (Some(national), Some(other)) if other.likelihood() > national.likelihood() => {
                Ok(other)
            }
            (Some(phone), _) | (None, Some(phone)) => Ok(phone),
            (None, None) => Err(InvalidAddress::Msisdn),
        }
    }

    /// Reads the international form of a number, with or without the `+`.
    ///
    /// # Errors
    /// When no country has such a number.
    pub fn of_digits(digits: &str) -> Result<Self, InvalidAddress> {
        let dialled = dialled(digits)?;
        let digits = dialled.trim_start_matches('+');
        Self::read(&format!("+{digits}"), None).ok_or(InvalidAddress::Msisdn)
    }

    /// What `dialled` means when dialled from `region`.
    ///
    /// A reading may leave something that is itself read as another number, such as a second
    /// trunk prefix. It is read again until nothing changes, so that each number has one form.
    fn read(dialled: &str, region: Option<Region>) -> Option<Self> {
        let mut phone = Self::of(PHONE_NUMBER_UTIL.parse(dialled, region).ok()?)?;
        for _ in 0..READINGS {
            let international = format!("+{}", phone.msisdn);
            let again = Self::of(PHONE_NUMBER_UTIL.parse(international, None).ok()?)?;
            if again.msisdn == phone.msisdn {
                return phone.is_possible().then_some(phone);
            }
            phone = again;
        }
        None
    }

    /// `None` for more digits than E.164 has, or so few that only a local network has such.
    fn of(number: PhoneNumber) -> Option<Self> {
        let e164 = PHONE_NUMBER_UTIL.format(&number, PhoneNumberFormat::E164);
        let msisdn = e164.strip_prefix('+')?.to_owned();
        (5..=15).contains(&msisdn.len()).then_some(Self { number, msisdn })
    }

    /// Whether it has a length that numbers of its country have when they are dialled from abroad.
    fn is_possible(&self) -> bool {
        let length = PHONE_NUMBER_UTIL.is_possible_number_with_reason(&self.number);
        length == Ok(NumberLengthType::IsPossible)
    }

    /// How likely it is that somebody means this number.
    fn likelihood(&self) -> u8 {
        match (PHONE_NUMBER_UTIL.is_valid_number(&self.number), self.kind()) {
            (true, NumberKind::Mobile | NumberKind::FixedLineOrMobile) => 3,
            (true, _) => 2,
            (false, _) => 1,
        }
    }

    /// The digits of the international form, without the `+`.
    #[must_use]
    pub fn msisdn(&self) -> &str {
        &self.msisdn
    }

    /// Whose number it is; of countries that share a calling code the largest, where the
    /// numbering plan doesn't tell. `None` for a calling code that belongs to no country.
    #[must_use]
    pub fn country(&self) -> Option<Country> {
        let region = PHONE_NUMBER_UTIL
            .get_region_for_number(&self.number)
            .or_else(|| PHONE_NUMBER_UTIL.get_region_for_country_code(self.number.country_code))?;
        Country::of(region)
    }

    /// What the number is for.
    #[must_use]
    pub fn kind(&self) -> NumberKind {
        PHONE_NUMBER_UTIL.get_number_type(&self.number).into()
    }

    /// Whether its calling code belongs to no country, but to satellites or to services all over
    /// the world: `+870`, `+881`, `+882`, `+979` and the like.
    #[must_use]
    pub fn is_satellite_or_global(&self) -> bool {
        self.country().is_none()
    }

    /// As people in its country write it: `07700 900001`.
    #[must_use]
    pub fn national(&self) -> String {
        PHONE_NUMBER_UTIL.format(&self.number, PhoneNumberFormat::National).into_owned()
    }

    /// As people write it: `+44 7700 900001`.
    #[must_use]
    pub fn international(&self) -> String {
        PHONE_NUMBER_UTIL.format(&self.number, PhoneNumberFormat::International).into_owned()
    }
}

/// Redacted, so that a number can't reach a log by accident.
impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phone(…)")
    }
}

/// What is dialled: ASCII digits, perhaps after a `+`, without what is written between them.
///
/// Letters, as in vanity numbers and extensions, are refused: the message would go to somebody
/// else.
fn dialled(text: &str) -> Result<String, InvalidAddress> {
    let is_short = text.chars().nth(LONGEST_TEXT).is_none();
    if !is_short || !text.chars().all(|c| c.is_numeric() || is_plus(c) || is_between(c)) {
        return Err(InvalidAddress::Msisdn);
    }
    let digits = PHONE_NUMBER_UTIL.normalize_digits_only(text);
    // A fraction or a superscript is a number, but no digit.
    if digits.len() != text.chars().filter(|c| c.is_numeric()).count() {
        return Err(InvalidAddress::Msisdn);
    }
    match text.chars().filter(|c| is_plus(*c)).count() {
        0 => Ok(digits),
        1 if text.chars().find(|c| !is_between(*c)).is_some_and(is_plus) => {
            Ok(format!("+{digits}"))
        }
        _ => Err(InvalidAddress::Msisdn),
    }
}

/// In ASCII or full width.
fn is_plus(c: char) -> bool {
    matches!(c, '+' | '\u{ff0b}')
}

/// Whether people write `c` between digits. Copied numbers have invisible marks around them, which
/// give the direction of the text.
fn is_between(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '-' | '.' | '/' | '(' | ')' | '\u{ad}' | '\u{2010}'..='\u{2015}')
        || matches!(c, '\u{2212}' | '\u{ff08}' | '\u{ff09}' | '\u{ff0d}'..='\u{ff0f}')
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests;
