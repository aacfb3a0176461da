//! Counts frames that are cheap to send and dear to handle, and sees heads that drip. Pure.
//!
//! h2 has limits of its own for some of them; this counter sees all, in the bytes as they come, and
//! before h2 does anything about them.

use std::time::{Duration, Instant};

/// What a client sent too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    /// Requests that it took back at once, "rapid reset" (CVE-2023-44487). Each costs a request to
    /// an upstream.
    Reset,
    /// PING (CVE-2019-9512). Each costs an answer.
    Ping,
    /// SETTINGS (CVE-2019-9515). Each costs an answer, and a look at all streams.
    Settings,
    /// PRIORITY (CVE-2019-9513); it means nothing any more (RFC 9113 §5.3).
    Priority,
    /// DATA without data and without an end (CVE-2019-9518).
    EmptyData,
    /// CONTINUATION (CVE-2024-27316). A block of fields may be as long as the sender likes.
    Continuation,
    /// WINDOW_UPDATE for a few bytes (CVE-2019-9511). Each may cost a frame of a few bytes.
    WindowUpdate,
    /// GOAWAY, PUSH_PROMISE, and types that nobody knows.
    Other,
    /// Requests that make us reset the stream (CVE-2025-8671, CVE-2019-9514), and what else h2
    /// itself calls too much.
    Protocol,
}

/// A window that grows by less is counted: no reader of downloads frees memory by less.
const SMALL_WINDOW_BYTES: u32 = 512;

/// How many of each are allowed in one second. Ten times what honest clients were seen or can be
/// thought to do, and cheap for us even so.
const PER_SECOND: [(Flood, u32); 8] = [
    // Browsers cancel what a page has open, 100 at most. For ever, it is 200 requests a second.
    (Flood::Reset, 200),
    // gRPC pings once per round trip while it measures its bandwidth.
    (Flood::Ping, 1000),
    // One at the start, and its acknowledgement of ours.
    (Flood::Settings, 50),
    // Old browsers send a few per request.
    (Flood::Priority, 1000),
    (Flood::EmptyData, 100),
    // A block of fields needs one for every 16 KiB.
    (Flood::Continuation, 200),
    // A reader of small events may answer each with one for its stream and one for the connection.
    (Flood::WindowUpdate, 20_000),
    // Clients send frames of unknown types to see that they are ignored, one now and then.
    (Flood::Other, 100),
];

const SECOND: Duration = Duration::from_secs(1);
/// "PRI * HTTP/2.0…" (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;
/// RFC 9113 §4.1.
const FRAME_HEAD_BYTES: usize = 9;
/// The increment of a WINDOW_UPDATE.
const INCREMENT_BYTES: usize = 4;

/// Follows the frames of one connection.
#[derive(Debug)]
pub(super) struct FrameCounter {
    /// Bytes that are of no interest: the rest of the preface, or of a payload.
    skip: usize,
    /// The front of a frame, as far as it has come.
    front: [u8; FRAME_HEAD_BYTES + INCREMENT_BYTES],
    have: usize,
    /// When the counted second began.
    since: Instant,
    counts: [u32; PER_SECOND.len()],
    /// When the block of fields that is under way began.
    block_since: Option<Instant>,
    /// With the payload that is being skipped it is complete.
    ends_block: bool,
}

