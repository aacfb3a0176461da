//! The server behind the proxies: one thread, one epoll loop. What a path gets:
//!
//! - `/json` a small JSON response, with its length, kept alive;
//! - `/one` an event stream of one event, ended properly;
//! - `/sse/paced`, `/sse/idle` and the same below `/ws/`: events at a rate; one event and then
//!   silence;
//! - `/sse/late`: one event, another one within a tick, and then silence, so that streams that were
//!   opened together are not in step;
//! - `/sse/flood`: events as fast as they are taken, many in a write.
//!
//! Else one event is one write. The paced streams are spread evenly over the tick, as real streams
//! are not in step: the n-th begins at the fraction n * 0.618... of it, which leaves no large gap
//! for any number.

mod connection;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::event::{Form, Framed};
use crate::poll::{self, Poll, Ready};
use crate::{clock, pin};
use connection::{Connection, Role};

/// How it behaves.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    /// Events a second of each paced stream.
    pub(crate) rate: f64,
    /// How long a connection may be idle after a response before it is closed, as uvicorn and Node
    /// do.
    pub(crate) idle: Option<Duration>,
    /// The core that it is tied to.
    pub(crate) core: Option<usize>,
}

/// What it has seen so far.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) accepted: AtomicU64,
    pub(crate) requests: AtomicU64,
    /// Events written, the first ones of streams included.
    pub(crate) events: AtomicU64,
    /// Bytes of floods that the kernel has taken.
    pub(crate) flooded: AtomicU64,
    /// Which streams have ended, by the number in their paths (`/sse/idle/7`), and when.
    pub(crate) ended: Mutex<Vec<(u64, u64)>>,
}

/// A running origin; it ends when this is dropped.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Origin {
    pub(crate) fn start(manner: Manner) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
        let server = Server::new(listener, manner, seen.clone())?;
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || server.run(&stop).expect("epoll works")
        });
        Ok(Self { address, seen, stop, thread: Some(thread) })
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("compare: the origin panicked");
        }
    }
}

/// The listener's token; connections have their place in the table.
const LISTENER: usize = usize::MAX;

/// Events of a flood in a write.
const BATCH: usize = 32;

/// How often it looks whether it should stop.
const LOOK: Duration = Duration::from_millis(100);

struct Server {
    listener: TcpListener,
    manner: Manner,
    seen: Arc<Seen>,
    poll: Poll,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// When something is due for whom; an entry whose connection has gone is skipped.
    timers: BinaryHeap<Reverse<(u64, usize, u64)>>,
    /// Connections so far: each one's number tells it from others at the same place.
    number: u64,
    /// Paced and late streams so far.
    paced: u64,
    sse: Framed,
    websocket: Framed,
    /// What a flood writes at once.
    batch: Vec<u8>,
}

