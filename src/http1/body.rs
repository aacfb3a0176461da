//! Takes a body out of its framing, a piece at a time, whatever way it was cut.

use super::framing::Framing;
use crate::syntax::name::is_tchar;

/// Bytes of chunk extensions and trailers accepted in one body beyond the bytes of its data. Nobody
/// uses them for good; without a limit over the whole body, one byte of data per kilobyte of
/// extension keeps a connection busy for ever (hyper has such a limit for the same reason).
pub const CHUNK_OVERHEAD_LIMIT: u32 = 16 * 1024;

/// What stands next in a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Some data; never empty.
    Data(&'a [u8]),
    /// The body is complete. What is left of the input belongs to the next message.
    End,
    /// The input is used up.
    More,
}

/// Why a body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// RFC 9112 §7.1 syntax was broken.
    #[error("malformed chunk")]
    Chunk,
    /// Beyond [`CHUNK_OVERHEAD_LIMIT`].
    #[error("too many chunk extensions or trailers")]
    Overhead,
}

/// Reads one body.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    overhead: u32,
}

/// ```text
/// Size (-> Padding) (-> Extension) -> SizeLf -> Data -> DataCr -> DataLf -> Size …
///
/// SizeLf (0) -> Trailer (-> TrailerName -> TrailerLine -> TrailerLf -> Trailer …) -> EndLf -> Done
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    Size {
        size: u64,
        digits: u8,
    },
    /// White space behind the size.
    Padding {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data(u64),
    DataCr,
    DataLf,
    /// At the start of a trailer line or of the last empty line.
    Trailer,
    /// In the name of a trailer.
    TrailerName,
    /// Behind its colon.
    TrailerLine,
    TrailerLf,
    EndLf,
    Done,
}

/// 2^60 bytes: no body is longer, and sums of sizes cannot overflow.
const MAX_SIZE_DIGITS: u8 = 15;