impl FrameCounter {
    /// At the start of a connection.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            skip: PREFACE_BYTES,
            front: [0; FRAME_HEAD_BYTES + INCREMENT_BYTES],
            have: 0,
            since: now,
            counts: [0; PER_SECOND.len()],
            block_since: None,
            ends_block: false,
        }
    }

    /// Since when a head, or trailers, are coming: from the front of HEADERS to the last byte of
    /// the frame with END_HEADERS.
    pub(super) fn block_since(&self) -> Option<Instant> {
        self.block_since
    }

    /// Takes what was read next; says what there was too much of.
    pub(super) fn read(&mut self, bytes: &[u8], now: Instant) -> Result<(), Flood> {
        if now >= self.since + SECOND {
            self.since = now;
            self.counts = [0; PER_SECOND.len()];
        }
        let mut input = bytes;
        loop {
            let skipped = self.skip.min(input.len());
            self.skip -= skipped;
            input = &input[skipped..];
            if self.ends_block && self.skip == 0 {
                self.ends_block = false;
                self.block_since = None;
            }
            let needed = self.needed();
            let taken = (needed - self.have).min(input.len());
            self.front[self.have..self.have + taken].copy_from_slice(&input[..taken]);
            self.have += taken;
            input = &input[taken..];
            if self.have < needed {
                return Ok(());
            }
            // With the head complete more may be needed.
            if self.needed() == self.have {
                self.skip = self.payload() - (self.have - FRAME_HEAD_BYTES);
                self.have = 0;
                self.follow_block(now);
                if let Some(kind) = self.kind() {
                    self.count(kind)?;
                }
            }
        }
    }

    fn follow_block(&mut self, now: Instant) {
        if self.front[3] == frame::HEADERS {
            self.block_since.get_or_insert(now);
        }
        let is_block = matches!(self.front[3], frame::HEADERS | frame::CONTINUATION);
        self.ends_block = is_block && self.front[4] & frame::END_HEADERS != 0;
    }

    fn count(&mut self, kind: Flood) -> Result<(), Flood> {
        for ((limited, limit), count) in PER_SECOND.iter().zip(&mut self.counts) {
            if *limited == kind {
                *count += 1;
                if *count > *limit {
                    return Err(kind);
                }
            }
        }
        Ok(())
    }

    /// How much of the frame has to be seen.
    fn needed(&self) -> usize {
        let increment = self.have >= FRAME_HEAD_BYTES
            && self.front[3] == frame::WINDOW_UPDATE
            && self.payload() == INCREMENT_BYTES;
        FRAME_HEAD_BYTES + if increment { INCREMENT_BYTES } else { 0 }
    }

    fn payload(&self) -> usize {
        let [high, middle, low, ..] = self.front;
        u32::from_be_bytes([0, high, middle, low]) as usize
    }

    /// As what the frame counts.
    fn kind(&self) -> Option<Flood> {
        let ends = self.front[4] & frame::END_STREAM != 0;
        match self.front[3] {
            frame::DATA if self.payload() == 0 && !ends => Some(Flood::EmptyData),
            frame::DATA | frame::HEADERS => None,
            frame::PRIORITY => Some(Flood::Priority),
            frame::RST_STREAM => Some(Flood::Reset),
            frame::SETTINGS => Some(Flood::Settings),
            frame::PING => Some(Flood::Ping),
            // Of another length it ends the connection.
            frame::WINDOW_UPDATE if self.payload() != INCREMENT_BYTES => None,
            frame::WINDOW_UPDATE => {
                let [.., a, b, c, d] = self.front;
                let small = u32::from_be_bytes([a, b, c, d]) < SMALL_WINDOW_BYTES;
                small.then_some(Flood::WindowUpdate)
            }
            frame::CONTINUATION => Some(Flood::Continuation),
            _ => Some(Flood::Other),
        }
    }
}

/// Types of frames and their flags (RFC 9113 §6).
mod frame {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const PRIORITY: u8 = 2;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
    pub(super) const END_STREAM: u8 = 1;
    pub(super) const END_HEADERS: u8 = 4;
}

