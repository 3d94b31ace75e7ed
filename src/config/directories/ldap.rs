//! `[directories.ldap]`

use super::super::{Section, Text};

/// An LDAP server.
#[derive(Debug, Clone)]
pub struct Ldap {
    /// Where it is: `ldap://` or `ldaps://`.
    pub url: String,
}

pub(super) fn read(s: &mut Section<'_, '_>) -> Option<Ldap> {
    let Text(url) = s.required("url")?;
    Some(Ldap { url })
}
