//! How the server stops: requests that are on their way end first.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::process::{Bindery, Home, Person, until};

/// A request of which only the beginning was sent.
struct HalfARequest {
    connection: TcpStream,
    missing: &'static str,
}

impl HalfARequest {
    /// Sends the head and half of the body, and waits until the server reads it.
    async fn sent_to(server: &Bindery, person: &Person) -> Self {
        let address = server.base.strip_prefix("http://").unwrap();
        let mut connection = TcpStream::connect(address).await.unwrap();
        let (sent, missing) = ("{\"user_ac", "cepts\": []}");
        let head = format!(
            "POST /_matrix/identity/v2/terms HTTP/1.1\r\nhost: localhost\r\n\
             authorization: Bearer {}\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
            person.token,
            sent.len() + missing.len()
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        let mut buffer = [0; 512];
        let length = connection.read(&mut buffer).await.unwrap();
        let go_on = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(go_on.starts_with("HTTP/1.1 100"), "{go_on}");
        connection.write_all(sent.as_bytes()).await.unwrap();
        Self { connection, missing }
    }

    /// Sends the rest; answers the first line of what comes back.
    async fn end(mut self) -> String {
        self.connection.write_all(self.missing.as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.connection.read_to_string(&mut answer).await.unwrap();
        answer.lines().next().unwrap_or_default().to_owned()
    }
}

/// Waits until the server has understood that it is to stop.
async fn stops(server: &Bindery) {
    let address = server.base.strip_prefix("http://").unwrap();
    until("a server that stops", async || server.log().contains("stopping").then_some(())).await;
    until("a closed door", async || TcpStream::connect(address).await.err()).await;
}

#[tokio::test]
async fn a_request_on_its_way_is_answered_after_either_signal() {
    for signal in ["TERM", "INT"] {
        let home = Home::new();
        let mut server = home.serve().await;
        let person = Person::of(&home, &server);
        let request = HalfARequest::sent_to(&server, &person).await;
        server.signal(signal);
        stops(&server).await;
        assert_eq!(request.end().await, "HTTP/1.1 200 OK");
        assert!(server.ended().await.success());
        assert!(server.log().contains("stopped"), "{}", server.log());
    }
}

#[tokio::test]
async fn a_client_that_never_ends_holds_the_stop_up_for_ten_seconds_at_most() {
    let home = Home::new();
    let mut server = home.serve().await;
    let person = Person::of(&home, &server);
    let _request = HalfARequest::sent_to(&server, &person).await;
    let asked = Instant::now();
    server.signal("TERM");
    assert!(server.ended().await.success());
    let took = asked.elapsed();
    assert!(took > Duration::from_secs(5), "it did not wait: {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let home = Home::new();
    let mut server = home.serve().await;
    let person = Person::of(&home, &server);
    let _request = HalfARequest::sent_to(&server, &person).await;
    server.signal("TERM");
    stops(&server).await;
    let asked = Instant::now();
    server.signal("INT");
    assert_eq!(server.ended().await.code(), Some(1));
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn a_client_that_only_keeps_its_connection_holds_nothing_up() {
    let home = Home::new();
    let mut server = home.serve().await;
    let person = Person::of(&home, &server);
    person.get("/health/live").await.ok();
    let asked = Instant::now();
    server.signal("TERM");
    assert!(server.ended().await.success());
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
}
