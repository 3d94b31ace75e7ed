//! A provider of text messages on a loopback socket: it remembers what it was asked, and answers as
//! it is told. Requests for Twilio's path are held against Twilio's own description of its API; one
//! that breaks it fails the test when the gateway is dropped.
//!
//! A test binary that does not use all of it declares the module with
//! `#[expect(dead_code, reason = "this binary needs only a part")]`.

#[path = "twilio.rs"]
pub(crate) mod twilio;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use url::form_urlencoded;

use twilio::{ACCOUNT_SID, AUTH_TOKEN};

/// The gateway; it stops when it is dropped.
pub(crate) struct Gateway {
    port: u16,
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// What is answered.
#[derive(Clone)]
pub(crate) enum Answer {
    /// What the path's API says when all is well: for Twilio's, a message that is queued.
    Success,
    /// A status and a JSON body.
    Json(u16, Value),
    /// A status and a text.
    Text(u16, String),
    /// A status and this header line.
    Header(u16, String),
    /// So many bytes with status 200.
    Long(usize),
    /// Nothing, ever.
    Silence,
    /// Nothing: the connection is closed once the request was read.
    HangsUp,
    /// Something that is no HTTP.
    Nonsense,
}

impl Answer {
    /// Twilio's refusal, in its words, which repeat the number.
    pub(crate) fn twilio_error(status: u16, code: i64) -> Self {
        Self::Json(status, twilio::refusal(status, code))
    }

    /// Twilio's message resource with this status and error code.
    pub(crate) fn twilio_message(status: &str, code: Option<i64>) -> Self {
        Self::Json(201, twilio::message("+447700900001", status, code))
    }
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: String,
    /// Path and query, undecoded.
    pub(crate) target: String,
    /// The headers, their names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

/// A message, by whatever way it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The number with its `+`, or another address.
    pub(crate) to: String,
    /// The sender, a messaging service, or nothing.
    pub(crate) from: String,
    pub(crate) text: String,
}

#[derive(Default)]
struct State {
    answer: Mutex<Option<Answer>>,
    requests: Mutex<Vec<Received>>,
    connections: Mutex<usize>,
    faults: Mutex<Vec<String>>,
}

impl Received {
    /// The fields of a form, or of the query where there is no body.
    pub(crate) fn fields(&self) -> HashMap<String, String> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let form = if self.body.is_empty() { query } else { &self.body };
        form_urlencoded::parse(form.as_bytes()).into_owned().collect()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The message in it: of Twilio's form, or of the fields `to`, `from` and `text`.
    fn message(&self) -> Message {
        let json: Result<HashMap<String, Value>, _> = serde_json::from_str(&self.body);
        let fields = match json {
            Ok(members) => members
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
                .collect(),
            Err(_) => self.fields(),
        };
        let first = |names: &[&str]| {
            let found = names.iter().find_map(|name| fields.get(*name));
            found.cloned().unwrap_or_default()
        };
        Message {
            to: first(&["To", "to"]),
            from: first(&["From", "MessagingServiceSid", "from"]),
            text: first(&["Body", "text"]),
        }
    }
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let task = tokio::spawn({
            let state = state.clone();
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    *lock(&state.connections) += 1;
                    tokio::spawn(serve(stream, state.clone()));
                }
            }
        });
        Self { port, state, task }
    }

    /// Where it is, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// `[sms]` for this gateway as Twilio.
    pub(crate) fn twilio_toml(&self) -> String {
        format!(
            "[sms]\nprovider = 'twilio'\ntwilio.base_url = '{}'\ntwilio.account_sid = '{ACCOUNT_SID}'\n\
             twilio.auth_token = '{AUTH_TOKEN}'\ntwilio.from = '+15005550006'\n",
            self.url()
        )
    }

    /// From now on, everything is answered so.
    pub(crate) fn answer_with(&self, answer: Answer) {
        *lock(&self.state.answer) = Some(answer);
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Received> {
        lock(&self.state.requests).clone()
    }

    /// The messages in all requests so far.
    pub(crate) fn messages(&self) -> Vec<Message> {
        lock(&self.state.requests).iter().map(Received::message).collect()
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        *lock(&self.state.connections)
    }

    /// Forgets what was wrong with requests, for a test that is about that.
    pub(crate) fn take_faults(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state.faults))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
        let faults = self.take_faults();
        assert!(thread::panicking() || faults.is_empty(), "{faults:#?}");
    }
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap()
}

async fn serve(stream: TcpStream, state: Arc<State>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let request = read_request(&mut stream).await?;
        let answer = state.answer_to(request);
        let (status, header, body) = match answer {
            Answer::Json(status, body) => {
                (status, "Content-Type: application/json".to_owned(), body.to_string())
            }
            Answer::Success => (200, "Content-Type: application/json".to_owned(), "{}".to_owned()),
            Answer::Text(status, text) => (status, "Content-Type: text/plain".to_owned(), text),
            Answer::Header(status, header) => (status, header, String::new()),
            Answer::Long(length) => {
                (200, "Content-Type: text/plain".to_owned(), "a".repeat(length))
            }
            Answer::Silence => std::future::pending().await,
            Answer::HangsUp => return None,
            Answer::Nonsense => {
                stream.write_all(b"220 mail.test ESMTP\r\n").await.ok()?;
                return None;
            }
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status} .\r\nContent-Length: {length}\r\n{header}\r\n\r\n");
        stream.write_all((head + &body).as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
    }
}

impl State {
    fn answer_to(&self, request: Received) -> Answer {
        let told = lock(&self.answer).clone().unwrap_or(Answer::Success);
        let verdict = twilio::verdict(&request);
        lock(&self.requests).push(request);
        match (verdict, told) {
            (Some(Ok(resource)), Answer::Success) => Answer::Json(201, resource),
            (None | Some(Ok(_)), told) => told,
            (Some(Err(fault)), _) => {
                lock(&self.faults).push(fault);
                Answer::twilio_error(400, 20001)
            }
        }
    }
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Received> {
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
    let (first, headers) = lines.split_first()?;
    let mut first = first.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: HashMap<_, _> = headers
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Received { method, target, headers, body: String::from_utf8(body).ok()? })
}
