//! A body that comes: DATA in, HTTP/1.1 bytes out.

use std::io::{self, Write as _};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::RecvStream;
use tokio::io::ReadBuf;

use super::lost;
use crate::http1::encode::LAST_CHUNK;
use crate::http1::framing::Framing;
use crate::outbox::Outbox;

/// A body that is being read. Trailers are dropped, as those of chunked bodies are.
pub struct Incoming {
    stream: RecvStream,
    /// Data that was not read yet, nor released to the peer.
    data: Bytes,
    form: Form,
}

/// How the body is written.
enum Form {
    /// As it comes; so many bytes are still to come.
    Length(u64),
    /// In chunks; the line end of one that was begun stands before the next one.
    Chunks { begun: bool },
    /// As it comes, to the end of the stream.
    Raw,
}

/// What a look at the peer brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// Something.
    On,
    /// The end of the message.
    Ended,
}

impl Incoming {
    /// For a stream whose head was read; `framing` is how the body is to be written.
    pub fn new(stream: RecvStream, framing: Framing) -> Self {
        let form = match framing {
            Framing::None => Form::Length(0),
            Framing::Length(length) => Form::Length(length),
            Framing::Chunked => Form::Chunks { begun: false },
            Framing::UntilClose => Form::Raw,
        };
        Self { stream, data: Bytes::new(), form }
    }

    /// Moves a piece to `buffer`, which has room. What does not fit of the framing goes to `text`,
    /// which is to be read first the next time.
    ///
    /// Fails when the peer or the connection gives up, and when a length is not kept.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
        text: &mut Outbox,
    ) -> Poll<io::Result<Moved>> {
        if !self.data.is_empty() {
            self.read_data(buffer);
            return Poll::Ready(Ok(Moved::On));
        }
        if matches!(self.form, Form::Length(0)) {
            return Poll::Ready(Ok(Moved::Ended));
        }
        match ready!(self.stream.poll_data(cx)) {
            Some(Ok(data)) => {
                self.begin(data, buffer, text)?;
                Poll::Ready(Ok(Moved::On))
            }
            Some(Err(error)) => Poll::Ready(Err(lost(error))),
            None => Poll::Ready(self.end(buffer, text)),
        }
    }

    /// The stream of a body that is complete by its length, if the stream's end was not seen yet.
    pub fn into_unended(self) -> Option<RecvStream> {
        let unended = matches!(self.form, Form::Length(_)) && !self.stream.is_end_stream();
        unended.then_some(self.stream)
    }

    fn end(&self, buffer: &mut ReadBuf<'_>, text: &mut Outbox) -> io::Result<Moved> {
        match self.form {
            Form::Length(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Form::Chunks { begun } => {
                let line_end: &[u8] = if begun { b"\r\n" } else { b"" };
                write(&[line_end, LAST_CHUNK].concat(), buffer, text);
            }
            Form::Raw => {}
        }
        Ok(Moved::Ended)
    }

    /// Takes a frame's data, and writes the line that stands before it.
    fn begin(
        &mut self,
        data: Bytes,
        buffer: &mut ReadBuf<'_>,
        text: &mut Outbox,
    ) -> io::Result<()> {
        let length = data.len();
        match &mut self.form {
            Form::Length(left) => {
                let less = left.checked_sub(length as u64);
                *left = less.ok_or_else(too_much)?;
            }
            Form::Chunks { begun } if length > 0 => {
                // The line end of a chunk is written with the next one's size: nobody waits for it,
                // and it saves a state.
                let mut line = [0; 24];
                let mut free = &mut line[..];
                let line_end = if *begun { "\r\n" } else { "" };
                write!(free, "{line_end}{length:x}\r\n")?;
                let unused = free.len();
                write(&line[..line.len() - unused], buffer, text);
                *begun = true;
            }
            Form::Chunks { .. } | Form::Raw => {}
        }
        self.data = data;
        Ok(())
    }

    /// Hands data over, and only then lets the peer send as much again: what waits for a slow
    /// reader is never more than the window.
    fn read_data(&mut self, buffer: &mut ReadBuf<'_>) {
        let count = self.data.len().min(buffer.remaining());
        buffer.put_slice(&self.data[..count]);
        self.data.advance(count);
        // Fails only for more than was received.
        let _ = self.stream.flow_control().release_capacity(count);
    }
}

/// Moves what fits of `text` to `buffer`.
pub fn read_text(text: &mut Outbox, buffer: &mut ReadBuf<'_>) {
    let count = text.rest().len().min(buffer.remaining());
    if count > 0 {
        buffer.put_slice(&text.rest()[..count]);
        text.take(count);
    }
}

/// Appends to `buffer`, and what does not fit to `text`.
fn write(bytes: &[u8], buffer: &mut ReadBuf<'_>, text: &mut Outbox) {
    let (now, later) = bytes.split_at(bytes.len().min(buffer.remaining()));
    buffer.put_slice(now);
    if !later.is_empty() {
        text.push(later);
    }
}

fn too_much() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "more data than the length says")
}
