//! The binary, as an operator would set it up who lets it speak TLS itself.

use std::{
    ffi::OsStr,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tokio::sync::Mutex;

use crate::{authority::Ca, process::Process};

/// Its name, which is not that of its address.
const NAME: &str = "id.test";

/// The identity server and its data.
pub(crate) struct Bindery {
    port: u16,
    folder: PathBuf,
    http: reqwest::Client,
    process: Mutex<Process>,
}

/// Where it finds the others.
pub(crate) struct Surroundings<'a> {
    pub(crate) ca: &'a Ca,
    /// Its own.
    pub(crate) port: u16,
    pub(crate) nameserver: SocketAddr,
    pub(crate) smtp_port: u16,
    /// The URL of who sends text messages.
    pub(crate) gateway: String,
}

impl Bindery {
    /// Starts one whose files are in `folder`, with more configuration that begins with a
    /// section's head.
    pub(crate) async fn start(
        around: Surroundings<'_>,
        folder: PathBuf,
        more: &str,
        http: &reqwest::Client,
    ) -> Self {
        fs::create_dir(&folder).unwrap();
        let port = around.port;
        let (certificate, key) = around.ca.pem(&["localhost"]);
        fs::write(folder.join("certificate.pem"), certificate).unwrap();
        fs::write(folder.join("key.pem"), key).unwrap();
        let config = config(&around, &folder);
        fs::write(folder.join("bindery.toml"), format!("{config}\n{more}")).unwrap();
        let process = Mutex::new(run(&folder));
        let bindery = Self { port, folder, http: http.clone(), process };
        bindery.answers().await;
        bindery
    }

    /// What clients tell their homeserver.
    pub(crate) fn id_server(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// What clients know it by.
    pub(crate) fn base_url(&self) -> String {
        format!("https://{}", self.id_server())
    }

    /// Stops and starts it, as for a new version.
    pub(crate) async fn restart(&self) {
        {
            let mut process = self.process.lock().await;
            process.stop();
            *process = run(&self.folder);
        }
        self.answers().await;
    }

    /// Takes it down without a warning, and starts it again.
    pub(crate) async fn crash(&self) {
        {
            let mut process = self.process.lock().await;
            process.kill();
            *process = run(&self.folder);
        }
        self.answers().await;
    }

    async fn answers(&self) {
        let url = format!("{}/_matrix/identity/v2", self.base_url());
        self.process.lock().await.until(async || self.http.get(&url).send().await.is_ok()).await;
    }
}

fn run(folder: &Path) -> Process {
    let config = folder.join("bindery.toml");
    let arguments = [OsStr::new("serve"), OsStr::new("--config"), config.as_os_str()];
    let binary = OsStr::new(env!("CARGO_BIN_EXE_bindery"));
    Process::start("Bindery", binary, &arguments, &[], folder.join("log"))
}

fn config(around: &Surroundings, folder: &Path) -> String {
    let (port, folder) = (around.port, folder.display());
    format!(
        "server.name = '{NAME}'\n\
         server.base_url = 'https://localhost:{port}'\n\
         server.listen = ['127.0.0.1:{port}']\n\
         server.tls = {{ certificate = '{folder}/certificate.pem', key = '{folder}/key.pem' }}\n\
         database.url = 'sqlite:{folder}/bindery.db'\n\
         signing.key_file = '{folder}/signing.key'\n\
         email.from = 'Example <noreply@id.test>'\n\
         email.smtp = {{ host = '127.0.0.1', port = {} }}\n\
         sms.provider = 'http'\n\
         sms.http.url = '{}/messages'\n\
         sms.http.json = {{ to = '{{{{ to }}}}', text = '{{{{ text }}}}' }}\n\
         api.v1.validate = true\n\
         federation.allow_networks = ['127.0.0.0/8']\n\
         federation.ca_file = '{}'\n\
         federation.timeout = '5s'\n\
         dns.nameservers = ['{}']\n\
         limits.enabled = false\n",
        around.smtp_port,
        around.gateway,
        around.ca.file().display(),
        around.nameserver,
    )
}
