//! The chat room's end of a WebSocket (RFC 6455): bytes in, whole messages out. Pure.
//!
//! No more than a room needs: no extensions, no binary messages, nothing longer than
//! [`MESSAGE_MAX_BYTES`].

use crate::http1::fields::Fields;
use crate::http1::head::RequestHead;
use crate::ws::close::{self, CloseFrame, Violation};
use crate::ws::handshake;
use crate::ws::head::{FrameHead, Opcode, masked};

/// The longest message that a guest may say, in bytes: a page of text, and a room is for talking.
pub const MESSAGE_MAX_BYTES: usize = 4096;

/// The fields of the 101, if the request is a good handshake.
pub fn handshake(head: &RequestHead) -> Option<Fields> {
    let asked = &head.fields;
    let keys: Vec<_> = asked.all("sec-websocket-key").collect();
    let version = asked.get("sec-websocket-version");
    if !handshake::is_websocket(&head.method, asked.all("upgrade"), asked.all("connection")) {
        return None;
    }
    handshake::check(version, &keys).ok()?;
    let mut fields = Fields::default();
    fields.append("Upgrade", "websocket");
    fields.append("Connection", "Upgrade");
    fields.append("Sec-WebSocket-Accept", handshake::accept(keys[0].trim_ascii()));
    Some(fields)
}

/// What a guest sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// A text, all of its fragments.
    Text(String),
    /// To be answered by a pong with the same payload.
    Ping(Vec<u8>),
    /// To be answered by a close frame with the same code.
    Close(Option<u16>),
}

/// Why the room ends a connection: the code and the reason of its close frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Farewell {
    /// The code.
    pub code: u16,
    /// The reason.
    pub reason: String,
}

impl Farewell {
    fn new(code: u16, reason: impl ToString) -> Self {
        Self { code, reason: reason.to_string() }
    }
}

impl From<Violation> for Farewell {
    fn from(violation: Violation) -> Self {
        Self::new(violation.close_code(), violation)
    }
}

/// The frames of one guest.
#[derive(Debug, Default)]
pub struct Frames {
    inbox: Vec<u8>,
    /// The fragments of a message so far, between its first and its last; at most
    /// [`MESSAGE_MAX_BYTES`].
    begun: Option<Vec<u8>>,
}

impl Frames {
    /// Frames that begin with `inbox`.
    pub fn new(inbox: Vec<u8>) -> Self {
        Self { inbox, begun: None }
    }

    /// Where what comes in is appended; at most one frame and what was appended last is in it, if
    /// [`Self::take`] is called until it gives `None`.
    pub fn inbox(&mut self) -> &mut Vec<u8> {
        &mut self.inbox
    }

