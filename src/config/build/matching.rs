//! What a route matches: hosts, paths and methods, as text.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use crate::config::model::{HostPattern, PathPattern};
use crate::config::units::Invalid;
use crate::config::url::is_host_name;
use crate::syntax::name::is_token;
use crate::syntax::path;

/// What is expected in `hosts`.
pub(super) const A_HOST: &str = "a host such as \"chat.example.com\" or \"*.example.com\"";
/// What is expected in `paths`.
pub(super) const A_PATH: &str =
    "a prefix such as \"/v1/\" or an exact path such as \"=/v1/models\"";
/// What is expected in `methods`.
pub(super) const A_METHOD: &str = "a method such as \"GET\"";

/// `chat.example.com`, `*.example.com`, `[::1]`. RFC 9110, 4.2.3: "host … normally provided in
/// lowercase", and compared without regard to case, so it is kept in lower case.
pub(super) fn host(text: &str) -> Result<HostPattern, Invalid> {
    let lower = text.to_ascii_lowercase();
    if lower == "*" {
        return Err(Invalid::new(format!("{A_HOST} (for any host, leave out hosts)")));
    }
    if let Some(domain) = lower.strip_prefix("*.") {
        let pattern = is_host_name(domain).then(|| HostPattern::Below(domain.to_owned()));
        return pattern.ok_or_else(|| Invalid::new(A_HOST));
    }
    let address = lower.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = address.and_then(|address| address.parse::<Ipv6Addr>().ok()) {
        return Ok(HostPattern::Exact(format!("[{address}]")));
    }
    if is_host_name(&lower) {
        return Ok(HostPattern::Exact(lower));
    }
    if lower.contains('*') {
        return Err(Invalid::new(format!("{A_HOST} (*. only in front)")));
    }
    match lower.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() && host(name).is_ok() => {
            Err(Invalid::new(format!("{A_HOST} without a port")).suggest(name))
        }
        _ => Err(Invalid::new(A_HOST)),
    }
}

/// `/v1/` or `=/v1/models`, in the form in which paths of requests are compared.
pub(super) fn path_pattern(text: &str) -> Result<PathPattern, Invalid> {
    if text.starts_with("=/") {
        return exact(&text[1..]).map(PathPattern::Exact);
    }
    if text.starts_with('/') {
        let prefix = plain_path(text)?;
        let prefix = path::check_prefix(&prefix).map_err(|_| unmatchable())?;
        return Ok(PathPattern::Prefix(prefix));
    }
    let bare = text.trim_start_matches('=');
    let mark = if bare.len() < text.len() { "=/" } else { "/" };
    Err(Invalid::new(A_PATH).suggest(format!("{mark}{}", bare.trim_start_matches('/'))))
}

/// What no request has, because it would be refused.
fn unmatchable() -> Invalid {
    Invalid::new("a path without dot segments and backslashes, percent-encoded as UTF-8")
}

/// A whole path, in the form in which paths of requests are compared.
pub(super) fn exact(text: &str) -> Result<String, Invalid> {
    let path = plain_path(text)?;
    path::check(&path).map(Cow::into_owned).map_err(|_| unmatchable())
}

/// What is removed from the front of paths, as they come.
pub(super) fn prefix(text: &str) -> Result<String, Invalid> {
    let prefix = plain_path(text)?;
    path::check_prefix(&prefix).map(|_| prefix).map_err(|_| unmatchable())
}

/// A path as it comes in a request: RFC 3986, 3.3, without query and fragment. Other characters
/// come percent-encoded, so a pattern with them would never match.
fn plain_path(text: &str) -> Result<String, Invalid> {
    if !text.starts_with('/') {
        return Err(Invalid::new("a path that begins with \"/\"").suggest(format!("/{text}")));
    }
    if text.contains(['?', '#']) {
        return Err(Invalid::new("a path without ? and #"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Invalid::new("a path of visible ASCII, other characters percent-encoded"));
    }
    Ok(text.to_owned())
}

/// What a request asks for: RFC 9112, 3.2.1, `absolute-path [ "?" query ]`.
pub(super) fn request_target(text: &str) -> Result<String, Invalid> {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    if text.contains('#') || !query.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Invalid::new("a path, perhaps with a query, of visible ASCII without #"));
    }
    plain_path(path)?;
    Ok(text.to_owned())
}

