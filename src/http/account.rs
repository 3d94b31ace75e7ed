//! `/account/*` and `/terms`.

use actix_web::{
    HttpRequest,
    web::{Data, Json},
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    error::ApiError,
    extract::{Body, Caller, ClientAddress, UngatedCaller, access_token, limit_client},
};
use crate::{app::App, matrix::id::ServerName, service};

/// The access token, under the specification's name and under the one that older clients read.
#[derive(Serialize)]
pub(super) struct Registered {
    token: String,
    access_token: String,
}

/// `POST /_matrix/identity/v2/account/register` — [spec](https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2accountregister)
pub(super) async fn register(
    app: Data<App>,
    client: ClientAddress,
    body: Body,
) -> Result<Json<Registered>, ApiError> {
    let fields = body.fields()?;
    let openid_token = fields.text("access_token")?;
    let homeserver: ServerName = fields.parsed("matrix_server_name")?;
    limit_client(&app, app.limits.register_per_client.as_ref(), client, 1)?;
    let token = service::account::register(&app, &homeserver, openid_token).await?;
    Ok(Json(Registered { access_token: token.clone(), token }))
}

/// `GET /_matrix/identity/v2/account` — [spec](https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2account)
pub(super) async fn account(caller: Caller) -> Json<Value> {
    Json(json!({ "user_id": caller.mxid }))
}

/// `POST /_matrix/identity/v2/account/logout` — [spec](https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2accountlogout)
pub(super) async fn logout(app: Data<App>, request: HttpRequest) -> Result<Json<Value>, ApiError> {
    let token = access_token(&request).ok_or(ApiError::Unauthorized)?;
    if !service::account::logout(&app, &token).await? {
        return Err(ApiError::UnknownToken);
    }
    Ok(Json(json!({})))
}

/// `GET /_matrix/identity/v2/terms` — [spec](https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2terms)
pub(super) async fn terms(app: Data<App>) -> Json<Value> {
    let policies: Map<String, Value> = app
        .config
        .terms
        .iter()
        .map(|(id, policy)| {
            let texts = policy.texts.iter().map(|(language, text)| {
                (language.clone(), json!({ "name": text.name, "url": text.url }))
            });
            let version = ("version".to_owned(), Value::from(policy.version.as_str()));
            (id.clone(), Value::Object(texts.chain([version]).collect()))
        })
        .collect();
    Json(json!({ "policies": policies }))
}

/// `POST /_matrix/identity/v2/terms` — [spec](https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2terms)
pub(super) async fn accept_terms(
    app: Data<App>,
    caller: UngatedCaller,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let urls = body.fields()?.texts("user_accepts")?;
    service::account::accept_terms(&app, caller.mxid, &urls).await?;
    Ok(Json(json!({})))
}
