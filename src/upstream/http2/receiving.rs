//! The response half of an exchange: HEADERS and DATA in, HTTP/1.1 bytes out.

use std::io::{self, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::RecvStream;
use tokio::io::ReadBuf;

use super::failure::{before_response, in_response};
use super::response;
use super::sending::Sent;
use crate::http1::framing::Framing;
use crate::outbox::Outbox;

/// Where a response is read.
pub(super) struct Receiving {
    state: State,
    /// Head and framing that did not fit into the last read.
    text: Outbox,
}

/// ```text
/// Idle -> Waiting (-> interim heads …) -> Body -> Quiet
///            \_____________________________\____> Failed
/// ```
enum State {
    /// There is no request.
    Idle,
    /// No final head yet.
    Waiting(Box<Sent>),
    /// The rest of the body.
    Body(Body),
    /// The message is complete. If the stream is still here, its end was not seen yet.
    Quiet(Option<RecvStream>),
    /// The error is told once, then the connection is at its end.
    Failed(Option<io::Error>),
}

/// What a look at the upstream brought.
enum Moved {
    /// Something.
    On,
    /// The final head.
    Begun(Body),
    /// The end of the message.
    Ended,
}

/// A body that is being read.
struct Body {
    stream: RecvStream,
    /// Data that was not read yet, nor released to the peer.
    data: Bytes,
    /// Bytes that are still to come; `None` for chunks.
    left: Option<u64>,
    /// A chunk was begun; its line end stands before the next one.
    in_chunk: bool,
}

impl Receiving {
    /// Before the request.
    pub(super) fn new() -> Self {
        Self { state: State::Idle, text: Outbox::default() }
    }

    /// The request's head was sent.
    pub(super) fn expect(&mut self, sent: Sent) {
        self.state = State::Waiting(Box::new(sent));
    }

    /// The request could not be sent; reads tell it as well, for whoever did not mind the write.
    pub(super) fn fail(&mut self, error: io::Error) {
        self.state = State::Failed(Some(error));
    }

    /// The stream of a message that is complete, if its end was not seen yet.
    pub(super) fn take_unended(&mut self) -> Option<RecvStream> {
        match &mut self.state {
            State::Quiet(stream) => stream.take(),
            _ => None,
        }
    }

    /// Reads what is there into `buffer`. Behind the end of the message it is `Pending` for ever,
    /// as a connection that is kept alive and says nothing.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        loop {
            self.read_text(buffer);
            if buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let any = buffer.filled().len() > before;
            let moved = match &mut self.state {
                State::Idle | State::Quiet(_) => Poll::Pending,
                State::Waiting(sent) => poll_head(sent, cx, &mut self.text),
                State::Body(body) => body.poll(cx, buffer, &mut self.text),
                State::Failed(_) if any => return Poll::Ready(Ok(())),
                State::Failed(error) => return Poll::Ready(error.take().map_or(Ok(()), Err)),
            };
            match moved {
                Poll::Ready(Ok(Moved::On)) => {}
                Poll::Ready(Ok(Moved::Begun(body))) => self.state = State::Body(body),
                Poll::Ready(Ok(Moved::Ended)) => self.end(),
                Poll::Ready(Err(error)) => self.state = State::Failed(Some(error)),
                Poll::Pending if buffer.filled().len() > before => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn end(&mut self) {
        let State::Body(body) = std::mem::replace(&mut self.state, State::Quiet(None)) else {
            return;
        };
        let unended = body.left.is_some() && !body.stream.is_end_stream();
        self.state = State::Quiet(unended.then_some(body.stream));
    }

    fn read_text(&mut self, buffer: &mut ReadBuf<'_>) {
        let count = self.text.rest().len().min(buffer.remaining());
        if count > 0 {
            buffer.put_slice(&self.text.rest()[..count]);
            self.text.take(count);
        }
    }
}

/// Waits for a head and writes it to `text`.
fn poll_head(sent: &mut Sent, cx: &mut Context<'_>, text: &mut Outbox) -> Poll<io::Result<Moved>> {
    match ready!(sent.response.poll_informational(cx)) {
        Some(Ok(head)) => {
            sent.answered = true;
            let mut written = None;
            text.push_with(|out| written = response::interim(out, &head));
            return Poll::Ready(
                written.map(|()| Moved::On).ok_or_else(|| invalid("101 in HTTP/2")),
            );
        }
        Some(Err(error)) => return Poll::Ready(Err(sent.failure(error))),
        None => {}
    }
    let head = ready!(Pin::new(&mut sent.response).poll(cx)).map_err(|e| sent.failure(e))?;
    let ended = head.body().is_end_stream();
    let mut framing = Framing::None;
    text.push_with(|out| framing = response::last(out, &head, sent.to_head, ended));
    let stream = head.into_body();
    let left = match framing {
        Framing::None => Some(0),
        Framing::Length(length) => Some(length),
        Framing::Chunked | Framing::UntilClose => None,
    };
    let body = Body { stream, data: Bytes::new(), left, in_chunk: false };
    Poll::Ready(Ok(Moved::Begun(body)))
}

impl Sent {
    fn failure(&self, error: h2::Error) -> io::Error {
        if self.answered { in_response(error) } else { before_response(error, &self.mark) }
    }
}

impl Body {
    /// Moves a piece.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
        text: &mut Outbox,
    ) -> Poll<io::Result<Moved>> {
        if !self.data.is_empty() {
            self.read_data(buffer);
            return Poll::Ready(Ok(Moved::On));
        }
        if self.left == Some(0) {
            return Poll::Ready(Ok(Moved::Ended));
        }
        match ready!(self.stream.poll_data(cx)) {
            Some(Ok(data)) => {
                self.begin(data, buffer, text)?;
                Poll::Ready(Ok(Moved::On))
            }
            Some(Err(error)) => Poll::Ready(Err(in_response(error))),
            None if self.left.is_some() => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            None => {
                // Trailers, if there are any, are dropped, as those of chunked bodies are.
                let line_end: &[u8] = if self.in_chunk { b"\r\n" } else { b"" };
                write(&[line_end, b"0\r\n\r\n"].concat(), buffer, text);
                Poll::Ready(Ok(Moved::Ended))
            }
        }
    }

    /// Takes a frame's data, and writes the line that stands before it.
    fn begin(
        &mut self,
        data: Bytes,
        buffer: &mut ReadBuf<'_>,
        text: &mut Outbox,
    ) -> io::Result<()> {
        let length = data.len();
        match &mut self.left {
            Some(left) => {
                let less = left.checked_sub(length as u64);
                *left = less.ok_or_else(|| invalid("more data than the length says"))?;
            }
            None if length > 0 => {
                // The line end of a chunk is written with the next one's size: nobody waits for it,
                // and it saves a state.
                let mut line = [0; 24];
                let mut free = &mut line[..];
                let line_end = if self.in_chunk { "\r\n" } else { "" };
                write!(free, "{line_end}{length:x}\r\n")?;
                let unused = free.len();
                write(&line[..line.len() - unused], buffer, text);
                self.in_chunk = true;
            }
            None => {}
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

/// Appends to `buffer`, and what does not fit to `text`.
fn write(bytes: &[u8], buffer: &mut ReadBuf<'_>, text: &mut Outbox) {
    let (now, later) = bytes.split_at(bytes.len().min(buffer.remaining()));
    buffer.put_slice(now);
    if !later.is_empty() {
        text.push(later);
    }
}

fn invalid(error: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
