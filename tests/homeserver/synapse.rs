//! A Synapse, as an operator would set it up who has this test's authority for certificates.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::{
    authority::Ca,
    environment,
    process::{Process, free_port},
};

/// Which signing key it has is of no account.
const SIGNING_KEY: &str = "ed25519 a_test YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA0\n";

/// The homeserver and its data.
pub(crate) struct Synapse {
    pub(crate) name: String,
    pub(crate) port: u16,
    /// Where it listens for proxies, without TLS.
    pub(crate) behind_proxy: u16,
    folder: PathBuf,
    authorities: PathBuf,
    http: reqwest::Client,
    process: Mutex<Process>,
}

/// What one Synapse has and others haven't.
#[derive(Default)]
pub(crate) struct Settings<'a> {
    /// Its name; without one it has that of its address, by which other homeservers find it.
    pub(crate) name: Option<&'a str>,
    /// Who validates phone numbers for it, if anybody.
    pub(crate) delegate: Option<&'a str>,
    /// Keys of its configuration, in place of the usual ones.
    pub(crate) more: Vec<(&'static str, Value)>,
}

impl Synapse {
    /// Starts one whose files are in `folder`.
    pub(crate) async fn start(
        settings: Settings<'_>,
        ca: &Ca,
        folder: PathBuf,
        http: &reqwest::Client,
    ) -> Self {
        let Settings { name, delegate, more } = settings;
        fs::create_dir(&folder).unwrap();
        let (port, behind_proxy) = (free_port(), free_port());
        let name = name.map_or_else(|| format!("localhost:{port}"), str::to_owned);
        let host = name.split(':').next().unwrap();
        let (certificate, key) = ca.pem(&[host, "localhost"]);
        fs::write(folder.join("certificate.pem"), certificate).unwrap();
        fs::write(folder.join("key.pem"), key).unwrap();
        fs::write(folder.join("signing.key"), SIGNING_KEY).unwrap();
        // JSON is YAML.
        let mut config = config(&folder, &name, (port, behind_proxy));
        if let Some(delegate) = delegate {
            config["account_threepid_delegates"] = json!({ "msisdn": delegate });
        }
        for (key, value) in more {
            config[key] = value;
        }
        fs::write(folder.join("homeserver.yaml"), config.to_string()).unwrap();
        let authorities = ca.file().to_owned();
        let process = Mutex::new(run(&folder, &authorities));
        let http = http.clone();
        let synapse = Self { name, port, behind_proxy, folder, authorities, http, process };
        synapse.answers().await;
        synapse
    }

    /// What clients know it by.
    pub(crate) fn base_url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// Takes it away.
    pub(crate) async fn kill(&self) {
        self.process.lock().await.kill();
    }

    /// Lets it come back.
    pub(crate) async fn start_again(&self) {
        *self.process.lock().await = run(&self.folder, &self.authorities);
        self.answers().await;
    }

    async fn answers(&self) {
        let url = format!("{}/_matrix/client/versions", self.base_url());
        self.process.lock().await.until(async || self.http.get(&url).send().await.is_ok()).await;
    }
}

fn run(folder: &Path, authorities: &Path) -> Process {
    let python = environment("bin/python");
    let config = folder.join("homeserver.yaml");
    let arguments = ["-m", "synapse.app.homeserver", "-c"].map(OsStr::new);
    Process::start(
        "Synapse",
        python.as_os_str(),
        &[&arguments[..], &[config.as_os_str()]].concat(),
        // For what it asks identity servers, it trusts whom OpenSSL trusts.
        &[("SSL_CERT_FILE", authorities.as_os_str())],
        folder.join("log"),
    )
}

fn config(folder: &Path, name: &str, (port, behind_proxy): (u16, u16)) -> Value {
    let often = json!({ "per_second": 1000, "burst_count": 1000 });
    json!({
        "server_name": name,
        "public_baseurl": format!("https://localhost:{port}/"),
        "listeners": [{
            "port": port,
            "bind_addresses": ["127.0.0.1"],
            "type": "http",
            "tls": true,
            "resources": [{ "names": ["client", "federation"] }],
        }, {
            // As docs/login.md has it.
            "port": behind_proxy,
            "bind_addresses": ["127.0.0.1"],
            "type": "http",
            "tls": false,
            "x_forwarded": true,
            "resources": [{ "names": ["client", "federation"] }],
        }],
        "tls_certificate_path": folder.join("certificate.pem"),
        "tls_private_key_path": folder.join("key.pem"),
        "signing_key_path": folder.join("signing.key"),
        "database": { "name": "sqlite3", "args": { "database": folder.join("homeserver.db") } },
        "media_store_path": folder.join("media"),
        "pid_file": folder.join("pid"),
        "macaroon_secret_key": "a secret",
        "form_secret": "another secret",
        "report_stats": false,
        "trusted_key_servers": [],
        "enable_registration": true,
        "enable_registration_without_verification": true,
        // Loopback is refused otherwise, for a homeserver should not be led into its own network.
        "ip_range_whitelist": ["127.0.0.0/8", "::1/128"],
        // Else an answer to the first /sync is repeated for two minutes.
        "caches": { "sync_response_cache_duration": 0 },
        "bcrypt_rounds": 4,
        "rc_registration": often,
        "rc_message": often,
        "rc_login": { "address": often, "account": often, "failed_attempts": often },
        "rc_joins": { "local": often, "remote": often },
        "rc_invites": { "per_room": often, "per_user": often, "per_issuer": often },
        "rc_third_party_invite": often,
        "rc_3pid_validation": often,
    })
}
