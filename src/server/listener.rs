//! Listening sockets. All are bound before anything is served.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, IntoRawFd as _};
use std::sync::Arc;

use nix::sys::socket::{setsockopt, sockopt};
use pingora::apps::ServerApp;
use pingora::listeners::{L4BufferSettings, ListenerConfig, TcpSocketOptions};
use pingora::protocols::TcpKeepalive;
use pingora::server::{Fds, ListenFds, ShutdownWatch};
use pingora::services::Service as _;
use pingora::services::listening::Service;
use tokio::net::TcpSocket;

use crate::config::model;

/// Connections that the kernel completes before we accept them. Clients that reconnect together
/// (after a restart, say) come in thousands.
const BACKLOG: u32 = 4096;

/// An address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason}")]
pub struct BindError {
    address: SocketAddr,
    reason: io::Error,
}

/// Listening sockets that nobody accepts from yet.
#[derive(Default)]
pub struct Sockets(Vec<std::net::TcpListener>);

impl Sockets {
    /// Binds all addresses; must be called inside a runtime.
    pub fn bind(addresses: &[SocketAddr]) -> Result<Self, BindError> {
        let bind = |&address| bind(address).map_err(|reason| BindError { address, reason });
        addresses.iter().map(bind).collect::<Result<_, _>>().map(Self)
    }

    /// The addresses, with the ports that were chosen for port 0.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Accepts connections for `app` until `shutdown` turns true.
    pub fn serve<A: ServerApp + Send + Sync + 'static>(
        self,
        name: &str,
        app: A,
        keepalive: &model::TcpKeepalive,
        shutdown: ShutdownWatch,
    ) {
        let mut fds = Fds::new();
        let mut service = Service::new(name.to_owned(), app);
        for (socket, address) in self.addresses().into_iter().zip(self.0).map(|(a, s)| (s, a)) {
            let address = address.to_string();
            fds.add(address.clone(), socket.into_raw_fd());
            let mut options = TcpSocketOptions::default();
            options.tcp_keepalive = Some(TcpKeepalive {
                idle: keepalive.idle,
                interval: keepalive.interval,
                count: keepalive.count,
                user_timeout: keepalive.user_timeout,
            });
            // Unbuffered: the relay reads into buffers of its threads, and writes whole.
            let listener = ListenerConfig::tcp(address)
                .tcp_socket_options(options)
                .l4_buffer(L4BufferSettings::unbuffered());
            service.add_listener(listener);
        }
        let fds: ListenFds = Arc::new(parking_lot::Mutex::new(fds));
        tokio::spawn(async move { service.start_service(Some(fds), shutdown, 1).await });
    }
}

fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Without it a restart has to wait until the last connection's TIME_WAIT is over.
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        // `0.0.0.0:80` and `[::]:80` can stand beside each other, and neither means both.
        setsockopt(socket.as_raw_fd(), sockopt::Ipv6V6Only, &true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}
