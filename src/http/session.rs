//! `/validate/email/*` and `/3pid/getValidated3pid`, with the pages that people see after they
//! opened the mailed link.

use actix_web::ResponseError;
use actix_web::{
    HttpResponse,
    http::header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    },
    web::{Data, Json},
};
use askama::Template;
use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

use super::{
    error::ApiError,
    extract::{Body, Caller, ClientAddress, Query, limit},
    fields::Fields,
};
use crate::{
    app::App,
    matrix::{id::UserId, threepid::ThreePid},
    service::{self, session::TokenRequest},
};

/// The id of a session.
#[derive(Serialize)]
pub(super) struct Opened {
    sid: String,
}

/// `POST /_matrix/identity/v2/validate/email/requestToken` — [spec](https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2validateemailrequesttoken)
pub(super) async fn request_email_token(
    app: Data<App>,
    caller: Caller,
    client: ClientAddress,
    body: Body,
) -> Result<Json<Opened>, ApiError> {
    let fields = body.fields_or_form()?;
    let client_secret = fields.opaque_id("client_secret")?.to_owned();
    let threepid = ThreePid::email(fields.text("email")?).map_err(ApiError::InvalidEmail)?;
    let send_attempt = fields.integer("send_attempt")?;
    let next_link = fields.optional_text("next_link")?.map(parse_next_link).transpose()?;
    limit_messages(&app, &caller.mxid, client, &threepid)?;
    let request = TokenRequest { threepid, client_secret, send_attempt, next_link };
    // A task of its own: a client that hangs up must not leave a mail half sent, and the next try
    // unanswered for as long as that one seems to be on its way.
    let task = async move { service::session::request_token(&app, request).await };
    let sid = tokio::spawn(task).await.map_err(|error| ApiError::Internal(error.into()))??;
    Ok(Json(Opened { sid }))
}

/// Only what a browser opens as a page may be a `next_link`.
fn parse_next_link(text: &str) -> Result<Url, ApiError> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| ApiError::InvalidParam("next_link must be an http or https URL".to_owned()))
}

/// Whoever is over their own limit takes nothing from others behind the same address, and nobody
/// who is refused from the one whose address is asked for.
fn limit_messages(
    app: &App,
    mxid: &UserId,
    client: ClientAddress,
    threepid: &ThreePid,
) -> Result<(), ApiError> {
    limit(app.limits.request_token_per_account.as_ref(), mxid)?;
    limit(app.limits.request_token_per_client.as_ref(), client.source())?;
    limit(app.limits.request_token_per_address.as_ref(), threepid)
}

/// `POST /_matrix/identity/v2/validate/email/submitToken` — [spec](https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2validateemailsubmittoken)
pub(super) async fn submit_token(
    app: Data<App>,
    _caller: Caller,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    submit(&app, &body.fields_or_form()?).await?;
    Ok(Json(json!({ "success": true })))
}

/// Submits the token of a form or query; answers the `next_link`.
async fn submit(app: &App, fields: &Fields) -> Result<Option<String>, ApiError> {
    let key = fields.session_key()?;
    let token = fields.text("token")?;
    limit(app.limits.submit_token_per_session.as_ref(), &key.sid)?;
    Ok(service::session::submit_token(app, key, token).await?)
}

/// `GET /_matrix/identity/v2/3pid/getValidated3pid` — [spec](https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv23pidgetvalidated3pid)
pub(super) async fn get_validated(
    app: Data<App>,
    _caller: Caller,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let session = service::session::get_validated(&app, query.0.session_key()?).await?;
    Ok(Json(json!({
        "medium": session.threepid.medium().as_str(),
        "address": session.threepid.address(),
        "validated_at": session.validated_at,
    })))
}

/// `GET /_matrix/identity/v2/validate/email/submitToken` — [spec](https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2validateemailsubmittoken)
///
/// Needs no access token, whatever the specification lists: a person's browser has none.
pub(super) async fn open_link(app: Data<App>, query: Query) -> HttpResponse {
    let server = app.config.server.name.as_str();
    match submit(&app, &query.0).await {
        Ok(Some(next_link)) => HttpResponse::SeeOther()
            .insert_header((LOCATION, next_link))
            .insert_header((CACHE_CONTROL, "no-store"))
            .insert_header((REFERRER_POLICY, "no-referrer"))
            .finish(),
        Ok(None) => page(HttpResponse::Ok(), &Validated { server }),
        Err(error) => {
            // The JSON's status and headers, with a page in place of the body.
            let refusal = error.error_response();
            let mut response = HttpResponse::build(refusal.status());
            for (name, value) in refusal.headers() {
                response.insert_header((name.clone(), value.clone()));
            }
            page(response, &Failed::of(&error, server))
        }
    }
}

#[derive(Template)]
#[template(path = "page/validated.html")]
struct Validated<'a> {
    server: &'a str,
}

#[derive(Template)]
#[template(path = "page/failed.html")]
struct Failed<'a> {
    title: &'static str,
    explanation: &'static str,
    remedy: &'static str,
    server: &'a str,
}

impl<'a> Failed<'a> {
    /// What a person reads in place of an error.
    fn of(error: &ApiError, server: &'a str) -> Self {
        let (title, explanation, remedy) = match error {
            ApiError::SessionExpired => (
                "This link has expired",
                "It was not opened in time.",
                "Go back to your app and ask for a new e-mail.",
            ),
            ApiError::SessionDead(_) => (
                "This link is no longer valid",
                "Too many wrong codes were entered for it.",
                "Go back to your app and ask for a new e-mail.",
            ),
            ApiError::LimitExceeded(_) => (
                "Too many tries",
                "This link was opened very often in a short time.",
                "Wait a few minutes and open it again.",
            ),
            ApiError::Unavailable(_) | ApiError::Internal(_) => (
                "That didn't work",
                "The server can't confirm your address right now.",
                "Open the link again in a few minutes.",
            ),
            _ => (
                "This link doesn't work",
                "It may be incomplete, or a newer e-mail has replaced it.",
                "Open the link of the newest e-mail, or copy all of it into the address bar.",
            ),
        };
        Self { title, explanation, remedy, server }
    }
}

/// A page that nothing else may be loaded into, and that is kept nowhere.
fn page(mut response: actix_web::HttpResponseBuilder, page: &impl Template) -> HttpResponse {
    match page.render() {
        Ok(html) => response
            .content_type("text/html; charset=utf-8")
            .insert_header((CACHE_CONTROL, "no-store"))
            .insert_header((REFERRER_POLICY, "no-referrer"))
            .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((
                CONTENT_SECURITY_POLICY,
                "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                 form-action 'none'; frame-ancestors 'none'",
            ))
            .body(html),
        Err(error) => ApiError::Internal(error.into()).error_response(),
    }
}
