//! `/validate/email/*` and `/3pid/getValidated3pid`, with the pages that people see after they
//! opened the mailed link.

use actix_web::ResponseError;
use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{
        ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
    web::{Data, Json},
};
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
    messages::{Failure, Page, Style, Subject, Wish},
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
pub(super) async fn open_link(app: Data<App>, http: HttpRequest, query: Query) -> HttpResponse {
    let language = http.headers().get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let style = app.messages.style(&Wish { accept_language: language, ..Wish::default() });
    match submit(&app, &query.0).await {
        Ok(Some(next_link)) => HttpResponse::SeeOther()
            .insert_header((LOCATION, next_link))
            .insert_header((CACHE_CONTROL, "no-store"))
            .insert_header((REFERRER_POLICY, "no-referrer"))
            .finish(),
        Ok(None) => page(&app, &style, HttpResponse::Ok(), &Page::Validated(Subject::Email)),
        Err(error) => {
            // The JSON's status and headers, with a page in place of the body.
            let refusal = error.error_response();
            let mut response = HttpResponse::build(refusal.status());
            for (name, value) in refusal.headers() {
                response.insert_header((name.clone(), value.clone()));
            }
            let failed = Page::Failed { subject: Subject::Email, failure: failure(&error) };
            page(&app, &style, response, &failed)
        }
    }
}

/// What a person reads in place of an error.
fn failure(error: &ApiError) -> Failure {
    match error {
        ApiError::SessionExpired => Failure::Expired,
        ApiError::SessionDead(_) => Failure::TooManyAttempts,
        ApiError::LimitExceeded(_) => Failure::Limited,
        ApiError::Unavailable(_) | ApiError::Internal(_) => Failure::Unavailable,
        _ => Failure::WrongLink,
    }
}

/// A page that nothing else may be loaded into, and that is kept nowhere.
fn page(
    app: &App,
    style: &Style,
    mut response: actix_web::HttpResponseBuilder,
    page: &Page<'_>,
) -> HttpResponse {
    match app.messages.page(style, page) {
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
