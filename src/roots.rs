//! Whose certificates are believed: the system's authorities and those that the operator adds.

use std::{io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{
        CertificateDer,
        pem::{Error as PemError, PemObject},
    },
};

/// The system's root certificates and those of `ca_file`; none at all where neither has any.
///
/// # Errors
/// When `ca_file` can't be read, or holds no certificate.
pub fn read(ca_file: Option<&Path>) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let Some(path) = ca_file else { return Ok(roots) };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| match error {
            PemError::Io(error) => error,
            error => io::Error::other(error),
        })?;
    if certificates.is_empty() {
        return Err(io::Error::other("it holds no PEM certificate"));
    }
    for certificate in certificates {
        roots.add(certificate).map_err(io::Error::other)?;
    }
    Ok(roots)
}

/// TLS that checks chain and name of a server against `roots`.
///
/// # Errors
/// When the TLS library refuses its own defaults.
pub fn tls(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
