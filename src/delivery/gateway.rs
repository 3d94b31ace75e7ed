//! Messages by any HTTP API: a request that the operator describes with templates.

use std::{error::Error, time::Duration};

use minijinja::{
    AutoEscape, Environment, ErrorKind, Output, State, UndefinedBehavior, context, value::Value,
};
use reqwest::{
    Method, Request, Url,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use secrecy::ExposeSecret;
use serde_json::Value as Json;
use url::form_urlencoded;

use super::{
    DeliveryError, Fault, ProviderFault,
    provider::{Answer, Client, Outgoing},
};
use crate::config::{HttpBody, HttpMethod, HttpSender};

/// How much work one template may be.
const FUEL: u64 = 100_000;

/// The API of a provider.
pub(super) struct Gateway {
    /// The key of its settings.
    key: String,
    settings: HttpSender,
    client: Client,
    templates: Environment<'static>,
    url_templates: Environment<'static>,
}

/// Why a request can't be written.
struct Unwritable {
    /// The key of the setting.
    key: String,
    error: Box<dyn Error + Send + Sync>,
}

impl Gateway {
    /// Fills the templates in with samples, so that their faults come to light at the start.
    pub(super) fn new(key: &str, settings: &HttpSender) -> Result<Self, DeliveryError> {
        let gateway = Self {
            key: key.to_owned(),
            settings: settings.clone(),
            client: Client::new(key, settings.ca_file.as_deref(), settings.timeout)?,
            templates: environment(),
            url_templates: url_environment(),
        };
        gateway
            .try_out()
            .map_err(|Unwritable { key, error }| DeliveryError::setup(format!("`{key}`"), error))?;
        Ok(gateway)
    }

    /// The longest that a message takes.
    pub(super) fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    pub(super) async fn send(&self, message: &Outgoing<'_>) -> Result<(), DeliveryError> {
        let request = self.request(message).map_err(|unwritable| {
            // What went wrong may be told with what it went wrong on.
            DeliveryError::Unsent(ProviderFault::Unwritable(unwritable.key).into())
        })?;
        let answer =
            self.client.send(request).await.map_err(|fault| DeliveryError::Unsent(fault.into()))?;
        self.judge(&answer)
    }

    fn judge(&self, answer: &Answer) -> Result<(), DeliveryError> {
        let status = answer.status;
        let said = Fault::from(ProviderFault::Answer { status, code: None });
        let text = String::from_utf8_lossy(&answer.body);
        let HttpSender { accepted, refused, .. } = &self.settings;
        if refused.as_ref().is_some_and(|refused| refused.is_match(&text)) {
            return Err(DeliveryError::Refused(said));
        }
        if !(200..300).contains(&status) {
            return Err(DeliveryError::Unsent(said));
        }
        if accepted.as_ref().is_some_and(|accepted| !accepted.is_match(&text)) {
            return Err(DeliveryError::Unsent(ProviderFault::Unexpected(status).into()));
        }
        Ok(())
    }

    fn try_out(&self) -> Result<(), Unwritable> {
        let [one, other] = [self.request(&SAMPLE)?, self.request(&OTHER_SAMPLE)?];
        if one.url().origin() == other.url().origin() {
            return Ok(());
        }
        let error = "the host must be the same for all messages".into();
        Err(Unwritable { key: self.key_of("url"), error })
    }

    /// The request that delivers `message`.
    fn request(&self, message: &Outgoing<'_>) -> Result<Request, Unwritable> {
        let HttpSender { url, method, headers, .. } = &self.settings;
        let values = self.values(message);
        let key = self.key_of("url");
        let url = fill(&self.url_templates, &key, url, &values)?;
        let url = Url::parse(&url).map_err(|error| Unwritable { key, error: error.into() })?;
        let mut request = Request::new(method_of(*method), url);
        if let Some((content_type, body)) = self.body(&values)? {
            request.headers_mut().insert(CONTENT_TYPE, content_type);
            *request.body_mut() = Some(body.into());
        }
        for (name, template) in headers {
            let key = self.key_of(&format!("headers.{name}"));
            let value = fill(&self.templates, &key, template, &values)?;
            let (name, value) = header(name, &value).map_err(|error| Unwritable { key, error })?;
            request.headers_mut().insert(name, value);
        }
        Ok(request)
    }

    fn body(&self, values: &Value) -> Result<Option<(HeaderValue, String)>, Unwritable> {
        let fill = |key: &str, template: &str| fill(&self.templates, key, template, values);
        let known = HeaderValue::from_static;
        Ok(match &self.settings.body {
            HttpBody::None => None,
            HttpBody::Json(json) => {
                let json = fill_json(&fill, &self.key_of("json"), json)?;
                Some((known("application/json"), json.to_string()))
            }
            HttpBody::Form(fields) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                for (name, template) in fields {
                    let value = fill(&self.key_of(&format!("form.{name}")), template)?;
                    form.append_pair(name, &value);
                }
                Some((known("application/x-www-form-urlencoded"), form.finish()))
            }
            HttpBody::Text { content_type, text } => {
                let key = self.key_of("content_type");
                let content_type = HeaderValue::from_str(content_type)
                    .map_err(|error| Unwritable { key, error: error.into() })?;
                Some((content_type, fill(&self.key_of("body"), text)?))
            }
        })
    }

    /// What templates know.
    fn values(&self, message: &Outgoing<'_>) -> Value {
        let originator = message.originator;
        let secret = self.settings.secret.as_ref().map(ExposeSecret::expose_secret);
        context! {
            address => message.address,
            to => message.to,
            text => message.text,
            token => message.token,
            link => message.link,
            originator => originator.map_or("", |originator| originator.sender.as_str()),
            originator_form => originator.map_or("", |originator| originator.form.as_str()),
            secret => secret.unwrap_or_default(),
            locale => message.locale,
            brand => message.brand,
        }
    }

    fn key_of(&self, setting: &str) -> String {
        format!("{}.{setting}", self.key)
    }
}

