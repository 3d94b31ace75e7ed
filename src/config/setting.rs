//! What a value can be: each type with what is expected of it, in words.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use lettre::message::Mailbox;
use regex::Regex;
use secrecy::SecretString;
use toml::de::DeValue;
use tracing_subscriber::EnvFilter;
use url::{Host, Url};

use super::{
    Algorithm, HttpMethod, HttpPaths, KindName, LogFormat, MxidTemplate, Originator, ProviderName,
    Rate, ServerName, SmtpSecurity, is_postgres,
};
use crate::matrix::{phone::Country, signing::decode_base64};

/// A type of value.
///
/// Not serde's `Deserialize`: its errors name Rust's types and repeat the value, whereas a fault
/// has to say what to write, and must not repeat everything.
pub(super) trait Setting: Sized {
    /// What the value has to be; goes on from "expected".
    const EXPECTED: &'static str;
    /// Such a value, as it is written in TOML.
    const EXAMPLE: &'static str;

    /// The value; `None` if it is not what is expected.
    fn of(value: &DeValue<'_>) -> Option<Self>;
}

/// Types that are written as a text: expected, example, and how the text is read.
macro_rules! texts {
    ($($type:ty: $expected:literal, $example:literal, $read:expr;)*) => {$(
        impl Setting for $type {
            const EXPECTED: &'static str = $expected;
            const EXAMPLE: &'static str = $example;

            fn of(value: &DeValue<'_>) -> Option<Self> {
                let read: fn(&str) -> Option<Self> = $read;
                read(value.as_str()?)
            }
        }
    )*};
}

/// A text that is not empty.
pub(super) struct Text(pub(super) String);

/// A host name or IP address as it stands in a URL, without a port.
pub(super) struct UrlHost(pub(super) String);

/// A host name or IP address, an IPv6 address without brackets.
pub(super) struct MailHost(pub(super) String);

/// Where the server can be reached: http or https, without user name, query and fragment.
pub(super) struct BaseUrl(pub(super) Url);

/// Where a PostgreSQL is that follows another; may hold a password.
pub(super) struct ReplicaUrl(pub(super) SecretString);

/// A name server; its port is 53 where none is given.
pub(super) struct NameServer(pub(super) SocketAddr);

/// A filter in `tracing-subscriber`'s language.
pub(super) struct LogFilter(pub(super) String);

/// A port that one can connect to.
pub(super) struct Port(pub(super) u16);

/// How often something is replaced; `None`: never.
pub(super) struct Rotation(pub(super) Option<Duration>);

/// An amount of memory, in bytes.
pub(super) struct Memory(pub(super) usize);

/// Any text, an empty one too.
pub(super) struct AnyText(pub(super) String);

/// A language, possibly with a script or region.
pub(super) struct Language(pub(super) String);

/// A regular expression.
pub(super) struct Pattern(pub(super) Regex);

/// A domain of e-mail addresses, in lower case.
pub(super) struct Domain(pub(super) String);

/// The id of a public key, and the key.
pub(super) struct PublicKey(pub(super) String, pub(super) [u8; 32]);

/// How many digits a code has.
pub(super) struct CodeDigits(pub(super) usize);

/// How many of something there may be; `None`: as many as there are.
#[derive(Debug, Clone)]
pub(super) struct Bound(pub(super) Option<NonZeroU32>);

/// Whether case distinguishes addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CaseRule {
    Fold,
    Keep,
}

/// The transports of mail.
#[derive(Clone, Copy)]
pub(super) enum Way {
    Smtp,
    Sendmail,
    Directory,
    Log,
}

