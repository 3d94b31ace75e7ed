//! The door to the homeserver that stands behind this server: requests go on as they came, and
//! answers come back as they are. Its URL is the operator's own, so that no address is refused.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Frame, SizeHint};
use reqwest::{
    Method, Request, Response,
    header::{HeaderName, HeaderValue},
    redirect,
};
use tokio::sync::{mpsc, watch};
use url::Url;

use crate::{config::Gateway, roots};

/// Names and values of header fields, in their order.
pub type Headers = Vec<(String, Vec<u8>)>;

/// A piece of a body.
pub type Piece = bytes::Bytes;

/// How long a connection to it may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection is kept without use: shorter than homeservers do, so that none is used at
/// the moment when it is closed.
const IDLE: Duration = Duration::from_secs(30);

/// The fields that are about one connection alone (RFC 9110, section 7.6.1), beside those that
/// `Connection` names. An `Expect` was answered when the body was asked for.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The door.
pub struct Homeserver {
    client: reqwest::Client,
    /// Scheme, host and port, without a slash at the end.
    origin: String,
    timeout: Duration,
}

/// Why the door can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum UnusableHomeserver {
    /// The file of the authorities.
    #[error("ca_file")]
    Authorities(#[from] io::Error),
    /// The TLS library.
    #[error("TLS")]
    Tls(#[from] rustls::Error),
    /// The HTTP library.
    #[error("the HTTP client")]
    Client(#[from] reqwest::Error),
}

/// Why the homeserver gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum HomeserverError {
    /// It can't be reached, or breaks off.
    #[error("the homeserver can't be reached, or broke off")]
    Unreachable(#[source] reqwest::Error),
    /// It kept silent.
    #[error("the homeserver kept silent")]
    TimedOut,
    /// The request's own body broke off.
    #[error("the body of the request broke off")]
    BodyGone,
    /// Its answer is longer than it can be read here.
    #[error("the homeserver's answer is too long")]
    TooLarge,
    /// What was asked for can't be asked for: it means one thing here and another one there.
    #[error("the path has dots for segments, or a backslash")]
    Path,
}

/// A request.
pub struct Call {
    /// The method.
    pub method: String,
    /// Path and query as they came.
    pub target: String,
    /// The fields, those of one connection left out.
    pub headers: Headers,
    /// The body.
    pub body: Body,
}

/// The body of a request.
pub enum Body {
    /// There is none.
    None,
    /// It is all there.
    Whole(Piece),
    /// It comes piece by piece.
    Pieces {
        /// The pieces.
        pieces: mpsc::Receiver<io::Result<Piece>>,
        /// How long they are together, if that is known.
        length: Option<u64>,
    },
}

impl Homeserver {
    /// Opens the door; nothing is connected to yet.
    ///
    /// # Errors
    /// When `ca_file` can't be used.
    pub fn new(gateway: &Gateway) -> Result<Self, UnusableHomeserver> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(roots::tls(roots::read(gateway.ca_file.as_deref())?)?)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE)
            .redirect(redirect::Policy::none())
            // The Host field is the client's own, which HTTP/2 has no place for.
            .http1_only()
            .no_proxy()
            .build()?;
        let origin = gateway.homeserver.as_str().trim_end_matches('/').to_owned();
        Ok(Self { client, origin, timeout: gateway.timeout })
    }

    /// Asks, and waits until the answer begins. The homeserver may be silent for the time-out, but
    /// as long as the request's body goes on it is not expected to speak.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn ask(&self, call: Call) -> Result<Answer, HomeserverError> {
        let (told, mut moved) = watch::channel(Progress::Going);
        let request = self.request(call, told)?;
        let sending = self.client.execute(request);
        tokio::pin!(sending);
        loop {
            tokio::select! {
                answer = &mut sending => {
                    let is_lost = *moved.borrow() == Progress::Lost;
                    return match answer {
                        Ok(response) => Ok(Answer::new(response, self.timeout)),
                        Err(_) if is_lost => Err(HomeserverError::BodyGone),
                        Err(error) => Err(unreachable(error)),
                    };
                }
                Ok(()) = moved.changed() => {}
                () = tokio::time::sleep(self.timeout) => return Err(HomeserverError::TimedOut),
            }
        }
    }

    fn request(
        &self,
        call: Call,
        told: watch::Sender<Progress>,
    ) -> Result<Request, HomeserverError> {
        if leads_elsewhere(&call.target) {
            return Err(HomeserverError::Path);
        }
        let url = Url::parse(&format!("{}{}", self.origin, call.target));
        let (Ok(url), Ok(method)) = (url, Method::from_bytes(call.method.as_bytes())) else {
            return Err(HomeserverError::Path);
        };
        let mut request = Request::new(method, url);
        for (name, value) in call.headers {
            // They are valid ones, since they came by HTTP.
            let name = HeaderName::from_bytes(name.as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&value)) {
                request.headers_mut().append(name, value);
            }
        }
        *request.body_mut() = match call.body {
            Body::None => None,
            Body::Whole(piece) => Some(piece.into()),
            Body::Pieces { pieces, length } => {
                Some(reqwest::Body::wrap(Pieces { coming: pieces, left: length, told }))
            }
        };
        Ok(request)
    }
}

