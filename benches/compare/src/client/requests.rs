//! Sends small requests over connections that stay open, at a rate that is the same for all proxies.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::poll::{self, Poll, Ready};
use crate::{clock, pin};

/// Which requests, and how.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) target: SocketAddr,
    pub(crate) connections: usize,
    /// Requests a second, of all connections together, spread evenly.
    pub(crate) rate: f64,
    pub(crate) core: Option<usize>,
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

/// What is asked.
pub(crate) const REQUEST: &[u8] = b"POST /json HTTP/1.1\r\nHost: bench\r\n\
    Content-Type: application/json\r\nContent-Length: 79\r\n\r\n\
    {\"model\":\"small\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello, who is there?\"}]}";

/// A connection, and what it waits for.
struct Asker {
    socket: Option<TcpStream>,
    input: Vec<u8>,
    waits: bool,
}

fn run(plan: &Plan, seen: &Seen, stop: &AtomicBool) -> io::Result<()> {
    if let Some(core) = plan.core {
        pin::to(core);
    }
    pin::sharp_timers();
    let poll = Poll::new()?;
    let period = plan.connections as f64 / plan.rate * 1e9;
    let began = clock::now();
    let mut timers: BinaryHeap<_> = (0..plan.connections)
        .map(|place| {
            let fraction = place as f64 / plan.connections as f64;
            Reverse((began + (fraction * period) as u64, place))
        })
        .collect();
    let mut askers: Vec<_> = (0..plan.connections)
        .map(|_| Asker { socket: None, input: Vec::new(), waits: false })
        .collect();
    let mut events = poll::room();
    let mut buffer = vec![0; 64 << 10];
    while !stop.load(Ordering::Relaxed) {
        let look = clock::now() + 20_000_000;
        let due = timers.peek().map_or(look, |Reverse((due, _))| look.min(*due));
        poll.wait(&mut events, due)?;
        for event in &events {
            let asker = &mut askers[poll::token(event)];
            match read(asker, &mut buffer) {
                Outcome::Nothing => {}
                Outcome::Answered => {
                    asker.waits = false;
                    seen.answered.fetch_add(1, Ordering::Relaxed);
                }
                Outcome::Failed => {
                    if std::mem::take(&mut asker.waits) {
                        seen.failed.fetch_add(1, Ordering::Relaxed);
                    }
                    asker.socket = None;
                    asker.input.clear();
                }
            }
        }
        while let Some(Reverse((due, place))) = timers.peek().copied() {
            if due > clock::now() {
                break;
            }
            timers.pop();
            timers.push(Reverse((due + period as u64, place)));
            let asker = &mut askers[place];
            if asker.waits {
                seen.late.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if asker.socket.is_none() {
                seen.connected.fetch_add(1, Ordering::Relaxed);
            }
            asker.waits = ask(asker, plan.target, &poll, place).is_ok();
            if !asker.waits {
                asker.socket = None;
                seen.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

/// Sends a request, over a new connection if there is none.
fn ask(asker: &mut Asker, target: SocketAddr, poll: &Poll, place: usize) -> io::Result<()> {
    let socket = match &mut asker.socket {
        Some(socket) => socket,
        none => {
            let socket = TcpStream::connect_timeout(&target, Duration::from_secs(1))?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            poll.add(&socket, place, Ready::IN)?;
            none.insert(socket)
        }
    };
    socket.write_all(REQUEST)
}

/// What reading brought.
enum Outcome {
    Nothing,
    Answered,
    /// The connection has ended, or says what it should not.
    Failed,
}

fn read(asker: &mut Asker, buffer: &mut [u8]) -> Outcome {
    let Some(socket) = &mut asker.socket else { return Outcome::Nothing };
    match socket.read(buffer) {
        Ok(0) => Outcome::Failed,
        Ok(length) => {
            asker.input.extend_from_slice(&buffer[..length]);
            response(&mut asker.input)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Outcome::Nothing,
        Err(_) => Outcome::Failed,
    }
}

/// Takes a response with a length from what was read.
fn response(input: &mut Vec<u8>) -> Outcome {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let head = match response.parse(input) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Outcome::Nothing,
        Err(_) => return Outcome::Failed,
    };
    let length = response
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("content-length"))
        .and_then(|field| std::str::from_utf8(field.value).ok()?.parse::<usize>().ok());
    match (response.code, length) {
        (Some(200), Some(length)) if input.len() >= head + length => {
            input.drain(..head + length);
            Outcome::Answered
        }
        (Some(200), Some(_)) => Outcome::Nothing,
        _ => Outcome::Failed,
    }
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
