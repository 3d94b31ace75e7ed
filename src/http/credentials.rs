//! Where a homeserver asks whether a password is right: on listeners of its own, or, for who knows
//! the secret, beside everything else.

use std::{io, net::TcpListener};

use actix_web::{
    App as Actix, HttpRequest, HttpServer,
    dev::Server,
    guard::GuardContext,
    http::header::AUTHORIZATION,
    web::{Data, Json},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    error::ApiError,
    extract::{Body, ClientAddress, limit_client},
};
use crate::{
    app::App,
    directory::Person,
    matrix::id::UserId,
    secret,
    service::{
        self,
        allowance::{self, AllowanceError},
    },
};

/// Serves nothing but this question at `listeners`.
///
/// # Errors
/// When a listener can't be used.
pub fn serve_credentials(app: &Data<App>, listeners: Vec<TcpListener>) -> io::Result<Server> {
    let shared = app.clone();
    let mut server = HttpServer::new(move || {
        Actix::new().app_data(shared.clone()).configure(super::credential_routes)
    })
    .workers(1)
    .shutdown_timeout(8)
    .disable_signals();
    for listener in listeners {
        server = server.listen(listener)?;
    }
    Ok(server.run())
}

/// Whether the question is answered beside everything else.
pub(super) fn is_public(context: &GuardContext<'_>) -> bool {
    context.app_data::<Data<App>>().is_some_and(|app| app.config.credentials.secret.is_some())
}

#[derive(Deserialize)]
struct Question {
    user: Login,
}

#[derive(Deserialize)]
struct Login {
    id: String,
    password: SecretString,
}

/// `POST /_matrix-internal/identity/v1/check_credentials`, of the REST password provider for Synapse
///
/// Whatever is wrong with a login, the answer is the same one.
pub(super) async fn check(
    app: Data<App>,
    request: HttpRequest,
    client: ClientAddress,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    if !shows_the_secret(&app, &request) {
        return Err(ApiError::Unauthorized);
    }
    let person = match body.bytes().map(|bytes| serde_json::from_slice(&bytes)) {
        Ok(Ok(Question { user })) => accepted(&app, client, user).await?,
        _ => None,
    };
    let auth = person.map_or_else(|| json!({ "success": false }), |person| told(&person));
    Ok(Json(json!({ "auth": auth })))
}

fn shows_the_secret(app: &App, request: &HttpRequest) -> bool {
    let Some(wanted) = &app.config.credentials.secret else { return true };
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = header.and_then(|value| value.split_once(' '));
    let shown = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    shown.is_some_and(|(_, shown)| {
        secret::matches(shown.trim(), &secret::hash(wanted.expose_secret()))
    })
}

async fn accepted(
    app: &App,
    client: ClientAddress,
    login: Login,
) -> Result<Option<Person>, ApiError> {
    let Some(user) = user(&login.id) else { return Ok(None) };
    // Passwords that are empty let many an LDAP server in whoever comes.
    if login.password.expose_secret().is_empty() {
        return Ok(None);
    }
    if is_too_much(app, client, &user).await? {
        tracing::info!(%user, "too many passwords are being tried");
        return Ok(None);
    }
    Ok(service::credentials::check(app, &user, &login.password).await?)
}

async fn is_too_much(app: &App, client: ClientAddress, user: &UserId) -> Result<bool, ApiError> {
    let limits = &app.limits;
    if limit_client(app, limits.credentials_per_client.as_ref(), client, 1).is_err() {
        return Ok(true);
    }
    match allowance::take(app, limits.credentials_per_user.as_ref(), user.as_str()).await {
        Ok(()) => Ok(false),
        Err(AllowanceError::Exceeded(_)) => Ok(true),
        Err(AllowanceError::Store(error)) => Err(error.into()),
    }
}

/// The user, as people write user ids.
fn user(id: &str) -> Option<UserId> {
    let (localpart, server) = id.split_once(':')?;
    format!("{}:{server}", localpart.to_ascii_lowercase()).parse().ok()
}

fn told(person: &Person) -> Value {
    let held = person.threepids.iter().map(
        |threepid| json!({ "medium": threepid.medium().as_str(), "address": threepid.address() }),
    );
    let mut profile = Map::from_iter([("three_pids".to_owned(), held.collect())]);
    let mut auth = Map::from_iter([
        ("success".to_owned(), Value::from(true)),
        ("mxid".to_owned(), Value::from(person.mxid.as_str())),
    ]);
    if let Some(name) = &person.display_name {
        profile.insert("display_name".to_owned(), Value::from(name.as_str()));
        auth.insert("display_name".to_owned(), Value::from(name.as_str()));
    }
    if !person.roles.is_empty() {
        profile.insert("roles".to_owned(), person.roles.clone().into());
    }
    auth.insert("profile".to_owned(), Value::from(profile));
    Value::from(auth)
}
