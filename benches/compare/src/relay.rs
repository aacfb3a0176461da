//! A plain TCP relay: epoll, one thread, one read and one write for each piece. It looks at
//! nothing, so it is what a proxy could cost at least.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::clock;
use crate::poll::{self, Poll, Ready};

/// One direction's end: what is read here is written to the peer, at the place beside it.
struct End {
    socket: TcpStream,
    /// What this socket has not taken yet; while there is any, the peer is not read.
    kept: Vec<u8>,
    /// What is watched.
    ready: Ready,
}

/// Relays until it is ended.
pub(crate) fn run(listen: SocketAddr, origin: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let poll = Poll::new()?;
    poll.add(&listener, usize::MAX, Ready::IN)?;
    // The ends of a connection are at 2n and 2n + 1.
    let mut ends: Vec<Option<End>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut events = poll::room();
    let mut buffer = vec![0; 64 << 10];
    loop {
        poll.wait(&mut events, clock::now() + 60_000_000_000)?;
        let mut ended = Vec::new();
        for event in &events {
            match poll::token(event) {
                usize::MAX => accept(&listener, origin, &poll, &mut ends, &mut free)?,
                place => {
                    if !moved(place, event.flags, &poll, &mut ends, &mut buffer)? {
                        ended.push(place & !1);
                    }
                }
            }
        }
        // Only now, so that no event of this round meets another connection at its place.
        for place in ended {
            if ends[place].take().is_some() {
                ends[place + 1] = None;
                free.push(place);
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    origin: SocketAddr,
    poll: &Poll,
    ends: &mut Vec<Option<End>>,
    free: &mut Vec<usize>,
) -> io::Result<()> {
    loop {
        let client = match listener.accept() {
            Ok((client, _)) => client,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        // Blocking, which on loopback takes no time.
        let Ok(upstream) = TcpStream::connect(origin) else { continue };
        let place = free.pop().unwrap_or_else(|| {
            ends.extend([None, None]);
            ends.len() - 2
        });
        for (place, socket) in [(place, client), (place + 1, upstream)] {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            poll.add(&socket, place, Ready::IN)?;
            ends[place] = Some(End { socket, kept: Vec::new(), ready: Ready::IN });
        }
    }
}

/// Moves what can be moved at this end; false if the connection is over.
fn moved(
    place: usize,
    ready: Ready,
    poll: &Poll,
    ends: &mut [Option<End>],
    buffer: &mut [u8],
) -> io::Result<bool> {
    let pair = &mut ends[place & !1..][..2];
    let [Some(one), Some(other)] = pair else { return Ok(true) };
    let (here, peer) = if place & 1 == 0 { (one, other) } else { (other, one) };
    if ready.contains(Ready::OUT) {
        let kept = std::mem::take(&mut here.kept);
        if !write(here, &kept) {
            return Ok(false);
        }
    }
    if ready.intersects(Ready::IN | Ready::HUP | Ready::ERR) && peer.kept.is_empty() {
        match here.socket.read(buffer) {
            Ok(0) => return Ok(false),
            Ok(length) if !write(peer, &buffer[..length]) => return Ok(false),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Ok(false),
            _ => {}
        }
    }
    let wanted = |end: &End, peer: &End| {
        let read = if peer.kept.is_empty() { Ready::IN } else { Ready::empty() };
        if end.kept.is_empty() { read } else { read | Ready::OUT }
    };
    let (ready_here, ready_peer) = (wanted(here, peer), wanted(peer, here));
    for (place, end, ready) in [(place, here, ready_here), (place ^ 1, peer, ready_peer)] {
        if end.ready != ready {
            end.ready = ready;
            poll.set(&end.socket, place, ready)?;
        }
    }
    Ok(true)
}

/// Writes, and keeps what the socket does not take.
fn write(end: &mut End, bytes: &[u8]) -> bool {
    let written = match end.socket.write(bytes) {
        Ok(written) => written,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(_) => return false,
    };
    end.kept.extend_from_slice(&bytes[written..]);
    true
}