/// A method. RFC 9110, 9.1: "The method token is case-sensitive", and all known ones are in
/// upper case, so lower case is a mistake that would match nothing.
pub(super) fn method(text: &str) -> Result<String, Invalid> {
    let upper = text.to_ascii_uppercase();
    if !is_token(text) {
        return Err(Invalid::new(A_METHOD));
    }
    if upper != text {
        return Err(Invalid::new(format!("{A_METHOD} in upper case")).suggest(upper));
    }
    Ok(upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggestion<T: std::fmt::Debug>(result: Result<T, Invalid>) -> Option<String> {
        result.unwrap_err().suggestion
    }

    #[test]
    fn hosts() {
        let exact = |host: &str| Ok(HostPattern::Exact(host.to_owned()));
        assert_eq!(host("Chat.Example.COM"), exact("chat.example.com"));
        assert_eq!(host("127.0.0.1"), exact("127.0.0.1"));
        assert_eq!(host("[0:0::1]"), exact("[::1]"));
        assert_eq!(host("*.Example.com"), Ok(HostPattern::Below("example.com".to_owned())));
        for bad in
            ["", "*", "*.", "a.*.b", "*a.b", "*.*.a", "a:80", "a..b", "a b", "a/", "::1", "é"]
        {
            assert!(host(bad).is_err(), "{bad:?} is no host");
        }
        assert_eq!(suggestion(host("A.example:8080")).as_deref(), Some("a.example"));
        assert_eq!(suggestion(host("[::1]:80")).as_deref(), Some("[::1]"));
    }

    #[test]
    fn paths() {
        assert_eq!(path_pattern("/"), Ok(PathPattern::Prefix("/".to_owned())));
        assert_eq!(path_pattern("=/v1/models"), Ok(PathPattern::Exact("/v1/models".to_owned())));
        assert_eq!(path_pattern("/%7Euser/"), Ok(PathPattern::Prefix("/~user/".to_owned())));
        assert_eq!(path_pattern("=/a%2fb:c"), path_pattern("=/a%2Fb%3Ac"));
        assert_eq!(path_pattern("/."), Ok(PathPattern::Prefix("/.".to_owned())));
        for never in ["/a/../b/", "=/a/..", "/a\\b", "=/a%", "/a%zz/", "/a%00", "/%c0%ae/"] {
            let expected = path_pattern(never).unwrap_err().expected;
            assert!(expected.contains("dot segments"), "{never}: {expected}");
            assert!(prefix(never.trim_start_matches('=')).is_err() || never == "=/a/..", "{never}");
        }
        assert_eq!(prefix("/%7Euser"), Ok("/%7Euser".to_owned()), "it is compared as it comes");
        for bad in ["", "=", "v1", "=v1", "/a?b", "/a#b", "=/a?b", "/a b", "/é", "/a\n", "==/a"] {
            assert!(path_pattern(bad).is_err(), "{bad:?} is no path");
        }
        assert_eq!(suggestion(path_pattern("v1/")).as_deref(), Some("/v1/"));
        assert_eq!(suggestion(path_pattern("=v1")).as_deref(), Some("=/v1"));
    }

    #[test]
    fn request_targets() {
        for good in ["/", "/health", "/health?deep=1&x=?"] {
            assert_eq!(request_target(good).as_deref(), Ok(good));
        }
        for bad in ["", "health", "?x", "/a#b", "/a?b#c", "/a b", "/a?b c", "/a?é", "/a\n"] {
            assert!(request_target(bad).is_err(), "{bad:?} is no request target");
        }
        assert_eq!(suggestion(request_target("health")).as_deref(), Some("/health"));
    }

    #[test]
    fn methods() {
        assert_eq!(method("GET"), Ok("GET".to_owned()));
        assert_eq!(method("M-SEARCH"), Ok("M-SEARCH".to_owned()));
        assert_eq!(suggestion(method("Post")).as_deref(), Some("POST"));
        for bad in ["", "GET ", "GE(T", "GÉT"] {
            assert!(method(bad).is_err(), "{bad:?} is no method");
        }
    }
}
