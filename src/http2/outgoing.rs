//! A body that goes: HTTP/1.1 bytes in, DATA out.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};

use super::lost;
use super::pending::Pending;
use crate::http1::body::{BodyDecoder, Piece};
use crate::http1::framing::Framing;

/// A body that is being sent.
pub struct Outgoing {
    stream: SendStream<Bytes>,
    decoder: BodyDecoder,
    pending: Pending,
    /// So many bytes of the first piece are given to h2 without asking for room.
    unasked_bytes: usize,
}

impl Outgoing {
    /// For a stream whose head was sent, without its end unless there is no body. The first piece
    /// may have `unasked_bytes` for which the peer is not asked whether it has room.
    pub fn new(stream: SendStream<Bytes>, framing: Framing, unasked_bytes: usize) -> Self {
        let decoder = BodyDecoder::new(framing);
        Self { stream, decoder, pending: Pending::default(), unasked_bytes }
    }

    /// Whether the end was sent.
    pub fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// Whether the connection's end is to be the body's, as [`Self::end`] says it.
    pub fn ends_when_told(&self) -> bool {
        self.decoder.ends_at_eof()
    }

    /// Takes bytes of the body from the front of `data`, as many as the peer's windows and h2's
    /// buffer allow; gives how many.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut input = data;
        loop {
            self.skip_framing(&mut input)?;
            if self.decoder.is_done() {
                // Only where the end of the body came alone.
                self.stream.send_data(Bytes::new(), true).map_err(lost)?;
                break;
            }
            if input.is_empty() {
                break;
            }
            // No more than there is: room that is left over would cut the next piece in two.
            let left = usize::try_from(self.decoder.data_left()).unwrap_or(usize::MAX);
            let room = match self.poll_room(cx, input.len().min(left)) {
                _ if self.unasked_bytes > 0 => std::mem::take(&mut self.unasked_bytes),
                Poll::Ready(room) => room?,
                Poll::Pending if input.len() < data.len() => break,
                Poll::Pending => return Poll::Pending,
            };
            let (mut part, _) = input.split_at(room.min(input.len()));
            let offered = part.len();
            let Piece::Data(piece) = self.decoder.next(&mut part).map_err(invalid)? else {
                continue;
            };
            let piece = self.pending.frame(piece);
            input = &input[offered - part.len()..];
            // The end may follow at once, and then goes with the data.
            self.skip_framing(&mut input)?;
            self.stream.send_data(piece, self.decoder.is_done()).map_err(lost)?;
            if self.decoder.is_done() {
                break;
            }
        }
        Poll::Ready(Ok(data.len() - input.len()))
    }

    /// Ends a body that ends when it is told.
    pub fn end(&mut self) -> io::Result<()> {
        self.decoder = BodyDecoder::new(Framing::None);
        self.stream.send_data(Bytes::new(), true).map_err(lost)
    }

    /// Waits until the peer has reset the stream, or it is lost otherwise.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reason, h2::Error>> {
        self.stream.poll_reset(cx)
    }

    /// Framing needs no room in the peer's window, so it must not wait for any: the end of a body
    /// would wait for a peer that waits for the end.
    fn skip_framing(&mut self, input: &mut &[u8]) -> io::Result<()> {
        while !self.decoder.is_at_data() && !self.decoder.is_done() {
            let Some((byte, rest)) = input.split_first() else { break };
            self.decoder.next(&mut std::slice::from_ref(byte)).map_err(invalid)?;
            *input = rest;
        }
        Ok(())
    }

    /// How many bytes may be sent now, 1 at least.
    fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        ready!(self.pending.poll_place(cx));
        loop {
            let room = self.stream.capacity();
            if room > 0 {
                return Poll::Ready(Ok(room));
            }
            self.stream.reserve_capacity(wanted);
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(lost(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
    }
}

/// The error for what is no message of HTTP/1.1.
pub fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}
