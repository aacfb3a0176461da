//! The server's side of TLS, with rustls: which certificate a client is shown, and what it has to
//! show itself.

mod certificates;
mod resolver;

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::Ticketer;
use tokio_rustls::rustls::server::{ClientHello, WebPkiClientVerifier};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::server::TlsStream;

pub use self::certificates::Expiry;
use self::resolver::Resolver;
use super::socket::Socket;
use crate::config::model::{ClientAuth, ListenerTls, Protocols, TlsVersion};
use crate::tls::{H2, HTTP_1_1, TlsError, provider, read_authorities};

/// What rustls keeps for a client that does not read, in bytes: one record and its overhead. The
/// relay stops reading from the upstream when this is full.
const BUFFER_MAX_BYTES: usize = 16 * 1024 + 512;

/// The TLS of one listener.
pub struct TlsServer {
    acceptor: TlsAcceptor,
    resolver: Arc<Resolver>,
}

impl TlsServer {
    /// Builds it; reads all files now, so that a bad one is an error before anything is bound.
    pub fn new(config: &ListenerTls, protocols: Protocols) -> Result<Self, TlsError> {
        let resolver = Arc::new(Resolver::new(config.certificates.clone())?);
        let versions: &[_] = match config.min_version {
            TlsVersion::V12 => &[&TLS13, &TLS12],
            TlsVersion::V13 => &[&TLS13],
        };
        let builder =
            ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
        let builder = match &config.client_auth {
            ClientAuth::Off => builder.with_no_client_auth(),
            ClientAuth::Request(ca) => {
                builder.with_client_cert_verifier(verifier(ca)?.allow_unauthenticated().build()?)
            }
            ClientAuth::Require(ca) => builder.with_client_cert_verifier(verifier(ca)?.build()?),
        };
        let mut server = builder.with_cert_resolver(resolver.clone());
        // In the order of our preference, which is what counts (RFC 7301 §3.2).
        let offered = [(protocols.http2, H2), (protocols.http1, HTTP_1_1)];
        let offered = offered.into_iter().filter(|(spoken, _)| *spoken);
        server.alpn_protocols = offered.map(|(_, name)| name.to_vec()).collect();
        server.ticketer = Ticketer::new()?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(server)), resolver })
    }

    /// Shakes hands. The caller has a deadline.
    pub async fn accept(&self, socket: Socket) -> io::Result<TlsStream<Socket>> {
        let limit = |connection: &mut tokio_rustls::rustls::ServerConnection| {
            connection.set_buffer_limit(Some(BUFFER_MAX_BYTES));
        };
        self.acceptor.accept_with(socket, limit).await
    }

    /// Whether HTTP/2 was agreed on. A client without ALPN speaks HTTP/1.1.
    pub fn speaks_http2(stream: &TlsStream<Socket>) -> bool {
        stream.get_ref().1.alpn_protocol() == Some(H2)
    }

    /// Reads the certificates again if their files have changed, and uses them for handshakes from
    /// now on. `Ok(false)` is no change. After an error the old ones stay in use; the same bad
    /// content is an error once.
    pub fn reload(&self) -> Result<bool, TlsError> {
        self.resolver.reload()
    }

    /// When each certificate in use ends.
    pub fn expiries(&self) -> Vec<Expiry> {
        self.resolver.expiries()
    }
}

fn verifier(
    ca: &Path,
) -> Result<tokio_rustls::rustls::server::ClientCertVerifierBuilder, TlsError> {
    let authorities = Arc::new(read_authorities(ca)?);
    Ok(WebPkiClientVerifier::builder_with_provider(authorities, provider()))
}

/// The name that a client asks for, as certificates have it.
fn asked_for(hello: &ClientHello<'_>) -> Option<String> {
    hello.server_name().map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests;
