//! How a refusal reads on the wire: the only file that knows errcodes.

use std::time::Duration;

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{ALLOW, RETRY_AFTER},
    },
};
use serde_json::{Map, Value};

use crate::{
    cause::causes,
    delivery::DeliveryError,
    federation::{FederationError, OpenIdError},
    homeserver::HomeserverError,
    matrix::{medium::Medium, threepid::InvalidAddress},
    rate_limit::Exceeded,
    service::{
        account::RegisterError,
        allowance::AllowanceError,
        association::BindError,
        invite::{SignError, StoreInviteError},
        lookup::{LookupError, SignedError},
        session::{RequestTokenError, SubmitTokenError},
        sms::SmsRefusal,
    },
    store::{StoreError, sessions::SessionFault},
};

/// A refusal, a variant for each distinct answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("There is no such endpoint")]
    UnknownEndpoint,
    #[error("This endpoint takes other methods: {0}")]
    MethodNotAllowed(&'static str),
    #[error("The body isn't JSON")]
    NotJson,
    #[error("{0}")]
    BadJson(String),
    #[error("The body is larger than {0} bytes")]
    BodyTooLarge(usize),
    #[error("The body didn't arrive in time")]
    BodyTooSlow,
    #[error("The body broke off")]
    BodyGone,
    #[error("There are more addresses than the {0} that one lookup may have")]
    TooManyAddresses(usize),
    #[error("Missing: {0}")]
    MissingParams(&'static str),
    #[error("{0}")]
    InvalidParam(String),
    #[error("{0}")]
    InvalidEmail(InvalidAddress),
    #[error("{0}")]
    InvalidAddress(InvalidAddress),
    #[error("This server doesn't handle that medium")]
    UnknownMedium,
    #[error("The mail could not be sent")]
    EmailSend(#[source] DeliveryError),
    #[error("There is no such number or address: check it, and try again")]
    NoSuchAddress(#[source] DeliveryError),
    #[error("No message can be sent to this number or address: use another one")]
    DestinationRejected(#[source] DeliveryError),
    #[error("{0}")]
    NoTextMessages(&'static str),
    #[error("The message could not be sent: try again in a few minutes")]
    SendError(#[source] DeliveryError),
    #[error("Wrong token")]
    TokenIncorrect,
    #[error("The session doesn't exist, or the secret is wrong")]
    NoValidSession,
    #[error("The session doesn't exist, or the secret is wrong")]
    NoSuchSessionToSubmit,
    #[error("The session expired: start again")]
    SessionExpired,
    #[error("The address of this session is not validated yet")]
    SessionNotValidated,
    #[error("Too many wrong tokens: start again")]
    SessionDead(Duration),
    #[error("Missing or unknown access token")]
    Unauthorized,
    #[error("Unknown access token")]
    UnknownToken,
    #[error("The homeserver doesn't vouch for this token")]
    OpenIdRefused,
    #[error("You can do this only for your own user id")]
    NotYourMxid,
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("Accept the terms first")]
    TermsNotSigned,
    #[error("There is no such key")]
    UnknownKey,
    #[error("The hashes were made with another pepper")]
    InvalidPepper { algorithm: &'static str, lookup_pepper: String },
    #[error("Too many requests: wait a little")]
    LimitExceeded(Duration),
    #[error("This address is in use: invite its owner by their user id")]
    ThreepidInUse(String),
    #[error("No neighbour has the name in your certificate")]
    UnknownPeer,
    #[error("There is no such invitation")]
    UnknownInvite,
    #[error("The homeserver can't be reached or doesn't answer as one")]
    HomeserverUnreachable(#[source] FederationError),
    #[error("The homeserver didn't answer in time")]
    HomeserverTimedOut,
    #[error("The homeserver can't be reached right now: try again in a moment")]
    Homeserver(#[source] HomeserverError),
    #[error("The request comes back to this server again and again")]
    Loop,
    #[error("The server can't do this right now: try again in a moment")]
    Unavailable(#[source] StoreError),
    #[error("Internal error")]
    Internal(#[source] anyhow::Error),
}

/// When to come back while the database is away.
const UNAVAILABLE_FOR: Duration = Duration::from_secs(5);

impl ApiError {
    /// The one table of status and errcode. No `_` arm: a new variant has to choose.
    fn wire(&self) -> (StatusCode, &'static str) {
        match self {
            Self::UnknownEndpoint | Self::UnknownInvite => {
                (StatusCode::NOT_FOUND, "M_UNRECOGNIZED")
            }
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "M_UNRECOGNIZED"),
            Self::UnknownMedium => (StatusCode::BAD_REQUEST, "M_UNRECOGNIZED"),
            Self::ThreepidInUse(_) => (StatusCode::BAD_REQUEST, "M_THREEPID_IN_USE"),
            Self::NotJson => (StatusCode::BAD_REQUEST, "M_NOT_JSON"),
            Self::BadJson(_) => (StatusCode::BAD_REQUEST, "M_BAD_JSON"),
            Self::BodyTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "M_TOO_LARGE"),
            Self::TooManyAddresses(_) => (StatusCode::BAD_REQUEST, "M_TOO_LARGE"),
            Self::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, "M_UNKNOWN"),
            Self::BodyGone => (StatusCode::BAD_REQUEST, "M_UNKNOWN"),
            Self::MissingParams(_) => (StatusCode::BAD_REQUEST, "M_MISSING_PARAMS"),
            Self::InvalidParam(_) | Self::NoSuchSessionToSubmit => {
                (StatusCode::BAD_REQUEST, "M_INVALID_PARAM")
            }
            Self::InvalidEmail(_) => (StatusCode::BAD_REQUEST, "M_INVALID_EMAIL"),
            Self::InvalidAddress(_) | Self::NoSuchAddress(_) => {
                (StatusCode::BAD_REQUEST, "M_INVALID_ADDRESS")
            }
            Self::EmailSend(_) => (StatusCode::BAD_REQUEST, "M_EMAIL_SEND_ERROR"),
            Self::DestinationRejected(_) | Self::NoTextMessages(_) => {
                (StatusCode::BAD_REQUEST, "M_DESTINATION_REJECTED")
            }
            Self::SendError(_) => (StatusCode::BAD_REQUEST, "M_SEND_ERROR"),
            Self::TokenIncorrect => (StatusCode::BAD_REQUEST, "M_TOKEN_INCORRECT"),
            Self::NoValidSession => (StatusCode::NOT_FOUND, "M_NO_VALID_SESSION"),
            Self::SessionExpired => (StatusCode::BAD_REQUEST, "M_SESSION_EXPIRED"),
            Self::SessionNotValidated => (StatusCode::BAD_REQUEST, "M_SESSION_NOT_VALIDATED"),
            Self::InvalidPepper { .. } => (StatusCode::BAD_REQUEST, "M_INVALID_PEPPER"),
            Self::Unauthorized | Self::OpenIdRefused => {
                (StatusCode::UNAUTHORIZED, "M_UNAUTHORIZED")
            }
            Self::UnknownToken => (StatusCode::UNAUTHORIZED, "M_UNKNOWN_TOKEN"),
            Self::NotYourMxid => (StatusCode::FORBIDDEN, "M_UNAUTHORIZED"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "M_FORBIDDEN"),
            Self::UnknownPeer => (StatusCode::FORBIDDEN, "M_UNKNOWN_PEER"),
            Self::TermsNotSigned => (StatusCode::FORBIDDEN, "M_TERMS_NOT_SIGNED"),
            Self::UnknownKey => (StatusCode::NOT_FOUND, "M_NOT_FOUND"),
            Self::LimitExceeded(_) | Self::SessionDead(_) => {
                (StatusCode::TOO_MANY_REQUESTS, "M_LIMIT_EXCEEDED")
            }
            Self::HomeserverTimedOut | Self::Homeserver(HomeserverError::TimedOut) => {
                (StatusCode::GATEWAY_TIMEOUT, "M_UNKNOWN")
            }
            Self::HomeserverUnreachable(_) | Self::Homeserver(_) => {
                (StatusCode::BAD_GATEWAY, "M_UNKNOWN")
            }
            Self::Loop => (StatusCode::LOOP_DETECTED, "M_UNKNOWN"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "M_UNKNOWN"),
        }
    }

    /// When the same request may succeed, where that is a matter of time.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::LimitExceeded(wait) | Self::SessionDead(wait) => Some(*wait),
            Self::Unavailable(_) => Some(UNAVAILABLE_FOR),
            _ => None,
        }
    }

    /// The JSON of the refusal.
    fn body(&self) -> Map<String, Value> {
        let mut body = Map::from_iter([
            ("errcode".to_owned(), Value::from(self.wire().1)),
            ("error".to_owned(), Value::from(self.to_string())),
        ]);
        if let Self::InvalidPepper { algorithm, lookup_pepper } = self {
            body.insert("algorithm".to_owned(), Value::from(*algorithm));
            body.insert("lookup_pepper".to_owned(), Value::from(lookup_pepper.as_str()));
        }
        if let Self::ThreepidInUse(mxid) = self {
            body.insert("mxid".to_owned(), Value::from(mxid.as_str()));
        }
        if let Some(wait) = self.retry_after() {
            let millis = rounded_up(wait, Duration::from_millis(1));
            body.insert("retry_after_ms".to_owned(), Value::from(millis));
        }
        body
    }

    /// Writes the cause to the log, where there is one that the operator should know.
    fn log(&self) {
        match self {
            Self::Internal(cause) => {
                tracing::error!(cause = format!("{cause:#}"), "a request failed");
            }
            Self::Unavailable(cause) => {
                tracing::error!(cause = causes(cause), "the database is not available");
            }
            Self::EmailSend(cause) => tracing::warn!(cause = causes(cause), "a mail was not sent"),
            Self::SendError(cause) => {
                tracing::warn!(cause = causes(cause), "a message was not sent");
            }
            Self::NoSuchAddress(cause) | Self::DestinationRejected(cause) => {
                tracing::info!(cause = causes(cause), "a message has nowhere to go");
            }
            Self::Homeserver(cause) => {
                tracing::error!(
                    cause = causes(cause),
                    "the homeserver (`[gateway]`) gave no answer"
                );
            }
            Self::Loop => {
                tracing::error!(
                    "gateway.homeserver leads back here: name where the homeserver listens"
                );
            }
            Self::HomeserverUnreachable(cause) => {
                tracing::info!(cause = causes(cause), "a homeserver could not be asked");
            }
            _ => {}
        }
    }
}

/// How many `unit`s to wait: rounded up, so that whoever waits for so many has waited long enough.
fn rounded_up(wait: Duration, unit: Duration) -> u64 {
    u64::try_from(wait.as_nanos().div_ceil(unit.as_nanos())).unwrap_or(u64::MAX)
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.wire().0
    }

    fn error_response(&self) -> HttpResponse {
        self.log();
        let mut response = HttpResponse::build(self.status_code());
        if let Some(wait) = self.retry_after() {
            let seconds = rounded_up(wait, Duration::from_secs(1));
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        if let Self::MethodNotAllowed(allowed) = self {
            response.insert_header((ALLOW, *allowed));
        }
        response.json(self.body())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if error.is_passing() { Self::Unavailable(error) } else { Self::Internal(error.into()) }
    }
}

impl From<Exceeded> for ApiError {
    fn from(exceeded: Exceeded) -> Self {
        Self::LimitExceeded(exceeded.retry_after)
    }
}

impl From<AllowanceError> for ApiError {
    fn from(error: AllowanceError) -> Self {
        match error {
            AllowanceError::Exceeded(exceeded) => exceeded.into(),
            AllowanceError::Store(error) => error.into(),
        }
    }
}

impl From<(Medium, DeliveryError)> for ApiError {
    fn from((medium, error): (Medium, DeliveryError)) -> Self {
        if medium == Medium::Email {
            return Self::EmailSend(error);
        }
        match error {
            DeliveryError::InvalidAddress(_) => Self::NoSuchAddress(error),
            DeliveryError::Refused(_) => Self::DestinationRejected(error),
            DeliveryError::Unsent(_) | DeliveryError::Setup { .. } => Self::SendError(error),
        }
    }
}

impl From<OpenIdError> for ApiError {
    fn from(error: OpenIdError) -> Self {
        match error {
            OpenIdError::Refused(_) | OpenIdError::WrongUser => Self::OpenIdRefused,
            OpenIdError::TimedOut => Self::HomeserverTimedOut,
            OpenIdError::Unreachable(cause) => Self::HomeserverUnreachable(cause),
        }
    }
}

impl From<RegisterError> for ApiError {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::HomeserverNotAllowed => {
                Self::Forbidden("Users of that homeserver can't register here")
            }
            RegisterError::OpenId(error) => error.into(),
            RegisterError::Store(error) => error.into(),
        }
    }
}

impl From<RequestTokenError> for ApiError {
    fn from(error: RequestTokenError) -> Self {
        match error {
            RequestTokenError::NextLink => {
                Self::InvalidParam("next_link leads to a host that isn't allowed here".to_owned())
            }
            RequestTokenError::Sms(SmsRefusal::Destination(why)) => Self::NoTextMessages(why),
            RequestTokenError::Sms(SmsRefusal::Exceeded { retry_after }) => {
                Self::LimitExceeded(retry_after)
            }
            RequestTokenError::Delivery { medium, error } => (medium, error).into(),
            RequestTokenError::Sms(SmsRefusal::Store(error)) | RequestTokenError::Store(error) => {
                error.into()
            }
        }
    }
}

impl From<SessionFault> for ApiError {
    fn from(fault: SessionFault) -> Self {
        match fault {
            SessionFault::Unknown => Self::NoValidSession,
            SessionFault::Expired => Self::SessionExpired,
            SessionFault::NotValidated => Self::SessionNotValidated,
            SessionFault::Store(error) => error.into(),
        }
    }
}

impl From<SubmitTokenError> for ApiError {
    fn from(error: SubmitTokenError) -> Self {
        match error {
            SubmitTokenError::Session(SessionFault::Unknown) => Self::NoSuchSessionToSubmit,
            SubmitTokenError::Session(fault) => fault.into(),
            SubmitTokenError::WrongToken => Self::TokenIncorrect,
            SubmitTokenError::Dead { retry_after } => Self::SessionDead(retry_after),
            SubmitTokenError::Store(error) => error.into(),
        }
    }
}

impl From<BindError> for ApiError {
    fn from(error: BindError) -> Self {
        match error {
            BindError::Session(fault) => fault.into(),
            BindError::NotSigned => {
                Self::Forbidden("The user's homeserver must have signed this request")
            }
            BindError::Keys(FederationError::TimedOut) => Self::HomeserverTimedOut,
            BindError::Keys(error) => Self::HomeserverUnreachable(error),
            BindError::OtherThreepid => Self::Forbidden("The session is another address's"),
            BindError::Sign(error) => Self::Internal(error.into()),
            BindError::Store(error) => error.into(),
        }
    }
}

impl From<StoreInviteError> for ApiError {
    fn from(error: StoreInviteError) -> Self {
        match error {
            StoreInviteError::InUse { mxid } => Self::ThreepidInUse(mxid),
            StoreInviteError::Medium => Self::UnknownMedium,
            StoreInviteError::Delivery { medium, error } => (medium, error).into(),
            StoreInviteError::Store(error) => error.into(),
        }
    }
}

impl From<SignError> for ApiError {
    fn from(error: SignError) -> Self {
        match error {
            SignError::Unknown => Self::UnknownInvite,
            SignError::Sign(error) => Self::Internal(error.into()),
            SignError::Store(error) => error.into(),
        }
    }
}

impl From<SignedError> for ApiError {
    fn from(error: SignedError) -> Self {
        match error {
            SignedError::Sign(error) => Self::Internal(error.into()),
            SignedError::Store(error) => error.into(),
        }
    }
}

impl From<LookupError> for ApiError {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::InvalidPepper { current } => {
                Self::InvalidPepper { algorithm: "sha256", lookup_pepper: current }
            }
            LookupError::Store(error) => error.into(),
        }
    }
}
