//! `/3pid/bind` and `/3pid/unbind`.

use actix_web::{
    HttpRequest,
    http::header::AUTHORIZATION,
    web::{Data, Json},
};
use serde_json::{Value, json};

use super::{
    error::ApiError,
    extract::{Body, Caller, ClientAddress, limit_client},
};
use crate::{
    app::App,
    matrix::{
        id::UserId,
        json::Object,
        x_matrix::{Request, XMatrix},
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
/// Needs no access token: the proof is a signature of the user's homeserver, or a session.
pub(super) async fn unbind(
    app: Data<App>,
    request: HttpRequest,
    client: ClientAddress,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let fields = body.fields()?;
    let mxid: UserId = fields.parsed("mxid")?;
    let threepid = fields.object("threepid")?.threepid(&app.mediums)?;
    limit_client(&app, app.limits.proof_per_client.as_ref(), client, 1)?;
    let proofs = x_matrix(&request);
    if !proofs.is_empty() {
        let uri = request.uri().path_and_query().map_or("", |uri| uri.as_str());
        let content = &fields.into_object();
        let signed = Request { method: "POST", uri, content };
        let what = (threepid, mxid);
        service::association::unbind_by_homeserver(&app, &proofs, signed, what).await?;
        return Ok(Json(json!({})));
    }
    if !fields.has("sid") && !fields.has("client_secret") {
        return Err(ApiError::Forbidden(
            "A session, or your homeserver's signature, must prove that the address is yours",
        ));
    }
    let key = fields.session_key()?;
    service::association::unbind_by_session(&app, key, threepid, mxid).await?;
    Ok(Json(json!({})))
}

/// The signatures of homeservers that a request carries, a header each.
fn x_matrix(request: &HttpRequest) -> Vec<XMatrix> {
    let headers = request.headers().get_all(AUTHORIZATION);
    headers.filter_map(|header| XMatrix::parse(header.to_str().ok()?)).collect()
}
