//! `[routes.NAME.auth]`: who may come in.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use super::fields::field_name;
use super::upstream::{of_url, url_and_target};
use crate::config::defaults::{self, DURATION_MIN};
use crate::config::model::{
    Algorithm, ApiKey, ApiKeyAuth, Auth, ForwardAuth, JwtAuth, KeySource, Upstream,
};
use crate::config::read::{Place, Table, Value, Written, is_name};
use crate::config::units::Invalid;
use crate::config::url::Url;

/// The words of `type`.
#[derive(Clone, Copy)]
enum Kind {
    None,
    ApiKey,
    Jwt,
    Forward,
}

const KINDS: [(&str, Kind); 4] = [
    ("none", Kind::None),
    ("api_key", Kind::ApiKey),
    ("jwt", Kind::Jwt),
    ("forward", Kind::Forward),
];

/// Reads `auth`; adds the upstream that decides, if there is one, to `upstreams`.
pub(super) fn auth(mut table: Table<'_>, upstreams: &mut Vec<Upstream>) -> Auth {
    let kind = match table.take("type") {
        None => Kind::None,
        Some(value) => match value.choice(&KINDS) {
            Some(kind) => kind,
            // What else is in the table depends on it.
            None => {
                table.hide_rest();
                return Auth::None;
            }
        },
    };
    let auth = match kind {
        Kind::None => Auth::None,
        Kind::ApiKey => Auth::ApiKey(api_key(&mut table)),
        Kind::Jwt => Auth::Jwt(jwt(&mut table)),
        Kind::Forward => Auth::Forward(forward(&mut table, upstreams)),
    };
    // A key that is not known may have a secret.
    table.hide_rest();
    table.finish();
    auth
}

fn api_key(table: &mut Table<'_>) -> ApiKeyAuth {
    ApiKeyAuth {
        header: field(table, "header", defaults::AUTH_HEADER),
        keys: keys(table),
        pass: table.boolean("pass", defaults::PASS_API_KEY),
    }
}

const SOME_KEYS: &str = "an array of at least one key such as [{ name = \"web\", sha256 = \"…\" }]";

fn keys(table: &mut Table<'_>) -> Vec<ApiKey> {
    let reader = table.reader();
    let Some(value) = table.take("keys") else {
        table.lacks("keys", SOME_KEYS);
        return Vec::new();
    };
    let Some(elements) = elements(&value) else { return Vec::new() };
    let mut keys: Vec<ApiKey> = Vec::new();
    let (mut names, mut hashes) = (HashMap::<String, Place>::new(), HashMap::new());
    for element in elements {
        let Some((name, hash)) = one_key(&element) else { continue };
        if let Some(first) = names.get(&name.value) {
            let pointer = reader.pointer(first);
            let message =
                format!("expected a name of its own, found {} as in {pointer}", name.text);
            reader.problem(&name.place, message);
        } else if let Some(first) = hashes.get(&hash.value) {
            let pointer = reader.pointer(first);
            let message = format!("expected a key of its own, found the same as in {pointer}");
            reader.problem(&hash.place, message);
        } else {
            names.insert(name.value.clone(), name.place);
            hashes.insert(hash.value, hash.place);
            keys.push(ApiKey { name: name.value, sha256: hash.value });
        }
    }
    keys
}

/// The elements of an array; what is no array may be a key and is not shown.
fn elements<'a>(value: &Value<'a>) -> Option<Vec<Value<'a>>> {
    if value.is_array() {
        return Some(value.some_elements(SOME_KEYS));
    }
    value.parse_secret(SOME_KEYS, |_| Err::<(), _>(Invalid::new(SOME_KEYS)));
    None
}

fn one_key(element: &Value<'_>) -> Option<(Written<String>, Written<[u8; 32]>)> {
    if !element.is_table() {
        element.parse_secret(A_KEY, |_| Err::<(), _>(Invalid::new(A_KEY)));
        return None;
    }
    let mut table = element.table(A_KEY)?;
    let mut required = |key: &'static str, expected: &str| {
        let value = table.take(key);
        if value.is_none() {
            table.lacks(key, expected);
        }
        value
    };
    let (name, hash) = (required("name", A_KEY_NAME), required("sha256", A_HASH));
    table.hide_rest();
    table.finish();
    let name = name.and_then(|value| value.parse(A_KEY_NAME, key_name));
    // Somebody may have written the key instead.
    let hash = hash.and_then(|value| value.parse_secret(A_HASH, sha256));
    Some((name?, hash?))
}