texts! {
    Text: "a text that is not empty", "\"…\"",
        |text| (!text.is_empty()).then(|| Self(text.to_owned()));
    AnyText: "a text", "\"…\"", |text| Some(Self(text.to_owned()));
    Language: "a language code such as en or pt-BR", "\"en\"",
        |text| is_language(text).then(|| Self(text.to_owned()));
    Domain: "a domain", "\"example.org\"",
        |text| url_host(text).map(|UrlHost(host)| Self(host)).filter(|_| !text.contains(':'));
    PublicKey: "a key: its id, a space, and its 32 bytes in base64", "\"ed25519:0 …\"", public_key;
    Pattern: "a regular expression", "\"^[A-Z]{2}[0-9]{6}$\"", |text| Regex::new(text).ok().map(Self);
    Country: "a country's two letters (ISO 3166-1)", "\"DE\"", |text| text.parse().ok();
    Originator: "a sender: long:+ and digits, short: and 3 to 8 digits, or alpha: and up to 11 letters",
        "\"long:+15005550006\"", Self::of;
    CaseRule: "fold or keep", "\"fold\"", |text| Some(match text {
        "fold" => Self::Fold,
        "keep" => Self::Keep,
        _ => return None,
    });
    ProviderName: "twilio, http or log", "\"twilio\"", |text| Some(match text {
        "twilio" => Self::Twilio,
        "http" => Self::Http,
        "log" => Self::Log,
        _ => return None,
    });
    KindName: "ldap, sql, synapse, http or exec", "\"ldap\"", Self::named;
    MxidTemplate: "a user id with one name in braces in place of what differs",
        "\"@{uid}:example.org\"", |text| text.parse().ok();
    HttpPaths: "ma1sd, mxisd or either", "\"either\"", |text| Some(match text {
        "ma1sd" => Self::Ma1sd,
        "mxisd" => Self::Mxisd,
        "either" => Self::Either,
        _ => return None,
    });
    HttpMethod: "GET, POST or PUT", "\"POST\"", |text| Some(match text {
        "GET" => Self::Get,
        "POST" => Self::Post,
        "PUT" => Self::Put,
        _ => return None,
    });
    ReplicaUrl: "the URL of a PostgreSQL", "\"postgres://bindery@replica/bindery\"",
        |text| is_postgres(text).then(|| Self(text.into()));
    PathBuf: "a path", "\"/path/to/it\"", |text| (!text.is_empty()).then(|| Self::from(text));
    ServerName: "a host name or an IP address, with or without :port", "\"id.example.org\"",
        |text| text.parse().ok();
    SocketAddr: "an IP address with a port", "\"127.0.0.1:8090\"", |text| text.parse().ok();
    NameServer: "an IP address, with or without a port", "\"127.0.0.1:53\"",
        |text| text.parse().ok().or_else(|| Some((text.parse::<IpAddr>().ok()?, 53).into())).map(Self);
    IpNet: "an IP address or a network", "\"192.168.0.0/16\"",
        |text| text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(Self::from));
    UrlHost: "a host name or an IP address, without a port", "\"www.example.org\"", url_host;
    MailHost: "a host name or an IP address, without a port", "\"mail.example.org\"", mail_host;
    Mailbox: "a mail address, with or without a name", "\"Example <noreply@example.org>\"",
        |text| text.parse().ok().filter(|_| !text.contains(char::is_control));
    Url: "an http or https URL", "\"https://example.org/privacy-1.0.en\"", web_url;
    BaseUrl: "an http or https URL without user name, query and fragment",
        "\"https://id.example.org\"", base_url;
    LogFilter: "a filter such as info or info,bindery=debug", "\"info\"",
        |text| EnvFilter::builder().parse(text).ok().map(|_| Self(text.to_owned()));
    Duration: "a duration of 1ms to 36500d, a number followed by ms, s, m, h, d or w", "\"15m\"",
        duration;
    Rotation: "a duration of 1ms to 36500d (a number followed by ms, s, m, h, d or w), or never",
        "\"7d\"",
        |text| if text == "never" { Some(Self(None)) } else { duration(text).map(|age| Self(Some(age))) };
    Memory: "an amount of memory, a number followed by KiB, MiB or GiB", "\"512MiB\"",
        |text| memory(text).map(Self);
    Rate: "a rate, as in 20 per 10m: a number above zero, per, and a duration", "\"20 per 10m\"",
        rate;
    Way: "smtp, sendmail, directory or log", "\"smtp\"", |text| Some(match text {
        "smtp" => Self::Smtp,
        "sendmail" => Self::Sendmail,
        "directory" => Self::Directory,
        "log" => Self::Log,
        _ => return None,
    });
    SmtpSecurity: "none, starttls or tls", "\"starttls\"", |text| Some(match text {
        "none" => Self::None,
        "starttls" => Self::Starttls,
        "tls" => Self::Tls,
        _ => return None,
    });
    Algorithm: "sha256 or none", "\"sha256\"",
        |text| [Self::Sha256, Self::None].into_iter().find(|algorithm| algorithm.as_str() == text);
    LogFormat: "text or json", "\"text\"", |text| Some(match text {
        "text" => Self::Text,
        "json" => Self::Json,
        _ => return None,
    });
}

