//! A homeserver on loopback with real TLS, which answers as it is told and remembers what it was
//! asked.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

pub(crate) use crate::authority::Ca;

/// The fake homeserver; it stops when it is dropped.
pub(crate) struct FakeHomeserver {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    users: HashMap<String, String>,
    passwords: HashMap<String, String>,
    replies: HashMap<String, Reply>,
    requests: Vec<Received>,
    connections: usize,
}

/// What a path answers.
#[derive(Clone)]
pub(crate) enum Reply {
    /// A status and a body, and the headers in between as they are (each line with CRLF).
    Full(u16, String, String),
    /// These bytes in place of an HTTP response; then the connection is closed.
    Raw(Vec<u8>),
    /// These bytes, and then nothing for ever.
    Stalled(Vec<u8>),
    /// Nothing, ever.
    Silence,
}

impl Reply {
    /// A status and a body.
    pub(crate) fn new(status: u16, body: impl Into<String>) -> Self {
        Self::Full(status, String::new(), body.into())
    }

    /// A body with status 200 and headers, each line with CRLF.
    pub(crate) fn with(headers: impl Into<String>, body: impl Into<String>) -> Self {
        Self::Full(200, headers.into(), body.into())
    }

    /// A redirect.
    pub(crate) fn redirect(status: u16, location: &str) -> Self {
        Self::Full(status, format!("Location: {location}\r\n"), String::new())
    }
}

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    /// The method.
    pub(crate) method: String,
    /// Path and query, undecoded.
    pub(crate) target: String,
    /// The name that the client gave in the TLS handshake.
    pub(crate) sni: Option<String>,
    /// The headers, their names in lower case.
    pub(crate) headers: HashMap<String, String>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Received {
    /// The `Host` header.
    pub(crate) fn host(&self) -> &str {
        &self.headers["host"]
    }
}

impl FakeHomeserver {
    /// Starts on a port of its own on 127.0.0.1, with a certificate for `names`.
    pub(crate) async fn start(ca: &Ca, names: &[&str]) -> Self {
        Self::start_at(ca, names, "127.0.0.1:0".parse().unwrap()).await
    }

    /// Starts on port 443, where well-known documents are looked for, of an address of its own.
    pub(crate) async fn start_at_443(ca: &Ca, names: &[&str]) -> Self {
        Self::start_at(ca, names, (own_loopback(), 443).into()).await
    }

    /// Starts without TLS on a port of its own on 127.0.0.1.
    pub(crate) async fn start_plain() -> Self {
        Self::listen("127.0.0.1:0".parse().unwrap(), None).await
    }

    /// Starts at `address`.
    pub(crate) async fn start_at(ca: &Ca, names: &[&str], address: SocketAddr) -> Self {
        Self::listen(address, Some(TlsAcceptor::from(Arc::new(ca.tls(names))))).await
    }

    async fn listen(address: SocketAddr, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap_or_else(|error| {
            panic!(
                "{address}: {error}. Ports below 1024 take the right to bind them: run the tests \
                 as root, or set the sysctl net.ipv4.ip_unprivileged_port_start to 443"
            )
        });
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let task = tokio::spawn(accept(listener, acceptor, state.clone()));
        Self { address, state, task }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `host` with its port: a server name that needs no discovery.
    pub(crate) fn name(&self, host: &str) -> String {
        format!("{host}:{}", self.address.port())
    }

    /// Makes `token` an OpenID token of the user `sub`.
    pub(crate) fn set_user(&self, token: &str, sub: &str) {
        self.state.lock().unwrap().users.insert(token.to_owned(), sub.to_owned());
    }

    /// Makes `password` the one by which the user `mxid` logs in.
    pub(crate) fn set_password(&self, mxid: &str, password: &str) {
        self.state.lock().unwrap().passwords.insert(mxid.to_owned(), password.to_owned());
    }

    /// Sets what the well-known document says: that `server` is to be asked.
    pub(crate) fn delegate_to(&self, server: &str) {
        let document = json!({ "m.server": server }).to_string();
        self.set_reply("/.well-known/matrix/server", Reply::new(200, document));
    }

    /// Sets what `path` answers, whatever the query.
    pub(crate) fn set_reply(&self, path: &str, reply: Reply) {
        self.state.lock().unwrap().replies.insert(path.to_owned(), reply);
    }

    /// What it was asked so far.
    pub(crate) fn requests(&self) -> Vec<Received> {
        self.state.lock().unwrap().requests.clone()
    }

    /// How many TCP connections were opened so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }
}

impl Drop for FakeHomeserver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An address out of 127.0.0.0/8 that no other test of this machine uses.
pub(crate) fn own_loopback() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let last = NEXT.fetch_add(1, Ordering::Relaxed);
    assert_ne!(last, u8::MAX, "the loopback addresses of this process are used up");
    Ipv4Addr::new(127, high.max(1), low, last)
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        state.lock().unwrap().connections += 1;
        let (acceptor, state) = (acceptor.clone(), state.clone());
        tokio::spawn(async move {
            match acceptor {
                Some(acceptor) => serve_tls(stream, acceptor, state).await,
                None => serve(stream, None, state).await,
            }
        });
    }
}

