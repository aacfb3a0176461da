//! The request body, from the client's framing to the upstream's.

use crate::http1::body::{BodyDecoder, BodyError, Piece};
use crate::http1::encode::{self, LAST_CHUNK};
use crate::http1::framing::Framing;

/// Follows one request body.
#[derive(Debug)]
pub struct Upload {
    decoder: BodyDecoder,
    chunked: bool,
    /// The end was passed on.
    done: bool,
    bytes: u64,
}

impl Upload {
    /// At the start of a body with that framing; the upstream gets the same framing.
    pub fn new(framing: Framing) -> Self {
        let decoder = BodyDecoder::new(framing);
        let done = decoder.is_done();
        Self { decoder, chunked: framing == Framing::Chunked, done, bytes: 0 }
    }

    /// Whether the whole body was taken from the client.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Body bytes taken so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes what belongs to the body from the front of `input` and appends it to `out`, framed.
    /// Bytes behind the end of the body stay: they are the next request.
    pub fn push(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
        while !self.done {
            match self.decoder.next(input)? {
                Piece::Data(data) => {
                    self.bytes += data.len() as u64;
                    if self.chunked {
                        encode::chunk(out, data);
                    } else {
                        out.extend_from_slice(data);
                    }
                }
                Piece::More if self.decoder.is_done() => {}
                Piece::More => return Ok(()),
                Piece::End => {
                    self.done = true;
                    if self.chunked {
                        out.extend_from_slice(LAST_CHUNK);
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(upload: &mut Upload, input: &[u8]) -> (String, String) {
        let (mut rest, mut out) = (input, Vec::new());
        upload.push(&mut rest, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(rest.to_vec()).unwrap())
    }

    #[test]
    fn chunks_are_written_anew() {
        let mut upload = Upload::new(Framing::Chunked);
        assert_eq!(push(&mut upload, b"3;x=y\r\nab"), ("2\r\nab\r\n".into(), String::new()));
        assert!(!upload.is_done());
        let last = push(&mut upload, b"c\r\n0\r\nEvil: 1\r\n\r\nGET /");
        assert_eq!(last, ("1\r\nc\r\n0\r\n\r\n".into(), "GET /".into()));
        assert!(upload.is_done());
        assert_eq!(upload.bytes(), 3);
    }

    #[test]
    fn a_length_is_done_with_its_last_byte() {
        let mut upload = Upload::new(Framing::Length(3));
        assert_eq!(push(&mut upload, b"ab"), ("ab".into(), String::new()));
        assert_eq!(push(&mut upload, b"cGET"), ("c".into(), "GET".into()));
        assert!(upload.is_done());
        assert!(Upload::new(Framing::None).is_done());
    }

    #[test]
    fn done_without_waiting_for_more_input() {
        let mut upload = Upload::new(Framing::Length(1));
        push(&mut upload, b"a");
        assert!(upload.is_done());
    }
}
