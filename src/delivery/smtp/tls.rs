//! TLS with a mail server: from the first byte, or after STARTTLS.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use lettre::transport::smtp::{
    client::AsyncTokioStream,
    commands::{Ehlo, Starttls},
    extension::ClientId,
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::super::{DeliveryError, Fault, Reply, Step};
use crate::roots;

/// In bytes; servers answer in a few hundred.
const LONGEST_REPLY: u64 = 64 * 1024;

/// Trusts the system's roots and the operator's.
pub(super) struct Client {
    connector: TlsConnector,
    server: ServerName<'static>,
}

impl Client {
    /// A client for the mail server at `host`.
    pub(super) fn new(host: &str, ca_file: Option<&Path>) -> Result<Self, DeliveryError> {
        let at = |path: &Path, error| DeliveryError::setup(path.display().to_string(), error);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let server = ServerName::try_from(host.clone())
            .map_err(|error| at(Path::new(&host), io::Error::other(error)))?;
        let roots =
            roots::read(ca_file).map_err(|error| at(ca_file.unwrap_or(Path::new("")), error))?;
        let config =
            roots::tls(roots).map_err(|error| at(Path::new("TLS"), io::Error::other(error)))?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), server })
    }

    /// Begins with TLS.
    pub(super) async fn wrap(&self, stream: TcpStream) -> Result<Box<dyn AsyncTokioStream>, Fault> {
        let stream = self.handshake(stream).await?;
        Ok(Box::new(Greeted { greeting: b"", stream }))
    }

    /// Begins in plain and changes to TLS ([RFC 3207](https://www.rfc-editor.org/rfc/rfc3207)),
    /// or fails: nothing but greetings is ever sent without TLS.
    pub(super) async fn upgrade(
        &self,
        stream: TcpStream,
        hello: &ClientId,
    ) -> Result<Box<dyn AsyncTokioStream>, Fault> {
        let mut stream = BufReader::new(stream);
        read_reply(&mut stream).await?;
        write(&mut stream, &Ehlo::new(hello.clone()).to_string()).await?;
        let extensions = read_reply(&mut stream).await?;
        if !extensions.iter().any(|line| line.trim().eq_ignore_ascii_case("STARTTLS")) {
            return Err(Fault::NoStarttls);
        }
        write(&mut stream, &Starttls.to_string()).await?;
        read_reply(&mut stream).await?;
        // Whoever sits between could have put it there, to be taken for the server's own words
        // after the handshake (CVE-2021-38371 and its kin).
        if !stream.buffer().is_empty() {
            return Err(Fault::Broken(Step::Hello));
        }
        let stream = self.handshake(stream.into_inner()).await?;
        Ok(Box::new(Greeted { greeting: b"220 ready\r\n", stream }))
    }

    async fn handshake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Fault> {
        self.connector.connect(self.server.clone(), stream).await.map_err(Fault::Tls)
    }
}

async fn write(stream: &mut BufReader<TcpStream>, command: &str) -> Result<(), Fault> {
    stream.write_all(command.as_bytes()).await.map_err(|_| Fault::Broken(Step::Hello))
}

/// Reads one reply of possibly many lines; returns their texts if it is a positive one
/// (RFC 5321, section 4.2).
async fn read_reply(stream: &mut BufReader<TcpStream>) -> Result<Vec<String>, Fault> {
    let broken = || Fault::Broken(Step::Hello);
    let mut stream = stream.take(LONGEST_REPLY);
    let mut texts = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.map_err(|_| broken())?;
        let (code, text) = line.split_at_checked(3).ok_or_else(broken)?;
        let code: u16 = code.parse().map_err(|_| broken())?;
        if !line.ends_with('\n') {
            return Err(broken());
        }
        match text.strip_prefix('-') {
            Some(text) => texts.push(text.to_owned()),
            None if !(200..300).contains(&code) => {
                return Err(Fault::Reply {
                    step: Step::Hello,
                    reply: Reply { code, status: None },
                });
            }
            None => {
                texts.push(text.trim().to_owned());
                return Ok(texts);
            }
        }
    }
}

/// A TLS stream to a server that greeted before TLS began, or will by itself: lettre waits for a
/// greeting, so it is given one.
#[derive(Debug)]
struct Greeted {
    greeting: &'static [u8],
    stream: TlsStream<TcpStream>,
}

impl AsyncTokioStream for Greeted {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().0.peer_addr()
    }
}

impl AsyncRead for Greeted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.greeting.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let (now, later) = self.greeting.split_at(self.greeting.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.greeting = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Greeted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
