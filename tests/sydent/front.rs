//! What stands before a Sydent, which doesn't speak TLS itself: it remembers what came through.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::authority::Ca;

/// A reverse proxy; it stops when it is dropped.
pub(crate) struct Front {
    pub(crate) port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Method and path, such as `GET /_matrix/identity/v2`.
    pub(crate) what: String,
    /// All of it.
    pub(crate) text: String,
}

#[derive(Clone)]
struct Way {
    to: SocketAddr,
    has_v2: bool,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Front {
    /// Stands before the server at `to`, with a certificate for `name`. It can keep back API v2, as
    /// if the server were older than that.
    pub(crate) async fn start(ca: &Ca, name: &str, to: SocketAddr, has_v2: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(Arc::new(ca.tls(&[name])));
        let requests = Arc::<Mutex<_>>::default();
        let way = Way { to, has_v2, requests: requests.clone() };
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, way) = (acceptor.clone(), way.clone());
                tokio::spawn(async move { way.lead(acceptor.accept(stream).await.ok()?).await });
            }
        });
        Self { port, requests, task }
    }

    /// What came through so far, in order.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Way {
    /// Serves one connection, which is for one request; a client that goes away ends it.
    async fn lead(&self, stream: TlsStream<TcpStream>) -> Option<()> {
        let mut stream = BufReader::new(stream);
        let (head, body) = read_request(&mut stream).await?;
        let mut words = head.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let path = target.split('?').next()?;
        let what = format!("{method} {path}");
        let text = format!("{head}\r\n{}", String::from_utf8_lossy(&body));
        self.requests.lock().unwrap().push(Request { what, text });
        if !self.has_v2 && path.starts_with("/_matrix/identity/v2") {
            let nothing = "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\
                           Content-Type: application/json\r\nContent-Length: 30\r\n\r\n\
                           {\"errcode\":\"M_UNRECOGNIZED\"}\r\n";
            stream.write_all(nothing.as_bytes()).await.ok()?;
            return stream.shutdown().await.ok();
        }
        let mut server = TcpStream::connect(self.to).await.ok()?;
        server.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).await.ok()?;
        server.write_all(&body).await.ok()?;
        copy_bidirectional(&mut stream, &mut server).await.ok().map(drop)
    }
}

/// The head without the empty line at its end, and without what says how long the connection stays;
/// and the body.
async fn read_request(stream: &mut BufReader<TlsStream<TcpStream>>) -> Option<(String, Vec<u8>)> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let lower = line.to_ascii_lowercase();
        if line == "\r\n" {
            break;
        }
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if !lower.starts_with("connection:") {
            head.push_str(&line);
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}
