//! Asks a server at a constant rate, whatever it answers, and tells how long the answers took.
//!
//! A generator that waits for one answer before it asks again asks seldom while the server is slow,
//! and so hardly ever sees it slow. Here each request has its time, and its answer is waited for
//! from then on, even where it could be sent only later since its connection was still busy.
//!
//! `steady ADDRESS RATE SECONDS CONNECTIONS PATH [BODIES]`, with the access token in `LOAD_TOKEN`.
//! Its one line: requests, those not answered with 200, those that broke off; then in microseconds
//! the median, the 99th percentile, that of the worst second, and the longest.

use std::{
    error::Error,
    io::{self, Read, Write},
    net::TcpStream,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// The longest that one answer is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of a request.
struct Answer {
    /// In which second of the run it was due.
    second: u64,
    took: Duration,
    /// `None` where the connection broke.
    status: Option<u16>,
}

/// One of the connections.
struct Client {
    address: String,
    requests: Arc<Vec<Vec<u8>>>,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    fn ask(&mut self, number: usize) -> io::Result<u16> {
        let mut stream = self.stream.take().map_or_else(|| self.connect(), Ok)?;
        let request = self.requests.get(number % self.requests.len());
        stream.write_all(request.map_or(&[], Vec::as_slice))?;
        let status = read_answer(&mut stream, &mut self.buffer)?;
        self.stream = Some(stream);
        Ok(status)
    }
}

/// Reads an answer to its end, as far as its `Content-Length` says; answers its status.
fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<u16> {
    buffer.clear();
    let mut part = [0; 16384];
    let end_of_head = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        read_part(stream, buffer, &mut part)?;
    };
    let head =
        String::from_utf8_lossy(buffer.get(..end_of_head).unwrap_or_default()).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let mut lengths = head.lines().filter_map(|line| line.strip_prefix("content-length:"));
    let length = lengths.next().and_then(|length| length.trim().parse::<usize>().ok());
    let (Some(status), Some(length)) = (status, length) else {
        return Err(io::Error::other("an answer of unknown length"));
    };
    while buffer.len() < end_of_head + length {
        read_part(stream, buffer, &mut part)?;
    }
    Ok(status)
}

fn read_part(stream: &mut TcpStream, buffer: &mut Vec<u8>, part: &mut [u8]) -> io::Result<()> {
    let count = stream.read(part)?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    buffer.extend_from_slice(part.get(..count).unwrap_or_default());
    Ok(())
}

/// When which of the requests are due.
#[derive(Clone, Copy)]
struct Plan {
    start: Instant,
    rate: f64,
    count: usize,
    connections: usize,
}

impl Plan {
    #[expect(clippy::cast_precision_loss, reason = "there are fewer requests than that")]
    fn due(self, number: usize) -> Instant {
        self.start + Duration::from_secs_f64(number as f64 / self.rate)
    }

    /// Every so many of them, the first of which is `first`.
    fn run(self, client: &mut Client, first: usize) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(self.count / self.connections + 1);
        for number in (first..self.count).step_by(self.connections) {
            let due = self.due(number);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let status = client.ask(number).ok();
            let second = due.duration_since(self.start).as_secs();
            answers.push(Answer { second, took: due.elapsed(), status });
        }
        answers
    }
}

fn requests(path: &str, bodies: Option<&str>) -> io::Result<Vec<Vec<u8>>> {
    let token = std::env::var("LOAD_TOKEN").unwrap_or_default();
    let head = format!("{path} HTTP/1.1\r\nHost: load\r\nAuthorization: Bearer {token}\r\n");
    let Some(bodies) = bodies else { return Ok(vec![format!("GET {head}\r\n").into_bytes()]) };
    let request = |body: &str| {
        let length = body.len();
        format!(
            "POST {head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    };
    Ok(std::fs::read_to_string(bodies)?.lines().map(request).collect())
}

/// Of 100 answers that took this long, in their order, this is the one at `percent`.
fn percentile(sorted: &[Duration], percent: usize) -> u128 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0, Duration::as_micros)
}

fn tell(answers: &[Answer]) -> String {
    let took = |second: Option<u64>| {
        let of_second = answers.iter().filter(|one| second.is_none_or(|at| one.second == at));
        let mut took: Vec<Duration> = of_second.map(|answer| answer.took).collect();
        took.sort_unstable();
        took
    };
    let all = took(None);
    let last = answers.iter().map(|answer| answer.second).max().unwrap_or(0);
    let worst = (0..=last).map(|second| percentile(&took(Some(second)), 99)).max();
    let refused = answers.iter().filter(|one| one.status.is_some_and(|status| status != 200));
    let broken = answers.iter().filter(|answer| answer.status.is_none());
    format!(
        "{} {} {} {} {} {} {}",
        all.len(),
        refused.count(),
        broken.count(),
        percentile(&all, 50),
        percentile(&all, 99),
        worst.unwrap_or(0),
        percentile(&all, 100),
    )
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate and a time that somebody waits for"
)]
#[expect(clippy::print_stdout, reason = "that is what it is for")]
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (fixed, bodies) = arguments.split_at(arguments.len().min(5));
    let [address, rate, seconds, connections, path] = fixed else {
        return Err("usage: steady ADDRESS RATE SECONDS CONNECTIONS PATH [BODIES]".into());
    };
    let (rate, seconds): (f64, f64) = (rate.parse()?, seconds.parse()?);
    let connections = connections.parse::<usize>()?.max(1);
    let requests = Arc::new(requests(path, bodies.first().map(String::as_str))?);
    let count = (rate * seconds) as usize;
    let start = Instant::now() + Duration::from_millis(200);
    let plan = Plan { start, rate, count, connections };
    let threads: Vec<_> = (0..connections)
        .map(|first| {
            let (address, requests) = (address.clone(), requests.clone());
            let mut client = Client { address, requests, stream: None, buffer: Vec::new() };
            thread::spawn(move || plan.run(&mut client, first))
        })
        .collect();
    let mut answers = Vec::with_capacity(count);
    for thread in threads {
        answers.extend(thread.join().map_err(|_| "a thread panicked")?);
    }
    println!("{}", tell(&answers));
    Ok(())
}