/// What the templates are tried out with.
const SAMPLE: Outgoing<'_> = Outgoing {
    address: "447700900001",
    to: "+447700900001",
    text: "123456 is your code.",
    token: "123456",
    link: "https://id.example.org/link?token=123456",
    originator: None,
    locale: "en",
    brand: "",
};

/// Differs in everything.
const OTHER_SAMPLE: Outgoing<'_> = Outgoing {
    address: "12025550123",
    to: "+12025550123",
    text: "“654321” & more\non two lines",
    token: "654321",
    link: "https://example.com/654321",
    originator: None,
    locale: "de-AT",
    brand: "example",
};

fn environment() -> Environment<'static> {
    let mut templates = Environment::new();
    // By its name a template could be taken for one of HTML.
    templates.set_auto_escape_callback(|_| AutoEscape::None);
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.set_fuel(Some(FUEL));
    templates
}

/// Whatever a template of an URL puts in is percent-encoded, so that it stays in its place.
fn url_environment() -> Environment<'static> {
    let mut templates = environment();
    templates.set_formatter(|out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value| {
        let text = value.to_string();
        if matches!(text.as_str(), "." | "..") {
            let problem = "a path can't be led elsewhere";
            return Err(minijinja::Error::new(ErrorKind::InvalidOperation, problem));
        }
        // The form encoding of a space is the only one that is not percent-encoding.
        let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        out.write_str(&encoded.replace('+', "%20")).map_err(minijinja::Error::from)
    });
    templates
}

fn fill(
    templates: &Environment<'_>,
    key: &str,
    template: &str,
    values: &Value,
) -> Result<String, Unwritable> {
    templates
        .render_named_str(key, template, values)
        .map_err(|error| Unwritable { key: key.to_owned(), error: error.into() })
}

/// The same JSON, its texts filled in: they stay texts, whatever is in them.
fn fill_json(
    fill: &impl Fn(&str, &str) -> Result<String, Unwritable>,
    key: &str,
    json: &Json,
) -> Result<Json, Unwritable> {
    Ok(match json {
        Json::String(template) => Json::String(fill(key, template)?),
        Json::Array(elements) => {
            let filled = elements.iter().enumerate();
            let filled = filled.map(|(at, it)| fill_json(fill, &format!("{key}[{at}]"), it));
            Json::Array(filled.collect::<Result<_, _>>()?)
        }
        Json::Object(members) => {
            let filled = members.iter().map(|(name, member)| {
                Ok((name.clone(), fill_json(fill, &format!("{key}.{name}"), member)?))
            });
            Json::Object(filled.collect::<Result<_, _>>()?)
        }
        other => other.clone(),
    })
}

/// A header; control characters, line ends among them, are refused.
fn header(
    name: &str,
    value: &str,
) -> Result<(HeaderName, HeaderValue), Box<dyn Error + Send + Sync>> {
    let mut value = HeaderValue::from_str(value)?;
    value.set_sensitive(true);
    Ok((HeaderName::try_from(name)?, value))
}

fn method_of(method: HttpMethod) -> Method {
    match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
    }
}
