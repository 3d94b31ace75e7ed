//! Text messages by [Twilio](https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource).
//!
//! The library knows the request's path, the login and the answer. Its request has no fields, and
//! it would connect by an old TLS library: so a middleware puts the form in, and sends it by a
//! client of our own.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use httpclient::{Error, Middleware, Request, Response, middleware::Next};
use reqwest::{
    Method, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use secrecy::ExposeSecret;
use serde::Deserialize;
use twilio::{TwilioAuthentication, TwilioClient, model::ApiV2010AccountMessage};
use url::form_urlencoded;

use super::super::{
    DeliveryError, Fault, ProviderFault,
    provider::{Client, Outgoing},
};
use crate::config::{self, TwilioSender};

/// The key of its settings.
const KEY: &str = "sms.twilio";

/// [Codes](https://www.twilio.com/docs/api/errors) that say that there is no such number: it is
/// none, can't be reached by anybody, is a short code, is found invalid, is no mobile number.
const INVALID: [i64; 6] = [21211, 21214, 21217, 21265, 21421, 21614];

/// [Codes](https://www.twilio.com/docs/api/errors) that say that nothing goes to this number: it
/// is a premium one; its region is not enabled, or blocked; the account may not write to it (a trial
/// one); its owner wants no messages; no way leads there from this sender; it is a landline. Those
/// from 30003 on are of the network: the handset is unreachable, has blocked the sender, is
/// unknown, is a landline, or the network filters the message out.
const REFUSED: [i64; 13] =
    [21202, 21215, 21216, 21408, 21608, 21610, 21612, 21635, 30003, 30004, 30005, 30006, 30007];

tokio::task_local! {
    /// What the task at hand is sending.
    static EXCHANGE: Exchange;
}

/// What the middleware is told, and what it tells.
struct Exchange {
    form: String,
    /// The status of the answer, or why there is none.
    heard: Cell<Option<Result<u16, ProviderFault>>>,
}

/// An account with Twilio.
pub(super) struct Twilio {
    library: TwilioClient,
    account_sid: String,
    sender: TwilioSender,
}

/// Twilio's words for a refusal; the rest of them repeats what was sent.
#[derive(Deserialize)]
struct Refusal {
    code: Option<i64>,
}

impl Twilio {
    pub(super) fn new(settings: &config::Twilio) -> Result<Self, DeliveryError> {
        let config::Twilio { base_url, account_sid, auth_token, sender, ca_file, timeout } =
            settings;
        let base_url = base_url.trim_end_matches('/');
        // The library takes for granted that it can.
        format!("{base_url}/2010-04-01/Accounts/{account_sid}/Messages.json")
            .parse::<http02::Uri>()
            .map_err(|error| DeliveryError::setup(format!("`{KEY}.base_url`"), error))?;
        let login = STANDARD.encode(format!("{account_sid}:{}", auth_token.expose_secret()));
        let client = Client::new(KEY, ca_file.as_deref(), *timeout)?;
        let library = library(base_url, login)?.with_middleware(Via(client));
        Ok(Self { library, account_sid: account_sid.clone(), sender: sender.clone() })
    }

    pub(super) async fn send(&self, message: &Outgoing<'_>) -> Result<(), DeliveryError> {
        let exchange = Exchange { form: self.form(message), heard: Cell::new(None) };
        let asked = async {
            let answer = self.library.create_message(&self.account_sid).await;
            (answer, EXCHANGE.with(|exchange| exchange.heard.take()))
        };
        match EXCHANGE.scope(exchange, asked).await {
            (Ok(message), _) => judge(&message),
            (_, Some(Err(fault))) => Err(DeliveryError::Unsent(fault.into())),
            (Err(Error::HttpError(answer)), _) => {
                let status = answer.status().as_u16();
                let body = answer.bytes().unwrap_or_default();
                let code = serde_json::from_slice(&body).map_or(None, |Refusal { code }| code);
                Err(sorted(code, ProviderFault::Answer { status, code }))
            }
            (Err(_), Some(Ok(status))) => {
                Err(DeliveryError::Unsent(ProviderFault::Unexpected(status).into()))
            }
            (Err(_), None) => {
                Err(DeliveryError::Unsent(ProviderFault::Unwritable(KEY.to_owned()).into()))
            }
        }
    }

    fn form(&self, message: &Outgoing<'_>) -> String {
        let sender = match (message.originator, &self.sender) {
            (Some(originator), _) => ("From", originator.sender.as_str()),
            (None, TwilioSender::From(number)) => ("From", number.as_str()),
            (None, TwilioSender::MessagingService(sid)) => ("MessagingServiceSid", sid.as_str()),
        };
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("To", message.to), sender, ("Body", message.text)])
            .finish()
    }
}

