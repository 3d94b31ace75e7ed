//! What a command does at another server, step by step, as a person at the terminal reads it.

use std::{error::Error, time::Instant};

use super::say;
use crate::{
    cause::causes,
    directory::DirectoryError,
    federation::{FederationError, PeerError},
};

/// Takes one step and prints what came of it, in how much time, and what helps where it failed.
pub(super) async fn step<T, E: Error + Failed + 'static>(
    name: &str,
    work: impl Future<Output = Result<T, E>>,
    tell: impl FnOnce(&T) -> String,
) -> anyhow::Result<Result<T, E>> {
    let start = Instant::now();
    let done = work.await;
    let time = start.elapsed().as_millis();
    match &done {
        Ok(found) => say(&format!("ok    {name}: {} ({time} ms)", tell(found)))?,
        Err(error) => {
            say(&format!("FAIL  {name}: {} ({time} ms)", causes(error)))?;
            if let Some(remedy) = error.remedy() {
                say(&format!("      {remedy}"))?;
            }
        }
    }
    Ok(done)
}

/// An error of which it is known what helps.
pub(super) trait Failed {
    /// A sentence for the operator.
    fn remedy(&self) -> Option<&'static str>;
}

impl Failed for FederationError {
    fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Self::Dns { .. } => {
                "see whether the name is right and the name servers (`dns.nameservers`) answer"
            }
            Self::AddressRefused(_) => "it is at a private or special address",
            Self::Http(_) => {
                "see whether it listens there with a certificate for that name; authorities of your \
                 own go under `federation.ca_file`"
            }
            Self::TimedOut => {
                "it is slow or doesn't answer; `peers.timeout` says how long it is waited for"
            }
            Self::Malformed | Self::TooLarge { .. } | Self::Redirects => {
                "something else than an identity server may answer there; its operator can tell"
            }
            _ => return None,
        })
    }
}

impl Failed for DirectoryError {
    fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unreachable(_) => {
                "see whether it runs there, and whether its certificate is one that this server \
                 trusts (`ca_file`)"
            }
            Self::TimedOut => {
                "it is slow or doesn't answer; `timeout` says how long it is waited for"
            }
            Self::Refused(_) => "see its own log; name, password or secret may be wrong",
            Self::Malformed(_) => {
                "something else may answer there; docs/directories.md tells what is expected"
            }
            Self::Forgotten | Self::Unsupported | Self::Busy | Self::Resting => return None,
        })
    }
}

impl Failed for PeerError {
    fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Self::Federation(error) => return error.remedy(),
            Self::TermsNotSigned => {
                "read its terms: `bindery peers terms NAME`; `--accept` at the end accepts them"
            }
            Self::Unauthorized | Self::Refused(401 | 403) => {
                "it asks `server.name` whether it vouches for the token: \
                 https://<server.name>/.well-known/matrix/server has to lead here, and this server \
                 has to run"
            }
            Self::LimitExceeded { .. } => "wait, or ask its operator for more",
            Self::NoV2 => "it is asked by API v1",
            Self::InvalidPepper { .. } | Self::Refused(_) => return None,
        })
    }
}
