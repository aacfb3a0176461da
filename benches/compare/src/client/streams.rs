//! Opens streams, keeps them, reads them, counts their events.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use memchr::memmem;

use crate::event::{Form, Scanner};
use crate::poll::{self, Poll, Ready};
use crate::{clock, pin};

/// Which streams, and how.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) target: SocketAddr,
    pub(crate) form: Form,
    /// The last part of the path: `paced`, `idle`, `late`, `flood`.
    pub(crate) kind: &'static str,
    pub(crate) count: usize,
    /// Whether a stream is read beyond its first event.
    pub(crate) reads: bool,
    /// Whether another one takes the place of a stream that has ended.
    pub(crate) again: bool,
    pub(crate) core: Option<usize>,
}

/// What they have seen so far.
#[derive(Default)]
pub(crate) struct Seen {
    /// Streams that have had their first event.
    pub(crate) open: AtomicU64,
    /// Events, first ones included.
    pub(crate) events: AtomicU64,
    /// Heartbeats that came by themselves.
    pub(crate) heartbeats: AtomicU64,
    /// Streams that ended, were refused or could not be opened.
    pub(crate) failed: AtomicU64,
    /// While it is true, the age of every event is kept.
    pub(crate) timing: AtomicBool,
    /// Ages of events when they arrived, in ns.
    pub(crate) ages: Mutex<Vec<u64>>,
}

/// Open streams; they are closed when this is dropped.
pub(crate) struct Streams {
    pub(crate) seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Streams {
    pub(crate) fn start(plan: Plan) -> Self {
        let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (seen, stop) = (seen.clone(), stop.clone());
            move || run(&plan, &seen, &stop).expect("epoll works")
        });
        Self { seen, stop, thread: Some(thread) }
    }

    /// Opens them, and waits until each has had its first event.
    pub(crate) fn open(plan: Plan) -> anyhow::Result<Self> {
        let count = plan.count as u64;
        let streams = Self::start(plan);
        let deadline = clock::now() + clock::ns(OPENING);
        while streams.seen.open.load(Ordering::Relaxed) < count {
            let open = streams.seen.open.load(Ordering::Relaxed);
            let failed = streams.seen.failed.load(Ordering::Relaxed);
            anyhow::ensure!(failed <= count, "streams fail: {failed} of {count}");
            anyhow::ensure!(clock::now() < deadline, "only {open} of {count} streams opened");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(streams)
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("compare: the client panicked");
        }
    }
}

/// How long all streams together may take to open.
const OPENING: Duration = Duration::from_secs(30);

/// Streams that are being opened at once: fewer than a short backlog.
const IN_FLIGHT: usize = 64;

struct Stream {
    socket: TcpStream,
    scanner: Scanner,
    open: bool,
}

fn run(plan: &Plan, seen: &Seen, stop: &AtomicBool) -> io::Result<()> {
    if let Some(core) = plan.core {
        pin::to(core);
    }
    pin::sharp_timers();
    let poll = Poll::new()?;
    let mut streams: Vec<Option<Stream>> = Vec::new();
    // Places whose stream is to be opened, and streams on their way.
    let mut missing: Vec<usize> = (0..plan.count).rev().collect();
    streams.resize_with(plan.count, || None);
    let mut in_flight = 0;
    let mut events = poll::room();
    let mut buffer = vec![0; 64 << 10];
    let mut ages = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        while in_flight < IN_FLIGHT
            && seen.failed.load(Ordering::Relaxed) <= plan.count as u64
            && let Some(place) = missing.pop()
        {
            match open(plan) {
                Ok(socket) => {
                    poll.add(&socket, place, Ready::IN)?;
                    in_flight += 1;
                    streams[place] =
                        Some(Stream { socket, scanner: Scanner::default(), open: false });
                }
                Err(_) => {
                    seen.failed.fetch_add(1, Ordering::Relaxed);
                    missing.push(place);
                    break;
                }
            }
        }
        poll.wait(&mut events, clock::now() + 20_000_000)?;
        let timing = seen.timing.load(Ordering::Relaxed);
        for event in &events {
            let place = poll::token(event);
            let Some(stream) = streams[place].as_mut() else { continue };
            let was_open = stream.open;
            let alive = read(stream, &mut buffer, seen, |age| {
                seen.events.fetch_add(1, Ordering::Relaxed);
                if timing {
                    ages.push(age);
                }
            });
            if stream.open && !was_open {
                in_flight -= 1;
                seen.open.fetch_add(1, Ordering::Relaxed);
                if !plan.reads {
                    poll.set(&stream.socket, place, Ready::empty())?;
                }
            }
            if !alive {
                seen.failed.fetch_add(1, Ordering::Relaxed);
                if stream.open {
                    seen.open.fetch_sub(1, Ordering::Relaxed);
                } else {
                    in_flight -= 1;
                }
                streams[place] = None;
                if plan.again {
                    missing.push(place);
                }
            }
        }
        if !timing
            && !ages.is_empty()
            && let Ok(mut kept) = seen.ages.lock()
        {
            kept.append(&mut ages);
        }
    }
    Ok(())
}

/// Connects, which on loopback takes no time, and sends the request.
fn open(plan: &Plan) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect_timeout(&plan.target, Duration::from_secs(1))?;
    socket.set_nodelay(true)?;
    socket.write_all(request(plan.form, plan.kind).as_bytes())?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The request for a stream; the key is that of RFC 6455, 1.3.
pub(crate) fn request(form: Form, kind: &str) -> String {
    match form {
        Form::Sse => {
            format!("GET /sse/{kind} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n")
        }
        Form::WebSocket => format!(
            "GET /ws/{kind} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ),
    }
}

/// What Longwire sends on an event stream that is silent.
const HEARTBEAT: &[u8] = b": keep-alive\n";

/// Reads once; false if the stream has ended.
fn read(stream: &mut Stream, buffer: &mut [u8], seen: &Seen, mut each: impl FnMut(u64)) -> bool {
    match stream.socket.read(buffer) {
        Ok(0) => false,
        Ok(length) => {
            let now = clock::now();
            let (open, mut events) = (&mut stream.open, false);
            stream.scanner.feed(&buffer[..length], |stamp| {
                *open = true;
                events = true;
                each(now.saturating_sub(stamp));
            });
            if !events {
                let heartbeats = memmem::find_iter(&buffer[..length], HEARTBEAT).count();
                seen.heartbeats.fetch_add(heartbeats as u64, Ordering::Relaxed);
            }
            true
        }
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}
