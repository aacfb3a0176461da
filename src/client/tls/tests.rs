//! Handshakes with a rustls client over a pair of sockets.

use std::time::Duration;

use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ProtocolVersion, SupportedProtocolVersion};

use super::*;
use crate::config::model::CertificateFiles;
use crate::tls::authority::Authority;
use crate::tls::unverified::AcceptAnyone;

/// How long anything may take.
const SOON: Duration = Duration::from_secs(5);

const BOTH: Protocols = Protocols { http1: true, http2: true };

fn config(certificates: Vec<CertificateFiles>) -> ListenerTls {
    ListenerTls {
        certificates,
        reload: None,
        min_version: TlsVersion::V12,
        client_auth: ClientAuth::Off,
    }
}

/// What a client trusts, and the certificate that it has.
fn client_of(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    own: Option<&CertificateFiles>,
) -> ClientConfig {
    let authorities = read_authorities(&authority.file("ca.pem")).unwrap();
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
    let mut client = client_of(authority, &[&TLS13], None);
    client.enable_sni = true;
    // It may well be the wrong one.
    client.dangerous().set_certificate_verifier(Arc::new(AcceptAnyone::new(
        provider().signature_verification_algorithms,
    )));
    let (_, stream) = shake(server, client, name).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
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
    let server = TlsServer::new(&config(all), BOTH).unwrap();
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
    let server = TlsServer::new(&config(vec![files.clone()]), BOTH).unwrap();
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
    let mut config = config(vec![files]);
    let old = TlsServer::new(&config, BOTH).unwrap();
    let mut client = client_of(&authority, &[&TLS12], None);
    client.alpn_protocols = vec![HTTP_1_1.to_vec(), H2.to_vec()];
    let (server, stream) = shake(&old, client, "a.example").await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_2));
    assert!(TlsServer::speaks_http2(&server), "the server's preference counts");

    config.min_version = TlsVersion::V13;
    let only_http1 = Protocols { http2: false, ..BOTH };
    let new = TlsServer::new(&config, only_http1).unwrap();
    assert!(shake(&new, client_of(&authority, &[&TLS12], None), "a.example").await.is_err());
    let mut client = client_of(&authority, &[&TLS13], None);
    client.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
    let (server, _) = shake(&new, client, "a.example").await.unwrap();
    assert!(!TlsServer::speaks_http2(&server));
    let mut client = client_of(&authority, &[&TLS13], None);
    client.alpn_protocols = vec![H2.to_vec()];
    assert!(shake(&new, client, "a.example").await.is_err(), "nothing in common");
}

#[tokio::test]
async fn clients_show_certificates() {
    use tokio::io::AsyncReadExt as _;
    let (authority, stranger) = (Authority::new(), Authority::new());
    let config = config(vec![authority.sign("a", &["a.example"])]);
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
        let client = client_of(&authority, &[&TLS13], own);
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
        let error = TlsServer::new(&config(vec![files]), BOTH).err().unwrap();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let config =
        ListenerTls { client_auth: ClientAuth::Require("/nowhere".into()), ..config(vec![good]) };
    let error = TlsServer::new(&config, BOTH).err().unwrap();
    assert!(error.to_string().contains("/nowhere"), "{error}");
}
