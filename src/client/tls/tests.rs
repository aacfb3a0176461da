//! Handshakes with a rustls client over a pair of sockets.

use std::path::PathBuf;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ProtocolVersion, SupportedProtocolVersion};

use super::*;
use crate::config::model::CertificateFiles;

/// How long anything may take.
const SOON: Duration = Duration::from_secs(5);

const BOTH: Protocols = Protocols { http1: true, http2: true };

/// An authority, and the directory where it leaves what it signs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Signs a certificate for `names` and leaves it as `file.crt` and `file.key`.
    fn sign(&self, file: &str, names: &[&str]) -> CertificateFiles {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let files = CertificateFiles {
            cert: self.file(&format!("{file}.crt")),
            key: self.file(&format!("{file}.key")),
        };
        std::fs::write(&files.cert, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn config(&self, certificates: Vec<CertificateFiles>) -> ListenerTls {
        ListenerTls {
            certificates,
            reload: None,
            min_version: TlsVersion::V12,
            client_auth: ClientAuth::Off,
        }
    }

    /// What a client trusts, and the certificate that it has.
    fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&CertificateFiles>,
    ) -> ClientConfig {
        let authorities = read_authorities(&self.file("ca.pem")).unwrap();
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(authorities);
        match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = std::fs::read(&own.cert).unwrap();
                let chain = crate::tls::certificates(&own.cert, &chain).unwrap();
                let key = PrivateKeyDer::from_pem_file(&own.key).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        }
    }
}

/// A handshake from both sides; the client's error hides behind the server's.
async fn shake(
    server: &TlsServer,
    client: ClientConfig,
    name: &str,
) -> io::Result<(TlsStream<Socket>, client::TlsStream<UnixStream>)> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(Arc::new(client));
    let both = async {
        let connect = async { connector.connect(name, theirs).await };
        tokio::join!(server.accept(Socket::from(ours)), connect)
    };
    let (accepted, connected) = tokio::time::timeout(SOON, both).await.expect("a handshake ends");
    Ok((accepted?, connected?))
}

/// The certificate that a client which asks for `name` is shown.
async fn shown(authority: &Authority, server: &TlsServer, name: &str) -> Vec<u8> {
    let mut client = authority.client(&[&TLS13], None);
    client.enable_sni = true;
    // It may well be the wrong one.
    client.dangerous().set_certificate_verifier(Arc::new(AnyName(provider())));
    let (_, stream) = shake(server, client, name).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Accepts a certificate for any name.
#[derive(Debug)]
struct AnyName(Arc<tokio_rustls::rustls::crypto::CryptoProvider>);

mod any_name {
    use tokio_rustls::rustls::client::danger::{
        HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
    };
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use tokio_rustls::rustls::{DigitallySignedStruct, Error, SignatureScheme};

    impl ServerCertVerifier for super::AnyName {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}

fn der(files: &CertificateFiles) -> Vec<u8> {
    let pem = std::fs::read(&files.cert).unwrap();
    crate::tls::certificates(&files.cert, &pem).unwrap()[0].to_vec()
}

#[tokio::test]
async fn the_name_that_is_asked_for_chooses_the_certificate() {
    let authority = Authority::new();
    let first = authority.sign("first", &["first.example"]);
    let wild = authority.sign("wild", &["*.example.com", "example.com"]);
    let exact = authority.sign("exact", &["chat.example.com"]);
    let all = vec![first.clone(), wild.clone(), exact.clone()];
    let server = TlsServer::new(&authority.config(all), BOTH).unwrap();
    for (name, expected) in [
        ("first.example", &first),
        ("chat.example.com", &exact),
        ("CHAT.example.com", &exact),
        ("other.example.com", &wild),
        ("example.com", &wild),
        ("deep.other.example.com", &first),
        ("unknown.example", &first),
        ("127.0.0.1", &first),
    ] {
        assert_eq!(shown(&authority, &server, name).await, der(expected), "{name}");
    }
}

#[tokio::test]
async fn new_content_is_used_and_bad_content_is_not() {
    let authority = Authority::new();
    let files = authority.sign("a", &["a.example"]);
    let server = TlsServer::new(&authority.config(vec![files.clone()]), BOTH).unwrap();
    assert!(!server.reload().unwrap(), "nothing has changed");
    let before = der(&files);

    let old_key = std::fs::read(&files.key).unwrap();
    authority.sign("a", &["a.example"]);
    let new_key = std::fs::read(&files.key).unwrap();
    std::fs::write(&files.key, old_key).unwrap();
    // The certificate is new, its key is still the old one.
    let error = server.reload().unwrap_err();
    assert!(matches!(error, TlsError::BadKey { .. }), "{error}");
    assert!(!server.reload().unwrap(), "the same mistake is told once");
    assert_eq!(shown(&authority, &server, "a.example").await, before);

    std::fs::write(&files.key, new_key).unwrap();
    assert!(server.reload().unwrap());
    assert_eq!(shown(&authority, &server, "a.example").await, der(&files));

    std::fs::remove_file(&files.cert).unwrap();
    assert!(matches!(server.reload(), Err(TlsError::Unreadable { .. })));
    std::fs::write(&files.cert, "nonsense").unwrap();
    assert!(matches!(server.reload(), Err(TlsError::Lacks { .. })));
}

#[tokio::test]
async fn versions_and_protocols_are_agreed_on() {
    let authority = Authority::new();
    let files = authority.sign("a", &["a.example"]);
    let mut config = authority.config(vec![files]);
    let old = TlsServer::new(&config, BOTH).unwrap();
    let mut client = authority.client(&[&TLS12], None);
    client.alpn_protocols = vec![HTTP_1_1.to_vec(), H2.to_vec()];
    let (server, stream) = shake(&old, client, "a.example").await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_2));
    assert!(TlsServer::speaks_http2(&server), "the server's preference counts");

    config.min_version = TlsVersion::V13;
    let only_http1 = Protocols { http2: false, ..BOTH };
    let new = TlsServer::new(&config, only_http1).unwrap();
    assert!(shake(&new, authority.client(&[&TLS12], None), "a.example").await.is_err());
    let mut client = authority.client(&[&TLS13], None);
    client.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
    let (server, _) = shake(&new, client, "a.example").await.unwrap();
    assert!(!TlsServer::speaks_http2(&server));
    let mut client = authority.client(&[&TLS13], None);
    client.alpn_protocols = vec![H2.to_vec()];
    assert!(shake(&new, client, "a.example").await.is_err(), "nothing in common");
}

