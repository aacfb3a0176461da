//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): who the client of the
//! proxy in front is. Pure.

use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, ProxyHeader};

/// Version 1 begins so.
const TEXT: &[u8] = b"PROXY ";
/// Version 2 begins so.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest header: one of version 2 has 16 bytes, then up to 65,535; nobody sends more than
/// addresses and a few words about TLS.
const MAX_BYTES: usize = 4096;

/// What a connection begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// No PROXY header.
    Other,
    /// Perhaps one; more input is needed.
    Unclear,
    /// One; its first bytes are there.
    Header,
}

/// Whose connection a proxy passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A client's at that address.
    Client(SocketAddr),
    /// Its own: a health check, say.
    Proxy,
    /// It does not know, or its client has no address.
    Unknown,
}

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Who speaks.
    pub source: Source,
    /// Bytes that it has.
    pub length: usize,
}

/// Not a PROXY header, although it begins as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed PROXY header")]
pub struct Malformed;

/// Looks at the first bytes of a connection. Neither beginning can be that of HTTP or TLS.
pub fn beginning(input: &[u8]) -> Beginning {
    let agrees = |signature: &[u8]| input.iter().zip(signature).all(|(a, b)| a == b);
    match [TEXT, BINARY].into_iter().find(|signature| agrees(signature)) {
        None => Beginning::Other,
        Some(signature) if input.len() < signature.len() => Beginning::Unclear,
        Some(_) => Beginning::Header,
    }
}

/// `proxy-protocol.txt` §2.1: the longest line of version 1, line end included.
const TEXT_MAX_BYTES: usize = 107;

/// Takes a header off the front of `input`; `None` is one that is not complete yet.
pub fn parse(input: &[u8]) -> Result<Option<Header>, Malformed> {
    let config = ParseConfig { include_tlvs: false, allow_v1: true, allow_v2: true };
    match ProxyHeader::parse(input, config) {
        Ok((header, length)) if length <= MAX_BYTES => {
            let source = match header.proxied_address() {
                Some(address) => Source::Client(address.source),
                None if is_local(input) => Source::Proxy,
                None => Source::Unknown,
            };
            Ok(Some(Header { source, length }))
        }
        Err(Error::BufferTooShort) if may_grow(input) => Ok(None),
        Ok(_) | Err(_) => Err(Malformed),
    }
}

/// `proxy-protocol.txt` §2.2: the command is the lower half of the 13th byte, 0 for LOCAL. Version
/// 1 cannot say it.
fn is_local(input: &[u8]) -> bool {
    input.starts_with(BINARY) && input.get(12).is_some_and(|byte| byte & 0xf == 0)
}

/// Whether a header that is too short now can become a whole one.
fn may_grow(input: &[u8]) -> bool {
    match input.starts_with(TEXT) {
        true => input.len() < TEXT_MAX_BYTES && !input.contains(&b'\n'),
        false => input.len() < MAX_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `proxy-protocol.txt` §2.2: PROXY, TCP over IPv4, 12 bytes of addresses.
    const V2: &[u8] =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x0a\x00\x00\x01\x0a\x00\x00\x02\x30\x39\x01\xbbGET";

    #[test]
    fn both_versions_give_the_clients_address() {
        let text = b"PROXY TCP6 2001:db8::1 ::1 40000 443\r\nGET";
        let found = |input| parse(input).unwrap().unwrap();
        let source = Source::Client("[2001:db8::1]:40000".parse().unwrap());
        assert_eq!(found(text), Header { source, length: text.len() - 3 });
        let source = Source::Client("10.0.0.1:12345".parse().unwrap());
        assert_eq!(found(V2), Header { source, length: V2.len() - 3 });
        assert_eq!(found(b"PROXY UNKNOWN\r\n").source, Source::Unknown);
        let unspecified = b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x00";
        assert_eq!(found(unspecified).source, Source::Unknown);
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
        assert_eq!(found(local), Header { source: Source::Proxy, length: local.len() });
    }

    #[test]
    fn every_prefix_needs_more() {
        let text: &[u8] = b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n";
        for whole in [text, &V2[..V2.len() - 3]] {
            for cut in 0..whole.len() {
                assert_eq!(parse(&whole[..cut]), Ok(None), "{cut} of {whole:?}");
                assert_ne!(beginning(&whole[..cut]), Beginning::Other, "{cut} of {whole:?}");
            }
            assert_eq!(beginning(whole), Beginning::Header);
        }
    }

    #[test]
    fn http_and_tls_are_told_apart_at_once() {
        for other in [&b"POST / HTTP/1.1"[..], b"PRI * HTTP/2.0", b"\x16\x03\x01", b"\r\nGET"] {
            assert_eq!(beginning(other), Beginning::Other, "{other:?}");
        }
        assert_eq!(beginning(b"P"), Beginning::Unclear);
        assert_eq!(beginning(b"\r\n"), Beginning::Unclear);
    }

    #[test]
    fn nonsense_is_refused() {
        let long = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"[..], &[0; MAX_BYTES]].concat();
        for bad in [
            &b"PROXY TCP4 10.0.0.1\r\n"[..],
            b"PROXY TCP4 10.0.0.256 10.0.0.2 1 2\r\n",
            b"PROXY TCP4 10.0.0.1 10.0.0.2 1 99999\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0c",
            &[b"PROXY ".as_slice(), &[b'x'; 200]].concat(),
            &long,
        ] {
            assert_eq!(parse(bad), Err(Malformed), "{bad:?}");
        }
    }
}
