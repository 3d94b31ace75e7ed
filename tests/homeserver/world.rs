//! A homeserver, an identity server, the network between them, and people.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use mail_parser::MessageParser;
use serde_json::Value;
use tempfile::TempDir;
use url::Url;

use crate::{
    api::Api,
    authority::Ca,
    bindery::{Bindery, Surroundings},
    dns::FakeDns,
    gateway::Gateway,
    person::Person,
    process::{eventually, free_port},
    proxy::{Proxy, block},
    smtp::{Behaviour, SmtpServer},
    synapse::{Settings, Synapse},
};

pub(crate) struct World {
    pub(crate) bindery: Bindery,
    pub(crate) synapse: Synapse,
    smtp: SmtpServer,
    gateway: Gateway,
    http: reqwest::Client,
    dns: FakeDns,
    ca: Ca,
    folder: TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// A world whose Bindery has more configuration, which begins with a section's head and in which
    /// `HS_TEST` is the homeserver's folder.
    pub(crate) async fn with(toml: &str) -> Self {
        Self::of(toml, Vec::new()).await
    }

    /// The same whose Synapse has more configuration, too. `SYNAPSE` in that of Bindery stands for
    /// where Synapse listens for proxies.
    pub(crate) async fn of(toml: &str, synapse: Vec<(&'static str, Value)>) -> Self {
        let ca = Ca::new();
        let folder = tempfile::tempdir().unwrap();
        let (dns, smtp) = (FakeDns::start().await, SmtpServer::start(Behaviour::default()).await);
        let gateway = Gateway::start().await;
        let http = client(&ca);
        // The two know each other's address before they start.
        let port = free_port();
        let delegate = format!("https://localhost:{port}");
        let home = folder.path().join("hs.test");
        let toml = toml.replace("HS_TEST", home.to_str().unwrap());
        let settings = Settings { name: Some("hs.test"), delegate: Some(&delegate), more: synapse };
        let synapse = Synapse::start(settings, &ca, home, &http).await;
        let toml = toml.replace("SYNAPSE", &format!("127.0.0.1:{}", synapse.behind_proxy));
        // The name is found by its service record alone.
        dns.service("_matrix-fed._tcp.hs.test", &[(10, 0, synapse.port, "machine.test")]);
        dns.host("machine.test", &["127.0.0.1"]);
        let around = Surroundings {
            ca: &ca,
            port,
            nameserver: dns.address(),
            smtp_port: smtp.port,
            gateway: gateway.url(),
        };
        let bindery = Bindery::start(around, folder.path().join("bindery"), &toml, &http).await;
        Self { bindery, synapse, smtp, gateway, http, dns, ca, folder }
    }

    /// The file of the authorities that everyone here trusts.
    pub(crate) fn authorities(&self) -> &Path {
        self.ca.file()
    }

    /// One more homeserver.
    pub(crate) async fn another_homeserver(&self, folder: &str) -> Synapse {
        self.dns.host("localhost", &["127.0.0.1"]);
        let folder = self.folder.path().join(folder);
        Synapse::start(Settings::default(), &self.ca, folder, &self.http).await
    }

    /// An nginx of a page's snippet in front of both servers.
    pub(crate) async fn nginx(&self, page: &str) -> Proxy {
        let synapse = format!("127.0.0.1:{}", self.synapse.behind_proxy);
        let snippet = block(page, "nginx")
            .replace("127.0.0.1:8008", &synapse)
            .replace("http://127.0.0.1:8090", &self.bindery.base_url());
        let (certificate, key) = self.ca.pem(&["127.0.0.1"]);
        let proxy = Proxy::nginx(&snippet, "matrix.example.org", (&certificate, &key));
        eventually("nginx answers", async || self.http.get(&proxy.base).send().await.ok()).await;
        proxy
    }

    /// Whatever is at this URL asked from an address of this machine, for nobody in particular.
    pub(crate) fn api_from(&self, from: Ipv4Addr, url: &str) -> Api {
        let http = client_from(&self.ca, Some(from.into()));
        Api { http, base: url.to_owned(), token: None }
    }

    /// The client API of a homeserver, for nobody in particular.
    pub(crate) fn client_api(&self, synapse: &Synapse) -> Api {
        let base = format!("{}/_matrix/client/v3", synapse.base_url());
        Api { http: self.http.clone(), base, token: None }
    }

    /// The identity server's API, for nobody in particular.
    pub(crate) fn identity(&self) -> Api {
        Api {
            http: self.http.clone(),
            base: format!("{}/_matrix/identity/v2", self.bindery.base_url()),
            token: None,
        }
    }

    /// A new user of the homeserver, whom Bindery doesn't know yet.
    pub(crate) async fn newcomer(&self, name: &str) -> Person<'_> {
        Person::register(self, &self.synapse, name).await
    }

