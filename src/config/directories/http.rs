//! `[directories.http]`

use std::{collections::BTreeMap, path::PathBuf};

use secrecy::SecretString;

use super::super::{BaseUrl, Section, must_be_private_or_https, must_be_readable};

/// A service that speaks the JSON of ma1sd's REST backend.
#[derive(Debug, Clone)]
pub struct HttpDirectory {
    /// What its paths are added to; never ends with a slash.
    pub base_url: String,
    /// What its paths begin with.
    pub paths: HttpPaths,
    /// What it is sent as a bearer token.
    pub secret: Option<SecretString>,
    /// Headers that it is sent beside.
    pub headers: BTreeMap<String, SecretString>,
    /// PEM certificates that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
}

/// What the paths of a service begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpPaths {
    /// `/_ma1sd/backend/api/v1/`, or the older one where there is nothing.
    Either,
    /// `/_ma1sd/backend/api/v1/`
    Ma1sd,
    /// `/_mxisd/backend/api/v1/`
    Mxisd,
}

pub(super) fn read(s: &mut Section<'_, '_>) -> Option<HttpDirectory> {
    let url: Option<BaseUrl> = s.required("base_url");
    if let Some(BaseUrl(url)) = &url {
        must_be_private_or_https(s, "base_url", url);
    }
    let paths = s.get("paths", HttpPaths::Either);
    let secret = s.secret("secret");
    let headers = s.section("headers", |s| {
        let names = s.remaining();
        names.into_iter().filter_map(|name| Some((name.clone(), s.plain_secret(&name)?))).collect()
    });
    let ca_file = s.optional("ca_file");
    must_be_readable(s, "ca_file", ca_file.as_ref());
    let base_url = url?.0.as_str().trim_end_matches('/').to_owned();
    Some(HttpDirectory { base_url, paths, secret, headers, ca_file })
}
