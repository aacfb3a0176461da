//! Which certificate a handshake gets: those that were read last and were good.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::certificates::{Certificates, Contents, Expiry};
use crate::config::model::CertificateFiles;
use crate::tls::TlsError;

/// Certificates that can be exchanged under open connections.
pub(super) struct Resolver {
    files: Vec<CertificateFiles>,
    current: ArcSwap<Certificates>,
    /// Of the contents that were looked at last, good or not.
    fingerprint: AtomicU64,
}

impl Resolver {
    /// Reads the files; at least one pair.
    pub(super) fn new(files: Vec<CertificateFiles>) -> Result<Self, TlsError> {
        let contents = Contents::read(&files)?;
        let current = ArcSwap::from_pointee(Certificates::new(&files, &contents)?);
        Ok(Self { files, current, fingerprint: contents.fingerprint().into() })
    }

    /// See [`super::TlsServer::reload`].
    pub(super) fn reload(&self) -> Result<bool, TlsError> {
        // A file that is missing for a moment while it is replaced is looked for again next time.
        let contents = Contents::read(&self.files)?;
        let fingerprint = contents.fingerprint();
        if self.fingerprint.swap(fingerprint, Ordering::AcqRel) == fingerprint {
            return Ok(false);
        }
        self.current.store(Arc::new(Certificates::new(&self.files, &contents)?));
        Ok(true)
    }

    /// When each certificate in use ends.
    pub(super) fn expiries(&self) -> Vec<Expiry> {
        self.current.load().expiries().to_vec()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = super::asked_for(&hello);
        Some(Arc::clone(self.current.load().find(name.as_deref())))
    }
}

impl fmt::Debug for Resolver {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("files", &self.files).finish_non_exhaustive()
    }
}
