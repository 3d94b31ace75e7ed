//! A mail server on a loopback socket that remembers what it was told, and misbehaves as asked.
//!
//! A test binary that does not use all of it declares the module with
//! `#[expect(dead_code, reason = "this binary needs only a part")]`.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

/// How the server behaves.
#[derive(Clone)]
pub(crate) struct Behaviour {
    pub(crate) listen: &'static str,
    pub(crate) tls: Tls,
    /// For whom its certificate is.
    pub(crate) certificate_for: &'static str,
    /// Mechanism, name and password without which it takes no mail.
    pub(crate) login: Option<(&'static str, &'static str, &'static str)>,
    pub(crate) smtputf8: bool,
    /// What it does instead of its duty when it hears this verb (`.` is the end of a message, an
    /// empty one the connection) ...
    pub(crate) trouble: Option<(&'static str, Trouble)>,
    /// ... once it has taken this many mails.
    pub(crate) mails_before_trouble: usize,
    /// How often that happens, before the server does its duty again.
    pub(crate) troubles: usize,
    /// After so many mails it leaves, with these last words.
    pub(crate) leaves: Option<(usize, &'static str)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    None,
    Starttls,
    Implicit,
}

#[derive(Clone, Copy)]
pub(crate) enum Trouble {
    Says(&'static str),
    HangsUp,
    Silent,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0",
            tls: Tls::None,
            certificate_for: "localhost",
            login: None,
            smtputf8: false,
            trouble: None,
            mails_before_trouble: 0,
            troubles: usize::MAX,
            leaves: None,
        }
    }
}

/// All that the server has seen so far.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// Mails whose last line arrived, whatever was answered.
    pub(crate) mails: Vec<Mail>,
    /// Everything that was said outside of TLS.
    pub(crate) plain_commands: Vec<String>,
    pub(crate) connections: usize,
    pub(crate) farewells: usize,
    /// How often the trouble was made.
    pub(crate) troubles: usize,
}

#[derive(Clone, Default)]
pub(crate) struct Mail {
    /// What followed `MAIL FROM:`.
    pub(crate) from: String,
    /// What followed each `RCPT TO:`.
    pub(crate) to: Vec<String>,
    /// The message as it was sent, CRLF included, dots unstuffed.
    pub(crate) raw: Vec<u8>,
    pub(crate) in_tls: bool,
    pub(crate) logged_in: bool,
}

pub(crate) struct SmtpServer {
    pub(crate) port: u16,
    /// The authority behind the server's certificate, as PEM.
    pub(crate) ca: String,
    seen: watch::Receiver<Seen>,
}

impl SmtpServer {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind(behaviour.listen).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (ca, acceptor) = certificate(behaviour.certificate_for);
        let (seen, receiver) = watch::channel(Seen::default());
        let host = Arc::new(Host { behaviour, acceptor, seen });
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                host.seen.send_modify(|seen| seen.connections += 1);
                tokio::spawn(receive(host.clone(), stream));
            }
        });
        Self { port, ca, seen: receiver }
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until the server has seen what `wanted` asks for, for at most ten seconds.
    pub(crate) async fn until(&self, wanted: impl FnMut(&Seen) -> bool) {
        let mut seen = self.seen.clone();
        timeout(Duration::from_secs(10), seen.wait_for(wanted)).await.unwrap().unwrap();
    }
}

struct Host {
    behaviour: Behaviour,
    acceptor: TlsAcceptor,
    seen: watch::Sender<Seen>,
}

/// A certificate for `name`, and the authority that signed it.
fn certificate(name: &str) -> (String, TlsAcceptor) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &ca).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (ca.pem(), TlsAcceptor::from(Arc::new(config)))
}

/// How a dialogue ended.
enum End {
    Closed,
    Starttls,
}

async fn receive(host: Arc<Host>, stream: TcpStream) {
    if host.behaviour.tls == Tls::Implicit {
        if let Ok(stream) = host.acceptor.accept(stream).await {
            Dialogue::new(&host, stream, true).run(true).await;
        }
        return;
    }
    let mut plain = Dialogue::new(&host, stream, false);
    if let Some(End::Starttls) = plain.run(true).await
        && let Ok(stream) = host.acceptor.accept(plain.stream.into_inner()).await
    {
        Dialogue::new(&host, stream, true).run(false).await;
    }
}

