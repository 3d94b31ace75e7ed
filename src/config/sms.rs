//! `[sms]` and `[mediums]`: how messages reach phones, and whatever else people can be reached by.

use std::{collections::BTreeMap, num::NonZeroU32, path::PathBuf, time::Duration};

use regex::Regex;
use secrecy::SecretString;
use serde_json::Value;
use url::{Host, Url};

use super::{
    AnyText, BaseUrl, Bound, CaseRule, Pattern, Section, Setting, Text, count, is_loopback,
    is_name, must_be_readable, timeout,
};
use crate::matrix::{medium::Rule, phone::Country};

/// `[sms]`: text messages.
#[derive(Debug, Clone)]
pub struct Sms {
    /// By which way; `None`: phone numbers are not validated here.
    pub provider: Option<SmsProvider>,
    /// How many are sent in a day (UTC) at most.
    pub daily_budget: Option<NonZeroU32>,
    /// Where to.
    pub countries: SmsCountries,
}

/// The ways of a text message.
#[derive(Debug, Clone)]
pub enum SmsProvider {
    /// Into the log.
    Log,
    /// By Twilio's API.
    Twilio(Twilio),
    /// By any other API.
    Http(HttpSender),
}

/// The names of the providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProviderName {
    Log,
    Twilio,
    Http,
}

/// `[sms.twilio]`
#[derive(Debug, Clone)]
pub struct Twilio {
    /// Where the API is; never ends with a slash.
    pub base_url: String,
    /// The account.
    pub account_sid: String,
    /// Its secret.
    pub auth_token: SecretString,
    /// Whom messages come from, where a country has no originators of its own.
    pub sender: TwilioSender,
    /// PEM certificates that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The longest that one message may take.
    pub timeout: Duration,
}

/// The sender that Twilio is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TwilioSender {
    /// A number, a short code or a name.
    From(String),
    /// A messaging service, which chooses the sender.
    MessagingService(String),
}

/// A request that delivers a message: `[sms.http]` and `[mediums.<name>.http]`. Its texts are
/// templates.
#[derive(Debug, Clone)]
pub struct HttpSender {
    /// Where it goes.
    pub url: String,
    /// Its method.
    pub method: HttpMethod,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: HttpBody,
    /// What templates know as `secret`.
    pub secret: Option<SecretString>,
    /// What the body of the answer has to match to count as a success.
    pub accepted: Option<Regex>,
    /// What the body of the answer matches when the address can't be reached.
    pub refused: Option<Regex>,
    /// PEM certificates that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The longest that one message may take.
    pub timeout: Duration,
}

/// The methods that deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpMethod {
    /// All is in the URL and the headers.
    Get,
    /// The usual one.
    Post,
    /// As some have it.
    Put,
}

/// The body of a request that delivers.
#[derive(Debug, Clone)]
pub enum HttpBody {
    /// None.
    None,
    /// JSON whose texts are templates.
    Json(Value),
    /// A form whose values are templates.
    Form(BTreeMap<String, String>),
    /// Any text.
    Text {
        /// What it is.
        content_type: String,
        /// The template.
        text: String,
    },
}

/// `[sms.countries]`
#[derive(Debug, Clone)]
pub struct SmsCountries {
    allow: Vec<Country>,
    deny: Vec<Country>,
    per_day: Option<NonZeroU32>,
    originators: Vec<Originator>,
    by_country: BTreeMap<Country, SmsCountry>,
}

#[derive(Debug, Clone)]
struct SmsCountry {
    per_day: Option<Bound>,
    originators: Vec<Originator>,
}

/// A sender of text messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Originator {
    /// What kind of sender it is.
    pub form: OriginatorForm,
    /// The number, code or name.
    pub sender: String,
}

/// The kinds of senders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginatorForm {
    /// An international number.
    Long,
    /// A short code.
    Short,
    /// A name.
    Alpha,
}

impl OriginatorForm {
    /// The form's name in the configuration and in templates.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Long => "long",
            Self::Short => "short",
            Self::Alpha => "alpha",
        }
    }
}

impl Originator {
    /// Reads `long:+15005550006`, `short:12345` or `alpha:Bindery`.
    pub(super) fn of(text: &str) -> Option<Self> {
        let (form, sender) = text.split_once(':')?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let is_name = |c: char| c.is_ascii_alphanumeric() || " ._-&".contains(c);
        let (form, fits) = match form {
            "long" => {
                let number = sender.strip_prefix('+')?;
                (OriginatorForm::Long, (5..=15).contains(&number.len()) && digits(number))
            }
            "short" => (OriginatorForm::Short, (3..=8).contains(&sender.len()) && digits(sender)),
            // 11 characters and at least one letter: what GSM 03.40 has room for.
            "alpha" => (
                OriginatorForm::Alpha,
                (1..=11).contains(&sender.len())
                    && sender.chars().all(is_name)
                    && sender.contains(|c: char| c.is_ascii_alphabetic()),
            ),
            _ => return None,
        };
        fits.then(|| Self { form, sender: sender.to_owned() })
    }
}

