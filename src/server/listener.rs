//! Listening sockets. All are bound before anything is served.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::client::Accepted;
use crate::config::model::{self, Bind};

/// Connections that the kernel completes before we accept them. Clients that reconnect together
/// (after a restart, say) come in thousands.
pub const BACKLOG: i32 = 4096;

/// Everybody on this machine may connect to a unix socket, as to a port; who may not is kept out by
/// the permissions of its directory.
const SOCKET_MODE: u32 = 0o666;

/// An address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason}")]
pub struct BindError {
    pub(super) address: Bind,
    pub(super) reason: io::Error,
}

/// A socket that listens.
pub enum Listening {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket; its file goes with it, and first: whoever finds it could connect.
    Unix(Arc<SocketFile>, UnixListener),
}

/// A unix socket's file. It is removed when this is dropped, if it is ours.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    is_ours: AtomicBool,
}

impl SocketFile {
    fn new(path: &Path, is_ours: bool) -> Self {
        Self { path: path.to_owned(), is_ours: AtomicBool::new(is_ours) }
    }

    /// Whether it is ours.
    pub fn is_ours(&self) -> bool {
        self.is_ours.load(Ordering::Acquire)
    }

    /// It is, or is another process's.
    pub fn set_ours(&self, is_ours: bool) {
        self.is_ours.store(is_ours, Ordering::Release);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_ours() {
            // Somebody may have taken it away.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Listening {
    /// Binds an address; must be called inside a runtime. Accepted connections inherit `keepalive`.
    pub fn bind(address: &Bind, keepalive: &model::TcpKeepalive) -> Result<Self, BindError> {
        let bound = match address {
            Bind::Tcp(address) => tcp(*address, keepalive).map(Self::Tcp),
            Bind::Unix(path) => Self::unix(path, SOCKET_MODE),
        };
        bound.map_err(|reason| BindError { address: address.clone(), reason })
    }

    /// The same for a unix socket with a mode of its own.
    pub fn unix(path: &Path, mode: u32) -> io::Result<Self> {
        let (file, listener) = unix(path, mode)?;
        Ok(Self::Unix(Arc::new(file), listener))
    }

    /// Accepts on a socket that somebody else has opened for `bind`; must be called inside a
    /// runtime. Its file, if it has one, is not ours yet.
    pub fn inherit(
        bind: &Bind,
        socket: OwnedFd,
        keepalive: &model::TcpKeepalive,
    ) -> io::Result<Self> {
        let socket = Socket::from(socket);
        socket.set_nonblocking(true)?;
        match bind {
            Bind::Tcp(_) => {
                socket.set_tcp_nodelay(true)?;
                inherit(SockRef::from(&socket), keepalive)?;
                TcpListener::from_std(socket.into()).map(Self::Tcp)
            }
            Bind::Unix(path) => {
                let file = Arc::new(SocketFile::new(path, false));
                UnixListener::from_std(socket.into()).map(|listener| Self::Unix(file, listener))
            }
        }
    }

    /// Its descriptor once more, to be given away.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(listener) => listener.as_fd().try_clone_to_owned(),
            Self::Unix(_, listener) => listener.as_fd().try_clone_to_owned(),
        }
    }

    /// A unix socket's file.
    pub fn file(&self) -> Option<&Arc<SocketFile>> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(file, _) => Some(file),
        }
    }

    /// The same socket once more: what waits to be accepted there goes to whoever comes first.
    pub fn share(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => {
                Self::Tcp(TcpListener::from_std(SockRef::from(listener).try_clone()?.into())?)
            }
            Self::Unix(file, listener) => {
                let socket = SockRef::from(listener).try_clone()?.into();
                Self::Unix(Arc::clone(file), UnixListener::from_std(socket)?)
            }
        })
    }

    /// Sets what connections that are accepted from now on inherit.
    pub fn set_keepalive(&self, keepalive: &model::TcpKeepalive) {
        let Self::Tcp(listener) = self else { return };
        if let Err(error) = inherit(SockRef::from(listener), keepalive) {
            let address = self.address().map(|address| address.to_string());
            tracing::warn!(address, %error, "tcp_keepalive cannot be changed");
        }
    }

    /// Where it listens, with the port that was chosen for port 0.
    pub fn address(&self) -> Option<Bind> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(Bind::Tcp),
            Self::Unix(file, _) => Some(Bind::Unix(file.path.clone())),
        }
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Accepted { socket: stream.into(), peer: Some(peer) })
            }
            Self::Unix(_, listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted { socket: stream.into(), peer: None })
            }
        }
    }

    /// A connection that waits already, or [`io::ErrorKind::WouldBlock`].
    pub fn accept_waiting(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (socket, peer) = SockRef::from(listener).accept()?;
                socket.set_nonblocking(true)?;
                let stream = TcpStream::from_std(socket.into())?;
                Ok(Accepted { socket: stream.into(), peer: peer.as_socket() })
            }
            Self::Unix(_, listener) => {
                let (socket, _) = SockRef::from(listener).accept()?;
                socket.set_nonblocking(true)?;
                let stream = UnixStream::from_std(socket.into())?;
                Ok(Accepted { socket: stream.into(), peer: None })
            }
        }
    }
}

/// Linux hands the options of a listening socket down to what it accepts: set once, they cost no
/// call for each connection.
fn tcp(address: SocketAddr, keepalive: &model::TcpKeepalive) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Without it a restart has to wait until the last connection's TIME_WAIT is over.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `0.0.0.0:80` and `[::]:80` can stand beside each other, and neither means both.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    inherit(SockRef::from(&socket), keepalive)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn inherit(socket: SockRef<'_>, keepalive: &model::TcpKeepalive) -> io::Result<()> {
    let probes = TcpKeepalive::new()
        .with_time(keepalive.idle)
        .with_interval(keepalive.interval)
        .with_retries(u32::try_from(keepalive.count).unwrap_or(u32::MAX));
    socket.set_tcp_keepalive(&probes)?;
    // Zero is the system's default.
    socket.set_tcp_user_timeout(Some(keepalive.user_timeout))
}

fn unix(path: &Path, mode: u32) -> io::Result<(SocketFile, UnixListener)> {
    remove_abandoned(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    // From here on it is ours to remove.
    let file = SocketFile::new(path, true);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    Ok((file, UnixListener::from_std(socket.into())?))
}

/// A process that was killed leaves its socket's file behind. Nothing is removed that somebody
/// listens on, or that is no socket.
fn remove_abandoned(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => {}
        // Binding says what is wrong.
        _ => return Ok(()),
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A listener that is too busy to accept is there all the same.
    socket.set_nonblocking(true)?;
    match socket.connect(&socket2::SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => Ok(()),
    }
}