    /// A new user of the homeserver with an account at Bindery.
    pub(crate) async fn person(&self, name: &str) -> Person<'_> {
        self.person_of(&self.synapse, name).await
    }

    /// A new user of another homeserver with an account at Bindery.
    pub(crate) async fn person_of(&self, synapse: &Synapse, name: &str) -> Person<'_> {
        let mut person = Person::register(self, synapse, name).await;
        person.introduce().await;
        person
    }

    /// Whatever is at this URL, for nobody in particular.
    pub(crate) fn api_at(&self, url: &str) -> Api {
        Api { http: self.http.clone(), base: url.to_owned(), token: None }
    }

    /// The code in the newest text message to `number`.
    pub(crate) fn texted_code(&self, number: &str) -> String {
        let messages = self.gateway.messages();
        let to = format!("+{number}");
        let message = messages.iter().rev().find(|message| message.to == to);
        let text = &message.unwrap_or_else(|| panic!("no text message went to {number}")).text;
        let is_code = |word: &&str| word.len() == 6 && word.bytes().all(|b| b.is_ascii_digit());
        let code = text.split(|c: char| !c.is_alphanumeric()).find(is_code);
        code.unwrap_or_else(|| panic!("no code: {text}")).to_owned()
    }

    /// Opens the link in the newest mail to `address` in a browser.
    pub(crate) async fn open_mailed_link(&self, address: &str) {
        let page = self.http.get(self.mailed_link(address)).send().await.unwrap();
        assert_eq!(page.status(), 200, "{}", page.text().await.unwrap());
    }

    /// The URL by which the newest mail to `address`, an invitation, lets the web client have a
    /// signature made.
    pub(crate) fn sign_url(&self, address: &str) -> Url {
        // All that is for the web client stands in the fragment, as if that were a path and query.
        let route = Url::parse("https://client/").unwrap();
        let route = route.join(self.mailed_link(address).fragment().unwrap()).unwrap();
        let sign_url = route.query_pairs().find(|(name, _)| name == "signurl").unwrap().1;
        sign_url.parse().unwrap()
    }

    /// Has the invitation in the newest mail to `address` signed for `mxid`, as web clients do.
    pub(crate) async fn sign_invitation(&self, address: &str, mxid: &str) -> Value {
        let mut url = self.sign_url(address);
        url.query_pairs_mut().append_pair("mxid", mxid);
        self.api_at(url.as_str()).post_empty("").await.ok()
    }

    /// The link in the newest mail to `address`.
    fn mailed_link(&self, address: &str) -> Url {
        let seen = self.smtp.seen();
        let to = format!("<{address}>");
        let mail = seen.mails.iter().rev().find(|mail| mail.to.iter().any(|t| t.contains(&to)));
        let mail = mail.unwrap_or_else(|| panic!("no mail went to {address}"));
        let mail = MessageParser::default().parse(&mail.raw).unwrap();
        let text = mail.body_text(0).unwrap();
        let link = text.split_whitespace().find(|word| word.starts_with("https:"));
        link.unwrap_or_else(|| panic!("no link: {text}")).parse().unwrap()
    }
}

/// A client that trusts the authority alone.
fn client(ca: &Ca) -> reqwest::Client {
    client_from(ca, None)
}

fn client_from(ca: &Ca, from: Option<IpAddr>) -> reqwest::Client {
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = std::fs::read(ca.file()).unwrap();
    reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&authority).unwrap()])
        .no_proxy()
        .local_address(from)
        .build()
        .unwrap()
}