impl SmsCountries {
    /// Whether messages may go to numbers of `country`.
    #[must_use]
    pub fn permits(&self, country: Country) -> bool {
        !self.deny.contains(&country) && (self.allow.is_empty() || self.allow.contains(&country))
    }

    /// How many messages go to `country` in a day (UTC) at most.
    #[must_use]
    pub fn per_day(&self, country: Country) -> Option<NonZeroU32> {
        let own = self.by_country.get(&country).and_then(|country| country.per_day.as_ref());
        own.map_or(self.per_day, |Bound(count)| *count)
    }

    /// Whom messages to `country` may come from; empty: the provider's own choice.
    #[must_use]
    pub fn originators(&self, country: Option<Country>) -> &[Originator] {
        let own = country.and_then(|country| self.by_country.get(&country));
        let own = own.map(|country| &country.originators).filter(|own| !own.is_empty());
        own.unwrap_or(&self.originators)
    }
}

/// `[mediums.<name>]`: another kind of 3PID.
#[derive(Debug, Clone)]
pub struct CustomMedium {
    /// What its addresses are.
    pub rule: Rule,
    /// What messages call it.
    pub name: Option<String>,
    /// How messages reach its addresses.
    pub sender: HttpSender,
}

/// Reads `[sms]`. Where the server has no name, it is being tried out, and `log` is the default.
pub(super) fn read_sms(s: &mut Section<'_, '_>, is_trial: bool) -> Option<Sms> {
    let provider = s.optional("provider");
    let twilio = s.section("twilio", |s| twilio(s, provider == Some(ProviderName::Twilio)));
    let http = s.section("http", |s| http_sender(s, provider == Some(ProviderName::Http)));
    let daily_budget = s.get("daily_budget", Bound(Some(count(1000)))).0;
    let countries = s.section("countries", countries);
    let provider = match provider.or_else(|| is_trial.then_some(ProviderName::Log)) {
        None => None,
        Some(ProviderName::Log) => Some(SmsProvider::Log),
        Some(ProviderName::Twilio) => {
            if !cfg!(feature = "twilio") {
                let message = "this build has no Twilio";
                s.fault(&["provider"], message, "build it with --features twilio, or use http");
            }
            Some(SmsProvider::Twilio(twilio?))
        }
        Some(ProviderName::Http) => Some(SmsProvider::Http(http?)),
    };
    Some(Sms { provider, daily_budget, countries })
}

/// Reads `[sms.twilio]`; only where it `is_used` something may be missing from it.
fn twilio(s: &mut Section<'_, '_>, is_used: bool) -> Option<Twilio> {
    let base_url: Option<BaseUrl> = s.optional("base_url");
    if let Some(BaseUrl(url)) = &base_url {
        must_be_private_or_https(s, "base_url", url);
    }
    let base_url = base_url.map_or_else(
        || "https://api.twilio.com".to_owned(),
        |BaseUrl(url)| url.as_str().trim_end_matches('/').to_owned(),
    );
    let account_sid: Option<Text> = wanted(s, "account_sid", is_used);
    let auth_token = s.secret("auth_token");
    if auth_token.is_none() && is_used {
        let remedy = "write for example: auth_token_file = \"twilio-auth-token\"";
        s.fault(&["auth_token", "auth_token_file"], "missing, or of no use", remedy);
    }
    let from: Option<Text> = s.optional("from");
    let service: Option<Text> = s.optional("messaging_service_sid");
    let sender = match (from, service) {
        (Some(Text(from)), None) => Some(TwilioSender::From(from)),
        (None, Some(Text(service))) => Some(TwilioSender::MessagingService(service)),
        (None, None) if !is_used => None,
        (from, _) => {
            let message = if from.is_some() { "given beside from" } else { "missing" };
            let remedy = "give one of the two, from or messaging_service_sid";
            s.fault(&["messaging_service_sid", "from"], message, remedy);
            None
        }
    };
    let ca_file = s.optional("ca_file");
    must_be_readable(s, "ca_file", ca_file.as_ref());
    let timeout = timeout(s);
    let Text(account_sid) = account_sid?;
    Some(Twilio {
        base_url,
        account_sid,
        auth_token: auth_token?,
        sender: sender?,
        ca_file,
        timeout,
    })
}

/// The value of a key, which may be missing only where the section is not used.
fn wanted<T: Setting>(s: &mut Section<'_, '_>, key: &str, is_used: bool) -> Option<T> {
    if is_used { s.required(key) } else { s.optional(key) }
}