/// Whether a path is another one as soon as somebody tidies it up: then it isn't known what was
/// asked for.
fn leads_elsewhere(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default().to_ascii_lowercase();
    let dots = |segment: &str| matches!(segment.replace("%2e", ".").as_str(), "." | "..");
    !path.starts_with('/') || path.contains('\\') || path.split('/').any(dots)
}

/// Without the URL, whose query can hold an access token.
fn unreachable(error: reqwest::Error) -> HomeserverError {
    HomeserverError::Unreachable(error.without_url())
}

/// An answer that has begun.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The fields, those of one connection and the length left out.
    pub headers: Headers,
    /// How long the body is, or would be, if that is known.
    pub length: Option<u64>,
    response: Response,
    timeout: Duration,
}

impl Answer {
    fn new(response: Response, timeout: Duration) -> Self {
        let length = response.headers().get("content-length");
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let fields = response.headers().iter();
        let fields =
            fields.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_owned()));
        let headers = end_to_end(fields.collect());
        Self { status: response.status().as_u16(), headers, length, response, timeout }
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// When the homeserver breaks off, or keeps silent.
    pub async fn piece(&mut self) -> Result<Option<Piece>, HomeserverError> {
        let piece = tokio::time::timeout(self.timeout, self.response.chunk()).await;
        piece.map_err(|_| HomeserverError::TimedOut)?.map_err(unreachable)
    }

    /// The whole body; `None` where that is longer than `limit` bytes.
    ///
    /// # Errors
    /// When the homeserver breaks off, or keeps silent.
    pub async fn whole(&mut self, limit: usize) -> Result<Option<Vec<u8>>, HomeserverError> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await? {
            if body.len() + piece.len() > limit {
                return Ok(None);
            }
            body.extend_from_slice(&piece);
        }
        Ok(Some(body))
    }
}

/// The fields that go from end to end: those of one connection are left out, and so is the length,
/// which belongs to how the body is sent on.
#[must_use]
pub fn end_to_end(headers: Headers) -> Headers {
    let connection = headers.iter().filter(|(name, _)| name == "connection");
    let named: Vec<String> = connection
        .flat_map(|(_, value)| value.split(|byte| *byte == b','))
        .map(|option| String::from_utf8_lossy(option.trim_ascii()).to_ascii_lowercase())
        .collect();
    let goes_on = |name: &String| {
        !HOP_BY_HOP.contains(&name.as_str()) && name != "content-length" && !named.contains(name)
    };
    headers.into_iter().filter(|(name, _)| goes_on(name)).collect()
}

/// How the body of a request gets on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Going,
    Lost,
}

/// A body that comes piece by piece.
struct Pieces {
    coming: mpsc::Receiver<io::Result<Piece>>,
    left: Option<u64>,
    told: watch::Sender<Progress>,
}

impl http_body::Body for Pieces {
    type Data = Piece;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Piece>>>> {
        let next = std::task::ready!(self.coming.poll_recv(context));
        let is_lost = matches!(next, Some(Err(_)));
        self.told.send_replace(if is_lost { Progress::Lost } else { Progress::Going });
        if let (Some(Ok(piece)), Some(left)) = (&next, self.left.as_mut()) {
            *left = left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        }
        Poll::Ready(next.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(headers: &[(&str, &str)]) -> Vec<String> {
        let headers = headers.iter();
        let headers =
            headers.map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_owned()));
        end_to_end(headers.collect()).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn what_is_about_one_connection_alone_goes_no_further() {
        let left = names(&[
            ("connection", "Keep-Alive, x-one"),
            ("keep-alive", "timeout=5"),
            ("connection", "X-Two"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("authorization", "Bearer t"),
            ("set-cookie", "a"),
            ("set-cookie", "b"),
        ]);
        assert_eq!(left, ["x-three", "authorization", "set-cookie", "set-cookie"]);
    }

    #[test]
    fn a_path_that_is_another_one_when_tidied_up_is_refused() {
        for target in [
            "/_matrix/client/../../_synapse/admin",
            "/_matrix/client/%2e%2E/x",
            "/_matrix/client/.%2e/x",
            "/_matrix/client/./x",
            "/_matrix/client/..",
            "/_matrix/client\\x",
            "",
            "x",
        ] {
            assert!(leads_elsewhere(target), "{target}");
        }
        for target in ["/_matrix/client/v3/a..b/.c/...", "/_matrix/client/v3/x?next=../..", "//x"] {
            assert!(!leads_elsewhere(target), "{target}");
        }
    }
}
