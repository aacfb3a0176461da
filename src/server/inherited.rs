//! Listening sockets that others have opened: the process that ran before us, or systemd. They are
//! used instead of binding the same address.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::libc::{AF_INET, AF_UNIX, SOCK_STREAM};
use rustix::net::sockopt::socket_acceptconn;
use socket2::SockRef;

use super::handoff::About;
use super::listener::{BindError, Listening, SocketFile};
use crate::config::model::{Bind, TcpKeepalive};

/// Sockets that wait to be used.
#[derive(Debug, Default)]
pub struct Inherited {
    waiting: Vec<Waiting>,
    /// What is wrong with those that wait in vain.
    useless: Vec<io::Error>,
    is_for_admin: bool,
    taken: Taken,
}

/// What was used of the sockets of the process before us.
#[derive(Debug, Default)]
pub struct Taken {
    /// Their numbers.
    pub numbers: Vec<usize>,
    /// The files of unix sockets that will be ours to remove, once that process lets go of them.
    pub files: Vec<Arc<SocketFile>>,
}

#[derive(Debug)]
struct Waiting {
    /// What it stands for.
    bind: Bind,
    socket: OwnedFd,
    heritage: Heritage,
}

/// Where a socket comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heritage {
    /// systemd, which also looks after the file of a unix socket.
    Activation,
    /// The process before us, which gave it this number.
    Handoff { number: usize, has_file: bool, is_admin: bool },
}

impl Inherited {
    /// Those that systemd has opened (`sd_listen_fds(3)`). They stand for where they listen. Must
    /// be called before there are threads: it changes the environment, so that no child takes
    /// them for its own.
    pub fn activated() -> Self {
        let mut given = listenfd::ListenFd::from_env();
        let mut found = Self::default();
        for number in 0..given.len() {
            let socket = given
                .take_custom::<OwnedFd>(number, AF_INET, SOCK_STREAM, "TCP socket")
                .or_else(|_| given.take_custom(number, AF_UNIX, SOCK_STREAM, "unix stream socket"));
            match socket.and_then(|socket| socket.map(listens_at).transpose()) {
                Ok(Some((bind, socket))) => {
                    let heritage = Heritage::Activation;
                    found.waiting.push(Waiting { bind, socket, heritage });
                }
                Ok(None) => {}
                Err(error) => found.useless.push(error),
            }
        }
        found
    }

    /// One that the process before us calls by `number`.
    pub fn add(&mut self, about: About, socket: OwnedFd, number: usize) {
        let About { bind, has_file, is_admin } = about;
        let heritage = Heritage::Handoff { number, has_file, is_admin };
        self.waiting.push(Waiting { bind, socket, heritage });
    }

    /// From now on, what is taken is for operators.
    pub fn for_admin(&mut self) -> &mut Self {
        self.is_for_admin = true;
        self
    }

    /// The one that stands for `bind`, ready to accept; must be called inside a runtime. Accepted
    /// connections inherit `keepalive`.
    pub fn take(
        &mut self,
        bind: &Bind,
        keepalive: &TcpKeepalive,
    ) -> Option<Result<Listening, BindError>> {
        // Port 0 is written for clients and for operators, and theirs are not to be mistaken.
        let is_any = matches!(bind, Bind::Tcp(address) if address.port() == 0);
        let fits = |heritage| match heritage {
            Heritage::Activation => true,
            Heritage::Handoff { is_admin, .. } => !is_any || is_admin == self.is_for_admin,
        };
        let is_it = |waiting: &Waiting| waiting.bind == *bind && fits(waiting.heritage);
        let at = self.waiting.iter().position(is_it)?;
        let Waiting { bind, socket, heritage } = self.waiting.remove(at);
        let listening = Listening::inherit(&bind, socket, keepalive);
        if let (Heritage::Handoff { number, has_file, .. }, Ok(listening)) = (heritage, &listening)
        {
            self.taken.numbers.push(number);
            self.taken.files.extend(listening.file().filter(|_| has_file).cloned());
        }
        Some(listening.map_err(|reason| BindError { address: bind, reason }))
    }

    /// Closes those that nobody asked for.
    pub fn finish(self) -> Taken {
        for error in self.useless {
            tracing::warn!(%error, "a socket of LISTEN_FDS is of no use");
        }
        for Waiting { bind, heritage, .. } in self.waiting {
            match heritage {
                Heritage::Activation => {
                    tracing::warn!(address = %bind, "LISTEN_FDS has it, the configuration has not");
                }
                Heritage::Handoff { .. } => tracing::info!(address = %bind, "listening no more"),
            }
        }
        self.taken
    }
}

/// The address of a socket that listens.
fn listens_at(socket: OwnedFd) -> io::Result<(Bind, OwnedFd)> {
    if !socket_acceptconn(&socket)? {
        return Err(io::Error::other("it does not listen"));
    }
    let address = SockRef::from(&socket).local_addr()?;
    let tcp = address.as_socket().map(Bind::Tcp);
    let unix = || address.as_pathname().map(|path| Bind::Unix(path.to_owned()));
    let bind = tcp.or_else(unix).ok_or_else(|| io::Error::other("it has no address of ours"))?;
    Ok((bind, socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEPALIVE: TcpKeepalive = TcpKeepalive {
        idle: std::time::Duration::from_secs(7),
        interval: std::time::Duration::from_secs(3),
        count: 2,
        user_timeout: std::time::Duration::ZERO,
    };

    #[tokio::test]
    async fn each_is_used_once_for_the_address_that_it_stands_for() {
        let mut inherited = Inherited::default();
        let bind = Bind::Tcp("127.0.0.1:0".parse().unwrap());
        for number in [3, 5] {
            let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let about = About { bind: bind.clone(), has_file: false, is_admin: number == 5 };
            inherited.add(about, socket.into(), number);
        }
        let other = Bind::Tcp("127.0.0.1:1".parse().unwrap());
        assert!(inherited.take(&other, &KEEPALIVE).is_none());
        let first = inherited.take(&bind, &KEEPALIVE).unwrap().unwrap();
        let Listening::Tcp(listener) = &first else { panic!("TCP") };
        let socket = SockRef::from(listener);
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE.idle);
        assert!(socket.tcp_nodelay().unwrap() && socket.nonblocking().unwrap());
        assert!(inherited.take(&bind, &KEEPALIVE).is_none(), "the other one is for operators");
        assert!(inherited.for_admin().take(&bind, &KEEPALIVE).is_some());
        assert_eq!(inherited.finish().numbers, [3, 5]);
    }

    #[test]
    fn only_what_listens_has_an_address() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(listens_at(socket.into()).is_err());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(listens_at(socket.into()).unwrap().0, Bind::Unix(path));
    }
}