/// Reads a request that delivers messages.
fn http_sender(s: &mut Section<'_, '_>, is_used: bool) -> Option<HttpSender> {
    let url: Option<Text> = wanted(s, "url", is_used);
    if let Some(Text(url)) = &url {
        match Url::parse(&without_variables(url)) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                must_be_private_or_https(s, "url", &url);
            }
            _ => {
                let remedy = "write for example: url = \"https://gateway.example.org/send\"";
                s.fault(&["url"], "is no http or https URL", remedy);
            }
        }
    }
    let (method, headers) = (s.get("method", HttpMethod::Post), texts(s, "headers"));
    let body = body(s);
    let secret = s.secret("secret");
    let pattern = |s: &mut Section<'_, '_>, key| s.optional(key).map(|Pattern(regex)| regex);
    let (accepted, refused) = (pattern(s, "accepted"), pattern(s, "refused"));
    let ca_file = s.optional("ca_file");
    must_be_readable(s, "ca_file", ca_file.as_ref());
    let timeout = timeout(s);
    let Text(url) = url?;
    Some(HttpSender { url, method, headers, body, secret, accepted, refused, ca_file, timeout })
}

fn body(s: &mut Section<'_, '_>) -> HttpBody {
    let given: Vec<&str> =
        ["json", "form", "body"].into_iter().filter(|key| s.given(key)).collect();
    if given.len() > 1 {
        s.fault(&given, "there are several bodies", "give one of json, form and body");
    }
    let json = s.json("json");
    let has_form = s.given("form");
    let form = texts(s, "form");
    let text: Option<AnyText> = s.optional("body");
    let content_type = s.get("content_type", Text("text/plain; charset=utf-8".to_owned()));
    match (json, text) {
        (Some(json), _) => HttpBody::Json(json),
        (None, Some(AnyText(text))) => HttpBody::Text { content_type: content_type.0, text },
        (None, None) if has_form => HttpBody::Form(form),
        (None, None) => HttpBody::None,
    }
}

/// A subsection of any names, each with a text.
fn texts(s: &mut Section<'_, '_>, key: &str) -> BTreeMap<String, String> {
    s.section(key, |s| {
        let names = s.remaining().into_iter();
        names.filter_map(|name| s.optional(&name).map(|AnyText(text)| (name, text))).collect()
    })
}

/// A template as an URL can be read of it, a letter in place of each variable.
fn without_variables(template: &str) -> String {
    let mut parts = template.split("{{");
    let mut url = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        url.push('x');
        url.push_str(part.split_once("}}").map_or("", |(_, rest)| rest));
    }
    url
}

/// Codes and logins must not cross foreign networks in plain.
pub(super) fn must_be_private_or_https(s: &mut Section<'_, '_>, key: &str, url: &Url) {
    let is_private = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_private(),
        Some(Host::Ipv6(ip)) => ip.is_unique_local(),
        _ => false,
    };
    if url.scheme() != "https" && !is_private && !is_loopback(url) {
        let message = "plain http is for this machine and for private IP addresses only";
        s.fault(&[key], message, "write https://");
    }
}

fn countries(s: &mut Section<'_, '_>) -> SmsCountries {
    let (allow, deny) = (s.list("allow", Vec::new()), s.list("deny", Vec::new()));
    let per_day = s.get("per_day", Bound(Some(count(250)))).0;
    let originators = s.list("originators", Vec::new());
    s.also_known("a country's code such as DE");
    let mut by_country = BTreeMap::new();
    for code in s.remaining() {
        if let Ok(country) = code.parse::<Country>() {
            let of_country = s.section(&code, |s| SmsCountry {
                per_day: s.optional("per_day"),
                originators: s.list("originators", Vec::new()),
            });
            by_country.insert(country, of_country);
        }
    }
    SmsCountries { allow, deny, per_day, originators, by_country }
}

pub(super) fn read_mediums(s: &mut Section<'_, '_>) -> BTreeMap<String, CustomMedium> {
    let mut mediums = BTreeMap::new();
    for name in s.remaining() {
        if !is_name(&name) || matches!(name.as_str(), "email" | "msisdn") {
            let message = "a medium's name has 1 to 64 of a-z, 0-9 and . _ -, and is a new one";
            s.refuse(&name, message, "write for example: [mediums.badge]");
        } else if let Some(medium) = s.section(&name, medium) {
            mediums.insert(name, medium);
        }
    }
    mediums
}

fn medium(s: &mut Section<'_, '_>) -> Option<CustomMedium> {
    let pattern: Option<AnyText> = s.optional("pattern");
    let folds_case = s.get("case", CaseRule::Fold) == CaseRule::Fold;
    let rule = pattern.and_then(|AnyText(pattern)| Rule::new(&pattern, folds_case).ok());
    if rule.is_none() {
        let remedy = "write for example: pattern = \"[a-z]{2}-[0-9]{4}\"";
        s.fault(&["pattern"], "missing, or no regular expression", remedy);
    }
    let name = s.optional("name").map(|Text(name)| name);
    let sender = s.section("http", |s| http_sender(s, true));
    Some(CustomMedium { rule: rule?, name, sender: sender? })
}
