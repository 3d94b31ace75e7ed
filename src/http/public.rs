//! What anybody may ask: versions, public keys, health.

use actix_web::{
    HttpResponse,
    web::{Data, Json, Path},
};
use serde_json::{Value, json};

use super::{
    error::ApiError,
    extract::{ClientAddress, Query},
};
use crate::{app::App, matrix::signing::encode_base64, metrics::CONTENT_TYPE, service};

/// The versions of the specification whose identity service API is served here.
const VERSIONS: [&str; 20] = [
    "r0.3.0", "v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10",
    "v1.11", "v1.12", "v1.13", "v1.14", "v1.15", "v1.16", "v1.17", "v1.18", "v1.19",
];

/// `GET /_matrix/identity/versions` — [spec](https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityversions)
pub(super) async fn versions() -> Json<Value> {
    Json(json!({ "versions": VERSIONS }))
}

/// `GET /_matrix/identity/v2` — [spec](https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2)
pub(super) async fn ping() -> Json<Value> {
    Json(json!({}))
}

/// `GET /_matrix/identity/v2/pubkey/{keyId}` — [spec](https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2pubkeykeyid)
///
/// Retired keys are served like the one that signs: rooms refer to them for ever.
pub(super) async fn public_key(
    app: Data<App>,
    key_id: Path<String>,
) -> Result<Json<Value>, ApiError> {
    let key = app.keys.iter().find(|key| key.id() == *key_id).ok_or(ApiError::UnknownKey)?;
    Ok(Json(json!({ "public_key": encode_base64(&key.public()) })))
}

/// `GET /_matrix/identity/v2/pubkey/isvalid` — [spec](https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2pubkeyisvalid)
pub(super) async fn is_valid(app: Data<App>, query: Query) -> Result<Json<Value>, ApiError> {
    let asked = query.0.base64("public_key")?;
    let valid = asked.is_some_and(|asked| app.keys.iter().any(|key| key.public()[..] == asked));
    Ok(Json(json!({ "valid": valid })))
}

/// `GET /health/live`: the process answers.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /health/ready`: requests can be served as fast as they should be, which takes the database
/// and the index of lookups. Those that come before are answered all the same.
pub(super) async fn ready(app: Data<App>) -> Result<HttpResponse, ApiError> {
    if !service::lookup::is_ready(&app).await? {
        let building = json!({ "status": "building the index of lookups" });
        return Ok(HttpResponse::ServiceUnavailable().json(building));
    }
    Ok(HttpResponse::Ok().json(json!({ "status": "ok" })))
}

/// `GET /metrics`: what monitoring reads, for the networks that the operator names. To others
/// there is nothing here.
pub(super) async fn metrics(
    app: Data<App>,
    client: ClientAddress,
) -> Result<HttpResponse, ApiError> {
    let ClientAddress(address) = client;
    let is_known =
        app.config.metrics.networks.iter().any(|net| net.contains(&address.to_canonical()));
    if !is_known {
        return Err(ApiError::UnknownEndpoint);
    }
    service::index::tell_monitoring(&app);
    app.measure_memory();
    let text = app.metrics.encode().map_err(|error| ApiError::Internal(error.into()))?;
    Ok(HttpResponse::Ok().content_type(CONTENT_TYPE).body(text))
}
