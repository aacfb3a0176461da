//! What a span says of a request besides what the log does.

use std::net::IpAddr;

use super::app::Context;
use crate::config::model::PathPattern;
use crate::http1::head::RequestHead;
use crate::syntax::authority::host_name;
use crate::telemetry::span::Details;

/// Longest `User-Agent` that is told, in bytes; those of browsers are half as long.
const USER_AGENT_MAX_BYTES: usize = 256;

/// Of a request as it came, from a client with that address.
pub(super) fn details(
    context: Context<'_>,
    head: &RequestHead,
    client: Option<IpAddr>,
) -> Box<Details> {
    let host = head.fields.get("host").and_then(|host| std::str::from_utf8(host).ok());
    Box::new(Details {
        scheme: context.sender().scheme,
        server: host.and_then(server),
        user_agent: head.fields.get("user-agent").map(|value| {
            let text = String::from_utf8_lossy(&value[..value.len().min(USER_AGENT_MAX_BYTES)]);
            text.into_owned()
        }),
        client,
        pattern: None,
    })
}

/// Host and port, if it is one.
fn server(authority: &str) -> Option<(String, Option<u16>)> {
    let host = host_name(authority).filter(|host| !host.is_empty())?;
    let (_, port) = authority.rsplit_once(':').unwrap_or_default();
    // The conventions have addresses of IPv6 as addresses.
    let host = host.trim_matches(['[', ']']).to_owned();
    Some((host, port.parse().ok()))
}

/// A path pattern as frameworks write it.
pub(super) fn pattern(path: &PathPattern) -> String {
    match path {
        PathPattern::Exact(path) => path.clone(),
        PathPattern::Prefix(path) => format!("{path}*"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_request_was_sent_to() {
        let some = |host: &str, port| Some((host.to_owned(), port));
        for (authority, expected) in [
            ("Chat.example.com", some("chat.example.com", None)),
            ("a:8443", some("a", Some(8443))),
            ("[::1]:80", some("::1", Some(80))),
            ("[::1]", some("::1", None)),
            ("a:", some("a", None)),
            ("", None),
            ("a b", None),
            ("a:99999", None),
        ] {
            assert_eq!(server(authority), expected, "{authority:?}");
        }
        assert_eq!(pattern(&PathPattern::Prefix("/v1/".to_owned())), "/v1/*");
        assert_eq!(pattern(&PathPattern::Exact("/v1".to_owned())), "/v1");
    }
}
