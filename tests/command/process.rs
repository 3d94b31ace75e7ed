//! The real command: `bindery` in a folder and on a database of its own, and a person who talks
//! to a server that runs there.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::database::TestDatabase;

/// How long anything may take that is only waited for: longer than what a killed server had begun to
/// tell a neighbour stays claimed.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The program under test.
pub(crate) const BINDERY: &str = env!("CARGO_BIN_EXE_bindery");

/// Looks again and again until there is something to see.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < give_up, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Where servers run, one after the other or at the same time: a folder and a database.
pub(crate) struct Home {
    pub(crate) database: TestDatabase,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// A home whose configuration says more; `toml` begins with a section's head, if anything.
    pub(crate) fn with(toml: &str) -> Self {
        let home = Self { database: TestDatabase::new() };
        // No name leads anywhere, so that nothing leaves this machine.
        let config = format!(
            "server.listen = ['127.0.0.1:0']\ndns.nameservers = ['127.0.0.1:9']\n\
             database.url = '{}'\nlimits.enabled = false\n{toml}",
            home.database.url
        );
        std::fs::write(home.path().join("bindery.toml"), config).unwrap();
        home
    }

    /// Lets the configuration name another database.
    #[cfg(feature = "postgres")]
    pub(crate) fn use_database(&self, url: &str) {
        let file = self.path().join("bindery.toml");
        let config = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, config.replace(&self.database.url, url)).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.database.folder.path()
    }

    /// `bindery` with these arguments and the configuration of this home.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare_command(self.path(), arguments);
        command.args(["--config", "bindery.toml"]);
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        Done::of(self.command(arguments).output().unwrap())
    }

    /// Starts a server and waits until it listens.
    pub(crate) async fn serve(&self) -> Bindery {
        let mut server = Bindery::spawn(self.command(&["serve"]));
        server.listens().await;
        server
    }

    /// The links in the mails that were written here, by the address that they went to.
    pub(crate) fn links(&self) -> HashMap<String, String> {
        let mails = std::fs::read_dir(self.path().join("bindery-data/mail")).unwrap();
        let mail = |entry: std::io::Result<std::fs::DirEntry>| {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let to = text.lines().find_map(|line| line.strip_prefix("To: "))?.to_owned();
            Some((to, link(&text)?))
        };
        mails.filter_map(mail).collect()
    }
}

/// The link in a mail.
pub(crate) fn link(mail: &str) -> Option<String> {
    Some(mail.lines().find(|line| line.starts_with("http"))?.to_owned())
}

/// `bindery` in a folder, untouched by the environment of the tests.
pub(crate) fn bare_command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINDERY);
    command.current_dir(folder).args(arguments).env_remove("BINDERY_CONFIG");
    command
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What a success printed.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// What a failure with this exit code said.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{self:?}");
        self.err
    }
}

/// A server that runs; it is killed when the test is done with it.
pub(crate) struct Bindery {
    child: Child,
    /// `http://127.0.0.1:port`
    pub(crate) base: String,
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
}

impl Bindery {
    /// Starts `command`, which may still fail.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = remember(child.stdout.take().unwrap());
        let err = remember(child.stderr.take().unwrap());
        Self { child, base: String::new(), out, err }
    }

    /// Waits until it listens, and learns where.
    pub(crate) async fn listens(&mut self) {
        let (out, err) = (self.out.clone(), self.err.clone());
        let child = &mut self.child;
        self.base = until("a server that listens", async || {
            let said = format!("{}{}", out.lock().unwrap(), err.lock().unwrap());
            assert!(child.try_wait().unwrap().is_none(), "it ended: {said}");
            let line = said.lines().find(|line| line.contains("listen"))?;
            let (_, from_port) = line.split_once("127.0.0.1:")?;
            let port: String = from_port.chars().take_while(char::is_ascii_digit).collect();
            Some(format!("http://127.0.0.1:{port}"))
        })
        .await;
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        until("the end of the server", async || child.try_wait().unwrap()).await
    }

    /// Kills it as a power failure would.
    pub(crate) async fn kill(&mut self) {
        self.signal("KILL");
        self.ended().await;
    }

    /// What it has printed so far.
    pub(crate) fn output(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.err.lock().unwrap().clone()
    }
}

impl Drop for Bindery {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process of the test's own, unless it is gone already.
pub(crate) fn signal(pid: u32, name: &str) {
    let kill = format!("kill -{name} {pid} 2>/dev/null");
    // `kill` is built into the shell; as a program it may be missing.
    Command::new("sh").args(["-c", &kill]).status().unwrap();
}

/// Reads to the end in the background.
fn remember(stream: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let written = text.clone();
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while stream.read_line(&mut line).is_ok_and(|length| length > 0) {
            written.lock().unwrap().push_str(&line);
            line.clear();
        }
    });
    text
}