    /// The next message; `None` needs more. Nothing may be asked after a farewell.
    pub fn take(&mut self) -> Result<Option<Message>, Farewell> {
        while let Some(head) = FrameHead::parse(&self.inbox)? {
            self.check(&head)?;
            // The length was checked: it is small.
            let size = head.size() + head.length as usize;
            let Some(frame) = self.inbox.get(..size) else { return Ok(None) };
            let payload = masked(&frame[head.size()..], head.mask).collect();
            self.inbox.drain(..size);
            if let Some(message) = self.assemble(&head, payload)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    fn check(&self, head: &FrameHead) -> Result<(), Farewell> {
        if head.mask.is_none() {
            return Err(Violation::Protocol("RFC 6455 §5.1: unmasked frame from a client").into());
        }
        if head.rsv1 || head.rsv23 {
            return Err(Violation::Protocol("RFC 6455 §5.2: RSV bit without an extension").into());
        }
        match (head.opcode, &self.begun) {
            (opcode, _) if opcode.is_control() => return Ok(()),
            // §7.4.1: "an endpoint that understands only text data MAY send this if it receives a
            // binary message".
            (Opcode::Binary, _) => return Err(Farewell::new(UNSUPPORTED, "text only, please")),
            (Opcode::Text, Some(_)) | (Opcode::Continuation, None) => {
                return Err(Violation::Protocol("RFC 6455 §5.4: fragments out of order").into());
            }
            _ => {}
        }
        let begun = self.begun.as_ref().map_or(0, Vec::len) as u64;
        if head.length > MESSAGE_MAX_BYTES as u64 - begun {
            return Err(Farewell::new(close::TOO_BIG, "messages have up to 4 KiB here"));
        }
        Ok(())
    }

    fn assemble(
        &mut self,
        head: &FrameHead,
        payload: Vec<u8>,
    ) -> Result<Option<Message>, Farewell> {
        match head.opcode {
            Opcode::Ping => return Ok(Some(Message::Ping(payload))),
            Opcode::Pong => return Ok(None),
            Opcode::Close => return Ok(Some(Message::Close(CloseFrame::parse(&payload)?.code))),
            Opcode::Continuation | Opcode::Text | Opcode::Binary => {}
        }
        let mut message = self.begun.take().unwrap_or_default();
        message.extend(payload);
        if !head.fin {
            self.begun = Some(message);
            return Ok(None);
        }
        match String::from_utf8(message) {
            Ok(text) => Ok(Some(Message::Text(text))),
            // §8.1: it "MUST _Fail the WebSocket Connection_".
            Err(_) => Err(Farewell::new(NOT_UTF8, "a text that is not UTF-8")),
        }
    }
}

/// Appends a whole text message, which is not masked: it comes from a server.
pub fn text_frame(out: &mut Vec<u8>, text: &str) {
    const FIN_TEXT: u8 = 0x81;
    match text.len() {
        length @ 0..=125 => out.extend_from_slice(&[FIN_TEXT, length as u8]),
        length @ 126..=0xFFFF => {
            out.extend_from_slice(&[FIN_TEXT, 126]);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.extend_from_slice(&[FIN_TEXT, 127]);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

/// Close codes that only an end of a WebSocket sends (§7.4.1).
const UNSUPPORTED: u16 = 1003;
const NOT_UTF8: u16 = 1007;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::http1::head::parse_request;

    /// A frame as a client sends it: first byte, payload.
    pub(in crate::demo) fn from_guest(first: u8, payload: &[u8]) -> Vec<u8> {
        const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
        let mut frame = vec![first];
        match u8::try_from(payload.len()) {
            Ok(length @ 0..=125) => frame.push(0x80 | length),
            _ => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
            }
        }
        frame.extend_from_slice(&KEY);
        frame.extend(masked(payload, Some(KEY)));
        frame
    }

    /// All messages of a guest who sends these bytes, and the farewell if there is one.
    fn heard(parts: &mut dyn Iterator<Item = &[u8]>) -> (Vec<Message>, Option<Farewell>) {
        let (mut frames, mut messages) = (Frames::default(), Vec::new());
        for part in parts {
            frames.inbox().extend_from_slice(part);
            loop {
                match frames.take() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(farewell) => return (messages, Some(farewell)),
                }
            }
        }
        (messages, None)
    }

    #[test]
    fn messages_survive_any_cut() {
        let long = "x".repeat(MESSAGE_MAX_BYTES);
        let bytes = [
            from_guest(0x81, "grüße".as_bytes()),
            from_guest(0x01, b"Hel"),
            from_guest(0x89, b"between"),
            from_guest(0x8A, b"unasked"),
            from_guest(0x80, b"lo"),
            from_guest(0x81, b""),
            from_guest(0x81, long.as_bytes()),
            from_guest(0x88, b"\x03\xE9bye"),
        ]
        .concat();
        let text = |text: &str| Message::Text(text.into());
        let expected = [
            text("grüße"),
            Message::Ping(b"between".into()),
            text("Hello"),
            text(""),
            text(&long),
            Message::Close(Some(1001)),
        ];
        for size in [1, 2, 3, 7, 100, bytes.len()] {
            let (messages, farewell) = heard(&mut bytes.chunks(size));
            assert_eq!(farewell, None);
            assert_eq!(messages, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn what_ends_a_connection() {
        let long = [b'x'; MESSAGE_MAX_BYTES + 1];
        for (bytes, code) in [
            (b"\x81\x02hi".to_vec(), close::PROTOCOL_ERROR),
            (from_guest(0xC1, b"deflated"), close::PROTOCOL_ERROR),
            (from_guest(0x80, b"of nothing"), close::PROTOCOL_ERROR),
            ([from_guest(0x01, b"a"), from_guest(0x81, b"b")].concat(), close::PROTOCOL_ERROR),
            (from_guest(0x88, b"\x03"), close::PROTOCOL_ERROR),
            (from_guest(0x82, b"\0"), UNSUPPORTED),
            (from_guest(0x81, b"\xFF"), NOT_UTF8),
            (from_guest(0x81, &long)[..8].to_vec(), close::TOO_BIG),
            ([from_guest(0x01, &long[1..]), from_guest(0x80, b"x")].concat(), close::TOO_BIG),
        ] {
            let (_, farewell) = heard(&mut [&bytes[..]].into_iter());
            assert_eq!(farewell.map(|f| f.code), Some(code), "{:02X?}", &bytes[..8]);
        }
    }

    #[test]
    fn text_frames_are_read_as_they_were_written() {
        for length in [0, 125, 126, 0xFFFF, 0x1_0000] {
            let (text, mut frame) = ("x".repeat(length), Vec::new());
            text_frame(&mut frame, &text);
            let head = FrameHead::parse(&frame).unwrap().unwrap();
            assert_eq!((head.fin, head.opcode, head.mask), (true, Opcode::Text, None));
            assert_eq!(&frame[head.size()..], text.as_bytes());
            assert_eq!(head.length, length as u64);
        }
    }

    #[test]
    fn the_handshake_of_rfc6455_1_3() {
        let asked = "GET /room HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Version: 13\r\n\r\n";
        let answer = |text: &str| handshake(&parse_request(text.as_bytes()).unwrap().unwrap().0);
        let fields = answer(asked).unwrap();
        let accept = fields.get("sec-websocket-accept").unwrap();
        assert_eq!(accept, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for needed in [": websocket", ": Upgrade", ": 13", ": dGhl"] {
            assert!(answer(&asked.replace(needed, ": x")).is_none(), "without {needed}");
        }
    }
}
