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
    extract::{ClientAddress, DRAIN_LIMIT, limit, limit_client},
    through::{ask, given, given_whole},
};
use crate::{
    app::App,
    config::Gateway,
    homeserver::Body,
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
    let arrived = Instant::now();
    let login = Login::read(&body).map_err(refused)?;
    let is_meant =
        |login: &Login<'_>| gateway.login_by_address || !matches!(login.named, Named::Address(_));
    let Some(login) = login.filter(is_meant) else {
        let answer = ask(&app, client, &request, whole(body)).await?;
        return Ok(given(answer, request.method()));
    };
    let threepid = service::login::threepid(&app, &login.named);
    limit_client(&app, app.limits.login_per_client.as_ref(), client, 1)?;
    if let Some(threepid) = &threepid {
        limit(app.limits.login_per_address.as_ref(), threepid)?;
    }
    let user = service::login::user(&app, gateway, &login.named, threepid).await;
    let answered = async {
        let mut answer = ask(&app, client, &request, whole(login.with_user(&user?))).await?;
        if answer.status < 300 {
            return Ok((given(answer, request.method()), true));
        }
        let body = answer.whole(REFUSAL_LIMIT).await.map_err(ApiError::Homeserver)?;
        Ok((given_whole(&answer, body.unwrap_or_default()), false))
    };
    let (response, is_logged_in) =
        answered.await.map_or_else(|e| (Err(e), false), |(r, is)| (Ok(r), is));
    if !is_logged_in {
        sleep_until(due(arrived, gateway.refusal_time)).await;
    }
    response
}

/// When a refusal is given. A homeserver takes its time to compare a password, but none for a user
/// that it doesn't know; so refusals are given at times that don't depend on that, with a chance
/// added that drowns what little of it is left.
fn due(arrived: Instant, step: Duration) -> Instant {
    let step_ns = step.as_nanos().max(1);
    let steps = arrived.elapsed().as_nanos() / step_ns + 1;
    let chance = u128::from(u32::from_le_bytes(secret::random_bytes()));
    let wait = steps * step_ns + ((step_ns / 10 * chance) >> 32);
    arrived + Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))
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
