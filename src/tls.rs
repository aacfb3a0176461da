//! What both sides of the proxy need for TLS: rustls with ring, names of protocols, PEM files.

#[cfg(test)]
pub(crate) mod authority;
pub mod unverified;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::{self, RootCertStore};

/// What HTTP/2 is called in ALPN (RFC 9113 §3.1).
pub const H2: &[u8] = b"h2";
/// What HTTP/1.1 is called in ALPN (RFC 7301 §6).
pub const HTTP_1_1: &[u8] = b"http/1.1";

/// Why there can be no TLS; says which file, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum TlsError {
    #[error("{}: {source}", file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    #[error("{}: not PEM: {problem}", file.display())]
    NotPem { file: PathBuf, problem: String },
    #[error("{}: no {what} in it", file.display())]
    Lacks { file: PathBuf, what: &'static str },
    #[error("{}: certificate {number} cannot be used: {problem}", file.display())]
    BadCertificate {
        file: PathBuf,
        /// Counted from 1.
        number: usize,
        problem: String,
    },
    #[error("{}: the key of {} cannot be used: {problem}", key.display(), cert.display())]
    BadKey { cert: PathBuf, key: PathBuf, problem: String },
    #[error("no certificate authorities of this system ({problem}): install them, or set \"ca\"")]
    NoSystemAuthorities { problem: String },
    #[error("\"{0}\" is neither a host name nor an address")]
    Name(String),
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    #[error("TLS cannot be set up: {0}")]
    ClientAuthorities(#[from] rustls::server::VerifierBuilderError),
}

/// The cryptography. Named wherever it is needed, since a process-wide default would be somebody
/// else's to set.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A file's bytes.
pub fn read_file(file: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(file).map_err(|source| TlsError::Unreadable { file: file.to_owned(), source })
}

/// All certificates in a PEM file's `bytes`; at least one.
pub fn certificates(file: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match found.map_err(|error| not_pem(file, &error))? {
        none if none.is_empty() => {
            Err(TlsError::Lacks { file: file.to_owned(), what: "certificate" })
        }
        some => Ok(some),
    }
}

/// What is wrong with a file that is not PEM.
pub fn not_pem(file: &Path, error: &pem::Error) -> TlsError {
    TlsError::NotPem { file: file.to_owned(), problem: error.to_string() }
}

/// The authorities in a PEM file.
pub fn read_authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let bytes = read_file(file)?;
    let mut authorities = RootCertStore::empty();
    for (index, certificate) in certificates(file, &bytes)?.into_iter().enumerate() {
        authorities.add(certificate).map_err(|problem| TlsError::BadCertificate {
            file: file.to_owned(),
            number: index + 1,
            problem: problem.to_string(),
        })?;
    }
    Ok(authorities)
}
