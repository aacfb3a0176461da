//! Knows at every byte whether an event stream stands at an event boundary, and counts events.
//!
//! It reads lines only as far as it must: it never copies, stores or reassembles anything.

use memchr::memchr2;

use super::dialect::{Dialect, Dialects};
use super::marks::Marks;

/// U+FEFF in UTF-8. "One leading U+FEFF BYTE ORDER MARK character must be ignored if any are
/// present", and only a leading one: nothing may be put before it.
pub const BOM: [u8; 3] = [0xEF, 0xBB, 0xBF];

const DATA: &[u8] = b"data";

/// Follows one event stream through any split.
#[derive(Debug, Clone)]
pub struct Scanner {
    state: State,
    /// A field line came since the last blank line: the event is not finished.
    in_event: bool,
    /// One of them was `data`, so the blank line will dispatch an event.
    has_data: bool,
    /// A CR was seen that no LF followed: this stream ends its lines with CR alone.
    bare_cr: bool,
    marks: Marks,
}

/// ```text
/// Start -> Bom(n) -> LineStart <-> InName -> InLine
///   CR from any of them -> AfterCr: the line has ended, an LF may still belong to that end
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first byte.
    Start,
    /// Behind that many bytes of the byte order mark.
    Bom(u8),
    LineStart,
    /// In a field name, all of it a prefix of `data` of that length.
    InName(u8),
    /// Anywhere in a line whose kind is known.
    InLine,
    AfterCr,
}

impl Scanner {
    /// At the start of a stream that may speak one of `dialects`.
    pub fn new(dialects: Dialects) -> Self {
        let marks = Marks::new(dialects);
        Self { state: State::Start, in_event: false, has_data: false, bare_cr: false, marks }
    }

    /// What the stream speaks; before its first event, what is most likely.
    pub fn dialect(&self) -> Dialect {
        self.marks.dialect()
    }

    /// Whether the stream must say its end in its dialect and has not.
    pub fn is_unfinished(&self) -> bool {
        self.marks.is_unfinished()
    }

    /// Whether nobody misses anything if the stream ends here: it has said its end, or needs none.
    pub fn may_end(&self) -> bool {
        self.marks.may_end()
    }

    /// Whether an event of our own may be written, once the upstream has failed.
    ///
    /// An unfinished event without data is taken over: the last `event` line counts. (Ended by a
    /// blank line instead, it makes OpenAI's SDKs choke on empty data.) One with data would look
    /// whole, so it is left as it is, and only the cut tells.
    pub fn has_room_for_event(&self) -> bool {
        let line_has_ended = match self.state {
            State::Start | State::LineStart | State::AfterCr => true,
            State::Bom(_) | State::InName(_) | State::InLine => false,
        };
        line_has_ended && !self.has_data
    }

    /// Whether no byte has been seen.
    pub fn at_start(&self) -> bool {
        self.state == State::Start
    }

    /// Whether a comment line can be put here without being inside an event, a line, a CRLF or a
    /// byte order mark.
    ///
    /// After a CR this is known only for a stream that has shown that it uses CR alone.
    pub fn at_boundary(&self) -> bool {
        let line_has_ended = match self.state {
            State::Start | State::LineStart => true,
            State::AfterCr => self.bare_cr,
            State::Bom(_) | State::InName(_) | State::InLine => false,
        };
        line_has_ended && !self.in_event
    }

    /// Reads on; gives the number of events that were completed (those that a client dispatches:
    /// blocks with at least one `data` line).
    pub fn scan(&mut self, bytes: &[u8]) -> u32 {
        // `line` is where the line began, or its rest that was not in the last read.
        let (mut events, mut at, mut line) = (0, 0, 0);
        while at < bytes.len() {
            if self.state == State::InLine {
                let Some(length) = memchr2(b'\n', b'\r', &bytes[at..]) else { break };
                at += length;
            } else if self.state == State::LineStart && bytes[at..].starts_with(b"data:") {
                // Nearly every line: at once what five steps come to.
                self.begin_field(State::InLine);
                self.has_data = true;
                at += b"data:".len();
                continue;
            }
            let byte = bytes[at];
            if matches!(byte, b'\n' | b'\r') {
                self.line_read(byte, &bytes[line..at]);
                line = at + 1;
            }
            events += match self.state {
                State::InLine => self.end_line(byte),
                _ => self.step(byte),
            };
            at += 1;
        }
        self.marks.part(&bytes[line..]);
        events
    }

    /// A line end was read, or the second half of one.
    fn line_read(&mut self, byte: u8, part: &[u8]) {
        match self.state {
            State::AfterCr if byte == b'\n' => {}
            State::Start | State::LineStart | State::AfterCr => self.marks.blank(self.has_data),
            State::Bom(_) | State::InName(_) | State::InLine => self.marks.line(part),
        }
    }

    /// One byte outside the bulk of a line.
    fn step(&mut self, byte: u8) -> u32 {
        match (self.state, byte) {
            (State::AfterCr, b'\n') => {
                self.state = State::LineStart;
                return 0;
            }
            (State::Start, b) if b == BOM[0] => self.state = State::Bom(1),
            (State::Bom(1), b) if b == BOM[1] => self.state = State::Bom(2),
            (State::Bom(2), b) if b == BOM[2] => self.state = State::LineStart,
            (State::InName(_), b'\n' | b'\r') => return self.end_line(byte),
            (State::InName(length), b) => self.step_name(length, b),
            // Half a byte order mark was the beginning of a field name after all.
            (State::Bom(_), b'\n' | b'\r') => {
                self.in_event = true;
                return self.end_line(byte);
            }
            (State::Bom(_), _) => self.begin_field(State::InLine),
            (State::Start | State::LineStart | State::AfterCr, _) => {
                self.bare_cr |= self.state == State::AfterCr;
                return self.begin_line(byte);
            }
            (State::InLine, _) => {}
        }
        0
    }

