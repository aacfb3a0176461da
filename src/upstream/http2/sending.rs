//! The request half of an exchange: HTTP/1.1 bytes in, HEADERS and DATA out.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};

use super::failure::{in_response, never_sent};
use super::request;
use super::session::Shared;
use super::wire::Mark;
use crate::http1::body::{BodyDecoder, Piece};
use crate::http1::framing::{self, Framing};
use crate::http1::head::{RequestHead, parse_request};

/// Longest request head. Ours are as long as a listener accepts and a few fields more.
const HEAD_MAX_BYTES: usize = 1024 * 1024;

/// So much of a body is given to h2 without asking whether the peer has room. h2 knows that only
/// once its task has sent the head; asking would cost every request two changes of task, and a
/// packet of its own for the head. Most chats are shorter.
const FIRST_PIECE_BYTES: usize = 16 * 1024;

/// ```text
/// Head -> Body -> Done
///    \_____________/      no body, or a failure
/// ```
pub(super) enum Sending {
    /// Collecting a head.
    Head { sender: SendRequest<Bytes>, collected: Vec<u8> },
    /// Passing on the body.
    Body { stream: SendStream<Bytes>, decoder: BodyDecoder, is_first: bool },
    /// The upstream has, or takes, no more.
    Done,
}

/// What begins when a head is complete.
pub(super) struct Sent {
    /// Where the response will come.
    pub(super) response: ResponseFuture,
    /// The method is HEAD: no response to it has a body.
    pub(super) to_head: bool,
    /// Set before the request was sent.
    pub(super) mark: Mark,
    /// Some part of a response has come.
    pub(super) answered: bool,
}

impl Sending {
    /// At the start of a request.
    pub(super) fn new(sender: SendRequest<Bytes>) -> Self {
        Self::Head { sender, collected: Vec::new() }
    }

    /// Whether the whole request was sent, or no more of it is taken.
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Whether the head is still to come.
    pub(super) fn is_at_head(&self) -> bool {
        matches!(self, Self::Head { .. })
    }

    /// Takes bytes of the head from the front of `data`; gives how many, and what begins when it
    /// was the last. After an error nothing more is taken.
    pub(super) fn head(
        &mut self,
        data: &[u8],
        shared: &Shared,
    ) -> io::Result<(usize, Option<Sent>)> {
        let Self::Head { sender, collected } = self else { return Ok((0, None)) };
        let before = collected.len();
        // Heads come in one piece but for huge ones, and are not copied then.
        let parsed = if before == 0 {
            parse_request(data)
        } else {
            collected.extend_from_slice(data);
            parse_request(collected)
        };
        let sent = match parsed {
            Ok(None) if before + data.len() <= HEAD_MAX_BYTES => {
                collected.resize(before, 0);
                collected.extend_from_slice(data);
                return Ok((data.len(), None));
            }
            Ok(None) => Err(invalid("request head too long")),
            Err(error) => Err(invalid(error)),
            Ok(Some((head, length))) => {
                send(sender, &head, shared).map(|(next, sent)| (length - before, next, sent))
            }
        };
        match sent {
            Ok((taken, next, sent)) => {
                *self = next;
                Ok((taken, Some(sent)))
            }
            Err(error) => {
                *self = Self::Done;
                Err(error)
            }
        }
    }

    /// Takes bytes of the body from the front of `data`, as many as the peer's windows allow; gives
    /// how many.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self::Body { stream, decoder, is_first } = self else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let polled = poll_data(stream, decoder, is_first, cx, data);
        if decoder.is_done() || matches!(polled, Poll::Ready(Err(_))) {
            *self = Self::Done;
        }
        polled
    }
}

fn send(
    sender: &mut SendRequest<Bytes>,
    head: &RequestHead,
    shared: &Shared,
) -> io::Result<(Sending, Sent)> {
    let framing = framing::of_request(head).map_err(invalid)?;
    let request = request::translate(head, shared.limits.https).map_err(invalid)?;
    let decoder = BodyDecoder::new(framing);
    let bodyless = matches!(framing, Framing::None | Framing::Length(0));
    let mark = Mark::set(&shared.tally);
    // What h2 refuses it has not sent, whatever its reason; most often the connection has ended.
    let (response, stream) = sender.send_request(request, bodyless).map_err(|_| never_sent())?;
    let next =
        if bodyless { Sending::Done } else { Sending::Body { stream, decoder, is_first: true } };
    let to_head = head.method == "HEAD";
    Ok((next, Sent { response, to_head, mark, answered: false }))
}

fn poll_data(
    stream: &mut SendStream<Bytes>,
    decoder: &mut BodyDecoder,
    is_first: &mut bool,
    cx: &mut Context<'_>,
    data: &[u8],
) -> Poll<io::Result<usize>> {
    let mut input = data;
    loop {
        skip_framing(decoder, &mut input)?;
        if decoder.is_done() {
            // Only where the end of the body came alone.
            stream.send_data(Bytes::new(), true).map_err(in_response)?;
            break;
        }
        if input.is_empty() {
            break;
        }
        let room = match poll_room(stream, cx, input.len()) {
            _ if *is_first => FIRST_PIECE_BYTES,
            Poll::Ready(room) => room?,
            Poll::Pending if input.len() < data.len() => break,
            Poll::Pending => return Poll::Pending,
        };
        *is_first = false;
        let (mut part, _) = input.split_at(room.min(input.len()));
        let offered = part.len();
        let Piece::Data(piece) = decoder.next(&mut part).map_err(invalid)? else { continue };
        let piece = Bytes::copy_from_slice(piece);
        input = &input[offered - part.len()..];
        // The end may follow at once, and then goes with the data.
        skip_framing(decoder, &mut input)?;
        stream.send_data(piece, decoder.is_done()).map_err(in_response)?;
        if decoder.is_done() {
            break;
        }
    }
    Poll::Ready(Ok(data.len() - input.len()))
}

/// Framing needs no room in the peer's window, so it must not wait for any: the end of a body would
/// wait for a peer that waits for the end.
fn skip_framing(decoder: &mut BodyDecoder, input: &mut &[u8]) -> io::Result<()> {
    while !decoder.is_at_data() && !decoder.is_done() {
        let Some((byte, rest)) = input.split_first() else { break };
        decoder.next(&mut std::slice::from_ref(byte)).map_err(invalid)?;
        *input = rest;
    }
    Ok(())
}

/// How many bytes may be sent now, 1 at least.
fn poll_room(
    stream: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
    wanted: usize,
) -> Poll<io::Result<usize>> {
    loop {
        let room = stream.capacity();
        if room > 0 {
            return Poll::Ready(Ok(room));
        }
        stream.reserve_capacity(wanted);
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(in_response(error))),
            None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}
