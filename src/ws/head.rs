//! The head of a frame (RFC 6455 §5.2), read and written.
//!
//! Only rules that a head breaks by itself are checked here; those that depend on the side, the
//! frames before or the handshake are the tracker's.

use super::close::Violation;

/// "All control frames MUST have a payload length of 125 bytes or less" (§5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// Two bytes, eight of extended length, four of masking key.
pub const MAX_HEAD: usize = 14;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV23: u8 = 0x30;
const MASK: u8 = 0x80;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// The next part of a fragmented message.
    Continuation,
    /// A text message or the first part of one.
    Text,
    /// A binary message or the first part of one.
    Binary,
    /// The last frame of a side.
    Close,
    /// Asks for a pong.
    Ping,
    /// The answer to a ping, or unasked.
    Pong,
}

impl Opcode {
    /// Every opcode, in the order of the variants.
    pub const ALL: [Self; 6] =
        [Self::Continuation, Self::Text, Self::Binary, Self::Close, Self::Ping, Self::Pong];

    /// Its name in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Continuation => "continuation",
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Close => "close",
            Self::Ping => "ping",
            Self::Pong => "pong",
        }
    }

    /// Whether it is about the connection and not a part of a message.
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    fn from_bits(bits: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|opcode| opcode.bits() == bits)
    }
}

/// The head of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// The last frame of its message.
    pub fin: bool,
    /// Bit RSV1 is set.
    pub rsv1: bool,
    /// Bit RSV2 or RSV3 is set.
    pub rsv23: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// The key the payload is masked with.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload, less than 2^63; at most [`MAX_CONTROL_PAYLOAD`] in a control frame.
    pub length: u64,
}

impl FrameHead {
    /// Reads the head at the front of `bytes`, which may go on behind it; `None` needs more.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Violation> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        // "If an unknown opcode is received, the receiving endpoint MUST _Fail the WebSocket
        // Connection_." An extension may define opcodes; none does.
        let Some(opcode) = Opcode::from_bits(first & 0x0F) else {
            return Err(Violation::Protocol("RFC 6455 §5.2: reserved opcode"));
        };
        let fin = first & FIN != 0;
        let short_length = second & !MASK;
        if opcode.is_control() && !fin {
            return Err(Violation::Protocol("RFC 6455 §5.5: fragmented control frame"));
        }
        if opcode.is_control() && usize::from(short_length) > MAX_CONTROL_PAYLOAD {
            return Err(Violation::Protocol("RFC 6455 §5.5: control frame longer than 125 bytes"));
        }
        let Some((length, rest)) = parse_length(short_length, rest)? else { return Ok(None) };
        let mask = match (second & MASK != 0, rest) {
            (false, _) => None,
            (true, &[a, b, c, d, ..]) => Some([a, b, c, d]),
            (true, _) => return Ok(None),
        };
        let (rsv1, rsv23) = (first & RSV1 != 0, first & RSV23 != 0);
        Ok(Some(Self { fin, rsv1, rsv23, opcode, mask, length }))
    }

    /// Bytes of the head itself; it follows from the fields, as a length has only one form.
    pub fn size(&self) -> usize {
        let extended = match self.length {
            0..=125 => 0,
            126..=0xFFFF => 2,
            _ => 8,
        };
        2 + extended + if self.mask.is_some() { 4 } else { 0 }
    }
}

/// The payload length and what is behind it; `None` needs more.
///
/// "The minimal number of bytes MUST be used to encode the length", and of eight bytes "the most
/// significant bit MUST be 0".
fn parse_length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Violation> {
    let not_minimal = Violation::Protocol("RFC 6455 §5.2: payload length not in its minimal form");
    match short {
        126 => {
            let Some((bytes, rest)) = rest.split_first_chunk() else { return Ok(None) };
            let length = u64::from(u16::from_be_bytes(*bytes));
            if length < 126 { Err(not_minimal) } else { Ok(Some((length, rest))) }
        }
        127 => {
            let Some((bytes, rest)) = rest.split_first_chunk() else { return Ok(None) };
            let length = u64::from_be_bytes(*bytes);
            if length >> 63 != 0 {
                return Err(Violation::Protocol("RFC 6455 §5.2: payload length of 64 bits"));
            }
            if length <= 0xFFFF { Err(not_minimal) } else { Ok(Some((length, rest))) }
        }
        _ => Ok(Some((u64::from(short), rest))),
    }
}

/// Appends a whole control frame. `mask`: none from a server to a client, a key that nobody can
/// foresee from a client to a server.
///
/// A payload beyond [`MAX_CONTROL_PAYLOAD`] is cut; it is ours, so it should not be.
pub fn control_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) {
    debug_assert!(opcode.is_control(), "{opcode:?}");
    debug_assert!(payload.len() <= MAX_CONTROL_PAYLOAD, "{} bytes", payload.len());
    let payload = &payload[..payload.len().min(MAX_CONTROL_PAYLOAD)];
    let length = payload.len() as u8;
    out.push(FIN | opcode.bits());
    match mask {
        None => {
            out.push(length);
            out.extend_from_slice(payload);
        }
        Some(key) => {
            out.push(MASK | length);
            out.extend_from_slice(&key);
            out.extend(masked(payload, Some(key)));
        }
    }
}