impl BodyDecoder {
    /// A decoder at the start of a body.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { size: 0, digits: 0 },
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, overhead: 0 }
    }

    /// Whether the whole body was read.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the next byte is data rather than framing.
    pub fn is_at_data(&self) -> bool {
        matches!(self.state, State::Length(_) | State::Data(_) | State::UntilClose)
    }

    /// Bytes of data before the next framing or the end; as many as there are, if nobody knows.
    pub fn data_left(&self) -> u64 {
        match self.state {
            State::Length(left) | State::Data(left) => left,
            State::UntilClose => u64::MAX,
            _ => 0,
        }
    }

    /// Whether the end of the connection is the body's proper end.
    pub fn ends_at_eof(&self) -> bool {
        self.state == State::UntilClose
    }

    /// Takes the next piece from the front of `input`.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Piece<'a>, BodyError> {
        loop {
            match self.state {
                State::Done => return Ok(Piece::End),
                _ if input.is_empty() => return Ok(Piece::More),
                State::UntilClose => return Ok(Piece::Data(std::mem::take(input))),
                State::Length(left) => {
                    let (data, left) = take(input, left);
                    self.state = if left == 0 { State::Done } else { State::Length(left) };
                    return Ok(Piece::Data(data));
                }
                State::Data(left) => {
                    let (data, left) = take(input, left);
                    self.state = if left == 0 { State::DataCr } else { State::Data(left) };
                    // Data earns its overhead: an honest stream of small chunks goes on for ever.
                    let earned = u32::try_from(data.len()).unwrap_or(u32::MAX);
                    self.overhead = self.overhead.saturating_sub(earned);
                    return Ok(Piece::Data(data));
                }
                _ => {
                    if let Some((state, rest)) = self.stride(input) {
                        self.state = state;
                        *input = rest;
                        continue;
                    }
                    let byte = input[0];
                    *input = &input[1..];
                    self.state = self.step(byte)?;
                }
            }
        }
    }

    /// All of the framing between two chunks at once, if it is as nearly everybody writes it and
    /// was not cut: what [`Self::step`] would come to.
    fn stride<'a>(&self, input: &'a [u8]) -> Option<(State, &'a [u8])> {
        match self.state {
            State::DataCr => {
                let rest = input.strip_prefix(b"\r\n")?;
                Some((State::Size { size: 0, digits: 0 }, rest))
            }
            State::Size { digits: 0, .. } => {
                let most = &input[..input.len().min(usize::from(MAX_SIZE_DIGITS))];
                let (mut size, mut digits) = (0, 0);
                while let Some(digit) = most.get(digits).and_then(|&b| (b as char).to_digit(16)) {
                    size = size * 16 + u64::from(digit);
                    digits += 1;
                }
                let rest = input[digits..].strip_prefix(b"\r\n").filter(|_| digits > 0)?;
                Some((if size == 0 { State::Trailer } else { State::Data(size) }, rest))
            }
            _ => None,
        }
    }

    /// One byte of framing.
    fn step(&mut self, byte: u8) -> Result<State, BodyError> {
        Ok(match (self.state, byte) {
            (State::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if digits == MAX_SIZE_DIGITS {
                    return Err(BodyError::Chunk);
                }
                let digit = (byte as char).to_digit(16).unwrap_or_default();
                State::Size { size: size * 16 + u64::from(digit), digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err(BodyError::Chunk),
            (
                State::Size { size, .. } | State::Padding { size } | State::Extension { size },
                b'\r',
            ) => State::SizeLf { size },
            (State::Size { size, .. } | State::Padding { size }, b';') => {
                self.count_overhead()?;
                State::Extension { size }
            }
            // RFC 9112 §7.1.1: "bad whitespace" may stand before the semicolon; some servers write
            // it without one.
            (State::Size { size, .. } | State::Padding { size }, b' ' | b'\t') => {
                self.count_overhead()?;
                State::Padding { size }
            }
            (State::Extension { size }, byte) if is_text(byte) => {
                self.count_overhead()?;
                State::Extension { size }
            }
            (State::SizeLf { size: 0 }, b'\n') => State::Trailer,
            (State::SizeLf { size }, b'\n') => State::Data(size),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { size: 0, digits: 0 },
            (State::Trailer, b'\r') => State::EndLf,
            (State::TrailerLine, b'\r') => State::TrailerLf,
            // Trailers are read and dropped, as RFC 9110 §6.5.1 allows: they cannot be merged into
            // a head that has been sent, and `Host` or `Content-Length` there is an attack.
            // RFC 9110 §5.1: a name is a token; so this is no folded line, and no request's first.
            (State::Trailer | State::TrailerName, byte) if is_tchar(byte) => {
                self.count_overhead()?;
                State::TrailerName
            }
            (State::TrailerName, b':') => State::TrailerLine,
            (State::TrailerLine, byte) if is_text(byte) => {
                self.count_overhead()?;
                State::TrailerLine
            }
            (State::TrailerLf, b'\n') => State::Trailer,
            (State::EndLf, b'\n') => State::Done,
            _ => return Err(BodyError::Chunk),
        })
    }

    fn count_overhead(&mut self) -> Result<(), BodyError> {
        self.overhead += 1;
        if self.overhead > CHUNK_OVERHEAD_LIMIT { Err(BodyError::Overhead) } else { Ok(()) }
    }
}

/// No control character, but a tab: what is line end or string end to others does not pass.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

/// Splits at most `left` bytes off the front; gives them and how many are still to come.
fn take<'a>(input: &mut &'a [u8], left: u64) -> (&'a [u8], u64) {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
    let (data, rest) = input.split_at(length);
    *input = rest;
    (data, left - length as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `parts` one after the other: the data, whether it ended, and what was left over.
    fn decode(framing: Framing, parts: &[&[u8]]) -> Result<(Vec<u8>, bool, Vec<u8>), BodyError> {
        let mut decoder = BodyDecoder::new(framing);
        let (mut data, mut rest) = (Vec::new(), Vec::new());
        for part in parts {
            let mut input = *part;
            loop {
                match decoder.next(&mut input)? {
                    Piece::Data(piece) => data.extend_from_slice(piece),
                    Piece::More => break,
                    Piece::End => {
                        rest.extend_from_slice(input);
                        break;
                    }
                }
            }
        }
        Ok((data, decoder.is_done(), rest))
    }

    const CHUNKED: &[u8] =
        b"5;a=\"b\"\r\nhello\r\n1 \r\n \r\nA\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\nGET";

    #[test]
    fn any_cut_gives_the_same() {
        let whole = decode(Framing::Chunked, &[CHUNKED]).unwrap();
        assert_eq!(whole, (b"hello 0123456789".to_vec(), true, b"GET".to_vec()));
        for cut in 0..=CHUNKED.len() {
            let (front, back) = CHUNKED.split_at(cut);
            assert_eq!(decode(Framing::Chunked, &[front, back]).unwrap(), whole, "cut at {cut}");
        }
        let bytes: Vec<_> = CHUNKED.chunks(1).collect();
        assert_eq!(decode(Framing::Chunked, &bytes).unwrap(), whole);
    }

    #[test]
    fn a_prefix_is_never_the_end() {
        for cut in 0..CHUNKED.len() - 3 {
            assert!(!decode(Framing::Chunked, &[&CHUNKED[..cut]]).unwrap().1, "cut at {cut}");
        }
        assert!(!decode(Framing::Length(5), &[b"1234"]).unwrap().1);
        assert!(!decode(Framing::UntilClose, &[b"1234"]).unwrap().1);
    }

    #[test]
    fn a_length_ends_exactly() {
        let (data, done, rest) = decode(Framing::Length(5), &[b"12", b"345GET"]).unwrap();
        assert_eq!((&data[..], done, &rest[..]), (&b"12345"[..], true, &b"GET"[..]));
        assert!(BodyDecoder::new(Framing::Length(0)).is_done());
    }

    #[test]
    fn data_is_told_from_framing_byte_by_byte() {
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        let mut data = Vec::new();
        for byte in CHUNKED.chunks(1) {
            let is_data = decoder.is_at_data();
            let piece = decoder.next(&mut &*byte).unwrap();
            assert_eq!(is_data, matches!(piece, Piece::Data(_)), "at {}", data.len());
            data.extend(is_data.then_some(byte[0]));
        }
        assert_eq!(data, b"hello 0123456789");
    }

    #[test]
    fn broken_chunks_are_errors() {
        for bad in [
            &b"\r\n"[..],
            b"x\r\n",
            b"5\nhello",
            b"5;a\nhello",
            b"5\r\nhelloo",
            b"5\r\nhello\n",
            b"-5\r\n",
            b"0x5\r\n",
            b"1000000000000000\r\n",
            b"0\r\nX: 1\n\r\n",
            b"0\r\n\n",
            b"5 5\r\n",
            b"5\rX\nhello",
            b"5;a\rb\r\n",
            b"5;a\0\r\n",
            b"5;a\x7f\r\n",
            b" 5\r\n",
            b"5\x0b\r\n",
            b"0\r\nX: 1\0\r\n",
            b"0\r\nX: 1\rY\r\n",
            b"0\r\n folded\r\n",
            b"0\r\n: 1\r\n",
            b"0\r\nX\r\n\r\n",
            b"0\r\nX 1\r\n\r\n",
            b"0\r\nX : 1\r\n\r\n",
            b"0\r\nGET / HTTP/1.1\r\n\r\n",
            b"0\r\nX: 1\r\nY\r\n\r\n",
        ] {
            assert_eq!(
                decode(Framing::Chunked, &[bad]),
                Err(BodyError::Chunk),
                "{:?}",
                String::from_utf8_lossy(bad)
            );
        }
    }

    #[test]
    fn extensions_are_limited_over_the_whole_body() {
        let chunk = [b"1;".as_slice(), &[b'a'; 1000], b"\r\nx\r\n"].concat();
        let body = chunk.repeat(20);
        assert_eq!(decode(Framing::Chunked, &[&body]), Err(BodyError::Overhead));
        assert!(decode(Framing::Chunked, &[&chunk.repeat(10)]).is_ok());
        let padded = b"6      \r\n123456\r\n".repeat(10_000);
        assert!(decode(Framing::Chunked, &[&padded]).is_ok(), "data earns its overhead");
    }
}