const A_KEY: &str = "a key such as { name = \"web\", sha256 = \"…\" }";
const A_KEY_NAME: &str = "a name of letters, digits, - and _ such as \"web\"";

fn key_name(text: &str) -> Result<String, Invalid> {
    if is_name(text) { Ok(text.to_owned()) } else { Err(Invalid::new(A_KEY_NAME)) }
}

const A_HASH: &str = "the key's SHA-256 in 64 hexadecimal digits (of: printf %s KEY | sha256sum)";

fn sha256(text: &str) -> Result<[u8; 32], Invalid> {
    let mut hash = [0; 32];
    let digits = text.as_bytes();
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    if digits.len() != 2 * hash.len() {
        return Err(Invalid::new(A_HASH));
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
        let (high, low) = (nibble(pair[0]), nibble(pair[1]));
        let (Some(high), Some(low)) = (high, low) else { return Err(Invalid::new(A_HASH)) };
        *byte = high << 4 | low;
    }
    Ok(hash)
}

const ALGORITHMS: [(&str, Algorithm); 4] = [
    ("RS256", Algorithm::Rs256),
    ("ES256", Algorithm::Es256),
    ("EdDSA", Algorithm::EdDsa),
    ("HS256", Algorithm::Hs256),
];

fn jwt(table: &mut Table<'_>) -> JwtAuth {
    let mut string = |key, expected: &str| {
        let written = table.take(key).and_then(|value| value.parse(expected, some_text));
        written.map(|written| written.value)
    };
    let issuer = string("issuer", "what iss must be");
    let audience = string("audience", "what aud must have");
    let principal_claim = string("principal_claim", "the name of a claim such as \"sub\"");
    JwtAuth {
        algorithms: algorithms(table),
        keys: key_source(table),
        issuer,
        audience,
        leeway: table.duration("leeway", defaults::LEEWAY, (Duration::ZERO, defaults::LEEWAY_MAX)),
        principal_claim: principal_claim.unwrap_or_else(|| defaults::PRINCIPAL_CLAIM.to_owned()),
        pass: table.boolean("pass", defaults::PASS_TOKEN),
    }
}

fn algorithms(table: &mut Table<'_>) -> Vec<Algorithm> {
    let expected = "an array of at least one algorithm such as [\"RS256\"]";
    let Some(value) = table.take("algorithms") else {
        table.lacks("algorithms", expected);
        return Vec::new();
    };
    let algorithms: Vec<_> = value
        .some_elements(expected)
        .iter()
        .filter_map(|element| element.choice(&ALGORITHMS))
        .collect();
    if algorithms.contains(&Algorithm::Hs256) && algorithms.iter().any(|a| *a != Algorithm::Hs256) {
        // RFC 8725 §2.1: whoever knows the public key, which is everybody, could take it for the
        // secret and sign with it.
        let message = "expected HS256 alone or public keys alone, found both: a public key could \
                       be taken for the secret";
        table.reader().problem(value.place(), message);
    }
    algorithms
}

fn key_source(table: &mut Table<'_>) -> KeySource {
    let reader = table.reader();
    let (key, set) = (table.take("key_file"), table.take("jwks_file"));
    let read = |value: &Value<'_>| {
        let written = value.parse(A_FILE, file);
        written.map_or_else(PathBuf::new, |written| written.value)
    };
    match (&key, &set) {
        (Some(key), None) => KeySource::File(read(key)),
        (None, Some(set)) => KeySource::Jwks(read(set)),
        (None, None) => {
            let message = "expected either key_file or jwks_file, found neither";
            reader.misplaced(table.place(), message);
            KeySource::File(PathBuf::new())
        }
        (Some(_), Some(set)) => {
            reader.problem(set.place(), "expected either key_file or jwks_file, found both");
            KeySource::Jwks(read(set))
        }
    }
}

const A_FILE: &str = "a path such as \"/etc/longwire/tokens.pem\"";

/// Whether the file is there is asked when it is read.
fn file(text: &str) -> Result<PathBuf, Invalid> {
    if text.is_empty() || text.contains('\0') {
        return Err(Invalid::new(A_FILE));
    }
    Ok(PathBuf::from(text))
}

fn some_text(text: &str) -> Result<String, Invalid> {
    if text.is_empty() { Err(Invalid::new("some text")) } else { Ok(text.to_owned()) }
}

const AN_AUTH_URL: &str = "a URL such as \"http://127.0.0.1:9000/check\"";

