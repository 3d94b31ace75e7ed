//! `/3pid/bind` and `/3pid/unbind`.

use actix_web::web::{Data, Json};
use serde_json::{Value, json};

use super::{
    error::ApiError,
    extract::{Body, Caller},
    fields::Fields,
};
use crate::{
    app::App,
    matrix::{
        id::UserId,
        json::Object,
        threepid::{Medium, ThreePid},
    },
    service,
};

/// `POST /_matrix/identity/v2/3pid/bind` — [spec](https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv23pidbind)
pub(super) async fn bind(
    app: Data<App>,
    caller: Caller,
    body: Body,
) -> Result<Json<Object>, ApiError> {
    let fields = body.fields_or_form()?;
    let key = fields.session_key()?;
    let mxid: UserId = fields.parsed("mxid")?;
    caller.must_be(&mxid)?;
    Ok(Json(service::association::bind(&app, key, mxid).await?))
}

/// `POST /_matrix/identity/v2/3pid/unbind` — [spec](https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv23pidunbind)
///
/// Needs no access token: the session is the proof.
pub(super) async fn unbind(app: Data<App>, body: Body) -> Result<Json<Value>, ApiError> {
    let fields = body.fields()?;
    let mxid: UserId = fields.parsed("mxid")?;
    let threepid = threepid(&fields.object("threepid")?)?;
    if !fields.has("sid") && !fields.has("client_secret") {
        return Err(ApiError::Forbidden("A session must prove that the address is yours"));
    }
    let key = fields.session_key()?;
    service::association::unbind_by_session(&app, key, threepid, mxid).await?;
    Ok(Json(json!({})))
}

/// The `medium` and `address` of a request.
fn threepid(fields: &Fields) -> Result<ThreePid, ApiError> {
    let medium: Medium = fields.text("medium")?.parse().map_err(|_| ApiError::UnknownMedium)?;
    ThreePid::parse(medium, fields.text("address")?).map_err(|fault| match medium {
        Medium::Email => ApiError::InvalidEmail(fault),
        Medium::Msisdn => ApiError::InvalidAddress(fault),
    })
}