impl Server {
    fn new(listener: TcpListener, manner: Manner, seen: Arc<Seen>) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.add(&listener, LISTENER, Ready::IN)?;
        Ok(Self {
            listener,
            manner,
            seen,
            poll,
            connections: Vec::new(),
            free: Vec::new(),
            timers: BinaryHeap::new(),
            number: 0,
            paced: 0,
            sse: Framed::new(Form::Sse),
            websocket: Framed::new(Form::WebSocket),
            batch: Framed::new(Form::Sse).at(clock::now()).repeat(BATCH),
        })
    }

    fn run(mut self, stop: &AtomicBool) -> io::Result<()> {
        if let Some(core) = self.manner.core {
            pin::to(core);
        }
        pin::sharp_timers();
        let mut events = poll::room();
        let mut buffer = vec![0; 64 << 10];
        while !stop.load(Ordering::Relaxed) {
            let look = clock::now() + clock::ns(LOOK);
            let due = self.timers.peek().map_or(look, |Reverse((due, ..))| look.min(*due));
            self.poll.wait(&mut events, due)?;
            for event in &events {
                match poll::token(event) {
                    LISTENER => self.accept()?,
                    place => self.ready(place, event.flags, &mut buffer)?,
                }
            }
            self.fire()?;
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            self.seen.accepted.fetch_add(1, Ordering::Relaxed);
            self.number += 1;
            let place = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            self.poll.add(&socket, place, Ready::IN)?;
            self.connections[place] = Some(Connection::new(socket, self.number));
        }
    }

    fn ready(&mut self, place: usize, ready: Ready, buffer: &mut [u8]) -> io::Result<()> {
        let Some(connection) = self.connections[place].as_mut() else { return Ok(()) };
        let mut alive = true;
        if ready.intersects(Ready::IN | Ready::HUP | Ready::ERR) {
            alive = connection.read(buffer);
            while alive && let Some(request) = self.request(place) {
                self.seen.requests.fetch_add(1, Ordering::Relaxed);
                alive = request.is_ok_and(|path| self.answer(place, &path));
            }
        }
        if alive && ready.contains(Ready::OUT) {
            alive = self.flood(place);
        }
        if !alive {
            return self.close(place);
        }
        let Some(connection) = self.connections[place].as_mut() else { return Ok(()) };
        let wanted = if connection.wants_out() { Ready::IN | Ready::OUT } else { Ready::IN };
        if wanted != connection.watched {
            connection.watched = wanted;
            self.poll.set(&connection.socket, place, wanted)?;
        }
        Ok(())
    }

    /// The path of a connection's next request.
    fn request(&mut self, place: usize) -> Option<Result<String, httparse::Error>> {
        self.connections[place].as_mut()?.request()
    }

    /// Answers a request; false if the connection is done with.
    fn answer(&mut self, place: usize, path: &str) -> bool {
        let Some(connection) = self.connections[place].as_mut() else { return false };
        let now = clock::now();
        let mut parts = path.trim_start_matches('/').split('/');
        let (form, kind) = match (parts.next(), parts.next()) {
            (Some("json"), _) => {
                if let Some(idle) = self.manner.idle {
                    connection.idle_until = now + clock::ns(idle);
                    let entry = (connection.idle_until, place, connection.number);
                    self.timers.push(Reverse(entry));
                }
                return connection.send(JSON);
            }
            (Some("one"), _) => {
                let mut bytes = SSE_HEAD.to_vec();
                bytes.extend_from_slice(self.sse.at(now));
                return connection.send(&bytes) && connection.send(b"0\r\n\r\n");
            }
            (Some("sse"), Some(kind)) => (Form::Sse, kind),
            (Some("ws"), Some(kind)) => (Form::WebSocket, kind),
            _ => return connection.send(NOT_FOUND),
        };
        connection.id = parts.next().and_then(|id| id.parse().ok());
        let (head, event) = match form {
            Form::Sse => (SSE_HEAD, self.sse.at(now)),
            Form::WebSocket => (WEBSOCKET_HEAD, self.websocket.at(now)),
        };
        let sent = connection.send(head) && connection.send(event);
        self.seen.events.fetch_add(1, Ordering::Relaxed);
        connection.role = match kind {
            "paced" => {
                let fraction = fraction(&mut self.paced);
                let period = 1e9 / self.manner.rate;
                // Each stream keeps its place in a tick that is the same for all.
                let tick = (now as f64 / period).ceil() + fraction;
                self.timers.push(Reverse(((tick * period) as u64, place, connection.number)));
                Role::Paced(form)
            }
            "late" => {
                let due = now + (fraction(&mut self.paced) * 1e9 / self.manner.rate) as u64;
                self.timers.push(Reverse((due, place, connection.number)));
                Role::Late(form)
            }
            "flood" => Role::Flood,
            _ => Role::Silent,
        };
        sent
    }

    /// Writes what waits, and for a flood some more.
    fn flood(&mut self, place: usize) -> bool {
        let Some(connection) = self.connections[place].as_mut() else { return false };
        let mut alive = connection.flush();
        if alive && connection.role == Role::Flood && !connection.is_blocked() {
            self.seen.flooded.fetch_add(self.batch.len() as u64, Ordering::Relaxed);
            alive = connection.send(&self.batch);
        }
        alive
    }

    /// Does what is due.
    fn fire(&mut self) -> io::Result<()> {
        let period = (1e9 / self.manner.rate) as u64;
        while let Some(Reverse((due, place, number))) = self.timers.peek().copied() {
            let now = clock::now();
            if due > now {
                break;
            }
            self.timers.pop();
            let Some(connection) = self.connections[place].as_mut() else { continue };
            if connection.number != number {
                continue;
            }
            let alive = match connection.role {
                Role::Requests => !connection.is_idle(now),
                Role::Paced(form) => {
                    self.timers.push(Reverse((due + period, place, number)));
                    self.seen.events.fetch_add(1, Ordering::Relaxed);
                    connection.send(match form {
                        Form::Sse => self.sse.at(now),
                        Form::WebSocket => self.websocket.at(now),
                    })
                }
                Role::Late(form) => {
                    connection.role = Role::Silent;
                    self.seen.events.fetch_add(1, Ordering::Relaxed);
                    connection.send(match form {
                        Form::Sse => self.sse.at(now),
                        Form::WebSocket => self.websocket.at(now),
                    })
                }
                Role::Silent | Role::Flood => true,
            };
            if !alive {
                self.close(place)?;
            }
        }
        Ok(())
    }

    fn close(&mut self, place: usize) -> io::Result<()> {
        if let Some(connection) = self.connections[place].take() {
            self.free.push(place);
            if let Some(id) = connection.id
                && let Ok(mut ended) = self.seen.ended.lock()
            {
                ended.push((id, clock::now()));
            }
        }
        Ok(())
    }
}

/// The place in the tick of the next of these streams.
fn fraction(count: &mut u64) -> f64 {
    let fraction = (*count as f64 * 0.618_033_988_749_895).fract();
    *count += 1;
    fraction
}

const JSON: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 135\r\n\r\n\
    {\"id\":\"chatcmpl-7f3a\",\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\
    \"message\":{\"role\":\"assistant\",\"content\":\"Hello, how are you\"}}]}";

const SSE_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The answer to the key of RFC 6455, 1.3, which the client sends always.
const WEBSOCKET_HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_the_length_that_it_says() {
        let text = std::str::from_utf8(JSON).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let length = head.rsplit_once(": ").expect("a length").1;
        assert_eq!(length, body.len().to_string());
    }
}
