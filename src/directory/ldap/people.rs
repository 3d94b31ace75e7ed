//! Which entries are people, and what is read of them.

use ldap3::Scope;

use super::{Addresses, Entry, Filter, Person};
use crate::{
    config::{self, LdapAttributes, LdapScope, MxidTemplate},
    matrix::{
        id::UserId,
        localpart,
        medium::Medium,
        phone::{Country, Phone},
        threepid::ThreePid,
    },
    text,
};

/// The most words of a search that count.
const WORDS: usize = 8;

/// In characters; no name has a longer word.
const LONGEST_WORD: usize = 64;

/// Where Active Directory holds a person's further addresses, with `smtp:` in front of each.
const PROXY_ADDRESSES: &str = "proxyAddresses";

/// The people of a directory.
pub(super) struct People {
    base: String,
    scope: Scope,
    filter: Filter,
    attributes: LdapAttributes,
    mxid: MxidTemplate,
    addresses: Addresses,
}

impl People {
    pub(super) fn new(
        directory: &config::Directory,
        settings: &config::Ldap,
        addresses: Addresses,
    ) -> Self {
        Self {
            base: settings.base_dn.clone(),
            scope: match settings.scope {
                LdapScope::One => Scope::OneLevel,
                LdapScope::Subtree => Scope::Subtree,
            },
            filter: Filter::configured(&settings.filter),
            attributes: settings.attributes.clone(),
            mxid: directory.mxid.clone(),
            addresses,
        }
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn scope(&self) -> Scope {
        self.scope
    }

    /// All attributes that are read of a person.
    pub(super) fn attributes(&self) -> Vec<&str> {
        let LdapAttributes { names, avatar, emails, phones, .. } = &self.attributes;
        let all = names.iter().chain(avatar).chain(emails).chain(phones).map(String::as_str);
        [self.mxid.placeholder()].into_iter().chain(all).collect()
    }

    /// What the directory calls the person: the first value where there are several.
    pub(super) fn name_of<'e>(&self, entry: &'e Entry) -> Option<&'e str> {
        entry.first(self.mxid.placeholder())
    }

    /// The person of an entry, without roles; `None` where no user id can be made of their name.
    /// An address that is none is passed over.
    pub(super) fn person(&self, entry: &Entry) -> Option<Person> {
        let LdapAttributes { names, avatar, emails, phones, .. } = &self.attributes;
        let mxid = self.mxid.make(&localpart::escape(self.name_of(entry)?))?;
        let mut person = Person::new(mxid);
        let mut names = names.iter().flat_map(|attribute| entry.values(attribute)).map(str::trim);
        person.display_name = names.find(|name| !name.is_empty()).map(str::to_owned);
        let avatar = avatar.as_ref().and_then(|attribute| entry.first(attribute));
        person.avatar_url = avatar.filter(|uri| uri.starts_with("mxc://")).map(str::to_owned);
        let emails = emails.iter().flat_map(|attribute| {
            entry.values(attribute).filter_map(|value| self.email(attribute, value))
        });
        let phones = phones
            .iter()
            .flat_map(|attribute| entry.values(attribute).filter_map(|value| self.phone(value)));
        for threepid in emails.chain(phones) {
            if !person.threepids.contains(&threepid) {
                person.threepids.push(threepid);
            }
        }
        Some(person)
    }

    fn email(&self, attribute: &str, value: &str) -> Option<ThreePid> {
        let value = if attribute.eq_ignore_ascii_case(PROXY_ADDRESSES) {
            value.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("smtp:"))?;
            value.get(5..)?
        } else {
            value
        };
        self.addresses.canonical("email", value)
    }

    /// Without a country only an international number is one: of another nobody knows where it is.
    fn phone(&self, value: &str) -> Option<ThreePid> {
        let is_clear = self.addresses.country.is_some() || value.trim_start().starts_with('+');
        is_clear.then(|| self.addresses.canonical("msisdn", value)).flatten()
    }

    /// All people.
    pub(super) fn all(&self) -> Filter {
        Filter::all([self.filter.clone(), Filter::present(self.mxid.placeholder())])
    }

    /// Those whose entry was changed since then.
    pub(super) fn changed_since(&self, since_ms: i64) -> Filter {
        let time = generalized_time(since_ms);
        Filter::all([self.all(), Filter::since(&self.attributes.changed, &time)])
    }

    /// The one of whom `user` is made; `None` for users that nobody's name becomes.
    pub(super) fn called(&self, user: &UserId) -> Option<Filter> {
        let name = localpart::unescape(self.mxid.name_of(user)?)?;
        Some(Filter::all([self.filter.clone(), Filter::equals(self.mxid.placeholder(), &name)]))
    }

    /// Those who have one of the addresses; `None` where no attribute could hold one.
    pub(super) fn with_one_of(&self, threepids: &[ThreePid]) -> Option<Filter> {
        let filters: Vec<_> = threepids.iter().flat_map(|threepid| self.with(threepid)).collect();
        let is_any = !filters.is_empty();
        is_any.then(|| Filter::all([self.filter.clone(), Filter::any(filters)]))
    }

    fn with(&self, threepid: &ThreePid) -> Vec<Filter> {
        let LdapAttributes { emails, phones, .. } = &self.attributes;
        match threepid.medium() {
            Medium::Email => emails
                .iter()
                .map(|attribute| {
                    let is_proxy = attribute.eq_ignore_ascii_case(PROXY_ADDRESSES);
                    let prefix = if is_proxy { "smtp:" } else { "" };
                    Filter::equals(attribute, &format!("{prefix}{}", threepid.address()))
                })
                .collect(),
            Medium::Msisdn => {
                let spellings = spellings(threepid.address(), self.addresses.country);
                let of = |attribute| spellings.iter().map(move |it| Filter::equals(attribute, it));
                phones.iter().flat_map(|attribute| of(attribute.as_str())).collect()
            }
            Medium::Other(_) => Vec::new(),
        }
    }

    /// Those who have each word of `term` in a name or an address; `None` for no words.
    pub(super) fn matching(&self, term: &str) -> Option<Filter> {
        let LdapAttributes { names, emails, phones, .. } = &self.attributes;
        let all = || {
            let all = names.iter().chain(emails).chain(phones).map(String::as_str);
            [self.mxid.placeholder()].into_iter().chain(all)
        };
        let words: Vec<_> = words(term)
            .map(|word| Filter::any(all().map(|attribute| Filter::contains(attribute, &word))))
            .collect();
        let is_any = !words.is_empty();
        is_any.then(|| Filter::all([self.all()].into_iter().chain(words)))
    }
}

