//! `balance` and `hash_key` of an upstream.

use crate::config::model::{Balance, HashKey};
use crate::config::read::Table;
use crate::config::units::Invalid;
use crate::syntax::name::is_token;

/// The words of `balance`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    LeastStreams,
    RoundRobin,
    P2c,
    Random,
    Hash,
}

/// Reads `balance` and `hash_key`, which need each other.
pub(super) fn balance(table: &mut Table<'_>) -> Balance {
    let policies = [
        ("least_streams", Policy::LeastStreams),
        ("round_robin", Policy::RoundRobin),
        ("p2c", Policy::P2c),
        ("random", Policy::Random),
        ("hash", Policy::Hash),
    ];
    let written = table.take("balance");
    let policy = written.as_ref().map(|value| value.choice(&policies));
    let key = table.take("hash_key");
    match (policy, &key) {
        (Some(Some(Policy::Hash)), None) => {
            table.lacks("hash_key", &format!("{A_HASH_KEY} with balance = \"hash\""));
        }
        // A policy that is wrong has been reported, and may have been meant to be "hash".
        (Some(Some(Policy::Hash) | None), _) | (_, None) => {}
        (_, Some(key)) => key.misfit("no hash_key without balance = \"hash\""),
    }
    let key = key.and_then(|value| value.parse(A_HASH_KEY, hash_key));
    match policy.flatten().unwrap_or(Policy::LeastStreams) {
        Policy::LeastStreams => Balance::LeastStreams,
        Policy::RoundRobin => Balance::RoundRobin,
        Policy::P2c => Balance::P2c,
        Policy::Random => Balance::Random,
        Policy::Hash => Balance::Hash(key.map_or(HashKey::Ip, |written| written.value)),
    }
}

const A_HASH_KEY: &str = "\"header:NAME\", \"cookie:NAME\", \"query:NAME\", \"ip\" or \"path\"";

/// Names of header fields are kept in lower case; the others are compared as they are written.
fn hash_key(text: &str) -> Result<HashKey, Invalid> {
    match text.split_once(':') {
        None if text == "ip" => Ok(HashKey::Ip),
        None if text == "path" => Ok(HashKey::Path),
        Some(("header", name)) if is_token(name) => Ok(HashKey::Header(name.to_ascii_lowercase())),
        // RFC 6265, 4.1.1: `cookie-name = token`.
        Some(("cookie", name)) if is_token(name) => Ok(HashKey::Cookie(name.to_owned())),
        Some(("query", name)) if is_parameter(name) => Ok(HashKey::Query(name.to_owned())),
        _ => Err(Invalid::new(A_HASH_KEY)),
    }
}

/// A name as it stands in a query before `=`.
fn is_parameter(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"&=#".contains(&byte);
    !name.is_empty() && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_keys() {
        let header = HashKey::Header("x-session-id".to_owned());
        assert_eq!(hash_key("header:X-Session-Id"), Ok(header));
        assert_eq!(hash_key("cookie:SID"), Ok(HashKey::Cookie("SID".to_owned())));
        assert_eq!(hash_key("query:a[b]:c"), Ok(HashKey::Query("a[b]:c".to_owned())));
        assert_eq!(hash_key("ip"), Ok(HashKey::Ip));
        assert_eq!(hash_key("path"), Ok(HashKey::Path));
        let bad = [
            "",
            "header",
            "header:",
            "header: x",
            "cookie:a b",
            "query:",
            "query:a=b",
            "query:a&b",
            "Ip",
            "ip:",
            "path:x",
            "x-session-id",
            "query:é",
        ];
        for text in bad {
            assert!(hash_key(text).is_err(), "{text:?} is no hash key");
        }
    }
}
