//! TLS towards `https` endpoints, with rustls and ring, as on the listeners.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls_native_certs::load_native_certs;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::WantsClientCert;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ConfigBuilder, RootCertStore};

use crate::config::model;
use crate::tls::unverified::AcceptAnyone;
use crate::tls::{H2, HTTP_1_1, TlsError, provider, read_authorities};

/// How the endpoints of one upstream are spoken to. Sessions are resumed between connections of the
/// same client.
pub struct TlsClient {
    config: model::UpstreamTls,
    /// `None` verifies nothing.
    authorities: Option<Arc<RootCertStore>>,
    /// Asked for and verified instead of the endpoint's host.
    name: Option<ServerName<'static>>,
    http1: TlsConnector,
    http2_or_http1: TlsConnector,
}

/// What is offered to the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 preferred; see [`TlsClient::speaks_http2`] for what was agreed.
    Http2OrHttp1,
}

impl TlsClient {
    /// Builds it from its configuration; reads the authorities now, so that a missing file is an
    /// error before anything is bound. The system's are read only if no others are named.
    pub fn new(config: &model::UpstreamTls) -> Result<Self, TlsError> {
        let model::UpstreamTls { sni, ca, verify } = config;
        let name = sni.as_ref().map(|name| match name.as_str() {
            // Addresses are not sent (RFC 6066 §3), so nothing is.
            "" => Ok(ServerName::from(IpAddr::from([0, 0, 0, 0]))),
            _ => ServerName::try_from(name.clone()).map_err(|_| TlsError::Name(name.clone())),
        });
        let authorities = match ca {
            Some(file) => Some(read_authorities(file)?),
            None if *verify => Some(system_authorities(load_native_certs())?),
            None => None,
        };
        let authorities = authorities.filter(|_| *verify).map(Arc::new);
        let client = builder(authorities.clone())?.with_no_client_auth();
        let offering = |protocols: &[&[u8]]| {
            let mut client = client.clone();
            client.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            TlsConnector::from(Arc::new(client))
        };
        Ok(Self {
            config: config.clone(),
            authorities,
            name: name.transpose()?,
            http1: offering(&[HTTP_1_1]),
            http2_or_http1: offering(&[H2, HTTP_1_1]),
        })
    }

    /// Whether it would do the same as `other`: the files that the configuration names may have
    /// changed while it has not.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let roots = |one: &Self| one.authorities.as_ref().map(|store| store.roots.clone());
        self.config == other.config && roots(self) == roots(other)
    }

    /// Shakes hands on a connection to `host`: a name or an address without brackets. An address is
    /// looked for among the certificate's addresses (RFC 9110 §4.3.5). The caller has a deadline.
    pub async fn connect(
        &self,
        host: &str,
        alpn: Alpn,
        tcp: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
        };
        let connector = match alpn {
            Alpn::Http1 => &self.http1,
            Alpn::Http2OrHttp1 => &self.http2_or_http1,
        };
        connector.connect(name, tcp).await
    }

    /// Whether HTTP/2 was agreed on. An upstream that does not answer ALPN speaks HTTP/1.1.
    pub fn speaks_http2(stream: &TlsStream<TcpStream>) -> bool {
        stream.get_ref().1.alpn_protocol() == Some(H2)
    }
}

/// With `None`, certificates are not verified.
fn builder(
    authorities: Option<Arc<RootCertStore>>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(match authorities {
        Some(authorities) => builder.with_root_certificates(authorities),
        None => {
            let accept = Arc::new(AcceptAnyone::new(algorithms));
            builder.dangerous().with_custom_certificate_verifier(accept)
        }
    })
}

/// Those of the system's authorities that can be used; the others nobody here can mend.
fn system_authorities(
    found: io::Result<Vec<CertificateDer<'static>>>,
) -> Result<RootCertStore, TlsError> {
    let missing = |problem: String| TlsError::NoSystemAuthorities { problem };
    let mut authorities = RootCertStore::empty();
    authorities.add_parsable_certificates(found.map_err(|error| missing(error.to_string()))?);
    if authorities.is_empty() { Err(missing("none found".into())) } else { Ok(authorities) }
}

#[cfg(test)]
mod tests;
