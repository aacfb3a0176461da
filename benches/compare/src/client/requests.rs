//! Sends small requests at times that are the same for all proxies.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use memchr::memmem;

use crate::poll::{self, Poll, Ready};
use crate::{clock, pin};

/// Which requests, and how.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) target: SocketAddr,
    pub(crate) question: Question,
    /// How many ask, one request at a time each.
    pub(crate) connections: usize,
    /// How often each asks.
    pub(crate) period: Duration,
    /// The part of the first period over which their beginnings are spread evenly.
    pub(crate) spread: Duration,
    /// By how much a request may be later than that, at random.
    pub(crate) jitter: Duration,
    /// Whether each request has a connection of its own.
    pub(crate) fresh: bool,
    /// How many requests there are in all.
    pub(crate) total: u64,
    pub(crate) core: Option<usize>,
}

impl Plan {
    /// Requests on connections that stay open, at an even rate, without end.
    pub(crate) fn steady(
        target: SocketAddr,
        question: Question,
        connections: usize,
        per_second: f64,
    ) -> Self {
        let period = Duration::from_secs_f64(connections as f64 / per_second);
        Self {
            target,
            question,
            connections,
            period,
            spread: period,
            jitter: Duration::ZERO,
            fresh: false,
            total: u64::MAX,
            core: None,
        }
    }
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// A POST of JSON, answered with JSON.
    Json,
    /// A stream of one event.
    One,
}

/// What they have seen so far.
#[derive(Default)]
pub(crate) struct Seen {
    /// Responses with status 200, whole.
    pub(crate) answered: AtomicU64,
    /// Other responses, and connections that ended instead of one.
    pub(crate) failed: AtomicU64,
    /// Requests that were not sent in their time, because the one before had no answer yet.
    pub(crate) late: AtomicU64,
    /// Connections that were opened.
    pub(crate) connected: AtomicU64,
    /// While it is true, the time until each first event, or whole response, is kept.
    pub(crate) timing: AtomicBool,
    /// These times, in ns.
    pub(crate) waited: Mutex<Vec<u64>>,
}

impl Seen {
    /// Requests that are over, well or not.
    pub(crate) fn done(&self) -> u64 {
        self.answered.load(Ordering::Relaxed) + self.failed.load(Ordering::Relaxed)
    }
}

/// A running client; it ends when this is dropped.
pub(crate) struct Requests {
    pub(crate) seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Requests {
    pub(crate) fn start(plan: Plan) -> Self {
        let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (seen, stop) = (seen.clone(), stop.clone());
            move || run(&plan, &seen, &stop).expect("epoll works")
        });
        Self { seen, stop, thread: Some(thread) }
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("compare: the client panicked");
        }
    }
}

/// The request for JSON.
pub(crate) const REQUEST: &[u8] = b"POST /json HTTP/1.1\r\nHost: bench\r\n\
    Content-Type: application/json\r\nContent-Length: 79\r\n\r\n\
    {\"model\":\"small\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello, who is there?\"}]}";

/// The request for a stream of one event.
const ONE: &[u8] = b"GET /one HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n";

/// A connection, and what it waits for.
#[derive(Default)]
struct Asker {
    socket: Option<TcpStream>,
    input: Vec<u8>,
    /// When the request was sent that has no answer yet.
    asked: Option<u64>,
    /// How long its first event has taken.
    first: Option<u64>,
}

