//! Follows the frames of one direction through any split, without touching their payload.
//!
//! A data frame passes as slices of the input. A head that is not complete, and a control frame
//! that is not, is held back, so that nothing of a frame passes before the frame is known to be
//! legal, and control frames pass in one piece.

use super::close::CloseFrame;
pub use super::close::Violation;
use super::head::{FrameHead, MAX_CONTROL_PAYLOAD, Opcode, masked};

/// Bytes held back at most: a masked control frame, which is longer than any head.
pub const MAX_HELD: usize = 2 + 4 + MAX_CONTROL_PAYLOAD;

/// What this direction must obey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Frames must be masked (they come from a client) or must not be (from a server).
    pub masked: bool,
    /// The longest payload of a data frame, in bytes.
    pub max_frame: u64,
    /// An extension was agreed on that uses RSV1 as permessage-deflate does.
    pub rsv1: bool,
    /// An extension was agreed on that we do not know: every RSV bit may be on any frame.
    pub rsv23: bool,
}

/// What stands next.
#[derive(Debug)]
pub enum Item<'a> {
    /// Pass these bytes on; never empty.
    Pass(&'a [u8]),
    /// Pass these bytes on, which were held back until the frame was known.
    Held(HeldBytes),
    /// A frame begins: all its bytes are still to come, as `Held` or `Pass`.
    Frame {
        /// What it is.
        opcode: Opcode,
        /// The last of its message.
        fin: bool,
        /// Bytes of payload.
        length: u64,
    },
    /// The pong to our own ping came and was swallowed, head and all.
    OurPong,
    /// The input is used up.
    More,
}

/// Follows the frames that one side sends.
#[derive(Debug)]
pub struct Tracker {
    rules: Rules,
    state: State,
    /// A first frame without FIN came, and no continuation with FIN yet.
    in_message: bool,
    /// The front of the next frame while `Between`; of the current one until they are passed.
    held: HeldBytes,
    /// Set when a close frame is known, before it is passed.
    close: Option<CloseFrame>,
}

/// ```text
/// Between <-> Passing -> Closed (that frame was a close)
///    |
///    +-> Broken
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing of the next frame was passed.
    Between,
    /// In a legal frame; `left` counts what is still in the input, not what is held.
    Passing { left: u64 },
    /// Behind a close frame.
    Closed,
    /// Before a frame that is not legal.
    Broken(Violation),
}

impl Tracker {
    /// A tracker behind the handshake.
    pub fn new(rules: Rules) -> Self {
        let held = HeldBytes::default();
        Self { rules, state: State::Between, in_message: false, held, close: None }
    }

    /// Whether a frame of ours may be put behind what was passed: not inside a frame, and not
    /// behind a close frame. Between the fragments of a message a control frame may be put.
    ///
    /// Bytes that are held back go behind it. So this is true after a violation too: nothing of
    /// that frame was passed, and a close frame of ours fits.
    pub fn at_boundary(&self) -> bool {
        matches!(self.state, State::Between | State::Broken(_))
    }

    /// What this side said in its close frame, once that has been passed.
    pub fn closed(&self) -> Option<CloseFrame> {
        if self.state == State::Closed { self.close } else { None }
    }

    /// Takes the next item from the front of `input`; to be called until it gives [`Item::More`].
    ///
    /// A pong with exactly the payload `our_ping` is swallowed; it is compared when the pong is
    /// complete. Bytes behind a close frame are dropped: "the application MUST NOT send any more
    /// data frames after sending a Close frame" (§5.5.1). After a violation every call gives it
    /// again.
    pub fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        our_ping: Option<&[u8]>,
    ) -> Result<Item<'a>, Violation> {
        match self.state {
            State::Between => {
                let item = self.begin(input, our_ping);
                if let Err(violation) = item {
                    self.state = State::Broken(violation);
                }
                item
            }
            State::Passing { left } if !self.held.is_empty() => {
                self.state = self.passing(left);
                Ok(Item::Held(std::mem::take(&mut self.held)))
            }
            State::Passing { .. } if input.is_empty() => Ok(Item::More),
            State::Passing { left } => {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let bytes = take(input, length);
                self.state = self.passing(left - length as u64);
                Ok(Item::Pass(bytes))
            }
            State::Closed => {
                *input = &[];
                Ok(Item::More)
            }
            State::Broken(violation) => Err(violation),
        }
    }

    /// Looks at the next frame in the input, or in the held bytes as soon as there are some, until
    /// there is enough of it: the head of a data frame, the whole of a control frame.
    fn begin<'a>(
        &mut self,
        input: &mut &'a [u8],
        our_ping: Option<&[u8]>,
    ) -> Result<Item<'a>, Violation> {
        loop {
            let seen = if self.held.is_empty() { *input } else { self.held.as_slice() };
            let wanted = match FrameHead::parse(seen)? {
                None => seen.len() + 1,
                Some(head) => {
                    self.check(&head)?;
                    let wanted = wanted(&head);
                    if let Some(frame) = seen.get(..wanted) {
                        let control = Control::read(&head, &frame[head.size()..], our_ping)?;
                        return Ok(self.accept(head, control, input));
                    }
                    wanted
                }
            };
            if input.is_empty() {
                return Ok(Item::More);
            }
            self.held.fill(wanted, input);
        }
    }

    /// The rules that need more than the head.
    fn check(&self, head: &FrameHead) -> Result<(), Violation> {
        let in_message = self.in_message;
        let is_first = matches!(head.opcode, Opcode::Text | Opcode::Binary);
        let protocol = |rule| Err(Violation::Protocol(rule));
        match (head.mask.is_some(), self.rules.masked) {
            // "The server MUST close the connection upon receiving a frame that is not masked", "a
            // client MUST close a connection if it detects a masked frame."
            (false, true) => return protocol("RFC 6455 §5.1: unmasked frame from a client"),
            (true, false) => return protocol("RFC 6455 §5.1: masked frame from a server"),
            _ => {}
        }
        // "MUST be 0 unless an extension is negotiated that defines meanings for non-zero values."
        if head.rsv23 && !self.rules.rsv23 {
            return protocol("RFC 6455 §5.2: RSV2 or RSV3 without an extension");
        }
        if head.rsv1 && !self.rules.rsv1 && !self.rules.rsv23 {
            return protocol("RFC 6455 §5.2: RSV1 without an extension");
        }
        // "An endpoint MUST NOT set the 'Per-Message Compressed' bit of control frames and
        // non-first fragments of a data message."
        if head.rsv1 && !is_first && !self.rules.rsv23 {
            return protocol("RFC 7692 §6: RSV1 on a frame that is not the first of a message");
        }
        // "The fragments of one message MUST NOT be interleaved between the fragments of another
        // message unless an extension has been negotiated that can interpret" it; none does.
        if is_first && in_message {
            return protocol("RFC 6455 §5.4: new message inside a fragmented one");
        }
        if head.opcode == Opcode::Continuation && !in_message {
            return protocol("RFC 6455 §5.4: continuation of nothing");
        }
        if !head.opcode.is_control() && head.length > self.rules.max_frame {
            return Err(Violation::TooBig);
        }
        Ok(())
    }

    /// The frame is legal.
    fn accept<'a>(&mut self, head: FrameHead, control: Control, input: &mut &'a [u8]) -> Item<'a> {
        let FrameHead { opcode, fin, length, .. } = head;
        if control == Control::OurPong {
            if self.held.is_empty() {
                take(input, wanted(&head));
            }
            self.held = HeldBytes::default();
            return Item::OurPong;
        }
        if let Control::Close(close) = control {
            self.close = Some(close);
        }
        if !opcode.is_control() {
            self.in_message = !fin;
        }
        let size = head.size() as u64 + length;
        self.state = State::Passing { left: size - self.held.as_slice().len() as u64 };
        Item::Frame { opcode, fin, length }
    }

    fn passing(&self, left: u64) -> State {
        match (left, self.close) {
            (0, None) => State::Between,
            (0, Some(_)) => State::Closed,
            _ => State::Passing { left },
        }
    }
}

