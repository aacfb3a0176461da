//! The response body, from the upstream's framing to the client's, with heartbeats in between.

use std::time::Duration;

use crate::http1::body::{BodyDecoder, BodyError, Piece};
use crate::http1::encode::{self, LAST_CHUNK};
use crate::http1::framing::Framing;
use crate::sse::dialect::{Dialects, Failure};
use crate::sse::scanner::{BOM, Scanner};

/// What one piece of input was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Step {
    /// Body bytes that came from the upstream.
    pub bytes: u64,
    /// Events that were completed by them.
    pub events: u32,
}

/// How the end of the upstream's connection ends the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eof {
    /// This is the only end such a body has.
    Clean,
    /// It is missing something.
    Truncated,
    /// It is whole, but the stream in it has not said its end.
    Unmarked,
}

/// What a body is and becomes.
#[derive(Debug, Clone, Copy)]
pub struct Shape<'a> {
    /// As the upstream frames it.
    pub from: Framing,
    /// As the client gets it.
    pub to: Framing,
    /// What it may speak, if it is an event stream in plain text.
    pub scan: Option<Dialects>,
    /// A comment line without a line end, if there are to be heartbeats. They are used only where
    /// the body has no length, since the length counts every byte.
    pub heartbeat: Option<&'a str>,
}

/// What ended a body before the upstream did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Farewell {
    /// Its length.
    pub bytes: u64,
    /// It ends as its framing says. If not, it has to be cut.
    pub is_whole: bool,
}

/// Follows one response body.
#[derive(Debug)]
pub struct Download {
    decoder: BodyDecoder,
    chunked: bool,
    /// The client gets no length, so that more than the upstream's bytes can be written.
    open_ended: bool,
    /// Only for event streams that can be read: not on compressed ones.
    scanner: Option<Scanner>,
    /// The heartbeat line with its line end; only where one may be written.
    heartbeat: Option<Box<[u8]>>,
    bom: Bom,
    done: bool,
}

/// A byte order mark is one only at the very start (WHATWG HTML §9.2.5). Once a heartbeat stands
/// there, a mark that comes after it would become part of a field name: it has to be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bom {
    /// The body's bytes pass as they are.
    Passes,
    /// A heartbeat came first; that many bytes of a mark have been held back.
    Dropping(u8),
}

impl Download {
    /// At the start of a body.
    pub fn new(shape: Shape<'_>) -> Self {
        let Shape { from, to, scan, heartbeat } = shape;
        let decoder = BodyDecoder::new(from);
        let open_ended = matches!(to, Framing::Chunked | Framing::UntilClose);
        let line = |text: &str| [text.as_bytes(), b"\n"].concat().into_boxed_slice();
        Self {
            done: decoder.is_done(),
            decoder,
            chunked: to == Framing::Chunked,
            open_ended,
            scanner: scan.map(Scanner::new),
            heartbeat: heartbeat.filter(|_| scan.is_some() && open_ended).map(line),
            bom: Bom::Passes,
        }
    }

    /// The upstream's body, framed so, is what follows: until now there were heartbeats at most.
    pub fn join(&mut self, from: Framing) {
        self.decoder = BodyDecoder::new(from);
        self.done = false;
    }

    /// Whether the stream in it has not said its end, although it should.
    fn is_unmarked(&self) -> bool {
        self.scanner.as_ref().is_some_and(Scanner::is_unfinished)
    }

    /// What the end of the body means, once it is done.
    pub fn verdict(&self) -> Eof {
        if self.is_unmarked() { Eof::Unmarked } else { Eof::Clean }
    }

    /// Appends the event that tells the client of a failure, if one may stand here; says whether it
    /// did, and how many bytes it is. Nothing else may follow, not even the body's proper end.
    pub fn push_error(&mut self, failure: &Failure<'_>, out: &mut Vec<u8>) -> Option<u64> {
        let scanner = self.scanner.as_ref().filter(|_| self.open_ended)?;
        if !scanner.has_room_for_event() {
            return None;
        }
        let event = scanner.dialect().error_event(failure);
        frame(self.chunked, &event, out);
        self.heartbeat = None;
        Some(event.len() as u64)
    }