#[cfg(test)]
mod tests {
    use super::frame::{END_HEADERS, END_STREAM};
    use super::*;
    use crate::clock;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, flags, 0, 0, 0, 1]);
        frame.extend_from_slice(payload);
        frame
    }

    fn counter(now: Instant) -> FrameCounter {
        let mut counter = FrameCounter::new(now);
        counter.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", now).unwrap();
        counter
    }

    /// A frame that counts as each kind.
    fn frames() -> Vec<(Flood, Vec<u8>)> {
        vec![
            (Flood::Reset, frame(3, 0, &[0; 4])),
            (Flood::Ping, frame(6, 0, &[0; 8])),
            (Flood::Settings, frame(4, 0, &[0; 6])),
            (Flood::Priority, frame(2, 0, &[0; 5])),
            (Flood::EmptyData, frame(0, 0, b"")),
            (Flood::Continuation, frame(9, 0, b"")),
            (Flood::WindowUpdate, frame(8, 0, &1_u32.to_be_bytes())),
            (Flood::Other, frame(0xbe, 0, b"?")),
        ]
    }

    #[test]
    fn each_kind_has_its_limit_and_only_per_second() {
        let now = clock::now();
        for (kind, bytes) in frames() {
            let limit = PER_SECOND.iter().find(|(of, _)| *of == kind).unwrap().1;
            let mut counter = counter(now);
            for second in 0..3 {
                for _ in 0..limit {
                    assert_eq!(counter.read(&bytes, now + SECOND * second), Ok(()), "{kind:?}");
                }
            }
            assert_eq!(counter.read(&bytes, now + SECOND * 2), Err(kind));
        }
    }

    #[test]
    fn work_and_large_windows_are_not_counted() {
        let now = clock::now();
        let mut counter = counter(now);
        for bytes in [
            frame(0, 0, b"x"),
            frame(0, 1, b""),
            frame(1, 4, b"fields"),
            frame(8, 0, &SMALL_WINDOW_BYTES.to_be_bytes()),
        ] {
            for _ in 0..30_000 {
                counter.read(&bytes, now).unwrap();
            }
        }
        assert_eq!(counter.counts, [0; PER_SECOND.len()]);
    }

    #[test]
    fn a_block_of_fields_is_under_way_until_its_last_byte() {
        let now = clock::now();
        let (open, end) = (END_STREAM, END_HEADERS | END_STREAM);
        let two = [frame(1, open, b"fie"), frame(9, 0, b""), frame(9, END_HEADERS, b"lds")];
        for block in [frame(1, end, b"fields"), two.concat(), frame(1, end, b"")] {
            let mut counter = counter(now);
            // Byte by byte; only the first nine tell that it is one.
            for (at, byte) in block.iter().enumerate() {
                let later = now + SECOND * u32::try_from(at).unwrap();
                counter.read(&[*byte], later).unwrap();
                let begun = (8..block.len() - 1).contains(&at).then_some(now + SECOND * 8);
                assert_eq!(counter.block_since(), begun, "byte {at} of {block:?}");
            }
            counter.read(&frame(0, 0, b"data"), now).unwrap();
            assert_eq!(counter.block_since(), None);
        }
    }

    /// Any cut counts the same: cuts and order are from a generator whose seed is printed.
    #[test]
    fn any_cut_counts_the_same() {
        let now = clock::now();
        for seed in 1..200_u64 {
            let mut state = seed;
            let mut random = |below: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) as usize % below
            };
            let mut wire = Vec::new();
            let kinds = frames();
            for _ in 0..40 {
                wire.extend_from_slice(&kinds[random(kinds.len())].1);
                wire.extend_from_slice(&frame(0, 0, &vec![8; 1 + random(40)]));
                wire.extend_from_slice(&frame(8, 0, &[8; 3]));
            }
            let mut whole = counter(now);
            whole.read(&wire, now).unwrap();
            assert!(whole.counts.iter().sum::<u32>() == 40, "seed {seed}");
            let mut cut = counter(now);
            let mut rest = &wire[..];
            while !rest.is_empty() {
                let (piece, next) = rest.split_at((1 + random(17)).min(rest.len()));
                cut.read(piece, now).unwrap();
                rest = next;
            }
            assert_eq!(cut.counts, whole.counts, "seed {seed}");
            assert_eq!((cut.skip, cut.have), (whole.skip, whole.have), "seed {seed}");
        }
    }
}
