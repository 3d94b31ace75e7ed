//! What the log keeps to itself.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use tracing::{Level, instrument::WithSubscriber};

use crate::{
    Door, LINK, NUMBER, TOKEN,
    gateway::{Answer, Gateway, twilio::AUTH_TOKEN},
};

/// What is logged at `level` and above while `work` is done.
async fn logged(level: Level, work: impl Future<Output = ()>) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_max_level(level);
    work.with_subscriber(log.with_writer(move || writer.clone()).finish()).await;
    String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
}

#[tokio::test]
async fn neither_the_log_nor_an_error_tells_number_text_or_secret() {
    let gateway = Gateway::start().await;
    let http = format!(
        "[sms]\nprovider = 'http'\nhttp.secret = '{AUTH_TOKEN}'\n\
         http.url = '{}/?to={{{{ to }}}}&text={{{{ text }}}}&key={{{{ secret }}}}'\n",
        gateway.url()
    );
    let (mut told, mut errors) = (String::new(), Vec::new());
    for toml in
        [gateway.twilio_toml(), http.clone(), http.replace(&gateway.url(), "http://[::1]:1")]
    {
        let log = logged(Level::DEBUG, async {
            let door = Door::with(&toml);
            for answer in [
                Answer::Success,
                Answer::twilio_error(400, 21211),
                Answer::twilio_error(400, 21610),
                Answer::twilio_error(401, 20003),
                Answer::twilio_message("failed", Some(30008)),
                Answer::Text(500, format!("{NUMBER} {TOKEN} {AUTH_TOKEN}")),
                Answer::HangsUp,
                Answer::Nonsense,
            ] {
                gateway.answer_with(answer);
                if let Err(error) = door.text(NUMBER).await {
                    errors.push(format!("{error} {error:?}"));
                }
            }
        });
        told += &log.await;
    }
    told += &errors.join("\n");
    assert!(told.contains("21211") && told.contains("Unreachable"), "{told}");
    for hidden in [&NUMBER[2..], TOKEN, LINK, AUTH_TOKEN] {
        assert!(!told.contains(hidden), "{hidden:?} is in {told}");
    }
}

#[tokio::test]
async fn for_trying_out_the_log_gets_the_whole_message() {
    let door = Door::with("sms.provider = 'log'");
    let log = logged(Level::INFO, async { door.text(NUMBER).await.unwrap() }).await;
    for part in ["+447700900001", TOKEN] {
        assert!(log.contains(part), "{part:?} is not in {log}");
    }
}
