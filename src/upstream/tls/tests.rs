//! Handshakes with a rustls server on loopback.

use std::path::PathBuf;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::tls::authority::Authority;

/// How long anything may take.
const SOON: Duration = Duration::from_secs(5);

/// A server for `name` that answers ALPN with one of `protocols`, or not at all; it echoes.
async fn serve(authority: &Authority, name: &str, protocols: &[&[u8]]) -> TcpStream {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        // A client that refuses the certificate is an error here, and none of ours.
        let Ok(tls) = TlsAcceptor::from(Arc::new(config)).accept(tcp).await else { return };
        let (mut read, mut write) = tokio::io::split(tls);
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
    TcpStream::connect(address).await.unwrap()
}

fn config(sni: Option<&str>, ca: Option<PathBuf>, verify: bool) -> model::UpstreamTls {
    model::UpstreamTls { sni: sni.map(str::to_owned), ca, verify }
}

/// A client of that configuration shakes hands with `host`.
async fn shake(
    config: &model::UpstreamTls,
    host: &str,
    tcp: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let client = TlsClient::new(config).unwrap();
    let connect = client.connect(host, Alpn::Http2OrHttp1, tcp);
    tokio::time::timeout(SOON, connect).await.expect("in time")
}

#[tokio::test]
async fn a_certificate_is_good_for_its_names_and_addresses_only() {
    let authority = Authority::new();
    for (certified, sni, host, good) in [
        ("models.internal", None, "models.internal", true),
        ("models.internal", None, "other.internal", false),
        ("models.internal", Some("models.internal"), "127.0.0.1", true),
        ("models.internal", Some("other.internal"), "models.internal", false),
        ("models.internal", None, "127.0.0.1", false),
        ("127.0.0.1", None, "127.0.0.1", true),
        ("127.0.0.2", None, "127.0.0.1", false),
        ("::1", None, "::1", true),
    ] {
        let tcp = serve(&authority, certified, &[]).await;
        let shaken = shake(&config(sni, Some(authority.file("ca.pem")), true), host, tcp).await;
        let case = format!("{certified} for {host}, sni {sni:?}");
        assert_eq!(shaken.is_ok(), good, "{case}: {:?}", shaken.err());
    }
}

#[tokio::test]
async fn bytes_pass_both_ways() {
    let authority = Authority::new();
    let tcp = serve(&authority, "a", &[]).await;
    let mut tls =
        shake(&config(None, Some(authority.file("ca.pem")), true), "a", tcp).await.unwrap();
    tls.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    tokio::time::timeout(SOON, tls.read_exact(&mut echo)).await.expect("in time").unwrap();
    assert_eq!(&echo, b"hello");
}

#[tokio::test]
async fn only_the_named_authority_is_believed_unless_nobody_is_asked() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for (ca, verify, good) in [
        (Some(authority.file("ca.pem")), true, true),
        (Some(stranger.file("ca.pem")), true, false),
        (Some(stranger.file("ca.pem")), false, true),
        (None, false, true),
    ] {
        let case = format!("{ca:?}, verify = {verify}");
        let tcp = serve(&authority, "a", &[]).await;
        let shaken = shake(&config(None, ca, verify), "a", tcp).await;
        assert_eq!(shaken.is_ok(), good, "{case}: {:?}", shaken.err());
    }
}

#[tokio::test]
async fn the_upstream_chooses_among_what_is_offered() {
    let authority = Authority::new();
    let client = TlsClient::new(&config(None, Some(authority.file("ca.pem")), true)).unwrap();
    for (alpn, protocols, http2) in [
        (Alpn::Http2OrHttp1, &[HTTP_1_1, H2][..], false),
        (Alpn::Http2OrHttp1, &[H2, HTTP_1_1], true),
        (Alpn::Http2OrHttp1, &[H2], true),
        (Alpn::Http2OrHttp1, &[HTTP_1_1], false),
        (Alpn::Http2OrHttp1, &[], false),
        (Alpn::Http1, &[H2, HTTP_1_1], false),
        (Alpn::Http1, &[], false),
    ] {
        let tcp = serve(&authority, "a", protocols).await;
        let connect = client.connect("a", alpn, tcp);
        let tls = tokio::time::timeout(SOON, connect).await.expect("in time").unwrap();
        assert_eq!(TlsClient::speaks_http2(&tls), http2, "{alpn:?} {protocols:?}");
    }
    let tcp = serve(&authority, "a", &[H2]).await;
    client.connect("a", Alpn::Http1, tcp).await.expect_err("nothing in common");
}

#[tokio::test]
async fn a_host_that_is_no_name_is_an_error() {
    let authority = Authority::new();
    let tcp = serve(&authority, "a", &[]).await;
    let shaken = shake(&config(None, None, false), "a b", tcp).await;
    assert_eq!(shaken.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn bad_files_are_named_with_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let good = Authority::new().issuer.pem();
    let broken_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (text, expected) in [
        (None, "FILE: No such file or directory (os error 2)"),
        (Some(String::new()), "FILE: no certificate in it"),
        (Some("hello\n".into()), "FILE: no certificate in it"),
        (Some(KeyPair::generate().unwrap().serialize_pem()), "FILE: no certificate in it"),
        (Some(good.replace("-----END", "-----")), "FILE: not PEM: "),
        (Some(format!("{good}{broken_der}")), "FILE: certificate 2 cannot be used: "),
    ] {
        let file = directory.path().join("ca.pem");
        if let Some(text) = &text {
            std::fs::write(&file, text).unwrap();
        }
        let found = TlsClient::new(&config(None, Some(file.clone()), true));
        let found = found.err().map(|error| error.to_string()).unwrap_or_default();
        let expected = expected.replace("FILE", &file.display().to_string());
        assert!(found.starts_with(&expected), "{text:?}: {found}");
    }
    let error = TlsClient::new(&config(Some("a b"), None, false)).err().unwrap();
    assert_eq!(error.to_string(), "\"a b\" is neither a host name nor an address");
}

#[test]
fn a_ca_that_is_not_used_is_checked_all_the_same() {
    let config = config(None, Some("/nonexistent/ca.pem".into()), false);
    assert!(matches!(TlsClient::new(&config), Err(TlsError::Unreadable { .. })));
}

#[test]
fn a_system_without_authorities_is_an_error() {
    let problem = |found| system_authorities(found).err().unwrap().to_string();
    assert!(problem(Ok(Vec::new())).contains("(none found)"));
    let not_read = problem(Err(io::Error::other("/etc/ssl is gone")));
    assert!(not_read.contains("(/etc/ssl is gone)"), "{not_read}");
    assert!(problem(Ok(vec![vec![0; 3].into()])).contains("(none found)"), "none that is usable");
}
