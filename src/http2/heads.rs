//! Heads that go, as far as requests and responses are alike: collected as they come, and their
//! fields without what HTTP/2 has no use for.

use std::io;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::outgoing::invalid;
use crate::http1::fields::Fields;
use crate::http1::head::HeadError;

/// Fields about one HTTP/1 connection, which "an endpoint MUST NOT generate" and whose presence
/// makes a message malformed (RFC 9113 §8.2.2).
pub const CONNECTION_SPECIFIC: [&str; 5] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// Why a head has no form in HTTP/2; names the part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {0} cannot be sent in HTTP/2")]
pub struct Unsendable(pub &'static str);

/// What has come of a head that is not complete.
#[derive(Debug, Default)]
pub struct Collector(Vec<u8>);

impl Collector {
    /// Takes bytes from the front of `data`; gives how many, and the head when they complete it.
    /// What is longer than `max_bytes`, or refused by `parse`, is an error.
    pub fn take<H>(
        &mut self,
        data: &[u8],
        max_bytes: usize,
        parse: impl FnOnce(&[u8]) -> Result<Option<(H, usize)>, HeadError>,
    ) -> io::Result<(usize, Option<H>)> {
        let before = self.0.len();
        // Heads come in one piece but for huge ones, and are not copied then.
        let parsed = if before == 0 {
            parse(data)
        } else {
            self.0.extend_from_slice(data);
            parse(&self.0)
        };
        match parsed.map_err(invalid)? {
            Some((head, length)) => {
                self.0 = Vec::new();
                Ok((length - before, Some(head)))
            }
            None if before + data.len() > max_bytes => Err(invalid("head too long")),
            None => {
                self.0.truncate(before);
                self.0.extend_from_slice(data);
                Ok((data.len(), None))
            }
        }
    }
}

/// The fields of a message, without those about its connection, those that its `Connection` names,
/// and those named in `and_without` (in lower case). Names become lower case.
pub fn fields(fields: &Fields, and_without: &[&str]) -> Result<HeaderMap, Unsendable> {
    let nominated: Vec<_> = fields.tokens("connection").collect();
    let mut map = HeaderMap::with_capacity(fields.count());
    for field in fields.iter() {
        let is = |name: &[u8]| field.name.eq_ignore_ascii_case(name);
        let left_out = CONNECTION_SPECIFIC.iter().chain(and_without);
        if left_out.into_iter().any(|name| is(name.as_bytes()))
            || nominated.iter().any(|name| is(name))
        {
            continue;
        }
        let name = HeaderName::from_bytes(field.name).map_err(|_| Unsendable("field names"))?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| Unsendable("field values"))?;
        map.try_append(name, value).map_err(|_| Unsendable("number of fields"))?;
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::parse_response;

    #[test]
    fn any_cut_gives_the_same_head_and_no_byte_more() {
        let text = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody";
        let head = text.len() - 4;
        for cut in 0..=text.len() {
            let (front, back) = text.split_at(cut);
            let mut collector = Collector::default();
            let (mut taken, mut found) = collector.take(front, 100, parse_response).unwrap();
            if found.is_none() {
                let more = collector.take(back, 100, parse_response).unwrap();
                (taken, found) = (taken + more.0, more.1);
            }
            assert_eq!((taken, found.unwrap().status), (head, 200), "cut at {cut}");
            assert!(collector.0.is_empty());
        }
    }

    #[test]
    fn heads_have_a_limit() {
        let mut collector = Collector::default();
        assert_eq!(collector.take(b"HTTP/1.1 200 ", 20, parse_response).unwrap().0, 13);
        let error = collector.take(b"Very Fine Indeed", 20, parse_response).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
