//! A homeserver, an identity server, the network between them, and people.

use std::path::Path;

use mail_parser::MessageParser;
use tempfile::TempDir;

use crate::{
    api::Api,
    authority::Ca,
    bindery::{Bindery, Surroundings},
    dns::FakeDns,
    person::Person,
    smtp::{Behaviour, SmtpServer},
    synapse::Synapse,
};

pub(crate) struct World {
    pub(crate) bindery: Bindery,
    pub(crate) synapse: Synapse,
    smtp: SmtpServer,
    http: reqwest::Client,
    _dns: FakeDns,
    ca: Ca,
    _folder: TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// A world whose Bindery has more configuration, which begins with a section's head.
    pub(crate) async fn with(toml: &str) -> Self {
        let ca = Ca::new();
        let folder = tempfile::tempdir().unwrap();
        let (dns, smtp) = (FakeDns::start().await, SmtpServer::start(Behaviour::default()).await);
        let http = client(&ca);
        let synapse = Synapse::start(&ca, folder.path().join("synapse"), &http).await;
        // The name is found by its service record alone.
        dns.service("_matrix-fed._tcp.hs.test", &[(10, 0, synapse.port, "machine.test")]);
        dns.host("machine.test", &["127.0.0.1"]);
        let around = Surroundings { ca: &ca, nameserver: dns.address(), smtp_port: smtp.port };
        let bindery = Bindery::start(around, folder.path().join("bindery"), toml, &http).await;
        Self { bindery, synapse, smtp, http, _dns: dns, ca, _folder: folder }
    }

    /// The file of the authorities that everyone here trusts.
    pub(crate) fn authorities(&self) -> &Path {
        self.ca.file()
    }

    /// The homeserver's client API, for nobody in particular.
    pub(crate) fn homeserver(&self) -> Api {
        Api {
            http: self.http.clone(),
            base: format!("{}/_matrix/client/v3", self.synapse.base_url()),
            token: None,
        }
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
        Person::register(self, name).await
    }

    /// A new user of the homeserver with an account at Bindery.
    pub(crate) async fn person(&self, name: &str) -> Person<'_> {
        let mut person = self.newcomer(name).await;
        person.introduce().await;
        person
    }

    /// Opens the link in the newest mail to `address` in a browser.
    pub(crate) async fn open_mailed_link(&self, address: &str) {
        let text = self.last_mail_to(address);
        let link = text.split_whitespace().find(|word| word.starts_with("https:")).unwrap();
        let page = self.http.get(link).send().await.unwrap();
        assert_eq!(page.status(), 200, "{}", page.text().await.unwrap());
    }

    /// What the newest mail to `address` says.
    fn last_mail_to(&self, address: &str) -> String {
        let seen = self.smtp.seen();
        let to = format!("<{address}>");
        let mail = seen.mails.iter().rev().find(|mail| mail.to.iter().any(|t| t.contains(&to)));
        let mail = mail.unwrap_or_else(|| panic!("no mail went to {address}"));
        let mail = MessageParser::default().parse(&mail.raw).unwrap();
        mail.body_text(0).unwrap().into_owned()
    }
}

/// A client that trusts the authority alone.
fn client(ca: &Ca) -> reqwest::Client {
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = std::fs::read(ca.file()).unwrap();
    reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&authority).unwrap()])
        .no_proxy()
        .build()
        .unwrap()
}
