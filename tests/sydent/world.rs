//! A Sydent, a Bindery, the network between them, and a homeserver whose users both know.

use std::net::{Ipv4Addr, SocketAddr};

use mail_parser::MessageParser;
use tempfile::TempDir;
use url::Url;

use crate::{
    authority::Ca,
    bindery::{self, Bindery, Surroundings},
    dns::FakeDns,
    front::Front,
    homeserver::{FakeHomeserver, Reply, own_loopback},
    person::Person,
    process::free_port,
    server::{self, Sydent},
    smtp::{Behaviour, SmtpServer},
};

pub(crate) struct World {
    pub(crate) bindery: Bindery,
    pub(crate) sydent: Sydent,
    /// Where all but replication goes through that is asked of the Sydent.
    pub(crate) front: Front,
    pub(crate) homeserver: FakeHomeserver,
    smtp: SmtpServer,
    http: reqwest::Client,
    _dns: FakeDns,
    _ca: Ca,
    _folder: TempDir,
}

impl World {
    /// A Bindery that looks for the identity servers of domains: the Sydent is that of
    /// `people.test`.
    pub(crate) async fn asking(has_v2: bool) -> Self {
        // Python may be slow where much is going on.
        Self::start(has_v2, |_, _| "[peers]\ntimeout = '20s'\n".to_owned()).await
    }

    /// A Bindery that looks for nobody and asks the Sydent about all that it doesn't know.
    pub(crate) async fn forwarding() -> Self {
        let peers = |_: &Sydent, front: &Front| {
            let url = format!("https://{}:{}", server::NAME, front.port);
            format!("[peers]\ntimeout = '20s'\ndiscover = false\nforward = ['{url}']\n")
        };
        Self::start(true, peers).await
    }

    /// A Bindery that asks nobody; the Sydent is its neighbour, and it the Sydent's.
    pub(crate) async fn replicating() -> Self {
        Self::replicating_with("").await
    }

    /// The same, where more is said of the Sydent as a neighbour.
    pub(crate) async fn replicating_with(more: &str) -> Self {
        let peers = |sydent: &Sydent, _: &Front| {
            format!("[peers]\ndiscover = false\n{}{more}\n", neighbour(sydent))
        };
        let world = Self::start(true, peers).await;
        world.sydent.befriend(bindery::NAME, &Bindery::public_key());
        world
    }

    /// A Bindery that asks nobody and has no neighbour.
    pub(crate) async fn apart() -> Self {
        Self::start(true, |_, _| "[peers]\ndiscover = false\n".to_owned()).await
    }

    /// Makes the two neighbours from now on.
    pub(crate) async fn befriend(&self) {
        self.sydent.befriend(bindery::NAME, &Bindery::public_key());
        self.bindery.start_again_with(&neighbour(&self.sydent)).await;
    }

    async fn start(has_v2: bool, peers: impl Fn(&Sydent, &Front) -> String) -> Self {
        let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
        let (dns, smtp) = (FakeDns::start().await, SmtpServer::start(Behaviour::default()).await);
        let (ip, replication_port) = (own_loopback(), free_port());
        let http = client(&ca, ip);
        let url = format!("https://127.0.0.1:{replication_port}");
        let neighbour = (bindery::NAME, url.as_str());
        let place = folder.path().join("sydent");
        let sydent = Sydent::start(&ca, place, dns.address(), neighbour, &http).await;
        let front = Front::start(&ca, server::NAME, sydent.address(), has_v2).await;
        let homeserver = homeserver(&ca).await;
        dns.service("_matrix-identity._tcp.people.test", &[(10, 0, front.port, server::NAME)]);
        dns.host(server::NAME, &["127.0.0.1"]);
        dns.host("hs.test", &["127.0.0.1"]);
        dns.host(bindery::NAME, &[&ip.to_string()]);
        let (nameserver, smtp_port) = (dns.address(), smtp.port);
        let around = Surroundings { ca: &ca, ip, replication_port, nameserver, smtp_port };
        let (place, peers) = (folder.path().join("bindery"), peers(&sydent, &front));
        let bindery = Bindery::start(around, place, &peers, &http).await;
        Self { bindery, sydent, front, homeserver, smtp, http, _dns: dns, _ca: ca, _folder: folder }
    }

    /// A user of the homeserver with an account at Bindery.
    pub(crate) async fn person(&self, name: &str) -> Person<'_> {
        Person::introduce(self, name).await
    }

    /// The Matrix id of a user of the homeserver.
    pub(crate) fn mxid(&self, name: &str) -> String {
        format!("@{name}:{}", self.homeserver.name("hs.test"))
    }

    /// Opens the link in the newest mail to `address` in a browser.
    pub(crate) async fn open_mailed_link(&self, address: &str) {
        let to = format!("<{address}>");
        let seen = self.smtp.seen();
        let mail = seen.mails.iter().rev().find(|mail| mail.to.iter().any(|t| t.contains(&to)));
        let mail = mail.unwrap_or_else(|| panic!("no mail went to {address}"));
        let mail = MessageParser::default().parse(&mail.raw).unwrap();
        let text = mail.body_text(0).unwrap();
        let link = text.split_whitespace().find(|word| word.starts_with("https:"));
        let link: Url = link.unwrap_or_else(|| panic!("no link: {text}")).parse().unwrap();
        let page = self.http.get(link).send().await.unwrap();
        assert_eq!(page.status(), 200, "{}", page.text().await.unwrap());
    }
}

/// What Bindery is told of the Sydent as a neighbour.
fn neighbour(sydent: &Sydent) -> String {
    let Sydent { replication_url, public_key, .. } = sydent;
    let name = server::NAME;
    format!(
        "[[peers.replicate]]\nname = '{name}'\nurl = '{replication_url}'\n\
         keys = ['ed25519:0 {public_key}']\nkey_id = 'ed25519:0'\n"
    )
}

async fn homeserver(ca: &Ca) -> FakeHomeserver {
    let homeserver = FakeHomeserver::start(ca, &["hs.test"]).await;
    homeserver.set_reply("/_matrix/federation/v1/3pid/onbind", Reply::new(200, "{}"));
    homeserver
}

/// A client that trusts the authority alone and knows where Bindery is.
fn client(ca: &Ca, bindery: Ipv4Addr) -> reqwest::Client {
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = std::fs::read(ca.file()).unwrap();
    reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&authority).unwrap()])
        .resolve(bindery::NAME, SocketAddr::from((bindery, 443)))
        .no_proxy()
        .build()
        .unwrap()
}