/// A person with an access token.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) base: String,
    pub(crate) token: String,
    pub(crate) client: reqwest::Client,
}

/// Whom [`Person::of`] is.
pub(crate) const MXID: &str = "@you:example.org";

impl Person {
    /// A new token for the server in `home`, which the command makes while the server runs.
    pub(crate) fn of(home: &Home, server: &Bindery) -> Self {
        let token = home.run(&["account", "token", MXID]).ok().trim_end().to_owned();
        Self { base: server.base.clone(), token, client: client() }
    }

    /// The same person at another server of the same home.
    pub(crate) fn at(&self, server: &Bindery) -> Self {
        Self { base: server.base.clone(), ..self.clone() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = self.client.get(format!("{}{path}", self.base));
        Answer::to(request.bearer_auth(&self.token)).await
    }

    /// Posts to a path of the v2 API.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.client.post(format!("{}/_matrix/identity/v2{path}", self.base));
        Answer::to(request.bearer_auth(&self.token).json(body)).await
    }

    /// Asks for a validation mail; answers the session's id.
    pub(crate) async fn request_token(&self, email: &str) -> Answer {
        let body = json!({ "email": email, "client_secret": SECRET, "send_attempt": 1 });
        self.post("/validate/email/requestToken", &body).await
    }

    /// Opens the link of a mail at the server as it listens here.
    pub(crate) async fn open(&self, link: &str) -> Answer {
        let link: url::Url = link.parse().unwrap();
        self.get(&format!("{}?{}", link.path(), link.query().unwrap())).await
    }

    /// Validates each of `emails`; answers what binds them, in the same order.
    pub(crate) async fn validated(&self, home: &Home, emails: &[String]) -> Vec<Value> {
        let mut bodies = Vec::new();
        for email in emails {
            let sid = self.request_token(email).await.ok()["sid"].clone();
            bodies.push(json!({ "sid": sid, "client_secret": SECRET, "mxid": MXID }));
        }
        let links = home.links();
        for email in emails {
            assert_eq!(self.open(&links[email]).await.status, 200);
        }
        bodies
    }

    pub(crate) async fn bind(&self, body: &Value) -> Answer {
        self.post("/3pid/bind", body).await
    }

    /// Which of `emails` are found as this person's, looked up by hash.
    pub(crate) async fn find(&self, emails: &[String]) -> Vec<String> {
        self.try_find(emails).await.unwrap().1
    }

    /// As [`Self::find`], with the pepper; `None` where another one came into use meanwhile.
    pub(crate) async fn try_find(&self, emails: &[String]) -> Option<(String, Vec<String>)> {
        let details = self.get("/_matrix/identity/v2/hash_details").await.ok();
        let pepper = details["lookup_pepper"].as_str().unwrap();
        let hashes: Vec<String> = emails.iter().map(|email| hash(email, pepper)).collect();
        let body = json!({ "algorithm": "sha256", "pepper": pepper, "addresses": hashes });
        let answer = self.post("/lookup", &body).await;
        if answer.body.contains("M_INVALID_PEPPER") {
            return None;
        }
        let found = answer.ok();
        let of_person = |hash: &String| found["mappings"][hash] == MXID;
        let pairs = emails.iter().zip(&hashes);
        let found = pairs.filter(|(_, hash)| of_person(hash)).map(|(email, _)| email.clone());
        Some((pepper.to_owned(), found.collect()))
    }
}

/// The client secret of all sessions.
pub(crate) const SECRET: &str = "monkeys_are.GREAT";

/// Addresses of one person.
pub(crate) fn addresses(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("you+{number}@example.org")).collect()
}

/// The hash of an address as a client makes it.
fn hash(email: &str, pepper: &str) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use sha2::{Digest, Sha256};
    URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{email} email {pepper}")))
}

pub(crate) fn client() -> reqwest::Client {
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(PATIENCE * 2).build().unwrap()
}

/// What came back; `status` 0 when nothing did.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: String,
}

impl Answer {
    async fn to(request: reqwest::RequestBuilder) -> Self {
        match Self::read(request).await {
            Ok(answer) => answer,
            Err(error) => Self { status: 0, retry_after: None, body: error.to_string() },
        }
    }

    async fn read(request: reqwest::RequestBuilder) -> reqwest::Result<Self> {
        let response = request.send().await?;
        let retry_after = response.headers().get("retry-after");
        Ok(Self {
            status: response.status().as_u16(),
            retry_after: retry_after.map(|value| value.to_str().unwrap().to_owned()),
            body: response.text().await?,
        })
    }

    /// The body of a success.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }

    /// Whether the server asks to come back later, as it has to while its database fails.
    pub(crate) fn is_unavailable(&self) -> bool {
        let seconds = self.retry_after.as_ref().is_some_and(|wait| wait.parse::<u32>().is_ok());
        self.status == 503 && seconds && self.body.contains("M_UNKNOWN")
    }
}