struct Dialogue<'a, S> {
    host: &'a Host,
    stream: BufReader<S>,
    mail: Mail,
    taken: usize,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Dialogue<'a, S> {
    fn new(host: &'a Host, stream: S, in_tls: bool) -> Self {
        let mail = Mail { in_tls, ..Mail::default() };
        Self { host, stream: BufReader::new(stream), mail, taken: 0 }
    }

    /// `None`: the client went away, or was left.
    async fn run(&mut self, greet: bool) -> Option<End> {
        if greet {
            self.answer("", "220 mail.test ready").await?;
        }
        loop {
            let line = self.line().await?;
            if !self.mail.in_tls {
                self.host.seen.send_modify(|seen| seen.plain_commands.push(line.clone()));
            }
            let verb = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            let reply = self.obey(&verb, &line).await?;
            self.answer(&verb, &reply).await?;
            match verb.as_str() {
                "STARTTLS" if reply.starts_with('2') => return Some(End::Starttls),
                "DATA" => self.take().await?,
                "QUIT" => return Some(End::Closed),
                _ => {}
            }
        }
    }

    async fn obey(&mut self, verb: &str, line: &str) -> Option<String> {
        let behaviour = &self.host.behaviour;
        let reply = match verb {
            "EHLO" => return Some(self.extensions()),
            "STARTTLS" if behaviour.tls == Tls::Starttls && !self.mail.in_tls => "220 go ahead",
            "AUTH" => self.log_in(line).await?,
            "MAIL" if behaviour.login.is_some() && !self.mail.logged_in => "530 5.7.0 log in first",
            "MAIL" => {
                line.split_once(':')?.1.clone_into(&mut self.mail.from);
                "250 2.1.0 ok"
            }
            "RCPT" => {
                self.mail.to.push(line.split_once(':')?.1.to_owned());
                "250 2.1.5 ok"
            }
            "DATA" => "354 end with a dot",
            "QUIT" => {
                self.host.seen.send_modify(|seen| seen.farewells += 1);
                "221 bye"
            }
            _ => "500 5.5.1 what?",
        };
        Some(reply.to_owned())
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let length = self.stream.read_line(&mut line).await.ok()?;
        assert!(
            length == 0 || line.ends_with("\r\n"),
            "a line that does not end in CRLF: {line:?}"
        );
        (length > 0).then(|| line.trim_end().to_owned())
    }

    /// Says `reply`, unless this is where the trouble begins.
    async fn answer(&mut self, verb: &str, reply: &str) -> Option<()> {
        let behaviour = &self.host.behaviour;
        let reply = match behaviour.trouble {
            Some((at, trouble)) if at == verb && self.is_time_for_trouble() => {
                self.host.seen.send_modify(|seen| seen.troubles += 1);
                match trouble {
                    Trouble::Says(instead) => instead,
                    Trouble::HangsUp => return None,
                    Trouble::Silent => std::future::pending().await,
                }
            }
            _ => reply,
        };
        self.stream.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
        self.stream.flush().await.ok()
    }

    fn is_time_for_trouble(&self) -> bool {
        let (behaviour, seen) = (&self.host.behaviour, self.host.seen.borrow());
        seen.mails.len() >= behaviour.mails_before_trouble && seen.troubles < behaviour.troubles
    }

    fn extensions(&self) -> String {
        let behaviour = &self.host.behaviour;
        let mut reply = "250-mail.test\r\n250-8BITMIME\r\n".to_owned();
        if behaviour.tls == Tls::Starttls && !self.mail.in_tls {
            reply += "250-STARTTLS\r\n";
        }
        if let Some((mechanism, ..)) = behaviour.login {
            reply.extend(["250-AUTH ", mechanism, "\r\n"]);
        }
        if behaviour.smtputf8 {
            reply += "250-SMTPUTF8\r\n";
        }
        reply + "250 ENHANCEDSTATUSCODES"
    }

    async fn log_in(&mut self, line: &str) -> Option<&'static str> {
        let (_, name, password) = self.host.behaviour.login?;
        let told = if let Some(encoded) = line.strip_prefix("AUTH PLAIN ") {
            STANDARD.decode(encoded).unwrap()
        } else {
            let mut told = Vec::new();
            for question in ["Username:", "Password:"] {
                let question = format!("334 {}", STANDARD.encode(question));
                self.answer("334", &question).await?;
                told.push(0);
                told.extend(STANDARD.decode(self.line().await?).unwrap());
            }
            told
        };
        self.mail.logged_in = told == format!("\0{name}\0{password}").as_bytes();
        Some(if self.mail.logged_in { "235 2.7.0 welcome" } else { "535 5.7.8 no, not you" })
    }

    /// Takes a message.
    async fn take(&mut self) -> Option<()> {
        let mut raw = Vec::new();
        loop {
            let mut line = Vec::new();
            self.stream.read_until(b'\n', &mut line).await.ok()?;
            assert!(line.ends_with(b"\r\n"), "a line that does not end in CRLF");
            if line == b".\r\n" {
                break;
            }
            raw.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
        let mail = Mail { raw, ..self.mail.clone() };
        self.mail.to.clear();
        // The trouble is for the mails after those that were to be taken.
        let before = self.host.seen.borrow().mails.len();
        let verb = if before >= self.host.behaviour.mails_before_trouble { "." } else { "ok" };
        self.host.seen.send_modify(|seen| seen.mails.push(mail));
        self.answer(verb, "250 2.0.0 taken").await?;
        self.taken += 1;
        match self.host.behaviour.leaves {
            Some((most, last_words)) if self.taken >= most => {
                self.stream.write_all(last_words.as_bytes()).await.ok()?;
                self.stream.shutdown().await.ok()?;
                None
            }
            _ => Some(()),
        }
    }
}
