//! `[credentials]`: where a homeserver asks whether a password is right.

use std::net::{IpAddr, SocketAddr};

use secrecy::SecretString;

use super::Section;

/// Where a homeserver asks whether a password is right.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Listeners that serve nothing else.
    pub listen: Vec<SocketAddr>,
    /// What the homeserver has to show; with it the question is answered at `server.listen` too.
    pub secret: Option<SecretString>,
}

pub(super) fn read_credentials(s: &mut Section<'_, '_>) -> Credentials {
    let listen: Vec<SocketAddr> = s.list("listen", Vec::new());
    let has_secret = s.given("secret") || s.given("secret_file");
    let secret = s.secret("secret");
    if !has_secret && !listen.iter().all(|address| is_nearby(address.ip())) {
        let message = "whoever reaches this address could try passwords";
        let remedy = "listen at a loopback or private IP address, or give a secret";
        s.fault(&["listen"], message, remedy);
    }
    Credentials { listen, secret }
}

fn is_nearby(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    }
}
