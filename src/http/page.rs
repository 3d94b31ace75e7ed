//! The pages that people see: after they opened the link of a message, and at the server's root.

use actix_web::{
    HttpResponse, HttpResponseBuilder, ResponseError,
    http::header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, VARY,
        X_CONTENT_TYPE_OPTIONS,
    },
    web::{Data, Path},
};
use url::Url;

use super::{
    error::ApiError,
    extract::{Body, Query, Wishes},
    fields::Fields,
    session::submit,
};
use crate::{
    app::App,
    matrix::{medium::Medium, signing::encode_base64},
    messages::{Failure, Front, Page, Style, Subject, Wish},
    service,
    store::sessions::Session,
};

/// Of what kind of address a page speaks.
fn subject(medium: &str) -> Subject {
    match Medium::named(medium) {
        Medium::Email => Subject::Email,
        Medium::Msisdn => Subject::Phone,
        Medium::Other(_) => Subject::Other,
    }
}

fn style(app: &App, wishes: &Wishes, fields: &Fields) -> Style {
    app.messages.style(&Wish {
        brand: fields.brand().or(wishes.brand.as_deref()),
        accept_language: wishes.accept_language.as_deref(),
        ..Wish::default()
    })
}

/// `GET /_matrix/identity/v2/validate/{medium}/submitToken` — spec:
/// [email](https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2validateemailsubmittoken),
/// [msisdn](https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2validatemsisdnsubmittoken);
/// and the same of API v1
///
/// Needs no access token, whatever the specification lists: a person's browser has none. Where the
/// operator wants it, the page only asks whether the address shall be confirmed: then programs that
/// open all links of a mail confirm nothing.
pub(super) async fn open_link(
    app: Data<App>,
    medium: Path<String>,
    wishes: Wishes,
    query: Query,
) -> HttpResponse {
    let (style, subject) = (style(&app, &wishes, &query.0), subject(&medium));
    if !app.config.sessions.confirm_page {
        return outcome(&app, &style, subject, &query.0).await;
    }
    match peek(&app, &query.0).await {
        Ok(session) if session.validated_at.is_none() => {
            ask(&app, &style, (subject, &medium), &session, &query.0)
        }
        Ok(_) => outcome(&app, &style, subject, &query.0).await,
        Err(error) => failed(&app, &style, subject, &error),
    }
}

async fn peek(app: &App, fields: &Fields) -> Result<Session, ApiError> {
    fields.text("token")?;
    Ok(service::session::peek(app, fields.session_key()?).await?)
}

/// `POST /_matrix/identity/v2/validate/{medium}/confirmToken`: the click on the page that asks for
/// it. Ours alone; the body is that page's form.
pub(super) async fn confirm(
    app: Data<App>,
    medium: Path<String>,
    wishes: Wishes,
    body: Body,
) -> HttpResponse {
    let fields = body.fields_or_form().unwrap_or_default();
    outcome(&app, &style(&app, &wishes, &fields), subject(&medium), &fields).await
}

/// Submits a token and shows, or leads to, what comes of it.
async fn outcome(app: &App, style: &Style, subject: Subject, fields: &Fields) -> HttpResponse {
    match submit(app, fields).await {
        Ok(submitted) => match submitted.next_link {
            Some(next_link) => HttpResponse::SeeOther()
                .insert_header((LOCATION, next_link))
                .insert_header((CACHE_CONTROL, "no-store"))
                .insert_header((REFERRER_POLICY, "no-referrer"))
                .finish(),
            None if submitted.again => {
                show(app, HttpResponse::Ok(), style, &Page::AlreadyValidated(subject))
            }
            None => show(app, HttpResponse::Ok(), style, &Page::Validated(subject)),
        },
        Err(error) => failed(app, style, subject, &error),
    }
}

