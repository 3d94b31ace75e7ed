//! TLS where both sides show a certificate: how neighbours know each other.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{VerifierBuilderError, WebPkiClientVerifier},
};
use x509_parser::parse_x509_certificate;

/// Who we are to the others, and whose word is taken for who they are.
#[derive(Debug)]
pub struct Credentials {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: RootCertStore,
}

/// Why certificates can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// A file can't be read, or isn't PEM.
    #[error("{path} can't be read")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// A file holds no certificate.
    #[error("{0} holds no PEM certificate")]
    Empty(PathBuf),
    /// The certificate says nobody's name.
    #[error("the certificate {0} has no common name, by which others would know this server")]
    Nameless(PathBuf),
    /// Nobody's certificate could be checked.
    #[error("the authorities can't be used")]
    Authorities(#[from] VerifierBuilderError),
    /// Certificate and key don't belong together, or are of no use.
    #[error("certificate and key can't be used")]
    Tls(#[from] rustls::Error),
}

impl Credentials {
    /// Reads PEM files: the chain, our own certificate first, its key, and the authorities that the
    /// others' certificates are of.
    ///
    /// # Errors
    /// When one of them can't be read, or holds nothing.
    pub fn read(certificate: &Path, key: &Path, ca_file: &Path) -> Result<Self, Unusable> {
        let chain = certificates(certificate)?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, error))?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(ca_file)? {
            roots.add(authority)?;
        }
        Ok(Self { chain, key, roots })
    }

    /// The name under which the others know us.
    #[must_use]
    pub fn common_name(&self) -> Option<String> {
        self.chain.first().and_then(|certificate| common_name(certificate))
    }

    /// For where the others come to: who shows no certificate of the authorities is turned away.
    ///
    /// # Errors
    /// When certificate and key don't belong together.
    pub fn server(&self) -> Result<ServerConfig, Unusable> {
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::new(self.roots.clone());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build()?;
        Ok(ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())?)
    }

    /// For going to the others: only certificates of the authorities are believed.
    ///
    /// # Errors
    /// When certificate and key don't belong together.
    pub fn client(&self) -> Result<ClientConfig, Unusable> {
        Ok(ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots.clone())
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())?)
    }
}

/// The common name of a certificate's subject; `None` where there is none, or more than one.
#[must_use]
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    let mut names = certificate.subject().iter_common_name();
    let (name, None) = (names.next()?, names.next()) else { return None };
    name.as_str().ok().map(str::to_owned)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| unreadable(path, error))?;
    if found.is_empty() { Err(Unusable::Empty(path.to_owned())) } else { Ok(found) }
}

fn unreadable(path: &Path, error: pem::Error) -> Unusable {
    let source = match error {
        pem::Error::Io(error) => error,
        error => io::Error::other(error),
    };
    Unusable::File { path: path.to_owned(), source }
}
