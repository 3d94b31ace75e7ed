//! `[peers]` and `[replication]`: other identity servers.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use url::Url;

use super::{
    BaseUrl, Domain, PublicKey, Section, ServerName, Text, hours, is_loopback, must_be_readable,
};

/// `[peers]`: identity servers that are asked about what is unknown here.
#[derive(Debug, Clone)]
pub struct Peers {
    /// Whether the identity server of an address's own domain is looked for.
    pub discover: bool,
    /// Who is asked about whatever is still unknown: base URLs, none ending with a slash.
    pub forward: Vec<String>,
    /// The longest that one of them is waited for.
    pub timeout: Duration,
    /// How often invitations that wait are looked up again.
    pub lookup_interval: Duration,
    /// Who is told of what is bound here, and believed.
    pub replicate: Vec<Neighbour>,
}

/// `[[peers.replicate]]`: a neighbour to whom associations are pushed, and from whom they are
/// accepted.
#[derive(Debug, Clone)]
pub struct Neighbour {
    /// Its name: the common name of its certificate, and the one under which it signs.
    pub name: ServerName,
    /// Where associations are pushed to; never ends with a slash. `None`: they are accepted only.
    pub url: Option<String>,
    /// Its keys, by their ids.
    pub keys: Vec<(String, [u8; 32])>,
    /// The key id under which it knows our signatures; `None`: that of the key itself.
    pub key_id: Option<String>,
    /// The domains of the e-mail addresses that it may speak for; empty: all addresses.
    pub domains: Vec<String>,
}

/// `[replication]`: where neighbours push to, by mutual TLS, and who we are to them.
#[derive(Debug, Clone)]
pub struct Replication {
    /// Where it listens; empty: nowhere.
    pub listen: Vec<SocketAddr>,
    /// The certificate, PEM; its common name is the name under which neighbours know this server.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The authorities that the neighbours' certificates are of, PEM.
    pub ca_file: PathBuf,
}

/// `has_certificate` tells whether neighbours can be told who this server is.
pub(super) fn read_peers(s: &mut Section<'_, '_>, has_certificate: bool) -> Peers {
    let forward: Vec<BaseUrl> = s.list("forward", Vec::new());
    for BaseUrl(url) in &forward {
        must_be_https(s, "forward", url);
    }
    let text = |BaseUrl(url): BaseUrl| url.as_str().trim_end_matches('/').to_owned();
    Peers {
        discover: s.get("discover", true),
        forward: forward.into_iter().map(text).collect(),
        timeout: s.get("timeout", Duration::from_secs(2)),
        lookup_interval: s.get("lookup_interval", hours(6)),
        replicate: s
            .sections("replicate", |s| neighbour(s, has_certificate))
            .into_iter()
            .flatten()
            .collect(),
    }
}

fn neighbour(s: &mut Section<'_, '_>, has_certificate: bool) -> Option<Neighbour> {
    let name = s.required("name");
    let url: Option<BaseUrl> = s.optional("url");
    if let Some(BaseUrl(url)) = &url {
        must_be_https(s, "url", url);
        if url.scheme() == "https" && !has_certificate {
            let remedy = "give `certificate`, `key` and `ca_file` under [replication], or no `url`";
            s.fault(
                &["url"],
                "a neighbour is told by mutual TLS, which takes a certificate",
                remedy,
            );
        }
    }
    let keys: Vec<PublicKey> = s.list("keys", Vec::new());
    if keys.is_empty() {
        let remedy = "write for example: keys = [\"ed25519:0 <unpadded base64 public key>\"]";
        s.fault(&["keys"], "nothing of a neighbour without keys can be believed", remedy);
    }
    let domains = s.list("domains", Vec::new());
    Some(Neighbour {
        name: name?,
        url: url.map(|BaseUrl(url)| url.as_str().trim_end_matches('/').to_owned()),
        keys: keys.into_iter().map(|PublicKey(id, key)| (id, key)).collect(),
        key_id: s.optional("key_id").map(|Text(id)| id),
        domains: domains.into_iter().map(|Domain(domain)| domain).collect(),
    })
}

/// Certificates are all that tells who the other one is.
fn must_be_https(s: &mut Section<'_, '_>, key: &str, url: &Url) {
    if url.scheme() != "https" && !is_loopback(url) {
        s.fault(&[key], "other identity servers are reached by https only", "write https://");
    }
}

/// Answers as well whether certificates were to be given, rightly or not.
pub(super) fn read_replication(s: &mut Section<'_, '_>) -> (Option<Replication>, bool) {
    let listen = s.list("listen", Vec::new());
    let files = ["certificate", "key", "ca_file"];
    let is_used = !listen.is_empty() || files.iter().any(|file| s.given(file));
    let mut paths = Vec::new();
    for file in files {
        let path: Option<PathBuf> = if is_used { s.required(file) } else { s.optional(file) };
        must_be_readable(s, file, path.as_ref());
        paths.extend(path);
    }
    let replication = <[PathBuf; 3]>::try_from(paths).ok();
    let replication = replication.map(|[certificate, key, ca_file]| Replication {
        listen,
        certificate,
        key,
        ca_file,
    });
    (replication, is_used)
}