#[tokio::test]
async fn clients_show_certificates() {
    use tokio::io::AsyncReadExt as _;
    let (authority, stranger) = (Authority::new(), Authority::new());
    let config = authority.config(vec![authority.sign("a", &["a.example"])]);
    let ours = authority.sign("client", &["client.example"]);
    let foreign = stranger.sign("client", &["client.example"]);
    let ca = authority.file("ca.pem");
    let request = ListenerTls { client_auth: ClientAuth::Request(ca.clone()), ..config.clone() };
    let require = ListenerTls { client_auth: ClientAuth::Require(ca), ..config };
    for (config, own, expected) in [
        (&request, None, true),
        (&request, Some(&ours), true),
        (&request, Some(&foreign), false),
        (&require, None, false),
        (&require, Some(&ours), true),
        (&require, Some(&foreign), false),
    ] {
        let server = TlsServer::new(config, BOTH).unwrap();
        let client = authority.client(&[&TLS13], own);
        let shaken = shake(&server, client, "a.example").await;
        let mode = &config.client_auth;
        assert_eq!(shaken.is_ok(), expected, "{mode:?} with {own:?}");
        if let Ok((server, mut client)) = shaken {
            drop(server);
            // An alert would be an error here.
            let _ = client.read(&mut [0]).await;
        }
    }
}

#[tokio::test]
async fn bad_files_are_named() {
    let authority = Authority::new();
    let good = authority.sign("a", &["a.example"]);
    let other = authority.sign("b", &["b.example"]);
    let swapped = CertificateFiles { cert: good.cert.clone(), key: other.key };
    let no_key = CertificateFiles { key: good.cert.clone(), ..good.clone() };
    let missing = CertificateFiles { key: "/nowhere".into(), ..good.clone() };
    for (files, expected) in [
        (swapped, "a.crt cannot be used"),
        (no_key, "a.crt: no private key in it"),
        (missing, "/nowhere: No such file"),
    ] {
        let error = TlsServer::new(&authority.config(vec![files]), BOTH).err().unwrap();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let config = ListenerTls {
        client_auth: ClientAuth::Require("/nowhere".into()),
        ..authority.config(vec![good])
    };
    let error = TlsServer::new(&config, BOTH).err().unwrap();
    assert!(error.to_string().contains("/nowhere"), "{error}");
}