/// The library reads the system's root certificates, whether it will need them or not, and panics
/// where there are none.
fn library(base_url: &str, login: String) -> Result<TwilioClient, DeliveryError> {
    let unusable = || {
        let remedy = "install the system's root certificates (often `ca-certificates`)";
        DeliveryError::setup(format!("`{KEY}`"), remedy)
    };
    if rustls_native_certs::load_native_certs().certs.is_empty() {
        return Err(unusable());
    }
    let authentication = TwilioAuthentication::BasicAuth { basic_auth: login };
    // It looks in fewer places than this server does.
    panic::catch_unwind(AssertUnwindSafe(|| TwilioClient::new(base_url, authentication)))
        .map_err(|_| unusable())
}

/// A message may be given up as soon as it was taken.
fn judge(message: &ApiV2010AccountMessage) -> Result<(), DeliveryError> {
    if let Some("failed" | "undelivered" | "canceled") = message.status.as_deref() {
        let code = message.error_code;
        return Err(sorted(code, ProviderFault::GivenUp { code }));
    }
    tracing::debug!(sid = message.sid, "Twilio has taken a text message");
    Ok(())
}

/// All other codes are about the account, the sender, or Twilio itself.
fn sorted(code: Option<i64>, fault: ProviderFault) -> DeliveryError {
    let fault = Fault::from(fault);
    match code {
        Some(code) if INVALID.contains(&code) => DeliveryError::InvalidAddress(fault),
        Some(code) if REFUSED.contains(&code) => DeliveryError::Refused(fault),
        _ => DeliveryError::Unsent(fault),
    }
}

/// Sends what the library asks for by another client.
struct Via(Client);

#[async_trait]
impl Middleware for Via {
    async fn handle(&self, request: Request, _: Next<'_>) -> Result<Response, Error> {
        let outcome = self.pass_on(&request).await;
        let heard = outcome.as_ref().map(|(status, _)| *status).map_err(Clone::clone);
        let _ = EXCHANGE.try_with(|exchange| exchange.heard.set(Some(heard)));
        outcome.map(|(_, response)| response).map_err(|fault| Error::Custom(fault.to_string()))
    }
}

impl Via {
    async fn pass_on(&self, request: &Request) -> Result<(u16, Response), ProviderFault> {
        let answer = self.0.send(rewritten(request)?).await?;
        let response = http02::Response::builder()
            .status(answer.status)
            .body(hyper014::Body::from(answer.body))
            .map_err(|_| ProviderFault::Unexpected(answer.status))?;
        Ok((answer.status, Response::from(response)))
    }
}

/// The library's request, with the form in it.
fn rewritten(request: &Request) -> Result<reqwest::Request, ProviderFault> {
    let unwritable = || ProviderFault::Unwritable(KEY.to_owned());
    let method = Method::from_bytes(request.method().as_str().as_bytes());
    let url = Url::parse(&request.url().to_string()).map_err(|_| unwritable())?;
    let mut own = reqwest::Request::new(method.map_err(|_| unwritable())?, url);
    let login = request.headers().get(AUTHORIZATION.as_str()).ok_or_else(unwritable)?;
    let mut login = HeaderValue::from_bytes(login.as_bytes()).map_err(|_| unwritable())?;
    login.set_sensitive(true);
    own.headers_mut().insert(AUTHORIZATION, login);
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    own.headers_mut().insert(CONTENT_TYPE, form);
    let form = EXCHANGE.try_with(|exchange| exchange.form.clone()).map_err(|_| unwritable())?;
    *own.body_mut() = Some(form.into());
    Ok(own)
}
