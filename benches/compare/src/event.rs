//! The event that the origin sends, about 300 bytes with the time in it, and the scanner that finds
//! it again, in whatever pieces and framing it arrives: a blank line ends it, the stamp is before
//! it.

use memchr::memmem;

/// Bytes of an event, blank line included.
pub(crate) const SIZE: usize = 300;

/// Digits of the stamp, right before the blank line.
const STAMP: usize = 20;

/// How an event travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// A chunk of a chunked body.
    Sse,
    /// An unmasked text frame.
    WebSocket,
}

/// An event in its frame, ready to be stamped and written.
pub(crate) struct Framed {
    bytes: Vec<u8>,
    stamp_at: usize,
}

impl Framed {
    pub(crate) fn new(form: Form) -> Self {
        let mut bytes = match form {
            Form::Sse => format!("{SIZE:x}\r\n").into_bytes(),
            // RFC 6455, 5.2: FIN and text; 126 says that two bytes of length follow.
            Form::WebSocket => vec![0x81, 126, (SIZE >> 8) as u8, SIZE as u8],
        };
        let text = b"data: ";
        bytes.extend_from_slice(text);
        bytes.resize(bytes.len() + SIZE - text.len() - STAMP - 2, b'x');
        let stamp_at = bytes.len();
        bytes.extend_from_slice(&[b'0'; STAMP]);
        bytes.extend_from_slice(b"\n\n");
        if form == Form::Sse {
            bytes.extend_from_slice(b"\r\n");
        }
        Self { bytes, stamp_at }
    }

    /// The bytes of an event of this time.
    pub(crate) fn at(&mut self, mut now: u64) -> &[u8] {
        for digit in self.bytes[self.stamp_at..self.stamp_at + STAMP].iter_mut().rev() {
            *digit = b'0' + (now % 10) as u8;
            now /= 10;
        }
        &self.bytes
    }
}

/// Finds events in what is read.
#[derive(Default)]
pub(crate) struct Scanner {
    /// The end of what was read before, as far as an event's end may lie across the cut.
    tail: Vec<u8>,
}

impl Scanner {
    /// Calls `each` with the stamp of every event that ends in these bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8], each: impl FnMut(u64)) {
        if self.tail.is_empty() {
            let rest = scan(bytes, each);
            self.tail.extend_from_slice(keep(&bytes[rest..]));
        } else {
            let mut joined = std::mem::take(&mut self.tail);
            joined.extend_from_slice(bytes);
            let rest = scan(&joined, each);
            self.tail.extend_from_slice(keep(&joined[rest..]));
        }
    }
}

/// Finds the ends of events, and says where the last one is.
fn scan(bytes: &[u8], mut each: impl FnMut(u64)) -> usize {
    let mut rest = 0;
    for at in memmem::find_iter(bytes, b"\n\n") {
        let stamp = at.checked_sub(STAMP).map_or(&[][..], |from| &bytes[from..at]);
        each(stamp.iter().fold(0, |number: u64, digit| {
            number.wrapping_mul(10).wrapping_add(u64::from(digit.wrapping_sub(b'0')))
        }));
        rest = at + 2;
    }
    rest
}

fn keep(rest: &[u8]) -> &[u8] {
    &rest[rest.len().saturating_sub(STAMP + 1)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_gives_the_same_events() {
        for form in [Form::Sse, Form::WebSocket] {
            let mut framed = Framed::new(form);
            let mut bytes = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
            let stamps = [1_234_567_890_123, 7, u64::MAX];
            for stamp in stamps {
                bytes.extend_from_slice(framed.at(stamp));
            }
            for size in 1..bytes.len() {
                let (mut scanner, mut found) = (Scanner::default(), Vec::new());
                for piece in bytes.chunks(size) {
                    scanner.feed(piece, |stamp| found.push(stamp));
                }
                assert_eq!(found, stamps, "in pieces of {size}");
            }
        }
    }
}
