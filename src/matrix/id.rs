//! Server names and user ids, by the
//! [identifier grammar](https://spec.matrix.org/v1.19/appendices/#identifier-grammar).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// A name of a homeserver or identity server: a host name or IP literal, and possibly a port.
///
/// Names compare exactly, by case too.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerName(String);

/// Why a text is not a [`ServerName`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a server name: expected a host name or an IP address, with or without `:port`")]
pub struct InvalidServerName;

/// The longest server name in bytes: a host name of 255, a colon and five digits.
const MAX_SERVER_NAME: usize = 261;

impl ServerName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host without the port; an IPv6 literal keeps its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        split_port(&self.0).0
    }

    /// The port, where the name has one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        split_port(&self.0).1.and_then(|port| port.parse().ok())
    }

    /// The address, where the host is an IP literal.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        let host = self.host();
        match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        }
    }
}

/// Host and port of a name; the colons inside an IPv6 literal are not the port's.
fn split_port(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (name, None),
    }
}

impl FromStr for ServerName {
    type Err = InvalidServerName;

    fn from_str(name: &str) -> Result<Self, InvalidServerName> {
        let (host, port) = split_port(name);
        let port_fits = port.is_none_or(|port| {
            (1..=5).contains(&port.len())
                && port.bytes().all(|b| b.is_ascii_digit())
                && port.parse::<u16>().is_ok()
        });
        let host_fits = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').is_some_and(|v6| v6.parse::<Ipv6Addr>().is_ok()),
            None => {
                !host.is_empty()
                    && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
            }
        };
        if port_fits && host_fits && name.len() <= MAX_SERVER_NAME {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidServerName)
        }
    }
}

impl TryFrom<String> for ServerName {
    type Error = InvalidServerName;
    fn try_from(name: String) -> Result<Self, InvalidServerName> {
        name.parse()
    }
}

impl From<ServerName> for String {
    fn from(name: ServerName) -> Self {
        name.0
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A Matrix user id (mxid), `@localpart:server.name`.
///
/// Historical localparts are accepted: any characters but `:` and NUL, even none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId {
    full: String,
    server_name: ServerName,
}

/// Why a text is not a [`UserId`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a Matrix user id: expected `@localpart:server.name` of at most 255 bytes")]
pub struct InvalidUserId;

impl UserId {
    /// The whole id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.full
    }

    /// The name of the user's homeserver.
    #[must_use]
    pub fn server_name(&self) -> &ServerName {
        &self.server_name
    }
}

impl FromStr for UserId {
    type Err = InvalidUserId;

    fn from_str(id: &str) -> Result<Self, InvalidUserId> {
        let (localpart, server_name) =
            id.strip_prefix('@').and_then(|rest| rest.split_once(':')).ok_or(InvalidUserId)?;
        if id.len() > 255 || localpart.contains('\0') {
            return Err(InvalidUserId);
        }
        let server_name = server_name.parse().map_err(|_| InvalidUserId)?;
        Ok(Self { full: id.to_owned(), server_name })
    }
}

impl TryFrom<String> for UserId {
    type Error = InvalidUserId;
    fn try_from(id: String) -> Result<Self, InvalidUserId> {
        id.parse()
    }
}

impl From<UserId> for String {
    fn from(id: UserId) -> Self {
        id.full
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn server(name: &str) -> ServerName {
        name.parse().unwrap()
    }

    #[test]
    fn a_server_name_is_split_into_host_and_port() {
        assert_eq!(
            (server("hs.example").host(), server("hs.example").port()),
            ("hs.example", None)
        );
        assert_eq!((server("hs:8448").host(), server("hs:8448").port()), ("hs", Some(8448)));
        assert_eq!((server("[::1]").host(), server("[::1]").port()), ("[::1]", None));
        assert_eq!(server("[::1]:80").port(), Some(80));
        assert_eq!(server("[::1]:80").ip(), Some("::1".parse().unwrap()));
        assert_eq!(server("127.0.0.1:80").ip(), Some("127.0.0.1".parse().unwrap()));
        assert_eq!(server("hs.example").ip(), None);
    }

    #[test]
    fn what_is_not_a_server_name_is_refused() {
        for name in [
            "", ":80", "a:", "a:x", "a:123456", "a:70000", "a b", "a/b", "a_b", "[::1", "[x]", "é",
            "a@b", "a:+80",
        ] {
            assert_eq!(name.parse::<ServerName>(), Err(InvalidServerName), "{name}");
        }
    }

    #[test]
    fn historical_localparts_are_accepted() {
        for id in ["@alice:hs", "@:hs", "@Alice Ünïcode+/=:hs:8448", "@a:[::1]:80"] {
            assert_eq!(id.parse::<UserId>().unwrap().as_str(), id);
        }
        assert_eq!("@a:hs:80".parse::<UserId>().unwrap().server_name().as_str(), "hs:80");
    }

    #[test]
    fn what_is_not_a_user_id_is_refused() {
        let long = format!("@{}:hs", "a".repeat(252));
        for id in ["", "alice:hs", "@alice", "@alice:", "@a\0b:hs", "@a:b c", &long] {
            assert_eq!(id.parse::<UserId>(), Err(InvalidUserId), "{id}");
        }
    }

    proptest! {
        #[test]
        fn what_ruma_accepts_as_a_server_name_is_accepted(name in "[a-z0-9.\\-\\[\\]:]{1,20}") {
            // ruma also takes a port of more than five digits with leading zeros.
            prop_assume!(split_port(&name).1.is_none_or(|port| port.len() <= 5));
            let ruma = <&ruma_common::ServerName>::try_from(name.as_str()).is_ok();
            prop_assert_eq!(name.parse::<ServerName>().is_ok(), ruma, "{}", name);
        }
    }
}