    /// Appends the end of a stream whose client is to come back after `retry`, if it may stand
    /// here.
    ///
    /// The `retry` field is a line without a blank line behind it. It counts as soon as it is read
    /// (WHATWG HTML §9.2.6), and what the blank line would add is an event without data: the SDKs
    /// for Python dispatch one if there was a `retry`, and choke on it.
    ///
    /// A client that has to see a mark of its dialect would take a clean end for the whole answer.
    /// It gets `failure` as its last event, and the cut. `EventSource` comes back after either.
    pub fn push_farewell(
        &mut self,
        retry: Duration,
        failure: Option<&Failure<'_>>,
        out: &mut Vec<u8>,
    ) -> Option<Farewell> {
        let scanner = self.scanner.as_ref().filter(|_| self.open_ended && !self.done)?;
        if !scanner.at_boundary() {
            return None;
        }
        let mut text = format!("retry: {}\n", retry.as_millis()).into_bytes();
        let is_whole = scanner.may_end();
        if let Some(failure) = failure.filter(|_| !is_whole) {
            text.extend_from_slice(&scanner.dialect().error_event(failure));
        }
        frame(self.chunked, &text, out);
        if is_whole {
            self.finish(out);
        }
        self.heartbeat = None;
        Some(Farewell { bytes: text.len() as u64, is_whole })
    }

    /// Whether the whole body was read and passed on.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Whether heartbeats belong into this body at all.
    pub fn has_heartbeats(&self) -> bool {
        self.heartbeat.is_some()
    }

