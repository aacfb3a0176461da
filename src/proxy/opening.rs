//! What a connection begins with, before HTTP: a PROXY header, a TLS handshake.

use std::net::{IpAddr, SocketAddr};

use super::app::App;
use crate::client::proxy_header::{self, Beginning, Source};
use crate::client::socket::Socket;
use crate::client::tls::TlsServer;
use crate::client::{Accepted, Transport};
use crate::config::model::{Network, ProxyProtocol};
use crate::telemetry::connections::Refused;

/// A connection on which HTTP begins next.
pub(super) struct Opened {
    pub(super) transport: Transport,
    /// The client, as far as the PROXY header says.
    pub(super) peer: Option<SocketAddr>,
    /// HTTP/2 was agreed on.
    pub(super) http2: bool,
}

impl App {
    /// Opens a connection. The caller has a deadline.
    pub(super) async fn open(&self, accepted: Accepted) -> Result<Opened, Refused> {
        let Accepted { mut socket, mut peer } = accepted;
        if self.listener().proxy_protocol != ProxyProtocol::Off {
            // A unix socket is as trustworthy as its permissions.
            let trusted = peer.is_none_or(|peer| self.trusts(peer.ip()));
            match self.read_header(&mut socket, trusted).await? {
                None | Some(Source::Proxy) => {}
                Some(Source::Client(address)) => peer = Some(address),
                // Not the proxy: it would be believed what somebody else says.
                Some(Source::Unknown) => peer = None,
            }
        }
        let Some(tls) = self.tls() else {
            return Ok(Opened { transport: socket.into(), peer, http2: false });
        };
        let stream = tls.accept(socket).await.map_err(|error| {
            tracing::debug!(%error, client = peer.map(tracing::field::display), "no TLS");
            Refused::Tls
        })?;
        let http2 = TlsServer::speaks_http2(&stream);
        let spoken =
            if http2 { self.listener().protocols.http2 } else { self.listener().protocols.http1 };
        if !spoken {
            return Err(Refused::Tls);
        }
        Ok(Opened { transport: stream.into(), peer, http2 })
    }

    /// Who speaks by the PROXY header; `None` if there is none.
    async fn read_header(
        &self,
        socket: &mut Socket,
        trusted: bool,
    ) -> Result<Option<Source>, Refused> {
        let required = self.listener().proxy_protocol == ProxyProtocol::Required;
        let refuse = |why: &str| {
            tracing::debug!(why, "PROXY header refused");
            Refused::ProxyHeader
        };
        // Nobody waits for a header from somebody who is not believed: servers speak first in some
        // protocols, in HTTP they do not.
        loop {
            let seen = socket.look_ahead().await.map_err(|_| refuse("the connection ended"))?;
            match proxy_header::beginning(seen) {
                Beginning::Unclear => continue,
                Beginning::Other if required => return Err(refuse("there is none")),
                Beginning::Other => return Ok(None),
                Beginning::Header if !trusted => {
                    return Err(refuse("the sender is not in trusted_proxies"));
                }
                Beginning::Header => {}
            }
            match proxy_header::parse(seen) {
                Ok(None) => {}
                Ok(Some(header)) => {
                    socket.skip(header.length);
                    return Ok(Some(header.source));
                }
                Err(error) => return Err(refuse(&error.to_string())),
            }
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let trusted = &self.snapshot().config.server.trusted_proxies;
        Network::is_among(trusted, address)
    }
}
