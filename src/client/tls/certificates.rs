//! The certificates of one listener, read from their files.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::config::model::CertificateFiles;
use crate::tls::{TlsError, certificates, not_pem, provider, read_file};

/// When a certificate ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// The certificate's file, as it is configured.
    pub file: String,
    /// The last moment at which it is good, in seconds since 1970.
    pub not_after: i64,
}

/// Pairs of certificate and key, by the names that they are for.
pub(super) struct Certificates {
    /// For clients that name nothing, or nothing that is here.
    first: Arc<CertifiedKey>,
    /// By DNS name, lower case; `*.example.com` for a wildcard.
    by_name: HashMap<String, Arc<CertifiedKey>>,
    expiries: Vec<Expiry>,
}

/// What the files hold, not understood yet.
pub(super) struct Contents(Vec<(Vec<u8>, Vec<u8>)>);

impl Contents {
    /// Reads all files.
    pub(super) fn read(files: &[CertificateFiles]) -> Result<Self, TlsError> {
        let read = |pair: &CertificateFiles| Ok((read_file(&pair.cert)?, read_file(&pair.key)?));
        files.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// A number that is another one when the contents are others.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }
}

impl Certificates {
    /// Understands `contents`, which are those of `files`, of which there is at least one.
    pub(super) fn new(files: &[CertificateFiles], contents: &Contents) -> Result<Self, TlsError> {
        let mut by_name = HashMap::new();
        let (mut first, mut expiries) = (None, Vec::new());
        for (files, (cert, key)) in files.iter().zip(&contents.0) {
            let chain = certificates(&files.cert, cert)?;
            let (names, not_after) = facts(&chain[0]).map_err(|problem| {
                TlsError::BadCertificate { file: files.cert.clone(), number: 1, problem }
            })?;
            let key = private_key(&files.key, key)?;
            // Also says whether the key is that certificate's.
            let pair = CertifiedKey::from_der(chain, key, &provider()).map_err(|problem| {
                let (cert, key) = (files.cert.clone(), files.key.clone());
                TlsError::BadKey { cert, key, problem: problem.to_string() }
            })?;
            let pair = Arc::new(pair);
            for name in names {
                // Of two for the same name, the one that is written first.
                by_name.entry(name).or_insert_with(|| Arc::clone(&pair));
            }
            first.get_or_insert(pair);
            expiries.push(Expiry { file: files.cert.display().to_string(), not_after });
        }
        let first = first
            .ok_or_else(|| TlsError::Lacks { file: "certificates".into(), what: "certificate" })?;
        Ok(Self { first, by_name, expiries })
    }

    /// The pair for a name in lower case. RFC 6125 §6.4.3: a wildcard stands for one whole label.
    pub(super) fn find(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let Some(name) = name else { return &self.first };
        let wildcard = || {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        };
        self.by_name.get(name).or_else(wildcard).unwrap_or(&self.first)
    }

    pub(super) fn expiries(&self) -> &[Expiry] {
        &self.expiries
    }
}

/// The DNS names of a certificate, and when it ends.
fn facts(certificate: &[u8]) -> Result<(Vec<String>, i64), String> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|e| e.to_string())?;
    let names = certificate.subject_alternative_name().map_err(|e| e.to_string())?;
    let names = names.into_iter().flat_map(|extension| &extension.value.general_names);
    let dns = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    Ok((dns.collect(), certificate.validity().not_after.timestamp()))
}

fn private_key(file: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::Lacks { file: file.to_owned(), what: "private key" },
        error => not_pem(file, &error),
    })
}
