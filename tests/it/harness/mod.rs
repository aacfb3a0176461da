//! The proxy, and peers that do as they are told.

mod authority;
mod client;
mod peer;
mod proxy;
mod upstream;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use tokio::net::TcpStream;

pub use authority::Authority;
pub use client::{Client, Response, find};
pub use peer::{Peer, signal};
pub use proxy::{Proxy, ProxyBuilder, resident_kib};
pub use upstream::{Conversation, SSE_HEAD, Upstream};

/// For anything that should happen at once; generous, since the machine may be busy.
pub const SOON: Duration = Duration::from_secs(10);

/// Waits for what must happen soon.
#[track_caller]
pub fn soon<F: Future>(what: &str, future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(SOON, future).await {
            Ok(output) => output,
            Err(_) => panic!("{place}: waited {SOON:?} in vain for {what}"),
        }
    }
}

/// Asks again and again until the answer is yes.
#[track_caller]
pub fn until<F, A>(what: &str, ask: F) -> impl Future<Output = ()>
where
    F: FnMut() -> A,
    A: Future<Output = bool>,
{
    until_within(SOON, what, ask)
}

/// The same for what takes longer.
#[track_caller]
pub fn until_within<F, A>(limit: Duration, what: &str, mut ask: F) -> impl Future<Output = ()>
where
    F: FnMut() -> A,
    A: Future<Output = bool>,
{
    let place = std::panic::Location::caller();
    let what = what.to_owned();
    async move {
        let asking = async {
            while !ask().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(limit, asking).await.is_err() {
            panic!("{place}: waited {limit:?} in vain until {what}");
        }
    }
}

/// Waits until the other end of a connection on this machine has read all that was written to it,
/// so that the next bytes come in a read of their own.
pub async fn taken(stream: &TcpStream) {
    let (ours, theirs) = (stream.local_addr().unwrap(), stream.peer_addr());
    // One that has gone reads nothing any more.
    let Ok(theirs) = theirs else { return };
    let read = async {
        while unread(theirs, ours).is_some_and(|bytes| bytes > 0) {
            tokio::task::yield_now().await;
        }
    };
    soon("the other end to read", read).await;
}

/// Bytes that have come to the IPv4 socket `local`, connected to `remote`, and that its process has
/// not read; `None` if there is none, or the kernel does not say (sock_diag(7)).
fn unread(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    let address = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => [&ip.octets()[..], &[0; 12]].concat(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let request = [
        // struct nlmsghdr: length, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, sequence and port.
        &72_u32.to_ne_bytes()[..],
        &20_u16.to_ne_bytes(),
        &1_u16.to_ne_bytes(),
        &[0; 8],
        // struct inet_diag_req_v2: AF_INET, IPPROTO_TCP, nothing more, any state.
        &[2, 6, 0, 0],
        &[0xff; 4],
        // struct inet_diag_sockid: ports, addresses, any interface, no cookie.
        &local.port().to_be_bytes(),
        &remote.port().to_be_bytes(),
        &address(local),
        &address(remote),
        &[0; 4],
        &[0xff; 8],
    ]
    .concat();
    let protocol = SockProtocol::NetlinkSockDiag;
    let family = AddressFamily::Netlink;
    let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol).ok()?;
    let mut answer = [0; 1024];
    let asked = send(socket, &request, MsgFlags::empty());
    let length = asked.and_then(|_| recv(socket, &mut answer, MsgFlags::empty()));
    nix::unistd::close(socket).unwrap();
    // struct inet_diag_msg behind the header; idiag_rqueue stands at 56.
    let is_answer = length.is_ok_and(|length| length >= 76) && answer[4..6] == request[4..6];
    is_answer.then(|| u32::from_ne_bytes(answer[72..76].try_into().unwrap()))
}
