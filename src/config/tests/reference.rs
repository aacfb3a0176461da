//! `conf/reference.toml` has every key, and states the defaults.

use std::collections::HashMap;

use super::{Variables, read};
use crate::config::{example, parse};

/// What the reference says once everything is left out that has a default.
const MINIMAL: &str = r#"
    [listeners.web]
    bind = ["127.0.0.1:8080"]
    [upstreams.chat]
    endpoints = [
        "http://127.0.0.1:8000",
        { url = "http://127.0.0.1:8001", name = "gpu-b" },
        "http://127.0.0.1:8002",
    ]
    [routes.chat]
    upstream = "chat"
    [routes.health]
    paths = ["=/healthz"]
    respond = {}
"#;

/// The keys and tables that have no default: exactly these are comments in the reference.
const WITHOUT_DEFAULT: &str = r#"
    [server]
    workers = 2
    max_connections = 10000
    [listeners.secure]
    bind = ["127.0.0.1:8443"]
    tls.certificates = [{ cert = "/etc/longwire/tls/chat.crt", key = "/etc/longwire/tls/chat.key" }]
    [upstreams.chat.health.active]
    path = "/health"
    [upstreams.hosted]
    endpoints = ["https://models.example.com"]
    balance = "hash"
    hash_key = "header:x-session-id"
    [upstreams.hosted.tls]
    sni = "models.internal"
    ca = "/etc/longwire/upstream-ca.pem"
    [routes.chat.limits]
    requests_per_second = { rate = 20, burst = 40, key = "auth" }
    [routes.chat.access]
    allow = ["10.0.0.0/8"]
    [routes.chat.cors]
    origins = ["https://app.example.com"]
    headers = ["authorization", "content-type"]
    [routes.keys]
    paths = ["/keys/"]
    upstream = "chat"
    [routes.keys.auth]
    type = "api_key"
    keys = [
        { name = "web", sha256 = "942e941fc3ac142578f5c7be154bfbd9bb559cabe9d396640ec3dc51fec1a868" }
    ]
    [routes.tokens]
    paths = ["/tokens/"]
    upstream = "chat"
    [routes.tokens.auth]
    type = "jwt"
    algorithms = ["RS256"]
    key_file = "/etc/longwire/tokens.pem"
    issuer = "https://login.example.com/"
    audience = "chat"
    [routes.set]
    paths = ["/set/"]
    upstream = "chat"
    [routes.set.auth]
    type = "jwt"
    algorithms = ["RS256", "ES256"]
    jwks_file = "/etc/longwire/keys.json"
    [routes.asked]
    paths = ["/asked/"]
    upstream = "chat"
    [routes.asked.auth]
    type = "forward"
    url = "http://127.0.0.1:9000/check"
    [admin]
    token = "t"
    [log]
    format = "json"
    file = "/var/log/longwire/longwire.log"
"#;

#[test]
fn the_reference_states_the_defaults() {
    assert_eq!(read(example()), read(MINIMAL));
}

/// The commented keys of the reference are written `#key = value` and its commented tables
/// `#[table]`; prose has a space after `#`.
fn commented_key(line: &str) -> Option<&str> {
    let is_key = |rest: &&str| rest.starts_with(|c: char| c.is_alphabetic() || c == '[');
    line.strip_prefix('#').filter(is_key)
}

/// The reference with its commented keys and tables in force.
pub(super) fn with_all_keys() -> String {
    let lines = example().lines().map(|line| commented_key(line).unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn only_what_has_no_default_is_a_comment_in_the_reference() {
    let env = Variables(HashMap::from([("LONGWIRE_ADMIN_TOKEN", "t")]));
    let reference = parse(&with_all_keys(), "reference.toml", &env);
    let expected = read(&format!("{MINIMAL}{WITHOUT_DEFAULT}"));
    // Keys of a table that is a comment are comments, too, but have the default of their absence.
    assert_eq!(reference.unwrap_or_else(|errors| panic!("{errors}")), expected);
    let (mut keys, mut in_comment) = (Vec::new(), false);
    for line in example().lines() {
        if let Some(line) = commented_key(line).unwrap_or(line).strip_prefix('[') {
            in_comment = !example().lines().any(|other| other.strip_prefix('[') == Some(line));
        } else if let Some(key) = commented_key(line).filter(|_| !in_comment) {
            keys.push(key.split_once(" = ").unwrap().0);
        }
    }
    let without =
        ["workers", "max_connections", "requests_per_second", "allow", "token", "format", "file"];
    assert_eq!(keys, without);
}

#[test]
fn the_reference_has_every_key() {
    let env = Variables(HashMap::from([("LONGWIRE_ADMIN_TOKEN", "t")]));
    let reference = with_all_keys();
    parse(&reference, "reference.toml", &env).unwrap_or_else(|errors| panic!("{errors}"));
    // An unknown key in each table makes the errors list the known ones.
    let probed: String = std::iter::once("zzzzzzzzzz = 1")
        .chain(reference.lines())
        .map(|line| match line.starts_with('[') {
            true => format!("{line}\nzzzzzzzzzz = 1\n"),
            false => format!("{}\n", line.replace("{ ", "{ zzzzzzzzzz = 1, ")),
        })
        .collect();
    let errors = parse(&probed, "reference.toml", &env).unwrap_err();
    let known: Vec<_> = errors
        .iter()
        .map(|problem| problem.message.split_once("expected one of ").unwrap().1)
        .flat_map(|keys| keys.split(", "))
        .collect();
    assert_eq!(errors.iter().count(), 51, "one for each table:\n{errors}");
    for key in known {
        let is_there = reference.lines().any(|line| {
            let header = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            line.starts_with(&format!("{key} = "))
                || header.is_some_and(|header| header.split('.').any(|part| part == key))
                || line.contains(&format!("{{ {key} = "))
                || line.contains(&format!(", {key} = "))
        });
        assert!(is_there, "conf/reference.toml does not show {key}");
    }
}
