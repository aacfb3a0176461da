//! A connection of the origin: its socket, what it has read and not yet written, what it is for.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::event::Form;
use crate::poll::Ready;

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Requests, one after the other.
    Requests,
    /// Events at a rate.
    Paced(Form),
    /// One more event, and then nothing more.
    Late(Form),
    /// A stream that says nothing more.
    Silent,
    /// Events as fast as they are taken.
    Flood,
}

pub(super) struct Connection {
    pub(super) socket: TcpStream,
    pub(super) number: u64,
    pub(super) role: Role,
    /// The number in the stream's path.
    pub(super) id: Option<u64>,
    /// When an idle connection is closed; nothing arrives before a response was sent.
    pub(super) idle_until: u64,
    pub(super) watched: Ready,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Connection {
    pub(super) fn new(socket: TcpStream, number: u64) -> Self {
        Self {
            socket,
            number,
            role: Role::Requests,
            id: None,
            idle_until: u64::MAX,
            watched: Ready::IN,
            input: Vec::new(),
            output: Vec::new(),
        }
    }

    /// Reads once; false at the end. What comes after a stream has begun is thrown away.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> bool {
        match self.socket.read(buffer) {
            Ok(0) => false,
            Ok(length) => {
                if self.role == Role::Requests {
                    self.input.extend_from_slice(&buffer[..length]);
                }
                true
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// The path of the next request that is whole.
    pub(super) fn request(&mut self) -> Option<Result<String, httparse::Error>> {
        if self.role != Role::Requests || self.input.is_empty() {
            return None;
        }
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut fields);
        let head = match request.parse(&self.input) {
            Ok(httparse::Status::Complete(head)) => head,
            Ok(httparse::Status::Partial) => return None,
            Err(error) => return Some(Err(error)),
        };
        let length = content_length(request.headers);
        if self.input.len() < head + length {
            return None;
        }
        let path = request.path.unwrap_or_default().to_owned();
        self.input.drain(..head + length);
        Some(Ok(path))
    }

    /// Writes, and keeps what the kernel does not take; false if the connection is gone.
    pub(super) fn send(&mut self, bytes: &[u8]) -> bool {
        if !self.output.is_empty() {
            self.output.extend_from_slice(bytes);
            return true;
        }
        match self.socket.write(bytes) {
            Ok(written) => {
                self.output.extend_from_slice(&bytes[written..]);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.output.extend_from_slice(bytes);
                true
            }
            Err(_) => false,
        }
    }

    /// Writes what was kept.
    pub(super) fn flush(&mut self) -> bool {
        if self.output.is_empty() {
            return true;
        }
        let kept = std::mem::take(&mut self.output);
        self.send(&kept)
    }

    pub(super) fn is_blocked(&self) -> bool {
        !self.output.is_empty()
    }

    pub(super) fn wants_out(&self) -> bool {
        self.is_blocked() || self.role == Role::Flood
    }

    pub(super) fn is_idle(&self, now: u64) -> bool {
        now >= self.idle_until && self.input.is_empty()
    }
}

/// What Content-Length says, 0 without one.
fn content_length(fields: &[httparse::Header<'_>]) -> usize {
    fields
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("content-length"))
        .and_then(|field| std::str::from_utf8(field.value).ok()?.trim().parse().ok())
        .unwrap_or(0)
}
