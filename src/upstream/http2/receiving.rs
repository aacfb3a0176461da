//! The response half of an exchange: HEADERS and DATA in, HTTP/1.1 bytes out.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use h2::RecvStream;
use tokio::io::ReadBuf;

use super::failure::before_response;
use super::response;
use super::sending::Sent;
use crate::http1::framing::Framing;
use crate::http2::incoming::{self, Incoming, read_text};
use crate::http2::lost;
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
    Body(Incoming),
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
    Begun(Incoming),
    /// The end of the message.
    Ended,
}

impl From<incoming::Moved> for Moved {
    fn from(moved: incoming::Moved) -> Self {
        match moved {
            incoming::Moved::On => Self::On,
            incoming::Moved::Ended => Self::Ended,
        }
    }
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
            read_text(&mut self.text, buffer);
            if buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let any = buffer.filled().len() > before;
            let moved = match &mut self.state {
                State::Idle | State::Quiet(_) => Poll::Pending,
                State::Waiting(sent) => poll_head(sent, cx, &mut self.text),
                State::Body(body) => body.poll(cx, buffer, &mut self.text).map_ok(Moved::from),
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
        self.state = State::Quiet(body.into_unended());
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
    let body = Incoming::new(head.into_body(), framing);
    Poll::Ready(Ok(Moved::Begun(body)))
}

impl Sent {
    fn failure(&self, error: h2::Error) -> io::Error {
        if self.answered { lost(error) } else { before_response(error, &self.mark) }
    }
}

fn invalid(error: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
