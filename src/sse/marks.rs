//! Knows from the lines of an event stream what it speaks and whether it has said its end.
//!
//! Lines are looked at where they were read; only one that was cut leaves its beginning here.

use super::dialect::{Dialect, Dialects};
use super::scanner::BOM;

/// Longest beginning of a line that matters: names of events and the first bytes of data.
const LINE_MAX_BYTES: usize = 40;

/// Follows one event stream.
#[derive(Debug, Clone)]
pub struct Marks {
    /// None as long as no event has told.
    dialect: Option<Dialect>,
    hint: Option<Dialect>,
    /// The beginning of a line that is not complete.
    line: [u8; LINE_MAX_BYTES],
    length: u8,
    name: Name,
    data: Data,
    ended: bool,
}

/// The name of an event, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    None,
    MessageStart,
    MessageStop,
    /// `response.completed` and the like.
    ResponseEnd,
    /// Another of `response.…`.
    Response,
    Error,
    Other,
}

/// The beginning of an event's data, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Data {
    None,
    Done,
    /// JSON that is an error.
    Error,
    Json,
    Other,
}

impl Marks {
    /// At the start of a stream.
    pub fn new(dialects: Dialects) -> Self {
        Self {
            dialect: dialects.setting,
            hint: dialects.hint,
            line: [0; LINE_MAX_BYTES],
            length: 0,
            name: Name::None,
            data: Data::None,
            ended: false,
        }
    }

    /// What the stream speaks; before its first event, what is most likely.
    pub fn dialect(&self) -> Dialect {
        self.dialect.or(self.hint).unwrap_or(Dialect::Plain)
    }

    /// Whether it must say its end and has not.
    pub fn is_unfinished(&self) -> bool {
        self.dialect.is_some_and(|dialect| dialect != Dialect::Plain) && !self.ended
    }

    /// Whether it has said its end, or speaks nothing that has one. Before its first event it is
    /// taken for what is most likely, since nothing is no answer in any dialect.
    pub fn may_end(&self) -> bool {
        self.ended || self.dialect() == Dialect::Plain
    }

    /// A part of a line was read, and its end was not.
    pub(super) fn part(&mut self, part: &[u8]) {
        let length = usize::from(self.length);
        let count = part.len().min(LINE_MAX_BYTES - length);
        self.line[length..length + count].copy_from_slice(&part[..count]);
        self.length = (length + count) as u8;
    }

    /// The last part of a line was read.
    pub(super) fn line(&mut self, part: &[u8]) {
        if self.length == 0 {
            return self.field(&part[..part.len().min(LINE_MAX_BYTES)]);
        }
        self.part(part);
        let (line, length) = (self.line, usize::from(self.length));
        self.length = 0;
        self.field(&line[..length]);
    }

    /// A blank line came; it completes an event if there was data.
    pub(super) fn blank(&mut self, has_data: bool) {
        let (name, data) = (self.name, self.data);
        (self.name, self.data) = (Name::None, Data::None);
        if !has_data {
            return;
        }
        let dialect = *self.dialect.get_or_insert_with(|| recognize(name, data, self.hint));
        self.ended |= match dialect {
            Dialect::OpenAiChat => matches!(data, Data::Done | Data::Error),
            Dialect::OpenAiResponses => matches!(name, Name::ResponseEnd | Name::Error),
            Dialect::Anthropic => matches!(name, Name::MessageStop | Name::Error),
            Dialect::Plain => false,
        };
    }

    fn field(&mut self, line: &[u8]) {
        let line = line.strip_prefix(&BOM).unwrap_or(line);
        if let Some(rest) = line.strip_prefix(b"data") {
            if self.data == Data::None && rest.first() == Some(&b':') {
                self.data = data(strip_value(rest));
            }
        } else if let Some(rest) = line.strip_prefix(b"event")
            && rest.first() == Some(&b':')
        {
            self.name = name(strip_value(rest));
        }
    }
}

/// The value behind a field's name. WHATWG HTML §9.2.6: one space behind the colon is not part of
/// it.
fn strip_value(rest: &[u8]) -> &[u8] {
    let rest = rest.strip_prefix(b":").unwrap_or(rest);
    rest.strip_prefix(b" ").unwrap_or(rest)
}