async fn serve_tls(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    state: Arc<Mutex<State>>,
) -> Option<()> {
    let stream = acceptor.accept(stream).await.ok()?;
    let sni = stream.get_ref().1.server_name().map(str::to_owned);
    serve(stream, sni, state).await
}

/// Serves one connection; a client that goes away or speaks nonsense ends it.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    sni: Option<String>,
    state: Arc<Mutex<State>>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let request = read_request(&mut stream, sni.clone()).await?;
        let reply = state.lock().unwrap().reply(request);
        match reply {
            Reply::Full(status, headers, body) => {
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status} .\r\nContent-Length: {length}\r\n{headers}\r\n");
                stream.write_all((head + &body).as_bytes()).await.ok()?;
                stream.flush().await.ok()?;
            }
            Reply::Raw(bytes) => {
                stream.write_all(&bytes).await.ok()?;
                return stream.shutdown().await.ok();
            }
            Reply::Stalled(bytes) => {
                stream.write_all(&bytes).await.ok()?;
                stream.flush().await.ok()?;
                std::future::pending::<()>().await;
            }
            Reply::Silence => std::future::pending().await,
        }
    }
}

async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut BufReader<S>,
    sni: Option<String>,
) -> Option<Received> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line);
    }
    let mut first = lines.first()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: HashMap<_, _> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let body = if headers.contains_key("transfer-encoding") {
        read_chunks(stream).await?
    } else {
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        body
    };
    Some(Received { method, target, sni, headers, body })
}

/// A body in chunks, each without an extension.
async fn read_chunks<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let length = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; length + 2];
        stream.read_exact(&mut chunk).await.ok()?;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(&chunk[..length]);
    }
}

impl State {
    /// What comes of a login: only an `m.id.user` with its password is let in.
    fn log_in(&self, body: &[u8]) -> Reply {
        let login: Value = serde_json::from_slice(body).unwrap_or_default();
        let user = login["identifier"]["user"].as_str().unwrap_or_default();
        let is_user = login["identifier"]["type"] == "m.id.user";
        match self.passwords.get(user) {
            Some(password) if is_user && login["password"] == **password => {
                Reply::new(200, json!({ "user_id": user, "access_token": "t" }).to_string())
            }
            _ => Reply::Full(
                403,
                "Content-Type: application/json\r\nAccess-Control-Allow-Origin: *\r\n".to_owned(),
                r#"{"errcode":"M_FORBIDDEN","error":"Invalid username or password"}"#.to_owned(),
            ),
        }
    }

    fn reply(&mut self, request: Received) -> Reply {
        let url = url::Url::parse("https://homeserver/").unwrap().join(&request.target).unwrap();
        let login = (request.method == "POST" && url.path().ends_with("/login"))
            .then(|| self.log_in(&request.body));
        self.requests.push(request);
        if let Some(reply) = self.replies.get(url.path()) {
            return reply.clone();
        }
        if let Some(reply) = login {
            return reply;
        }
        if url.path() != "/_matrix/federation/v1/openid/userinfo" {
            return Reply::new(404, json!({ "errcode": "M_UNRECOGNIZED" }).to_string());
        }
        let token = url.query_pairs().find(|(name, _)| name == "access_token");
        match token.and_then(|(_, token)| self.users.get(token.as_ref())) {
            Some(sub) => Reply::new(200, json!({ "sub": sub }).to_string()),
            None => Reply::new(401, json!({ "errcode": "M_UNKNOWN_TOKEN" }).to_string()),
        }
    }
}
