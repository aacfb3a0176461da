//! `[routes.NAME.headers]`: names and values of header fields.

use std::collections::HashSet;

use crate::config::model::Headers;
use crate::config::read::Table;
use crate::config::units::Invalid;
use crate::syntax::name::{HOP_BY_HOP, is_token};

/// Reads `headers`.
pub(super) fn headers(mut table: Table<'_>) -> Headers {
    let headers = Headers {
        request_set: set(table.table("request_set")),
        request_remove: removed(&mut table, "request_remove"),
        response_set: set(table.table("response_set")),
        response_remove: removed(&mut table, "response_remove"),
    };
    table.finish();
    headers
}

fn set(table: Table<'_>) -> Vec<(String, String)> {
    let reader = table.reader();
    let mut seen = HashSet::new();
    let mut fields = Vec::new();
    for (name, value) in table.pairs() {
        // Values hold API keys more often than not, so they are read as secrets.
        let value = value.parse_secret("a string", field_value);
        if let Err(invalid) = field_name(&name.value) {
            reader.problem(&name.place, invalid.found(&name.value));
        } else if !seen.insert(name.value.to_ascii_lowercase()) {
            let message = format!("expected each field once, found {} again", name.text);
            reader.problem(&name.place, message);
        } else if let Some(value) = value {
            fields.push((name.value, value.value));
        }
    }
    fields
}

fn removed(table: &mut Table<'_>, key: &'static str) -> Vec<String> {
    let names = table.list(key, "the name of a header field", field_name).unwrap_or_default();
    names.into_iter().map(|name| name.value).collect()
}

/// RFC 9110, 5.1: `field-name = token`; and one that is not the proxy's own business.
pub(super) fn field_name(text: &str) -> Result<String, Invalid> {
    if !is_token(text) {
        return Err(Invalid::new("the name of a header field"));
    }
    if text.eq_ignore_ascii_case("host") {
        return Err(Invalid::new("a field other than Host, for which there is host_header"));
    }
    if HOP_BY_HOP.iter().any(|own| text.eq_ignore_ascii_case(own)) {
        return Err(Invalid::new("a field that does not belong to the connection or the framing"));
    }
    Ok(text.to_owned())
}

/// RFC 9110, 5.5: a field value has no CR, LF or NUL, and no other control character but tab.
/// What is not ASCII is refused as well, because nobody agrees on its encoding.
fn field_value(text: &str) -> Result<String, Invalid> {
    let allowed = |byte: u8| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t';
    if text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(Invalid::new("a value of visible ASCII characters, spaces and tabs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_the_proxys_own_business_are_refused() {
        for name in ["connection", "Transfer-Encoding", "CONTENT-LENGTH", "te", "HTTP2-Settings"] {
            assert!(field_name(name).unwrap_err().expected.contains("framing"), "{name}");
        }
        assert!(field_name("host").unwrap_err().expected.contains("host_header"));
        for name in ["", "X A", "X:", "X\r\n", "É"] {
            assert!(field_name(name).is_err(), "{name:?} is no token");
        }
        assert_eq!(field_name("X-Api-Key"), Ok("X-Api-Key".to_owned()));
    }

    #[test]
    fn values_cannot_end_the_line() {
        for value in ["a\r\nB: c", "a\nb", "a\rb", "a\0b", "\u{7f}", "é"] {
            assert!(field_value(value).is_err(), "{value:?}");
        }
        assert!(field_value("").is_ok());
        assert!(field_value("max-age=60,\tx \"y\"").is_ok());
    }
}
