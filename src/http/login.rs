//! Logging in with a 3PID: `/login` of the homeserver that stands behind this server.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    dev::Payload,
    http::header::CONTENT_LENGTH,
    web::{self, Bytes, Data},
};
use futures_util::StreamExt;
use tokio::time::{Instant, sleep_until, timeout};
use zeroize::Zeroizing;

use super::{
    error::ApiError,
    extract::{ClientAddress, DRAIN_LIMIT, limit_client},
    through::{ask, given, given_whole},
};
use crate::{
    app::App,
    config::Gateway,
    homeserver::{Body, HomeserverError},
    matrix::login::{InvalidLogin, Login, Named},
    secret, service,
};

/// The longest refusal that is read before it is given, in bytes; homeservers write a line.
const REFUSAL_LIMIT: usize = 64 * 1024;

/// `POST /_matrix/client/v3/login` — [spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3login)
///
/// Whoever names a 3PID logs in as the user that it belongs to; all else goes on as it came.
pub(super) async fn login(
    app: Data<App>,
    client: ClientAddress,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let gateway = app.config.gateway.as_ref().ok_or(ApiError::UnknownEndpoint)?;
    let body = body(gateway, &request, payload.into_inner()).await?;
    let login = Login::read(&body).map_err(refused)?;
    let is_meant =
        |login: &Login<'_>| gateway.login_by_address || !matches!(login.named, Named::Address(_));
    let Some(login) = login.filter(is_meant) else {
        let answer = ask(&app, client, &request, whole(body)).await?;
        return Ok(given(answer, request.method()));
    };
    by_threepid(&app, gateway, client, &request, &login).await
}

/// A login of who names a 3PID.
async fn by_threepid(
    app: &App,
    gateway: &Gateway,
    client: ClientAddress,
    request: &HttpRequest,
    login: &Login<'_>,
) -> Result<HttpResponse, ApiError> {
    let arrived = Instant::now();
    let threepid = service::login::threepid(app, &login.named);
    limit_client(app, app.limits.login_per_client.as_ref(), client, 1)?;
    if let Some(threepid) = &threepid {
        let limit = app.limits.login_per_address.as_ref();
        service::allowance::take_of_address(app, limit, threepid).await?;
    }
    let refused = async {
        let user = service::login::user(app, gateway, &login.named, threepid).await?;
        let mut answer = ask(app, client, request, whole(login.with_user(&user))).await?;
        if answer.status < 300 {
            return Ok(Err(given(answer, request.method())));
        }
        let body = answer.whole(REFUSAL_LIMIT).await.map_err(ApiError::Homeserver)?;
        let body = body.ok_or(ApiError::Homeserver(HomeserverError::TooLarge))?;
        Ok(Ok(given_whole(&answer, body)))
    };
    let refusal = match refused.await {
        Ok(Err(welcome)) => return Ok(welcome),
        Ok(Ok(refusal)) => Ok(refusal),
        Err(error) => Err(error),
    };
    let held = app.refusals.held(arrived.elapsed(), gateway.refusal_time);
    sleep_until(arrived + held + chance(gateway.refusal_time)).await;
    refusal
}

/// Up to a tenth of `step`: drowns what little is left of the difference between a user whose
/// password the homeserver has compared and one that it doesn't have.
fn chance(step: Duration) -> Duration {
    let part = u128::from(u32::from_le_bytes(secret::random_bytes()));
    Duration::from_nanos(u64::try_from((step.as_nanos() / 10 * part) >> 32).unwrap_or_default())
}

fn refused(fault: InvalidLogin) -> ApiError {
    match fault {
        InvalidLogin::Twice => ApiError::BadJson("A key stands twice in the body".to_owned()),
        InvalidLogin::ControlCharacter => {
            ApiError::InvalidParam("A name holds no control characters".to_owned())
        }
    }
}

/// A body that is wiped as soon as it was sent.
fn whole(body: Zeroizing<Vec<u8>>) -> Body {
    Body::Whole(Bytes::from_owner(body))
}

/// The body, read up to its limit in size and in time.
async fn body(
    gateway: &Gateway,
    request: &HttpRequest,
    mut payload: Payload,
) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let limit = gateway.max_login_body;
    let said =
        request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    // All of it at once: what a vector leaves behind when it grows is not wiped.
    let mut body = Zeroizing::new(Vec::with_capacity(said.unwrap_or(limit).min(limit)));
    let read = async {
        let mut length = 0;
        while let Some(piece) = payload.next().await {
            let piece = piece.map_err(|_| ApiError::BodyGone)?;
            length += piece.len();
            if length <= limit {
                body.extend_from_slice(&piece);
            } else if length > DRAIN_LIMIT {
                break;
            }
        }
        if length > limit { Err(ApiError::BodyTooLarge(limit)) } else { Ok(()) }
    };
    timeout(gateway.login_body_timeout, read).await.unwrap_or(Err(ApiError::BodyTooSlow))?;
    Ok(body)
}
