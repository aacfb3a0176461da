//! A certificate authority of the test's own.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// An authority, and the directory where it leaves what it signs.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "the test's authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    /// Where a file of that name is, or would be.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The same as text, for a command line.
    pub fn path(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().to_owned()
    }

    /// Signs a certificate for `names` and leaves it as `file.crt` and `file.key`; gives the element
    /// of `certificates` for it.
    pub fn sign(&self, file: &str, names: &[&str]) -> String {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        // Of its own, or it would be taken for a self-signed one.
        params.distinguished_name.push(DnType::CommonName, file);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (cert_file, key_file) = (format!("{file}.crt"), format!("{file}.key"));
        std::fs::write(self.file(&cert_file), certificate.pem()).unwrap();
        std::fs::write(self.file(&key_file), key.serialize_pem()).unwrap();
        format!("{{ cert = {:?}, key = {:?} }}", self.path(&cert_file), self.path(&key_file))
    }
}