    fn begin_line(&mut self, byte: u8) -> u32 {
        match byte {
            b'\n' | b'\r' => {
                let dispatched = u32::from(self.has_data);
                self.in_event = false;
                self.has_data = false;
                self.state = after(byte);
                return dispatched;
            }
            b':' => self.state = State::InLine,
            b'd' => self.begin_field(State::InName(1)),
            _ => self.begin_field(State::InLine),
        }
        0
    }

    fn begin_field(&mut self, state: State) {
        self.in_event = true;
        self.state = state;
    }

    fn step_name(&mut self, length: u8, byte: u8) {
        let at = usize::from(length);
        if at < DATA.len() && DATA[at] == byte {
            self.state = State::InName(length + 1);
            return;
        }
        self.has_data |= at == DATA.len() && byte == b':';
        self.state = State::InLine;
    }

    /// The end of a line that was not empty.
    fn end_line(&mut self, byte: u8) -> u32 {
        // A line that is the field name alone has the empty string as its value.
        self.has_data |= self.state == State::InName(DATA.len() as u8);
        self.state = after(byte);
        0
    }
}

fn after(line_end: u8) -> State {
    if line_end == b'\r' { State::AfterCr } else { State::LineStart }
}

/// Checks on any input that a cut anywhere changes nothing; for fuzzers and the test below.
pub fn fuzz_split(data: &[u8]) {
    let scanner = || Scanner::new(Dialects { setting: None, hint: None });
    let mut whole = scanner();
    let events = whole.scan(data);
    let mut bytewise = scanner();
    let sum: u32 = data.chunks(1).map(|byte| bytewise.scan(byte)).sum();
    assert_eq!(events, sum, "events differ by the cut: {data:?}");
    assert_eq!(whole.at_boundary(), bytewise.at_boundary(), "boundary differs: {data:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_an_event_of_ours_may_stand() {
        for (text, expected) in [
            ("", true),
            ("data: a\n\n", true),
            ("data: a\r\n\r", true),
            ("data: a\n", false),
            ("data: a", false),
            ("event: x\n", true),
            ("event: x", false),
            ("id: 4\nda", false),
            ("event: x\ndata: y\n", false),
            (": comment\n", true),
            ("\u{feff}", true),
        ] {
            let mut scanner = scanner();
            scanner.scan(text.as_bytes());
            assert_eq!(scanner.has_room_for_event(), expected, "{text:?}");
        }
    }

    fn scanner() -> Scanner {
        Scanner::new(Dialects { setting: None, hint: None })
    }

    fn scan(text: &str) -> (u32, bool) {
        let mut scanner = scanner();
        (scanner.scan(text.as_bytes()), scanner.at_boundary())
    }

    #[test]
    fn events_and_boundaries() {
        for (text, events, boundary) in [
            ("", 0, true),
            ("data: a\n\n", 1, true),
            ("data: a\r\n\r\n", 1, true),
            ("data: a\r\r", 1, true),
            ("data: a\n", 0, false),
            ("data: a\r\n\r", 1, false),
            ("data: a\n\ndata: b", 1, false),
            ("data\n\n", 1, true),
            ("data:\n\n", 1, true),
            ("dat: a\n\n", 0, true),
            ("datas: a\n\n", 0, true),
            ("id: 7\nretry: 5\n\n", 0, true),
            ("event: x\ndata: a\ndata: b\n\n", 1, true),
            (": comment\n", 0, true),
            (": comment", 0, false),
            (":\n\n\n\n", 0, true),
            ("data: a\n: inside\n", 0, false),
            ("data: a\n: inside\n\n", 1, true),
            ("\u{feff}data: a\n\n", 1, true),
            ("\u{feff}", 0, true),
            ("\n\n", 0, true),
            ("\r", 0, false),
        ] {
            assert_eq!(scan(text), (events, boundary), "{text:?}");
        }
    }

    #[test]
    fn half_a_byte_order_mark_is_no_boundary() {
        let mut scanner = scanner();
        scanner.scan(&BOM[..2]);
        assert!(!scanner.at_boundary());
        scanner.scan(b"x: y\n");
        assert!(!scanner.at_boundary(), "it was the beginning of a field");
    }

    #[test]
    fn a_cr_may_still_get_its_lf() {
        let mut scanner = scanner();
        scanner.scan(b"data: a\r\n\r");
        assert!(!scanner.at_boundary(), "between CR and LF");
        scanner.scan(b"\n");
        assert!(scanner.at_boundary());
    }

    #[test]
    fn cuts_change_nothing() {
        // xorshift: the alphabet is small so that line ends meet each other in every way.
        let mut seed = 0x2545_F491_4F6C_DD1D_u64;
        for round in 0..20_000 {
            let mut data = Vec::new();
            for _ in 0..round % 24 {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                data.push(b"data:\r\n x\xEF\xBB\xBF"[(seed % 12) as usize]);
            }
            fuzz_split(&data);
        }
    }
}
