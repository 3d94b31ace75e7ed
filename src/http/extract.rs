//! What handlers take from a request.

use std::{
    future::Ready,
    hash::Hash,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    http::header::{ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE},
    web::{Bytes, BytesMut, Data},
};
use futures_util::{StreamExt, future::LocalBoxFuture};

use super::{error::ApiError, fields::Fields};
use crate::{
    app::App,
    matrix::id::UserId,
    rate_limit::RateLimit,
    service::{self, account::Authenticated},
};

/// The largest body of most requests, in bytes.
pub(super) const BODY_LIMIT: usize = 64 * 1024;

/// The largest body of a lookup, in bytes.
pub(super) const LOOKUP_BODY_LIMIT: usize = 2 * 1024 * 1024;

/// How much of a body that is too large is read all the same, in bytes: a client that is still
/// sending when the connection closes never sees the answer.
pub(super) const DRAIN_LIMIT: usize = 8 * 1024 * 1024;

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// The body of a request, read up to `LIMIT` bytes. Taking it never fails, so that who isn't
/// allowed to ask hears of that first.
pub(super) struct Body<const LIMIT: usize = BODY_LIMIT> {
    bytes: Result<Bytes, ApiError>,
    is_form: bool,
}

impl<const LIMIT: usize> Body<LIMIT> {
    /// The bytes as they came.
    pub(super) fn bytes(self) -> Result<Bytes, ApiError> {
        self.bytes
    }

    /// The fields of a JSON object, whatever the `Content-Type` says.
    pub(super) fn fields(self) -> Result<Fields, ApiError> {
        Fields::from_json(&self.bytes?)
    }

    /// As [`Self::fields`], or those of a form: for the five endpoints that have that from before.
    pub(super) fn fields_or_form(self) -> Result<Fields, ApiError> {
        let bytes = self.bytes?;
        if self.is_form && !bytes.trim_ascii_start().starts_with(b"{") {
            return Ok(Fields::from_form(&bytes));
        }
        Fields::from_json(&bytes)
    }
}

impl<const LIMIT: usize> FromRequest for Body<LIMIT> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_form = is_form(request);
        let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let expected = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        let payload = payload.take();
        Box::pin(async move {
            let read = tokio::time::timeout(BODY_TIME, read(payload, expected, LIMIT)).await;
            Ok(Self { bytes: read.unwrap_or(Err(ApiError::BodyTooSlow)), is_form })
        })
    }
}

/// Whether the client says that it sends a form, in the right spelling or in the specification's.
fn is_form(request: &HttpRequest) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| {
        let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        matches!(
            essence.as_str(),
            "application/x-www-form-urlencoded" | "application/x-form-www-urlencoded"
        )
    })
}

async fn read(mut payload: Payload, expected: usize, limit: usize) -> Result<Bytes, ApiError> {
    let mut bytes = BytesMut::new();
    let mut length = 0;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| ApiError::NotJson)?;
        if length == 0 {
            if chunk.len() == expected && expected <= limit {
                // All of it; nothing can follow.
                return Ok(chunk);
            }
            // At once, and not piece by piece; but not all that somebody announces.
            bytes.reserve(expected.min(limit).min(chunk.len().max(BODY_LIMIT)));
        }
        length += chunk.len();
        if length <= limit {
            bytes.extend_from_slice(&chunk);
        } else if length > DRAIN_LIMIT {
            break;
        }
    }
    if length > limit { Err(ApiError::BodyTooLarge(limit)) } else { Ok(bytes.freeze()) }
}

/// The fields of the query.
pub(super) struct Query(pub(super) Fields);

impl FromRequest for Query {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let fields = Fields::from_form(request.query_string().as_bytes());
        std::future::ready(Ok(Self(fields)))
    }
}

/// What a request says of the words that people want to read.
pub(super) struct Wishes {
    /// `brand` of the query.
    pub(super) brand: Option<String>,
    /// The `Accept-Language` header.
    pub(super) accept_language: Option<String>,
}

impl FromRequest for Wishes {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let query = Fields::from_form(request.query_string().as_bytes());
        let header = request.headers().get(ACCEPT_LANGUAGE);
        std::future::ready(Ok(Self {
            brand: query.brand().map(str::to_owned),
            accept_language: header.and_then(|value| value.to_str().ok()).map(str::to_owned),
        }))
    }
}