impl Setting for bool {
    const EXPECTED: &'static str = "true or false";
    const EXAMPLE: &'static str = "true";

    fn of(value: &DeValue<'_>) -> Option<Self> {
        value.as_bool()
    }
}

impl Setting for NonZeroU32 {
    const EXPECTED: &'static str = "a whole number between 1 and 4294967295";
    const EXAMPLE: &'static str = "10";

    fn of(value: &DeValue<'_>) -> Option<Self> {
        let number = value.as_integer()?;
        u32::from_str_radix(number.as_str(), number.radix()).ok().and_then(Self::new)
    }
}

impl Setting for Bound {
    const EXPECTED: &'static str = "a whole number between 1 and 4294967295, or none";
    const EXAMPLE: &'static str = "1000";

    fn of(value: &DeValue<'_>) -> Option<Self> {
        if value.as_str() == Some("none") {
            return Some(Self(None));
        }
        NonZeroU32::of(value).map(|count| Self(Some(count)))
    }
}

impl Setting for CodeDigits {
    const EXPECTED: &'static str = "a whole number between 4 and 12";
    const EXAMPLE: &'static str = "6";

    fn of(value: &DeValue<'_>) -> Option<Self> {
        let digits = usize::try_from(NonZeroU32::of(value)?.get()).ok()?;
        (4..=12).contains(&digits).then_some(Self(digits))
    }
}

impl Setting for Port {
    const EXPECTED: &'static str = "a port between 1 and 65535";
    const EXAMPLE: &'static str = "25";

    fn of(value: &DeValue<'_>) -> Option<Self> {
        NonZeroU32::of(value).and_then(|port| u16::try_from(port.get()).ok()).map(Self)
    }
}

/// An ISO 639 code of two or three letters, possibly with a script or region (`pt-BR`, `zh_Hant`).
pub(super) fn is_language(code: &str) -> bool {
    let mut parts = code.split(['-', '_']);
    let language = parts.next().unwrap_or_default();
    (2..=3).contains(&language.len())
        && language.bytes().all(|byte| byte.is_ascii_alphabetic())
        && parts.all(|part| {
            (2..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

fn url_host(text: &str) -> Option<UrlHost> {
    let host = Host::parse(text).ok()?.to_string();
    // The URL standard lets more pass, such as `*.example.org`, which no host is called.
    let name: ServerName = host.parse().ok()?;
    name.port().is_none().then_some(UrlHost(host))
}

fn mail_host(text: &str) -> Option<MailHost> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(MailHost(address.to_string()));
    }
    let UrlHost(host) = url_host(text)?;
    Some(MailHost(host.trim_start_matches('[').trim_end_matches(']').to_owned()))
}

fn public_key(text: &str) -> Option<PublicKey> {
    let (id, key) = text.split_once(' ')?;
    let version = id.strip_prefix("ed25519:")?;
    let is_version = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if version.is_empty() || !version.chars().all(is_version) {
        return None;
    }
    Some(PublicKey(id.to_owned(), decode_base64(key.trim())?.try_into().ok()?))
}

fn web_url(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

fn base_url(text: &str) -> Option<BaseUrl> {
    let url = web_url(text)?;
    let bare = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    bare.then_some(BaseUrl(url))
}

/// The longest duration: a hundred years, so that no sum with a time of day overflows.
const MAX_DURATION: Duration = Duration::from_hours(36_500 * 24);

fn duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        "w" => 7 * 24 * 60 * 60 * 1000,
        _ => return None,
    };
    let duration = Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(unit_ms)?);
    (!duration.is_zero() && duration <= MAX_DURATION).then_some(duration)
}

fn memory(text: &str) -> Option<usize> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let unit = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(unit).filter(|bytes| *bytes > 0)
}

fn rate(text: &str) -> Option<Rate> {
    let (count, per) = text.split_once(" per ")?;
    let rate = Rate { count: count.trim().parse().ok()?, per: duration(per.trim())? };
    // A limiter counts in nanoseconds: there has to be at least one between two permits.
    (!(rate.per / rate.count.get()).is_zero()).then_some(rate)
}
