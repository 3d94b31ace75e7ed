//! The binary, as an operator would set it up who lets it speak TLS itself.

use std::{
    ffi::OsStr,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Output,
};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use ed25519_dalek::SigningKey;
use tokio::{process::Command, sync::Mutex};

use crate::{authority::Ca, client::Api, process::Process};

/// Its name.
pub(crate) const NAME: &str = "bindery.test";

const SEED: [u8; 32] = [7; 32];

/// The identity server and its data.
pub(crate) struct Bindery {
    folder: PathBuf,
    http: reqwest::Client,
    process: Mutex<Process>,
}

/// Where it finds the others, and they find it.
pub(crate) struct Surroundings<'a> {
    pub(crate) ca: &'a Ca,
    /// Its own address: peers look for it at port 443.
    pub(crate) ip: Ipv4Addr,
    pub(crate) replication_port: u16,
    pub(crate) nameserver: SocketAddr,
    pub(crate) smtp_port: u16,
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
        let write = |file: &str, text: &str| fs::write(folder.join(file), text).unwrap();
        let (certificate, key) = around.ca.pem(&[NAME]);
        write("certificate.pem", &certificate);
        write("key.pem", &key);
        let (certificate, key) = around.ca.pem_of(&[NAME]);
        write("replication-certificate.pem", &certificate);
        write("replication-key.pem", &key);
        write("signing.key", &format!("ed25519 a {}\n", STANDARD_NO_PAD.encode(SEED)));
        write("bindery.toml", &format!("{}\n{more}", config(&around, &folder)));
        let process = Mutex::new(run(&folder));
        let bindery = Self { folder, http: http.clone(), process };
        bindery.answers().await;
        bindery
    }

    /// What it signs with.
    pub(crate) fn public_key() -> String {
        STANDARD_NO_PAD.encode(SigningKey::from_bytes(&SEED).verifying_key())
    }

    /// Its API, for nobody in particular.
    pub(crate) fn api(&self) -> Api {
        let base = format!("https://{NAME}/_matrix/identity/v2");
        Api { http: self.http.clone(), base, token: None }
    }

    /// Its older API.
    pub(crate) fn api_v1(&self) -> Api {
        let base = format!("https://{NAME}/_matrix/identity/api/v1");
        Api { http: self.http.clone(), base, token: None }
    }

    /// What the binary says to its operator; it must not fail.
    pub(crate) async fn command(&self, arguments: &[&str]) -> String {
        let run = Command::new(env!("CARGO_BIN_EXE_bindery"))
            .args(arguments)
            .arg("--config")
            .arg(self.folder.join("bindery.toml"))
            .output();
        let Output { status, stdout, stderr } = run.await.unwrap();
        let [said, complained] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
        assert!(status.success(), "{status}: {said}{complained}");
        said
    }

    /// Takes it down without a warning.
    pub(crate) async fn kill(&self) {
        self.process.lock().await.kill();
    }

    /// Lets it come back.
    pub(crate) async fn start_again(&self) {
        *self.process.lock().await = run(&self.folder);
        self.answers().await;
    }

    /// Lets it come back with more configuration, which begins with a section's head.
    pub(crate) async fn start_again_with(&self, more: &str) {
        let file = self.folder.join("bindery.toml");
        let config = fs::read_to_string(&file).unwrap();
        self.kill().await;
        fs::write(file, format!("{config}\n{more}")).unwrap();
        self.start_again().await;
    }

    async fn answers(&self) {
        let api = self.api();
        let answers = async || api.http.get(&api.base).send().await.is_ok();
        self.process.lock().await.until(answers).await;
    }
}

fn run(folder: &Path) -> Process {
    let config = folder.join("bindery.toml");
    let arguments = [OsStr::new("serve"), OsStr::new("--config"), config.as_os_str()];
    let binary = OsStr::new(env!("CARGO_BIN_EXE_bindery"));
    Process::start("Bindery", binary, &arguments, &[], folder.join("log"))
}

fn config(around: &Surroundings, folder: &Path) -> String {
    let Surroundings { ip, replication_port, nameserver, smtp_port, .. } = around;
    let (folder, authority) = (folder.display(), around.ca.file().display());
    format!(
        "server.name = '{NAME}'\n\
         server.base_url = 'https://{NAME}'\n\
         server.listen = ['{ip}:443']\n\
         server.tls = {{ certificate = '{folder}/certificate.pem', key = '{folder}/key.pem' }}\n\
         database.url = 'sqlite:{folder}/bindery.db'\n\
         signing.key_file = '{folder}/signing.key'\n\
         email.from = 'Example <noreply@bindery.test>'\n\
         email.smtp = {{ host = '127.0.0.1', port = {smtp_port} }}\n\
         federation.allow_networks = ['127.0.0.0/8']\n\
         federation.ca_file = '{authority}'\n\
         dns.nameservers = ['{nameserver}']\n\
         api.v1.lookup = true\n\
         lookup.algorithms = ['sha256', 'none']\n\
         log.filter = 'info,bindery=debug'\n\
         limits.enabled = false\n\
         [replication]\n\
         listen = ['127.0.0.1:{replication_port}']\n\
         certificate = '{folder}/replication-certificate.pem'\n\
         key = '{folder}/replication-key.pem'\n\
         ca_file = '{authority}'\n"
    )
}