/// Asks for the click.
fn ask(
    app: &App,
    style: &Style,
    (subject, medium): (Subject, &str),
    session: &Session,
    fields: &Fields,
) -> HttpResponse {
    let base_url = &app.config.server.base_url;
    let action = format!("{base_url}/_matrix/identity/v2/validate/{medium}/confirmToken");
    let names = ["sid", "client_secret", "token", "brand"];
    let kept: Vec<(&str, &str)> = names
        .into_iter()
        .filter_map(|name| Some((name, fields.optional_text(name).ok()??)))
        .collect();
    let page = Page::Confirm {
        subject,
        address: session.threepid.address(),
        action: &action,
        fields: &kept,
    };
    let form_action = form_action(base_url, session.next_link.as_deref());
    show_with(app, HttpResponse::Ok(), style, &page, &form_action)
}

/// Where the form of the page may lead: to this server and, since browsers hold redirects to the same
/// rule, to wherever the person goes next, and from there on. Only the scheme of that is told: in a
/// host that a stranger chose there can be a semicolon, and so another rule.
fn form_action(base_url: &str, next_link: Option<&str>) -> String {
    let own = Url::parse(base_url)
        .map_or_else(|_| String::new(), |url| url.origin().ascii_serialization());
    let next = match next_link {
        None => "",
        Some(next_link) if next_link.starts_with("http:") => " http: https:",
        Some(_) => " https:",
    };
    format!("'self' {own}{next}")
}

fn failed(app: &App, style: &Style, subject: Subject, error: &ApiError) -> HttpResponse {
    let failure = match error {
        ApiError::SessionExpired => Failure::Expired,
        ApiError::SessionDead(_) => Failure::TooManyAttempts,
        ApiError::LimitExceeded(_) => Failure::Limited,
        ApiError::Unavailable(_) | ApiError::Internal(_) => Failure::Unavailable,
        _ => Failure::WrongLink,
    };
    // The JSON's status and headers, with a page in place of the body.
    let refusal = error.error_response();
    let mut response = HttpResponse::build(refusal.status());
    for (name, value) in refusal.headers() {
        response.insert_header((name.clone(), value.clone()));
    }
    show(app, response, style, &Page::Failed { subject, failure })
}

/// `GET /`: what this server is, for people who come by.
pub(super) async fn front(app: Data<App>, wishes: Wishes) -> HttpResponse {
    let style = style(&app, &wishes, &Fields::default());
    let keys: Vec<_> =
        app.keys.iter().map(|key| (key.id(), encode_base64(&key.public()))).collect();
    let locale = app.messages.locale(&style);
    let terms: Vec<_> = app
        .config
        .terms
        .values()
        .filter_map(|policy| policy.text_in(locale))
        .map(|text| (text.name.clone(), text.url.to_string()))
        .collect();
    let phones = app.config.sms.provider.as_ref().map(|_| "msisdn");
    let others = app.config.mediums.keys().map(String::as_str);
    let mediums: Vec<&str> = ["email"].into_iter().chain(phones).chain(others).collect();
    let front = Front {
        base_url: &app.config.server.base_url,
        keys: &keys,
        terms: &terms,
        mediums: &mediums,
        version: env!("CARGO_PKG_VERSION"),
    };
    show(&app, HttpResponse::Ok(), &style, &Page::Front(front))
}

fn show(app: &App, response: HttpResponseBuilder, style: &Style, page: &Page<'_>) -> HttpResponse {
    show_with(app, response, style, page, "'none'")
}

/// A page that nothing else may be loaded into, and that is kept nowhere.
fn show_with(
    app: &App,
    mut response: HttpResponseBuilder,
    style: &Style,
    page: &Page<'_>,
    form_action: &str,
) -> HttpResponse {
    match app.messages.page(style, page) {
        Ok(html) => response
            .content_type("text/html; charset=utf-8")
            .insert_header((CACHE_CONTROL, "no-store"))
            .insert_header((VARY, "Accept-Language"))
            .insert_header((REFERRER_POLICY, "no-referrer"))
            .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((
                CONTENT_SECURITY_POLICY,
                format!(
                    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                     form-action {form_action}; frame-ancestors 'none'"
                ),
            ))
            .body(html),
        Err(error) => ApiError::Internal(error.into()).error_response(),
    }
}