    /// Takes what belongs to the body from the front of `input` and appends it to `out`, framed.
    /// Gives what that was, also when what came behind it is broken.
    pub fn push(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> (Step, Result<(), BodyError>) {
        let mut step = Step::default();
        while !self.done {
            match self.decoder.next(input) {
                Ok(Piece::Data(data)) => {
                    step.bytes += data.len() as u64;
                    if let Some(scanner) = &mut self.scanner {
                        step.events += scanner.scan(data);
                    }
                    self.pass(data, out);
                }
                Ok(Piece::More) if self.decoder.is_done() => {}
                Ok(Piece::More) => break,
                Ok(Piece::End) => {
                    self.done = true;
                    // Without its mark, a stream must not look whole.
                    if self.chunked && !self.is_unmarked() {
                        out.extend_from_slice(LAST_CHUNK);
                    }
                }
                Err(error) => return (step, Err(error)),
            }
        }
        (step, Ok(()))
    }

    /// Appends a heartbeat if one may stand here; says whether it did, and its length.
    pub fn push_heartbeat(&mut self, out: &mut Vec<u8>) -> Option<u64> {
        let line = self.heartbeat.as_ref()?;
        let scanner = self.scanner.as_ref()?;
        if self.done || !scanner.at_boundary() {
            return None;
        }
        if scanner.at_start() {
            self.bom = Bom::Dropping(0);
        }
        frame(self.chunked, line, out);
        Some(line.len() as u64)
    }

    /// The upstream closed its connection.
    pub fn end(&mut self) -> Eof {
        if !self.decoder.ends_at_eof() {
            return Eof::Truncated;
        }
        self.done = true;
        self.verdict()
    }

    /// Appends what ends the body for the client once [`Self::end`] said `Clean`.
    pub fn finish(&self, out: &mut Vec<u8>) {
        if self.chunked {
            out.extend_from_slice(LAST_CHUNK);
        }
    }

    fn pass(&mut self, mut data: &[u8], out: &mut Vec<u8>) {
        while let Bom::Dropping(dropped) = self.bom {
            let Some((&byte, rest)) = data.split_first() else { return };
            let at = usize::from(dropped);
            if byte != BOM[at] {
                // Not a mark after all: what was held back comes first.
                frame(self.chunked, &BOM[..at], out);
                self.bom = Bom::Passes;
                break;
            }
            data = rest;
            self.bom = if at + 1 < BOM.len() { Bom::Dropping(dropped + 1) } else { Bom::Passes };
        }
        frame(self.chunked, data, out);
    }
}

fn frame(chunked: bool, data: &[u8], out: &mut Vec<u8>) {
    if chunked {
        encode::chunk(out, data);
    } else {
        out.extend_from_slice(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::dialect::Dialect;

    const BEAT: Option<&str> = Some(": keep-alive");

    const ANY: Option<Dialects> = Some(Dialects { setting: None, hint: None });

    fn body(from: Framing, to: Framing, scan: Option<Dialects>, beat: Option<&str>) -> Download {
        Download::new(Shape { from, to, scan, heartbeat: beat })
    }

    fn sse() -> Download {
        body(Framing::UntilClose, Framing::UntilClose, ANY, BEAT)
    }

    fn chat(from: Framing) -> Download {
        let hint = Some(Dialect::OpenAiChat);
        body(from, Framing::Chunked, Some(Dialects { setting: None, hint }), BEAT)
    }

    #[test]
    fn a_stream_without_its_mark_does_not_look_whole() {
        let (mut download, mut out) = (chat(Framing::Chunked), Vec::new());
        download.push(&mut &b"a\r\ndata: {}\n\n\r\n0\r\n\r\n"[..], &mut out).1.unwrap();
        assert!(download.is_done());
        assert_eq!(download.verdict(), Eof::Unmarked);
        assert_eq!(out, b"a\r\ndata: {}\n\n\r\n", "no last chunk");
        let failure = Failure { status: 502, kind: "truncated", message: "gone" };
        assert!(download.push_error(&failure, &mut out).is_some());
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("data: {\"error\":") && text.ends_with("\n\n\r\n"), "{text}");

        let (mut download, mut out) = (chat(Framing::UntilClose), Vec::new());
        download.push(&mut &b"data: {}\n\ndata: [DONE]\n\n"[..], &mut out).1.unwrap();
        assert_eq!(download.end(), Eof::Clean);
    }

    #[test]
    fn a_farewell_is_a_line_at_a_boundary_and_an_end() {
        const RETRY: Duration = Duration::from_millis(2500);
        let (mut download, mut out) = (body(Framing::Chunked, Framing::Chunked, ANY, BEAT), vec![]);
        download.push(&mut &b"8\r\ndata: a\n\r\n"[..], &mut out).1.unwrap();
        assert_eq!(download.push_farewell(RETRY, None, &mut out), None, "inside an event");
        download.push(&mut &b"1\r\n\n\r\n"[..], &mut out).1.unwrap();
        out.clear();
        let said = download.push_farewell(RETRY, None, &mut out);
        assert_eq!(said, Some(Farewell { bytes: 12, is_whole: true }));
        assert_eq!(out, b"c\r\nretry: 2500\n\r\n0\r\n\r\n");

        for shape in [
            body(Framing::Length(9), Framing::Length(9), ANY, BEAT),
            body(Framing::Chunked, Framing::Chunked, None, BEAT),
        ] {
            let mut download = shape;
            assert_eq!(download.push_farewell(RETRY, None, &mut out), None, "{download:?}");
        }
    }

    #[test]
    fn an_answer_that_is_not_finished_ends_with_an_error() {
        const RETRY: Duration = Duration::from_secs(2);
        let failure = Failure { status: 503, kind: "drained", message: "gone" };
        // Before its first event, a path is enough: silence is no answer.
        for begins in ["", "data: {}\n\n"] {
            let (mut download, mut out) = (chat(Framing::UntilClose), Vec::new());
            download.push(&mut begins.as_bytes(), &mut out).1.unwrap();
            out.clear();
            let said = download.push_farewell(RETRY, Some(&failure), &mut out).unwrap();
            assert!(!said.is_whole);
            let text = String::from_utf8(out).unwrap();
            assert!(text.contains("\r\nretry: 2000\ndata: {\"error\":"), "{text}");
            assert!(text.ends_with("}\n\n\r\n"), "no last chunk: {text}");
        }
        let (mut download, mut out) = (chat(Framing::UntilClose), Vec::new());
        download.push(&mut &b"data: {}\n\ndata: [DONE]\n\n"[..], &mut out).1.unwrap();
        out.clear();
        assert!(download.push_farewell(RETRY, Some(&failure), &mut out).unwrap().is_whole);
        assert!(out.ends_with(b"retry: 2000\n\r\n0\r\n\r\n"));
    }

    #[test]
    fn an_error_never_makes_an_unfinished_event_look_whole() {
        let failure = Failure { status: 502, kind: "upstream_reset", message: "gone" };
        let (mut download, mut out) = (chat(Framing::UntilClose), Vec::new());
        download.push(&mut &b"data: {\"a"[..], &mut out).1.unwrap();
        out.clear();
        assert!(download.push_error(&failure, &mut out).is_none() && out.is_empty());
        let mut length = body(Framing::Length(9), Framing::Length(9), ANY, None);
        assert!(length.push_error(&failure, &mut out).is_none(), "the length counts every byte");
    }

    #[test]
    fn a_body_joins_what_has_begun_with_heartbeats() {
        let (mut download, mut out) = (chat(Framing::None), Vec::new());
        assert!(download.push_heartbeat(&mut out).is_none(), "not before it is open");
        download.join(Framing::UntilClose);
        assert!(download.push_heartbeat(&mut out).is_some());
        download.join(Framing::Length(0));
        download.push(&mut &b""[..], &mut out).1.unwrap();
        assert!(download.is_done());
        assert_eq!(out, b"d\r\n: keep-alive\n\r\n0\r\n\r\n");
    }

    #[test]
    fn a_heartbeat_at_every_split_never_lands_inside_an_event() {
        // Whatever the cut, what a client decodes is the same as without heartbeats.
        for text in [
            "\u{feff}data: a\n\nid: 1\ndata: b\ndata: c\n\n: theirs\n\ndata: d\n\n",
            "data: a\r\n\r\nevent: x\r\ndata: b\r\n\r\n",
            "data: a\r\rdata: b\r\r",
        ] {
            let bytes = text.as_bytes();
            let plain = decode(bytes);
            let mut beats = 0;
            for cut in 0..=bytes.len() {
                let (mut download, mut out) = (sse(), Vec::new());
                download.push(&mut &bytes[..cut], &mut out).1.unwrap();
                beats += u32::from(download.push_heartbeat(&mut out).is_some());
                download.push(&mut &bytes[cut..], &mut out).1.unwrap();
                assert_eq!(decode(&out), plain, "{text:?} cut at {cut}");
                let quirky = out.windows(2).any(|pair| pair == b"\n\n" && out.ends_with(pair));
                assert!(quirky || !out.ends_with(b": keep-alive\n\n"), "a blank line was added");
            }
            assert!(beats >= 2, "{text:?}: heartbeats had a place {beats} times");
        }
    }

    /// The events by the rules of the standard, written as plainly as possible.
    fn decode(bytes: &[u8]) -> Vec<(String, String)> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let (mut events, mut name, mut data) = (Vec::new(), String::new(), String::new());
        for line in text.split_terminator('\n') {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            match field {
                "" if line.is_empty() && !data.is_empty() => {
                    events.push((std::mem::take(&mut name), std::mem::take(&mut data)));
                }
                "data" => data.push_str(&format!("{value}\n")),
                "event" => value.clone_into(&mut name),
                _ => {}
            }
        }
        events
    }

    #[test]
    fn heartbeats_keep_out_of_bodies_with_a_length_and_of_compressed_ones() {
        let mut out = Vec::new();
        for (from, to, scan) in [
            (Framing::Length(100), Framing::Length(100), true),
            (Framing::Chunked, Framing::Chunked, false),
        ] {
            let mut download = body(from, to, scan.then_some(ANY).flatten(), BEAT);
            assert!(!download.has_heartbeats());
            assert_eq!(download.push_heartbeat(&mut out), None);
        }
        assert!(out.is_empty());
    }

    #[test]
    fn half_a_byte_order_mark_comes_back() {
        let (mut download, mut out) = (sse(), Vec::new());
        download.push_heartbeat(&mut out).unwrap();
        download.push(&mut &BOM[..2], &mut out).1.unwrap();
        assert_eq!(download.push_heartbeat(&mut out), None, "inside the mark");
        download.push(&mut &b"x"[..], &mut out).1.unwrap();
        assert_eq!(out, b": keep-alive\n\xEF\xBBx");
    }

    #[test]
    fn chunks_in_chunks_out() {
        let mut download = body(Framing::Chunked, Framing::Chunked, ANY, BEAT);
        let mut out = Vec::new();
        let mut input = &b"9\r\ndata: a\n\n\r\n"[..];
        let (step, pushed) = download.push(&mut input, &mut out);
        assert_eq!(pushed, Ok(()));
        assert_eq!(step, Step { bytes: 9, events: 1 });
        assert_eq!(download.push_heartbeat(&mut out), Some(13));
        download.push(&mut &b"0\r\n\r\n"[..], &mut out).1.unwrap();
        assert!(download.is_done());
        let expected = "9\r\ndata: a\n\n\r\nd\r\n: keep-alive\n\r\n0\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(download.push_heartbeat(&mut Vec::new()), None, "after the end");
    }

    #[test]
    fn ends() {
        let mut chunked = body(Framing::Chunked, Framing::Chunked, None, None);
        chunked.push(&mut &b"5\r\nhel"[..], &mut Vec::new()).1.unwrap();
        assert_eq!(chunked.end(), Eof::Truncated);
        let mut length = body(Framing::Length(3), Framing::Length(3), None, None);
        length.push(&mut &b"he"[..], &mut Vec::new()).1.unwrap();
        assert_eq!(length.end(), Eof::Truncated);
        let mut close = body(Framing::UntilClose, Framing::Chunked, None, None);
        let mut out = Vec::new();
        close.push(&mut &b"he"[..], &mut out).1.unwrap();
        assert_eq!(close.end(), Eof::Clean);
        close.finish(&mut out);
        assert_eq!(out, b"2\r\nhe\r\n0\r\n\r\n");
    }
}
