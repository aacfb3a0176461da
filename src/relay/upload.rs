//! The request body, from the client's framing to the upstream's.

use crate::http1::body::{BodyDecoder, BodyError, Piece};
use crate::http1::encode::{self, LAST_CHUNK};
use crate::http1::framing::Framing;

/// Follows one request body, and keeps it as long as the request may have to be sent again.
#[derive(Debug)]
pub struct Upload {
    decoder: BodyDecoder,
    chunked: bool,
    /// The end was passed on.
    done: bool,
    bytes: u64,
    /// All data so far, if it may still have to be sent again and is not too long.
    kept: Option<Vec<u8>>,
    keep_max_bytes: usize,
    /// It has a length, and is kept whatever comes.
    fits: bool,
    max_bytes: u64,
}

/// Why a request body goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadError {
    /// It is malformed.
    Body(BodyError),
    /// It is longer than it may be.
    TooLong,
}

impl Upload {
    /// At the start of a body with that framing; the upstream gets the same framing. At most
    /// `keep_max_bytes` of data are kept, and at most `max_bytes` go on (`None` for no limit).
    pub fn new(framing: Framing, keep_max_bytes: usize, max_bytes: Option<u64>) -> Self {
        let decoder = BodyDecoder::new(framing);
        let done = decoder.is_done();
        let chunked = framing == Framing::Chunked;
        let fits = matches!(framing, Framing::Length(length) if length <= keep_max_bytes as u64);
        let kept = Some(Vec::new());
        let max_bytes = max_bytes.unwrap_or(u64::MAX);
        Self { decoder, chunked, done, bytes: 0, kept, keep_max_bytes, fits, max_bytes }
    }

    /// Whether the whole body was taken from the client.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Body bytes taken so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The data so far, if all of it is kept.
    pub fn kept(&self) -> Option<&[u8]> {
        self.kept.as_deref()
    }

    /// Whether all of it will be kept, so that it may be taken before there is an upstream.
    pub fn will_be_kept(&self) -> bool {
        self.fits && self.kept.is_some()
    }

    /// Whether so many more bytes from the client will be kept, with all that came before.
    pub fn can_keep(&self, bytes: usize) -> bool {
        let kept = self.kept.as_ref().map(Vec::len);
        kept.is_some_and(|kept| kept + bytes <= self.keep_max_bytes)
    }

    /// It will not have to be sent again.
    pub fn forget(&mut self) {
        self.kept = None;
    }

    /// Appends all that was passed on so far, framed, to `out`. Call it only if it is kept.
    pub fn repeat(&self, out: &mut Vec<u8>) {
        let kept = self.kept.as_deref().unwrap_or_default();
        self.frame(kept, out);
        if self.done {
            self.finish(out);
        }
    }

    /// Takes what belongs to the body from the front of `input` and appends it to `out`, framed.
    /// Bytes behind the end of the body stay: they are the next request.
    pub fn push(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<(), UploadError> {
        while !self.done {
            match self.decoder.next(input).map_err(UploadError::Body)? {
                Piece::Data(data) => {
                    self.bytes += data.len() as u64;
                    // Before it goes on: of what is too long, the upstream never sees the end.
                    if self.bytes > self.max_bytes {
                        return Err(UploadError::TooLong);
                    }
                    self.keep(data);
                    self.frame(data, out);
                }
                Piece::More if self.decoder.is_done() => {}
                Piece::More => return Ok(()),
                Piece::End => {
                    self.done = true;
                    self.finish(out);
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, data: &[u8]) {
        let fits = self.can_keep(data.len());
        match &mut self.kept {
            Some(kept) if fits => kept.extend_from_slice(data),
            _ => self.kept = None,
        }
    }

    fn frame(&self, data: &[u8], out: &mut Vec<u8>) {
        if self.chunked {
            encode::chunk(out, data);
        } else {
            out.extend_from_slice(data);
        }
    }

    fn finish(&self, out: &mut Vec<u8>) {
        if self.chunked {
            out.extend_from_slice(LAST_CHUNK);
        }
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
        let mut upload = Upload::new(Framing::Chunked, 1024, None);
        assert_eq!(push(&mut upload, b"3;x=y\r\nab"), ("2\r\nab\r\n".into(), String::new()));
        assert!(!upload.is_done());
        let last = push(&mut upload, b"c\r\n0\r\nEvil: 1\r\n\r\nGET /");
        assert_eq!(last, ("1\r\nc\r\n0\r\n\r\n".into(), "GET /".into()));
        assert!(upload.is_done());
        assert_eq!(upload.bytes(), 3);
    }

    #[test]
    fn a_length_is_done_with_its_last_byte() {
        let mut upload = Upload::new(Framing::Length(3), 1024, None);
        assert_eq!(push(&mut upload, b"ab"), ("ab".into(), String::new()));
        assert_eq!(push(&mut upload, b"cGET"), ("c".into(), "GET".into()));
        assert!(upload.is_done());
        assert!(Upload::new(Framing::None, 0, None).is_done());
    }

    #[test]
    fn done_without_waiting_for_more_input() {
        let mut upload = Upload::new(Framing::Length(1), 1024, None);
        push(&mut upload, b"a");
        assert!(upload.is_done());
    }

    #[test]
    fn what_was_passed_on_can_be_repeated() {
        let mut upload = Upload::new(Framing::Chunked, 3, None);
        push(&mut upload, b"2\r\nab\r\n1\r\n");
        let repeated = |upload: &Upload| {
            let mut out = Vec::new();
            upload.repeat(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(repeated(&upload), "2\r\nab\r\n", "as far as it has come");
        push(&mut upload, b"c\r\n0\r\n\r\n");
        assert_eq!(repeated(&upload), "3\r\nabc\r\n0\r\n\r\n");
        upload.forget();
        assert_eq!(upload.kept(), None);
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let mut upload = Upload::new(Framing::Length(4), 3, None);
        assert!(upload.can_keep(3) && !upload.can_keep(4));
        push(&mut upload, b"abc");
        assert_eq!(upload.kept(), Some(&b"abc"[..]));
        assert!(!upload.can_keep(1));
        push(&mut upload, b"d");
        assert_eq!(upload.kept(), None);
        assert!(Upload::new(Framing::None, 0, None).kept().is_some(), "there is nothing to keep");
        assert!(Upload::new(Framing::Length(3), 3, None).will_be_kept());
        assert!(!Upload::new(Framing::Length(4), 3, None).will_be_kept());
        assert!(
            !Upload::new(Framing::Chunked, 3, None).will_be_kept(),
            "nobody knows how long it is"
        );
    }

    #[test]
    fn what_is_too_long_never_looks_complete() {
        let mut upload = Upload::new(Framing::Chunked, 0, Some(3));
        assert_eq!(push(&mut upload, b"2\r\nab\r\n1\r\nc\r\n").0, "2\r\nab\r\n1\r\nc\r\n");
        let (mut rest, mut out) = (&b"1\r\nd\r\n0\r\n\r\n"[..], Vec::new());
        assert_eq!(upload.push(&mut rest, &mut out), Err(UploadError::TooLong));
        assert!(out.is_empty() && !upload.is_done());
        let mut upload = Upload::new(Framing::Chunked, 0, Some(3));
        assert_eq!(push(&mut upload, b"3\r\nabc\r\n0\r\n\r\n").1, "");
        assert!(upload.is_done(), "exactly as long as it may be");
    }
}