fn run(plan: &Plan, seen: &Seen, stop: &AtomicBool) -> io::Result<()> {
    if let Some(core) = plan.core {
        pin::to(core);
    }
    pin::sharp_timers();
    let poll = Poll::new()?;
    let mut timers = timers(plan, clock::now());
    let mut askers: Vec<_> = (0..plan.connections).map(|_| Asker::default()).collect();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut left = plan.total;
    let mut events = poll::room();
    let mut buffer = vec![0; 64 << 10];
    while !stop.load(Ordering::Relaxed) {
        let look = clock::now() + 20_000_000;
        let due = timers.peek().map_or(look, |Reverse((due, ..))| look.min(*due));
        poll.wait(&mut events, due)?;
        for event in &events {
            let asker = &mut askers[poll::token(event)];
            let outcome = read(asker, plan.question, &mut buffer);
            settle(asker, outcome, plan, seen);
        }
        while let Some(Reverse((due, place, regular))) = timers.peek().copied() {
            if due > clock::now() || left == 0 {
                break;
            }
            timers.pop();
            let next = regular + clock::ns(plan.period);
            timers.push(Reverse((next + random.below(clock::ns(plan.jitter)), place, next)));
            let asker = &mut askers[place];
            if asker.asked.is_some() {
                seen.late.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            left -= 1;
            if asker.socket.is_none() {
                seen.connected.fetch_add(1, Ordering::Relaxed);
            }
            if ask(asker, plan, &poll, place).is_err() {
                asker.socket = None;
                seen.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

/// When each asks first: the time, the place, and the time without jitter.
fn timers(plan: &Plan, began: u64) -> BinaryHeap<Reverse<(u64, usize, u64)>> {
    (0..plan.connections)
        .map(|place| {
            let fraction = place as f64 / plan.connections as f64;
            let due = began + (fraction * clock::ns(plan.spread) as f64) as u64;
            Reverse((due, place, due))
        })
        .collect()
}

/// Numbers that look random and are the same in every run: xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.checked_rem(limit).unwrap_or(0)
    }
}

/// Sends a request, over a new connection if there is none.
fn ask(asker: &mut Asker, plan: &Plan, poll: &Poll, place: usize) -> io::Result<()> {
    let now = clock::now();
    let socket = match &mut asker.socket {
        Some(socket) => socket,
        none => {
            let socket = TcpStream::connect_timeout(&plan.target, Duration::from_secs(1))?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            poll.add(&socket, place, Ready::IN)?;
            none.insert(socket)
        }
    };
    socket.write_all(if plan.question == Question::Json { REQUEST } else { ONE })?;
    asker.asked = Some(now);
    asker.first = None;
    Ok(())
}

/// What reading brought.
enum Outcome {
    Nothing,
    Answered,
    /// The connection has ended, or says what it should not.
    Failed,
}

fn settle(asker: &mut Asker, outcome: Outcome, plan: &Plan, seen: &Seen) {
    match outcome {
        Outcome::Nothing => {}
        Outcome::Answered => {
            let asked = asker.asked.take();
            let waited = asker.first.or_else(|| Some(clock::now() - asked?));
            seen.answered.fetch_add(1, Ordering::Relaxed);
            if seen.timing.load(Ordering::Relaxed)
                && let (Some(waited), Ok(mut kept)) = (waited, seen.waited.lock())
            {
                kept.push(waited);
            }
            if plan.fresh {
                asker.socket = None;
            }
        }
        Outcome::Failed => {
            if asker.asked.take().is_some() {
                seen.failed.fetch_add(1, Ordering::Relaxed);
            }
            asker.socket = None;
            asker.input.clear();
        }
    }
}

fn read(asker: &mut Asker, question: Question, buffer: &mut [u8]) -> Outcome {
    let Some(socket) = &mut asker.socket else { return Outcome::Nothing };
    match socket.read(buffer) {
        Ok(0) => return Outcome::Failed,
        Ok(length) => asker.input.extend_from_slice(&buffer[..length]),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Outcome::Nothing,
        Err(_) => return Outcome::Failed,
    }
    if question == Question::One
        && asker.first.is_none()
        && memmem::find(&asker.input, b"\n\n").is_some()
    {
        asker.first = asker.asked.map(|asked| clock::now() - asked);
    }
    response(&mut asker.input)
}

/// Takes a response from what was read: one with a length, or a chunked one that is the last.
fn response(input: &mut Vec<u8>) -> Outcome {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let head = match response.parse(input) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Outcome::Nothing,
        Err(_) => return Outcome::Failed,
    };
    if response.code != Some(200) {
        return Outcome::Failed;
    }
    let length = response
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("content-length"))
        .and_then(|field| std::str::from_utf8(field.value).ok()?.parse::<usize>().ok());
    let end = match length {
        Some(length) => head + length,
        None if input.ends_with(b"\r\n0\r\n\r\n") => input.len(),
        None => return Outcome::Nothing,
    };
    if input.len() < end {
        return Outcome::Nothing;
    }
    input.drain(..end);
    Outcome::Answered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_length_that_it_says() {
        let text = std::str::from_utf8(REQUEST).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let length = head.rsplit_once(": ").expect("a length").1;
        assert_eq!(length, body.len().to_string());
    }
}
