//! Close frames and their codes (RFC 6455 §5.5.1 and §7.4), and what makes us send one.

use std::{error, fmt};

use super::head::MAX_CONTROL_PAYLOAD;

/// The purpose of the connection has been fulfilled.
pub const NORMAL: u16 = 1000;
/// One side goes away: a server goes down, a browser leaves the page.
pub const GOING_AWAY: u16 = 1001;
/// The peer broke the protocol.
pub const PROTOCOL_ERROR: u16 = 1002;
/// The peer broke a policy of ours.
pub const POLICY: u16 = 1008;
/// A message or frame was too big.
pub const TOO_BIG: u16 = 1009;
/// Something failed on our side or upstream.
pub const INTERNAL_ERROR: u16 = 1011;
/// The service restarts: come back later (IANA registry, not in the RFC).
pub const SERVICE_RESTART: u16 = 1012;

/// Bytes of reason that fit into a close frame behind the code.
pub const MAX_REASON: usize = MAX_CONTROL_PAYLOAD - 2;

/// What a close frame said. Its reason is passed on, but not kept or checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseFrame {
    /// The code; a close frame may have none.
    pub code: Option<u16>,
}

impl CloseFrame {
    /// Reads the payload of a close frame, already unmasked; the first two bytes are enough.
    pub fn parse(payload: &[u8]) -> Result<Self, Violation> {
        let code = match *payload {
            [] => return Ok(Self { code: None }),
            // "If there is a body, the first two bytes of the body MUST be a 2-byte unsigned
            // integer."
            [_] => return Err(Violation::Protocol("RFC 6455 §5.5.1: half a close code")),
            [high, low, ..] => u16::from_be_bytes([high, low]),
        };
        if code_is_valid_on_wire(code) {
            Ok(Self { code: Some(code) })
        } else {
            Err(Violation::Protocol("RFC 6455 §7.4: a close code that must not be sent"))
        }
    }
}

/// Whether a peer may send this code. 1005, 1006 and 1015 "MUST NOT be set as a status code in a
/// Close control frame"; 1004 is reserved; 1012 to 1014 are registered at IANA; 3000 to 4999 belong
/// to libraries and applications; the rest is unassigned.
pub fn code_is_valid_on_wire(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// The payload of a close frame; the reason is cut at a character to [`MAX_REASON`] bytes.
pub fn payload(code: u16, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = Vec::with_capacity(2 + end);
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    payload
}

/// What a peer did that ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// It broke the protocol: the section and the rule.
    Protocol(&'static str),
    /// A data frame is longer than our limit.
    TooBig,
}

impl Violation {
    /// The code of the close frame that says so.
    pub fn close_code(self) -> u16 {
        match self {
            Self::Protocol(_) => PROTOCOL_ERROR,
            Self::TooBig => TOO_BIG,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protocol(rule) => rule,
            Self::TooBig => "frame too big",
        })
    }
}

impl error::Error for Violation {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_on_the_wire() {
        for (codes, valid) in [
            (0..=999, false),
            (1000..=1003, true),
            (1004..=1006, false),
            (1007..=1014, true),
            (1015..=2999, false),
            (3000..=4999, true),
            (5000..=u16::MAX, false),
        ] {
            for code in codes {
                assert_eq!(code_is_valid_on_wire(code), valid, "{code}");
                assert_eq!(CloseFrame::parse(&code.to_be_bytes()).is_ok(), valid, "{code}");
            }
        }
    }

    #[test]
    fn a_close_frame_has_no_code_or_a_whole_one() {
        assert_eq!(CloseFrame::parse(b""), Ok(CloseFrame { code: None }));
        assert_eq!(CloseFrame::parse(b"\x03\xE9bye"), Ok(CloseFrame { code: Some(1001) }));
        assert!(CloseFrame::parse(b"\x03").is_err());
    }

    #[test]
    fn a_reason_is_cut_at_a_character() {
        assert_eq!(payload(NORMAL, "bye"), b"\x03\xE8bye");
        assert_eq!(payload(NORMAL, &"x".repeat(123)).len(), 125);
        assert_eq!(payload(NORMAL, &"x".repeat(124)).len(), 125);
        // 123 is no multiple of 2: the 62nd character would stick out by a byte.
        let cut = payload(NORMAL, &"é".repeat(100));
        assert_eq!(&cut[2..], "é".repeat(61).as_bytes());
        // 122 bytes and a character of four.
        let cut = payload(NORMAL, &("x".repeat(122) + "😀"));
        assert_eq!(&cut[2..], "x".repeat(122).as_bytes());
    }

    #[test]
    fn violations_have_their_codes() {
        assert_eq!(Violation::Protocol("§").close_code(), 1002);
        assert_eq!(Violation::TooBig.close_code(), 1009);
    }
}
