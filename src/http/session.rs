//! `/validate/{medium}/*` and `/3pid/getValidated3pid`, by API v2 and, where that is switched on,
//! by v1.

use actix_web::{
    guard::GuardContext,
    web::{Data, Json, Path},
};
use serde_json::{Value, json};
use url::Url;

use super::{
    error::ApiError,
    extract::{Body, ClientAddress, Query, Validator, Wishes, limit, limit_client},
    fields::{Fields, not_a_threepid},
};
use crate::{
    app::App,
    matrix::{id::UserId, medium::Medium, phone::Phone, threepid::ThreePid},
    messages::Style,
    service::{
        self, allowance,
        session::{Submitted, TokenRequest},
    },
};

/// Whether 3PIDs of this medium are validated here.
fn is_validated(app: &App, medium: &str) -> bool {
    match app.mediums.get(medium) {
        None => false,
        Some(Medium::Msisdn) => app.config.sms.provider.is_some(),
        Some(Medium::Email | Medium::Other(_)) => true,
    }
}

/// Whether a path below `/validate/` names a medium that is validated here: the others don't exist.
pub(super) fn is_served(context: &GuardContext<'_>) -> bool {
    let path = context.head().uri.path();
    let medium = path.split_once("/validate/").and_then(|(_, rest)| rest.split('/').next());
    let app = context.app_data::<Data<App>>();
    app.zip(medium).is_some_and(|(app, medium)| is_validated(app, medium))
}

/// Whether API v1 is switched on for validations.
pub(super) fn is_v1_on(context: &GuardContext<'_>) -> bool {
    context.app_data::<Data<App>>().is_some_and(|app| app.config.api.v1_validate)
}

/// `POST /_matrix/identity/v2/validate/{medium}/requestToken` — spec:
/// [email](https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2validateemailrequesttoken),
/// [msisdn](https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2validatemsisdnrequesttoken);
/// and the same of API v1
pub(super) async fn request_token(
    app: Data<App>,
    validator: Validator,
    client: ClientAddress,
    medium: Path<String>,
    wishes: Wishes,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let fields = body.fields_or_form()?;
    let client_secret = fields.opaque_id("client_secret")?.to_owned();
    let (threepid, phone) = address(&app, &medium, &fields)?;
    let send_attempt = fields.integer("send_attempt")?;
    let next_link = fields.optional_text("next_link")?.map(parse_next_link).transpose()?;
    limit_messages(&app, &validator, client, &threepid).await?;
    let style = style(&app, &validator, &wishes, &fields);
    let Validator(mxid) = validator;
    let client = client.0;
    let request =
        TokenRequest { threepid, client_secret, send_attempt, next_link, mxid, client, style };
    // A task of its own: a client that hangs up must not leave a message half sent, and the next try
    // unanswered for as long as that one seems to be on its way.
    let task = async move { service::session::request_token(&app, request).await };
    let sid = tokio::spawn(task).await.map_err(|error| ApiError::Internal(error.into()))??;
    Ok(Json(match phone {
        Some(phone) => json!({
            "sid": sid,
            // What clients read beside it, since Sydent has always sent it.
            "success": true,
            "msisdn": phone.msisdn(),
            "intl_fmt": phone.international(),
        }),
        None => json!({ "sid": sid }),
    }))
}

/// What is to be validated, in the fields that belong to its medium.
fn address(
    app: &App,
    medium: &str,
    fields: &Fields,
) -> Result<(ThreePid, Option<Phone>), ApiError> {
    match app.mediums.get(medium) {
        Some(Medium::Msisdn) => {
            let phone = Phone::parse(fields.text("country")?, fields.text("phone_number")?)
                .map_err(ApiError::InvalidAddress)?;
            let threepid = ThreePid::msisdn(phone.msisdn()).map_err(ApiError::InvalidAddress)?;
            Ok((threepid, Some(phone)))
        }
        known => {
            let field = if known == Some(Medium::Email) { "email" } else { "address" };
            let threepid = app.mediums.threepid(medium, fields.text(field)?);
            Ok((threepid.map_err(|fault| not_a_threepid(&fault))?, None))
        }
    }
}

/// In whose words and in which language a person wants to read the message.
fn style(app: &App, validator: &Validator, wishes: &Wishes, fields: &Fields) -> Style {
    let brand = fields.brand().or(wishes.brand.as_deref());
    let homeserver = validator.0.as_ref().map(UserId::server_name);
    app.messages.style(&crate::messages::Wish {
        brand,
        homeserver,
        locale: fields.locale(),
        accept_language: wishes.accept_language.as_deref(),
    })
}

/// Only what a browser opens as a page may be a `next_link`.
fn parse_next_link(text: &str) -> Result<Url, ApiError> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| ApiError::InvalidParam("next_link must be an http or https URL".to_owned()))
}

/// Whoever is over their own limit takes nothing from others behind the same address, and nobody
/// who is refused from the one whose address is asked for.
async fn limit_messages(
    app: &App,
    validator: &Validator,
    client: ClientAddress,
    threepid: &ThreePid,
) -> Result<(), ApiError> {
    if let Validator(Some(mxid)) = validator {
        limit(app.limits.request_token_per_account.as_ref(), mxid)?;
    }
    limit_client(app, app.limits.request_token_per_client.as_ref(), client, 1)?;
    if *threepid.medium() == Medium::Msisdn {
        // What a text message counts for is counted when one is about to be sent.
        return Ok(());
    }
    let limit = app.limits.request_token_per_address.as_ref();
    Ok(allowance::take_of_address(app, limit, threepid).await?)
}

/// `POST /_matrix/identity/v2/validate/{medium}/submitToken` — spec:
/// [email](https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2validateemailsubmittoken),
/// [msisdn](https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2validatemsisdnsubmittoken);
/// and the same of API v1
pub(super) async fn submit_token(
    app: Data<App>,
    _validator: Validator,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    submit(&app, &body.fields_or_form()?).await?;
    Ok(Json(json!({ "success": true })))
}

/// Submits the token of a form or query.
pub(super) async fn submit(app: &App, fields: &Fields) -> Result<Submitted, ApiError> {
    let key = fields.session_key()?;
    let token = fields.text("token")?;
    allowance::take(app, app.limits.submit_token_per_session.as_ref(), &key.sid).await?;
    Ok(service::session::submit_token(app, key, token).await?)
}

/// `GET /_matrix/identity/v2/3pid/getValidated3pid` — [spec](https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv23pidgetvalidated3pid);
/// and the same of API v1
pub(super) async fn get_validated(
    app: Data<App>,
    _validator: Validator,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let session = service::session::get_validated(&app, query.0.session_key()?).await?;
    Ok(Json(json!({
        "medium": session.threepid.medium().as_str(),
        "address": session.threepid.address(),
        "validated_at": session.validated_at,
    })))
}
