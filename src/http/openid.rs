//! What other identity servers ask about this server's own user.

use actix_web::web::{Data, Json};
use serde_json::{Value, json};

use super::{error::ApiError, extract::Query};
use crate::{app::App, service};

/// `GET /_matrix/federation/v1/openid/userinfo` — [spec](https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1openiduserinfo)
pub(super) async fn userinfo(app: Data<App>, query: Query) -> Result<Json<Value>, ApiError> {
    let token = query.0.text("access_token").map_err(|_| ApiError::UnknownToken)?;
    let user = service::openid::redeem(&app, token).await?.ok_or(ApiError::UnknownToken)?;
    Ok(Json(json!({ "sub": user })))
}