/// The payload with its mask put on or taken off, which is the same (§5.3).
pub fn masked(payload: &[u8], mask: Option<[u8; 4]>) -> impl Iterator<Item = u8> {
    let key = mask.unwrap_or_default();
    payload.iter().zip(key.into_iter().cycle()).map(|(byte, key)| byte ^ key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(opcode: Opcode, fin: bool, mask: Option<[u8; 4]>, length: u64) -> FrameHead {
        FrameHead { fin, rsv1: false, rsv23: false, opcode, mask, length }
    }

    /// Heads and what they say; each is complete with its last byte.
    fn heads() -> Vec<(&'static [u8], FrameHead)> {
        let key = Some([1, 2, 3, 4]);
        vec![
            (b"\x81\x05", head(Opcode::Text, true, None, 5)),
            (b"\x02\x00", head(Opcode::Binary, false, None, 0)),
            (b"\x80\x7D", head(Opcode::Continuation, true, None, 125)),
            (b"\x81\x85\x01\x02\x03\x04", head(Opcode::Text, true, key, 5)),
            (b"\x82\x7E\x00\x7E", head(Opcode::Binary, true, None, 126)),
            (b"\x82\xFE\xFF\xFF\x01\x02\x03\x04", head(Opcode::Binary, true, key, 0xFFFF)),
            (b"\x82\x7F\0\0\0\0\0\x01\0\0", head(Opcode::Binary, true, None, 0x1_0000)),
            (
                b"\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01\x02\x03\x04",
                head(Opcode::Binary, true, key, u64::MAX >> 1),
            ),
            (b"\x88\x00", head(Opcode::Close, true, None, 0)),
            (b"\x89\x7D", head(Opcode::Ping, true, None, 125)),
            (b"\x8A\x80\x01\x02\x03\x04", head(Opcode::Pong, true, key, 0)),
            (b"\xC1\x00", FrameHead { rsv1: true, ..head(Opcode::Text, true, None, 0) }),
            (b"\xA1\x00", FrameHead { rsv23: true, ..head(Opcode::Text, true, None, 0) }),
            (b"\x91\x00", FrameHead { rsv23: true, ..head(Opcode::Text, true, None, 0) }),
        ]
    }

    #[test]
    fn heads_are_read_and_every_prefix_needs_more() {
        for (bytes, head) in heads() {
            assert_eq!(FrameHead::parse(bytes), Ok(Some(head)), "{bytes:02X?}");
            assert_eq!(head.size(), bytes.len(), "{bytes:02X?}");
            let longer = [bytes, b"payload"].concat();
            assert_eq!(FrameHead::parse(&longer), Ok(Some(head)), "{bytes:02X?} with payload");
            for cut in 0..bytes.len() {
                assert_eq!(FrameHead::parse(&bytes[..cut]), Ok(None), "{bytes:02X?} at {cut}");
            }
        }
    }

    #[test]
    fn broken_heads_are_violations() {
        for bytes in [
            &b"\x08\x00"[..],
            b"\x09\x00",
            b"\x0A\x00",
            b"\x88\x7E",
            b"\x89\xFE",
            b"\x8A\x7F",
            b"\x81\x7E\x00\x7D",
            b"\x81\x7E\x00\x00",
            b"\x81\x7F\0\0\0\0\0\0\xFF\xFF",
            b"\x81\x7F\x80\0\0\0\0\x01\0\0",
            b"\x81\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
        ] {
            assert!(matches!(FrameHead::parse(bytes), Err(Violation::Protocol(_))), "{bytes:02X?}");
        }
        for opcode in [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF] {
            assert!(FrameHead::parse(&[0x80 | opcode, 0]).is_err(), "opcode {opcode:X}");
        }
    }

    #[test]
    fn control_frames_are_written_as_they_are_read() {
        let mut out = Vec::new();
        // The two examples of §5.7.
        control_frame(&mut out, Opcode::Ping, b"Hello", None);
        assert_eq!(out, b"\x89\x05Hello");
        out.clear();
        control_frame(&mut out, Opcode::Pong, b"Hello", Some([0x37, 0xFA, 0x21, 0x3D]));
        assert_eq!(out, b"\x8A\x85\x37\xFA\x21\x3D\x7F\x9F\x4D\x51\x58");
    }

    #[test]
    fn labels_are_in_order() {
        let labels: Vec<_> = Opcode::ALL.into_iter().map(Opcode::label).collect();
        assert_eq!(labels, ["continuation", "text", "binary", "close", "ping", "pong"]);
        for (at, opcode) in Opcode::ALL.into_iter().enumerate() {
            assert_eq!(opcode as usize, at);
            assert_eq!(opcode.is_control(), opcode.bits() >= 8);
        }
    }
}