fn forward(table: &mut Table<'_>, upstreams: &mut Vec<Upstream>) -> ForwardAuth {
    let url = table.take("url");
    if url.is_none() {
        table.lacks("url", AN_AUTH_URL);
    }
    let (upstream, target) = url
        .and_then(|value| {
            let (url, target) = value.parse(AN_AUTH_URL, auth_url)?.value;
            Some((of_url(url, (value.reader(), value.place()), upstreams), target))
        })
        .unwrap_or_default();
    let limits = (DURATION_MIN, defaults::AUTH_TIMEOUT_MAX);
    let timeout = table.duration("timeout", defaults::AUTH_TIMEOUT, limits);
    let cache = table.take("cache");
    let cache = cache.and_then(|value| value.deadline(DURATION_MIN, defaults::AUTH_CACHE_MAX));
    let headers = table.list("headers", "the name of a header field", shown_field);
    let headers = match headers {
        Some(names) => names.into_iter().map(|name| name.value.to_ascii_lowercase()).collect(),
        None => defaults::AUTH_HEADERS.map(str::to_owned).to_vec(),
    };
    ForwardAuth {
        upstream,
        target,
        timeout,
        cache: cache.unwrap_or(defaults::AUTH_CACHE),
        headers,
        principal_header: field(table, "principal_header", defaults::PRINCIPAL_HEADER),
        pass: table.boolean("pass", defaults::PASS_TOKEN),
    }
}

/// A field of the request that the server gets to see.
fn shown_field(text: &str) -> Result<String, Invalid> {
    let name = field_name(text)?;
    let lower = name.to_ascii_lowercase();
    // A client could write its own beside ours.
    if lower.starts_with("x-forwarded-") {
        return Err(Invalid::new("a field other than X-Forwarded-…, which are always sent"));
    }
    if ["forwarded", "x-real-ip"].contains(&lower.as_str()) {
        return Err(Invalid::new(
            "a field other than one that says where the client is: a client \
                                 could write anything there",
        ));
    }
    // The server would wait for a body, or answer with 417.
    if lower == "expect" {
        return Err(Invalid::new("a field other than Expect, since the question has no body"));
    }
    Ok(name)
}

/// Where the server is, and what it is asked for.
fn auth_url(text: &str) -> Result<(Url, String), Invalid> {
    let (url, target) = url_and_target(text, AN_AUTH_URL)?;
    Ok((url, target.unwrap_or_else(|| "/".to_owned())))
}

/// The name of a field, in lower case.
fn field(table: &mut Table<'_>, key: &'static str, default: &str) -> String {
    let written =
        table.take(key).and_then(|value| value.parse("the name of a header field", field_name));
    written.map_or_else(|| default.to_owned(), |written| written.value.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes() {
        let text = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00A08";
        assert_eq!(sha256(text).unwrap()[..3], [0x9f, 0x86, 0xd0]);
        assert_eq!(sha256(text).unwrap()[31], 0x08);
        for bad in ["", "secret-key", &text[1..], &format!("{text}0"), &text.replace('9', "g")] {
            assert!(sha256(bad).unwrap_err().expected.contains("sha256sum"), "{bad:?}");
        }
        // Two bytes each: as long as a hash, without being one.
        assert!(sha256(&"é".repeat(32)).is_err());
    }

    #[test]
    fn fields_that_a_question_may_have() {
        for name in ["Authorization", "cookie", "User-Agent", "X-Api-Key"] {
            assert!(shown_field(name).is_ok(), "{name}");
        }
        for name in ["Expect", "X-Real-IP", "forwarded", "X-Forwarded-For", "Host", "TE"] {
            assert!(shown_field(name).is_err(), "{name}");
        }
    }

    #[test]
    fn urls_with_paths() {
        for (text, name, target) in [
            ("http://127.0.0.1:9000/check?deep=1", "127.0.0.1:9000", "/check?deep=1"),
            ("https://auth.example.com", "https://auth.example.com:443", "/"),
            ("unix:/run/auth.sock", "unix:/run/auth.sock", "/"),
        ] {
            let (url, found) = auth_url(text).unwrap();
            assert_eq!((url.unique_name().as_str(), found.as_str()), (name, target));
        }
        for bad in ["", "auth", "ftp://a/", "http://", "http://a?b", "http://a/#b", "http://u@a/"] {
            assert!(auth_url(bad).is_err(), "{bad:?} is no URL");
        }
    }
}
