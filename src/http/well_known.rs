//! Where clients and homeservers find the servers of a name.

use actix_web::{
    HttpRequest,
    guard::GuardContext,
    http::header::HOST,
    web::{Data, Json},
};
use serde_json::{Value, json};
use url::Url;

use super::error::ApiError;
use crate::{app::App, config::Server, matrix::id::ServerName, matrix::json::Object, service};

/// Whether `[well_known]` is switched on.
pub(super) fn is_on(context: &GuardContext<'_>) -> bool {
    context.app_data::<Data<App>>().is_some_and(|app| app.config.well_known.is_some())
}

/// `GET /.well-known/matrix/client` — [spec](https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixclient)
pub(super) async fn client(app: Data<App>) -> Result<Json<Object>, ApiError> {
    let well_known = app.config.well_known.as_ref().ok_or(ApiError::UnknownEndpoint)?;
    let mut document = well_known.extra_client.clone();
    let base_url = |url: &str| json!({ "base_url": url });
    document.insert("m.homeserver".to_owned(), base_url(&well_known.homeserver_base_url));
    document.insert("m.identity_server".to_owned(), base_url(&app.config.server.base_url));
    Ok(Json(document))
}

/// `GET /.well-known/matrix/server` — [spec](https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver)
///
/// Two names are asked about here: this server's own, under which other identity servers know its
/// user, and that of the homeserver. The `Host` says which of them.
pub(super) async fn server(app: Data<App>, request: HttpRequest) -> Result<Json<Object>, ApiError> {
    let own = &app.config.server;
    let (document, server) = match &app.config.well_known {
        Some(well_known) if !is_own(own, &request) => {
            let server = well_known.server.as_ref().ok_or(ApiError::UnknownEndpoint)?;
            (well_known.extra_server.clone(), server.to_string())
        }
        _ => (Object::new(), service::openid::place(own)),
    };
    let mut document = document;
    document.insert("m.server".to_owned(), Value::from(server));
    Ok(Json(document))
}

/// Whether a request is about this server, by the name that it is asked under, whichever the port.
fn is_own(own: &Server, request: &HttpRequest) -> bool {
    let asked = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let asked = asked.and_then(|host| host.parse::<ServerName>().ok());
    let base = Url::parse(&own.base_url).ok();
    let names = own.aliases.iter().chain([&own.name]).map(ServerName::host);
    let mut names = names.chain(base.as_ref().and_then(Url::host_str));
    asked.is_some_and(|asked| names.any(|name| name.eq_ignore_ascii_case(asked.host())))
}
