use std::fs;
use std::path::{Path, PathBuf};

const SRC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(SRC).unwrap().to_owned(), text));
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new(SRC), &mut found);
    assert!(found.len() > 30, "the walk found only {} files", found.len());
    found
}

/// The text without its tests: they may know everybody.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

/// Folder or file at the top of `src`, and what of ours it may name.
const LAYERS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("cli", &["config", "demo", "server", "telemetry"]),
    (
        "server",
        &[
            "admin",
            "proxy",
            "otlp",
            "client",
            "config",
            "contain",
            "live",
            "telemetry",
            "clock",
            "tls",
        ],
    ),
    ("otlp", &["upstream", "http1", "telemetry", "clock"]),
    (
        "admin",
        &["proxy", "policy", "upstream", "client", "http1", "live", "config", "telemetry", "clock"],
    ),
    (
        "proxy",
        &[
            "policy",
            "relay",
            "route",
            "upstream",
            "client",
            "tls",
            "headers",
            "syntax",
            "http1",
            "sse",
            "ws",
            "live",
            "telemetry",
            "trace",
            "config",
            "contain",
            "clock",
        ],
    ),
    ("demo", &["http1", "ws"]),
    ("client", &["http2", "tls", "scratch", "outbox", "http1", "ws", "syntax", "config", "clock"]),
    ("upstream", &["http2", "outbox", "http1", "tls", "config", "contain", "clock", "telemetry"]),
    (
        "relay",
        &[
            "client",
            "scratch",
            "outbox",
            "sse",
            "ws",
            "http1",
            "live",
            "telemetry",
            "config",
            "clock",
        ],
    ),
    ("telemetry", &["live", "trace", "ws", "config", "clock"]),
    ("live", &["http1"]),
    ("policy", &["http1", "syntax", "config", "clock"]),
    ("headers", &["trace", "http1", "syntax", "config"]),
    ("route", &["config"]),
    ("config", &["syntax"]),
    ("http2", &["http1", "outbox"]),
    ("http1", &["syntax"]),
    ("trace", &["http1"]),
    ("sse", &[]),
    ("ws", &[]),
    ("clock", &[]),
    ("contain", &[]),
    ("outbox", &[]),
    ("scratch", &[]),
    ("tls", &["config"]),
    ("syntax", &[]),
];

#[test]
fn imports_point_down() {
    for (path, text) in sources() {
        let top = path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if top == "lib" {
            continue;
        }
        let (_, allowed) = LAYERS
            .iter()
            .find(|(layer, _)| *layer == top)
            .unwrap_or_else(|| panic!("{top} has no place in the layers"));
        for (_, rest) in
            product(&text).match_indices("crate::").map(|(at, m)| text.split_at(at + m.len()))
        {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap();
            let name = &rest[..end];
            assert!(name == top || allowed.contains(&name), "{} names {name}", path.display());
        }
    }
}

/// The files that name pingora's types: where connections are accepted, opened and moved.
const EDGES: &[&str] = &["client/socket.rs", "upstream/connection.rs"];

#[test]
fn pingora_stays_at_the_edges() {
    for (path, text) in sources() {
        if product(&text).contains("pingora::") {
            let path = path.to_str().unwrap();
            assert!(EDGES.contains(&path), "{path} names pingora's types");
        }
    }
}

#[test]
fn files_have_one_noun_each() {
    for (path, text) in sources() {
        let lines = product(&text).lines().count();
        assert!(lines < 600, "{} has {lines} lines: split it", path.display());
        assert!(
            text.starts_with("//!") || path.ends_with("tests.rs"),
            "{} does not say what it is",
            path.display()
        );
        for (number, line) in text.lines().enumerate() {
            assert!(
                line.chars().count() <= 100 || line.contains('"'),
                "{}:{}: longer than 100 columns",
                path.display(),
                number + 1
            );
        }
    }
}
