//! What goes through to the homeserver behind this server, and what comes back from it.

use std::io;

use actix_web::{
    HttpRequest, HttpResponse,
    body::SizedStream,
    dev::Payload,
    guard::GuardContext,
    http::{
        Method, StatusCode,
        header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING},
    },
    rt,
    web::{Bytes, Data},
};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::mpsc;

use super::{
    error::ApiError,
    extract::{ClientAddress, is_trusted_peer},
};
use crate::{
    app::App,
    homeserver::{Answer, Body, Call, Headers, Homeserver, HomeserverError, end_to_end},
};

/// Marks an answer as the homeserver's own: nothing is added to it.
pub(super) struct OfHomeserver;

/// What stands in front of the homeserver's paths.
pub(super) const CLIENT: &str = "/_matrix/client/";

/// Whether there is a homeserver behind this server.
pub(super) fn is_on(context: &GuardContext<'_>) -> bool {
    context.app_data::<Data<App>>().is_some_and(|app| app.homeserver.is_some())
}

/// Anything below `/_matrix/client/`: sent on as it came, and the answer as it comes.
pub(super) async fn through(
    app: Data<App>,
    client: ClientAddress,
    request: HttpRequest,
    payload: actix_web::web::Payload,
) -> Result<HttpResponse, ApiError> {
    let body = streamed(request.headers(), payload.into_inner());
    let answer = ask(&app, client, &request, body).await?;
    Ok(given(answer, request.method()))
}

/// Asks the homeserver the same with `body`.
pub(super) async fn ask(
    app: &App,
    client: ClientAddress,
    request: &HttpRequest,
    body: Body,
) -> Result<Answer, ApiError> {
    send(app, call(app, client, request, body)?).await
}

/// The same request with `body`, as the homeserver gets it.
pub(super) fn call(
    app: &App,
    client: ClientAddress,
    request: &HttpRequest,
    body: Body,
) -> Result<Call, ApiError> {
    Ok(Call {
        method: request.method().to_string(),
        target: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: headers(app, client, request)?,
        body,
    })
}

/// Asks the homeserver.
pub(super) async fn send(app: &App, call: Call) -> Result<Answer, ApiError> {
    let homeserver: &Homeserver = app.homeserver.as_ref().ok_or(ApiError::UnknownEndpoint)?;
    homeserver.ask(call).await.map_err(|error| match error {
        HomeserverError::Path => ApiError::UnknownEndpoint,
        HomeserverError::BodyGone => ApiError::BodyGone,
        error => ApiError::Homeserver(error),
    })
}

/// The fields as they came, and with them who the client is, as far as it is believed here: a
/// homeserver believes all that its proxy says.
fn headers(app: &App, client: ClientAddress, request: &HttpRequest) -> Result<Headers, ApiError> {
    let own_name = app.config.server.name.as_str();
    let came = request.headers();
    let fields = came.iter();
    let fields =
        fields.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_owned()));
    let mut headers = end_to_end(fields.collect());
    let via: Vec<&str> = came.get_all("via").filter_map(|via| via.to_str().ok()).collect();
    let via = [via.join(", "), format!("1.1 {own_name}")].join(", ");
    let hops = via.split(',').filter(|hop| hop.split_whitespace().nth(1) == Some(own_name));
    if hops.count() > 1 {
        return Err(ApiError::Loop);
    }
    let is_ours =
        |name: &str| matches!(name, "forwarded" | "x-forwarded-for" | "x-real-ip" | "via");
    let is_trusted = is_trusted_peer(app, request.peer_addr());
    let is_believed = |name: &str| is_trusted || !name.starts_with("x-forwarded-");
    headers.retain(|(name, _)| !is_ours(name) && is_believed(name));
    let mut add = |name: &str, value: &str| {
        headers.push((name.to_owned(), value.as_bytes().to_owned()));
    };
    add("x-forwarded-for", &client.0.to_string());
    add("via", via.trim_start_matches(", "));
    if !(is_trusted && came.contains_key("x-forwarded-proto")) {
        add("x-forwarded-proto", if app.config.server.tls.is_some() { "https" } else { "http" });
    }
    Ok(headers)
}

/// The body of a request, if there is one, as it comes.
fn streamed(headers: &HeaderMap, mut payload: Payload) -> Body {
    let length = headers.get(CONTENT_LENGTH);
    let length: Option<u64> = length.and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_none() && !headers.contains_key(TRANSFER_ENCODING) {
        return Body::None;
    }
    // One piece waits while another is sent: whoever sends faster than the homeserver reads waits.
    let (sender, pieces) = mpsc::channel(1);
    rt::spawn(async move {
        while let Some(piece) = payload.next().await {
            let is_lost = piece.is_err();
            if sender.send(piece.map_err(io::Error::other)).await.is_err() || is_lost {
                break;
            }
        }
    });
    Body::Pieces { pieces, length }
}

/// An answer as it comes.
pub(super) fn given(answer: Answer, method: &Method) -> HttpResponse {
    let (mut response, length) = (begun(&answer), answer.length);
    let has_body = *method != Method::HEAD && !matches!(answer.status, 204 | 304);
    match (has_body, length) {
        (true, Some(length)) => response.body(SizedStream::new(length, pieces(answer))),
        (true, None) => response.streaming(pieces(answer)),
        (false, Some(length)) if *method == Method::HEAD => {
            response.body(SizedStream::new(length, stream::empty::<io::Result<Bytes>>()))
        }
        (false, _) => response.finish(),
    }
}

/// An answer whose body was read.
pub(super) fn given_whole(answer: &Answer, body: Vec<u8>) -> HttpResponse {
    begun(answer).body(body)
}

fn begun(answer: &Answer) -> actix_web::HttpResponseBuilder {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = HttpResponse::build(status);
    response.extensions_mut().insert(OfHomeserver);
    for (name, value) in &answer.headers {
        response.append_header((name.as_str(), value.as_slice()));
    }
    response
}

fn pieces(answer: Answer) -> impl Stream<Item = Result<Bytes, HomeserverError>> {
    stream::try_unfold(answer, async |mut answer| {
        Ok(answer.piece().await?.map(|piece| (piece, answer)))
    })
}