fn name(value: &[u8]) -> Name {
    match value {
        b"" => Name::None,
        b"message_start" => Name::MessageStart,
        b"message_stop" => Name::MessageStop,
        b"response.completed" | b"response.incomplete" | b"response.failed" => Name::ResponseEnd,
        b"error" => Name::Error,
        _ if value.starts_with(b"response.") => Name::Response,
        _ => Name::Other,
    }
}

fn data(value: &[u8]) -> Data {
    match value {
        _ if value.starts_with(b"[DONE]") => Data::Done,
        _ if value.starts_with(b"{\"error\"") || value.starts_with(b"{ \"error\"") => Data::Error,
        _ if value.starts_with(b"{") => Data::Json,
        _ => Data::Other,
    }
}

/// What the first event tells. A path alone is not enough: an application of one's own at
/// `/api/messages` does not speak like Anthropic, and its streams are not cut off for that.
fn recognize(name: Name, data: Data, hint: Option<Dialect>) -> Dialect {
    match (name, data) {
        (Name::MessageStart, _) => Dialect::Anthropic,
        (Name::Response | Name::ResponseEnd, _) => Dialect::OpenAiResponses,
        (Name::None, Data::Json | Data::Error | Data::Done)
            if hint == Some(Dialect::OpenAiChat) =>
        {
            Dialect::OpenAiChat
        }
        _ => Dialect::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::super::scanner::Scanner;
    use super::*;

    fn follow(hint: Option<Dialect>, text: &str) -> (Dialect, bool) {
        let whole = cut(hint, text, text.len());
        for at in 0..text.len() {
            assert_eq!(cut(hint, text, at), whole, "{text:?} cut at {at}");
        }
        whole
    }

    fn cut(hint: Option<Dialect>, text: &str, at: usize) -> (Dialect, bool) {
        let mut scanner = Scanner::new(Dialects { setting: None, hint });
        scanner.scan(&text.as_bytes()[..at]);
        scanner.scan(&text.as_bytes()[at..]);
        (scanner.dialect(), scanner.is_unfinished())
    }

    const CHAT: Option<Dialect> = Some(Dialect::OpenAiChat);

    #[test]
    fn ends_are_marked() {
        use Dialect as D;
        for (hint, text, expected) in [
            (CHAT, "data: {\"a\":1}\n\ndata: [DONE]\n\n", (D::OpenAiChat, false)),
            (CHAT, "data:{\"a\":1}\r\n\r\ndata:[DONE]\r\n\r\n", (D::OpenAiChat, false)),
            (CHAT, "data: {\"a\":1}\n\n", (D::OpenAiChat, true)),
            (CHAT, "data: {\"a\":1}\n\ndata: [DONE]\n", (D::OpenAiChat, true)),
            (CHAT, "data: {\"a\":1}\n\ndata: {\"error\":{}}\n\n", (D::OpenAiChat, false)),
            (CHAT, ": hello\n\ndata: {\"a\":1}\n\n", (D::OpenAiChat, true)),
            (None, "data: {\"a\":1}\n\n", (D::Plain, false)),
            (
                Some(D::Anthropic),
                "event: message_start\ndata: {}\n\nevent: message_stop\ndata: {}\n\n",
                (D::Anthropic, false),
            ),
            (None, "event: message_start\ndata: {}\n\n", (D::Anthropic, true)),
            (Some(D::Anthropic), "event: post\ndata: {}\n\n", (D::Plain, false)),
            (
                None,
                "event: response.created\ndata: {}\n\nevent: response.completed\ndata: {}\n\n",
                (D::OpenAiResponses, false),
            ),
            (
                None,
                "event: response.created\ndata: {}\n\nevent: response.output_text.delta\ndata: {}\n\n",
                (D::OpenAiResponses, true),
            ),
            (CHAT, "", (D::OpenAiChat, false)),
            (CHAT, "\u{feff}data: {\"a\":1}\n\n", (D::OpenAiChat, true)),
        ] {
            assert_eq!(follow(hint, text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_setting_is_not_questioned() {
        let setting = Some(Dialect::Anthropic);
        let mut scanner = Scanner::new(Dialects { setting, hint: CHAT });
        assert!(scanner.is_unfinished(), "an empty stream has no end mark");
        scanner.scan(b"data: {}\n\ndata: [DONE]\n\n");
        assert!(scanner.is_unfinished());
        scanner.scan(b"event: message_stop\ndata: {}\n\n");
        assert!(!scanner.is_unfinished());
    }
}