/// A user with a good access token who accepted the current terms.
pub(super) struct Caller {
    /// Who asks.
    pub(super) mxid: UserId,
}

impl Caller {
    /// Refuses what the caller may do only for themselves.
    pub(super) fn must_be(&self, mxid: &UserId) -> Result<(), ApiError> {
        if self.mxid == *mxid { Ok(()) } else { Err(ApiError::NotYourMxid) }
    }
}

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let user = authenticated(request);
        Box::pin(async move {
            let user = user.await?;
            if user.owes_terms {
                return Err(ApiError::TermsNotSigned);
            }
            Ok(Self { mxid: user.mxid })
        })
    }
}

/// A user with a good access token, whether or not terms are owed.
pub(super) struct UngatedCaller {
    /// Who asks.
    pub(super) mxid: UserId,
}

impl FromRequest for UngatedCaller {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let user = authenticated(request);
        Box::pin(async move { Ok(Self { mxid: user.await?.mxid }) })
    }
}

/// Whose access token the request carries.
fn authenticated(
    request: &HttpRequest,
) -> impl Future<Output = Result<Authenticated, ApiError>> + 'static {
    let (token, app) = (access_token(request), request.app_data::<Data<App>>().cloned());
    async move {
        let token = token.ok_or(ApiError::Unauthorized)?;
        let app =
            app.ok_or_else(|| ApiError::Internal(anyhow::anyhow!("the routes have no App")))?;
        let user = service::account::authenticate(&app, &token).await?;
        user.ok_or(ApiError::Unauthorized)
    }
}

/// The access token of a request: that of the `Authorization` header, else `access_token` of the
/// query, which Synapse still uses.
pub(super) fn access_token(request: &HttpRequest) -> Option<String> {
    if let Some(header) = request.headers().get(AUTHORIZATION) {
        let (scheme, token) = header.to_str().ok()?.trim().split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned());
    }
    let query = Fields::from_form(request.query_string().as_bytes());
    query.optional_text("access_token").ok().flatten().map(str::to_owned)
}

/// Counts a request for `amount` against a limit by client address, unless that client is exempt.
pub(super) fn limit_client(
    app: &App,
    limit: Option<&RateLimit>,
    client: ClientAddress,
    amount: u32,
) -> Result<(), ApiError> {
    if app.config.limits.exempts(client.0) {
        return Ok(());
    }
    limit_by(limit, client.source(), amount)
}

/// Counts a request against a limit that is switched on.
pub(super) fn limit(limit: Option<&RateLimit>, key: impl Hash) -> Result<(), ApiError> {
    limit_by(limit, key, 1)
}

/// As [`limit`], for a request that counts for `amount`.
pub(super) fn limit_by(
    limit: Option<&RateLimit>,
    key: impl Hash,
    amount: u32,
) -> Result<(), ApiError> {
    limit.map_or(Ok(()), |limit| Ok(limit.take(key, amount)?))
}

/// Who asks for validations: by API v2 a [`Caller`], by v1, where it is switched on, anybody.
pub(super) struct Validator(pub(super) Option<UserId>);

impl FromRequest for Validator {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        // The routes of v1 are there only where they are switched on.
        if request.path().starts_with(V1) {
            return Box::pin(std::future::ready(Ok(Self(None))));
        }
        let caller = Caller::from_request(request, payload);
        Box::pin(async move { Ok(Self(Some(caller.await?.mxid))) })
    }
}

/// Where API v1 lies.
pub(super) const V1: &str = "/_matrix/identity/api/v1";

/// Whether the other end of a connection is a proxy that is trusted.
pub(super) fn is_trusted_peer(app: &App, peer: Option<SocketAddr>) -> bool {
    let trusted = &app.config.server.trusted_proxies;
    peer.is_some_and(|peer| trusted.iter().any(|net| net.contains(&peer.ip().to_canonical())))
}

/// Where a request comes from, by the connection or by a proxy that is trusted.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientAddress(pub(super) IpAddr);

impl ClientAddress {
    /// What limits count: an IPv4 address, or an IPv6 network of 64 bits, which is what one
    /// subscriber has.
    fn source(self) -> u128 {
        match self.0.to_canonical() {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits() >> 64 << 64,
        }
    }
}

impl FromRequest for ClientAddress {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let address = request.extensions().get::<Self>().copied();
        let missing = || ApiError::Internal(anyhow::anyhow!("the edge didn't run"));
        std::future::ready(address.ok_or_else(missing))
    }
}
