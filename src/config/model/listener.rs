//! `[listeners.NAME]`: where clients connect, and what is spoken there.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// `[listeners.NAME]`: one set of addresses with one behaviour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Name in metrics, logs and `routes.*.listeners`.
    pub name: String,
    /// Addresses to bind; never empty.
    pub bind: Vec<Bind>,
    /// What clients may speak; at least one.
    pub protocols: Protocols,
    /// Whether connections begin with the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// For a whole request head, however slowly it drips; and for all that comes before the first
    /// one: the PROXY header, the TLS handshake.
    pub header_timeout: Duration,
    /// How long a client connection may stay idle between two requests.
    pub keepalive_timeout: Duration,
    /// Largest request head in bytes.
    pub max_header_size: usize,
    /// TCP keep-alive on accepted connections; finds clients that vanished.
    pub tcp_keepalive: TcpKeepalive,
    /// `[listeners.NAME.tls]`; `None` without that table.
    pub tls: Option<ListenerTls>,
}

/// An element of `bind`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Bind {
    /// `127.0.0.1:8080`
    Tcp(SocketAddr),
    /// `unix:/run/longwire/web.sock`
    Unix(PathBuf),
}

impl fmt::Display for Bind {
    /// As it is written in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `protocols`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocols {
    /// `http/1.1`, and with it HTTP/1.0.
    pub http1: bool,
    /// `h2` with TLS (agreed on by ALPN), `h2c` without (known beforehand).
    pub http2: bool,
}

/// `proxy_protocol`: versions 1 and 2 of HAProxy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// Not understood.
    Off,
    /// A connection from a trusted proxy may begin with it.
    Optional,
    /// Every connection does.
    Required,
}

/// TCP keep-alive settings of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Between two probes.
    pub interval: Duration,
    /// Unanswered probes before the connection counts as dead.
    pub count: usize,
    /// How long sent data may stay unacknowledged (`TCP_USER_TIMEOUT`); zero is the system's
    /// default.
    pub user_timeout: Duration,
}

/// `[listeners.NAME.tls]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// One pair for each set of names; the first is for clients that name none of them.
    pub certificates: Vec<CertificateFiles>,
    /// How often to look whether the files have changed; `None` is never.
    pub reload: Option<Duration>,
    /// The oldest version that is accepted.
    pub min_version: TlsVersion,
    /// Whether clients show a certificate of their own.
    pub client_auth: ClientAuth,
}

/// An element of `certificates`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// A PEM file: the certificate, then those between it and the authority.
    pub cert: PathBuf,
    /// A PEM file with its private key.
    pub key: PathBuf,
}

/// `min_version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2
    V12,
    /// TLS 1.3
    V13,
}

/// `client_auth`: whether clients show a certificate, and who may have signed it (a PEM file).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuth {
    /// None is asked for.
    Off,
    /// A client may have none, but not a bad one.
    Request(PathBuf),
    /// Every client has a good one.
    Require(PathBuf),
}