/// How much of a frame must be there before it is passed.
fn wanted(head: &FrameHead) -> usize {
    // A control frame has no more than 125 bytes: that was checked with its head.
    head.size() + if head.opcode.is_control() { head.length as usize } else { 0 }
}

fn take<'a>(input: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (front, rest) = input.split_at(length);
    *input = rest;
    front
}

/// What a whole control frame means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Control {
    OurPong,
    Close(CloseFrame),
    /// Somebody else's affair, as every data frame is.
    Other,
}

impl Control {
    fn read(head: &FrameHead, payload: &[u8], our_ping: Option<&[u8]>) -> Result<Self, Violation> {
        match (head.opcode, our_ping) {
            (Opcode::Close, _) => {
                // The code is enough; the reason stays as it is.
                let mut code = [0; 2];
                let length = payload.len().min(code.len());
                for (to, byte) in code.iter_mut().zip(masked(payload, head.mask)) {
                    *to = byte;
                }
                Ok(Self::Close(CloseFrame::parse(&code[..length])?))
            }
            (Opcode::Pong, Some(ping)) if masked(payload, head.mask).eq(ping.iter().copied()) => {
                Ok(Self::OurPong)
            }
            _ => Ok(Self::Other),
        }
    }
}

/// The front of a frame that came in pieces; it holds memory only then.
#[derive(Debug, Default)]
pub struct HeldBytes(Vec<u8>);

impl HeldBytes {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes from `input` until there are `wanted` bytes or the input is used up.
    fn fill(&mut self, wanted: usize, input: &mut &[u8]) {
        let length = wanted.min(MAX_HELD).saturating_sub(self.0.len()).min(input.len());
        self.0.extend_from_slice(take(input, length));
    }
}

/// Checks on any input that a cut anywhere changes nothing; for fuzzers and the tests.
pub fn fuzz_split(data: &[u8]) {
    for masked in [false, true] {
        for extended in [false, true] {
            let rules = Rules { masked, max_frame: 1 << 20, rsv1: extended, rsv23: false };
            let whole = fuzz_run(rules, &mut [data].into_iter());
            let bytewise = fuzz_run(rules, &mut data.chunks(1));
            assert_eq!(whole, bytewise, "differs by the cut: {data:02X?}, {rules:?}");
        }
    }
}

/// What was passed, what was seen, and where it ended.
fn fuzz_run(rules: Rules, parts: &mut dyn Iterator<Item = &[u8]>) -> (Vec<u8>, String) {
    let mut tracker = Tracker::new(rules);
    let (mut passed, mut seen) = (Vec::new(), String::new());
    'parts: for mut part in parts {
        loop {
            match tracker.next(&mut part, Some(b"")) {
                Ok(Item::Pass(bytes)) => passed.extend_from_slice(bytes),
                Ok(Item::Held(held)) => passed.extend_from_slice(held.as_slice()),
                Ok(Item::More) => break,
                Ok(item) => seen += &format!("{item:?} at {}, ", passed.len()),
                Err(violation) => {
                    seen += &format!("{violation:?}, ");
                    break 'parts;
                }
            }
        }
    }
    seen += &format!("boundary {}, {:?}", tracker.at_boundary(), tracker.closed());
    (passed, seen)
}

#[cfg(test)]
mod tests;