/// The words of a search, without what a server makes nothing of (RFC 4518, section 2.2): a word of
/// nothing would be part of every name.
fn words(term: &str) -> impl Iterator<Item = String> {
    let is_nothing =
        |c: char| c.is_control() || text::is_invisible(c) || matches!(c, '\u{6dd}' | '\u{70f}');
    let words = term.split_whitespace().map(move |word| {
        word.chars().filter(|c| !is_nothing(*c)).take(LONGEST_WORD).collect::<String>()
    });
    words.filter(|word| !word.is_empty()).take(WORDS)
}

/// How people write a number; a server knows that spaces and hyphens make no difference, or not.
fn spellings(msisdn: &str, country: Option<Country>) -> Vec<String> {
    let mut spellings = vec![format!("+{msisdn}")];
    if let Ok(phone) = Phone::of_digits(msisdn) {
        spellings.push(phone.international());
        // Digits alone are read by the country, from where abroad is mostly dialled by 00.
        if country.is_some() {
            spellings.extend([msisdn.to_owned(), format!("00{msisdn}")]);
        }
        if country.is_some() && country == phone.country() {
            let national = phone.national();
            spellings.push(national.chars().filter(char::is_ascii_digit).collect());
            spellings.push(national);
        }
    }
    spellings
}

/// A time as attributes hold it ([RFC 4517](https://www.rfc-editor.org/rfc/rfc4517), section
/// 3.3.13), with the fraction that Active Directory insists on.
fn generalized_time(ms: i64) -> String {
    let (seconds, days) = (ms.div_euclid(1000), ms.div_euclid(86_400_000));
    let (hour, minute) = (seconds.rem_euclid(86_400) / 3600, seconds.rem_euclid(3600) / 60);
    let (year, month, day) = date(days.max(0));
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{:02}.0Z", seconds.rem_euclid(60))
}

/// Year, month and day of a day since the first of January 1970, by counting 400 years at a time
/// from the first of March of the year 0.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_attributes_hold_them() {
        for (ms, text) in [
            (0, "19700101000000.0Z"),
            (951_782_399_999, "20000228235959.0Z"),
            (951_782_400_000, "20000229000000.0Z"),
            (1_795_417_689_123, "20261123070809.0Z"),
            (4_107_542_400_000, "21000301000000.0Z"),
        ] {
            assert_eq!(generalized_time(ms), text);
        }
    }

    #[test]
    fn a_number_is_looked_for_as_people_write_it() {
        let abroad = spellings("447700900001", None);
        assert_eq!(abroad, ["+447700900001", "+44 7700 900001"]);
        let home = spellings("447700900001", "GB".parse().ok());
        for spelling in ["447700900001", "00447700900001", "07700900001", "07700 900001"] {
            assert!(home.iter().any(|it| it == spelling), "{spelling}: {home:?}");
        }
    }
}
