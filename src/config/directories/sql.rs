//! `[directories.sql]` and `[directories.synapse]`

use secrecy::SecretString;

use super::super::Section;

/// A database of the organisation's own.
#[derive(Debug, Clone)]
pub struct Sql {
    /// Where it is; may hold a password.
    pub url: SecretString,
}

/// Synapse's database.
#[derive(Debug, Clone)]
pub struct SynapseDatabase {
    /// Where it is; may hold a password.
    pub url: SecretString,
}

pub(super) fn read(s: &mut Section<'_, '_>) -> Option<Sql> {
    Some(Sql { url: url(s)? })
}

pub(super) fn read_synapse(s: &mut Section<'_, '_>) -> Option<SynapseDatabase> {
    Some(SynapseDatabase { url: url(s)? })
}

fn url(s: &mut Section<'_, '_>) -> Option<SecretString> {
    if !s.given("url") && !s.given("url_file") {
        let remedy = "write for example: url = \"postgres://user@host/database\"";
        s.fault(&["url"], "missing; expected the URL of a database", remedy);
    }
    s.secret("url")
}
