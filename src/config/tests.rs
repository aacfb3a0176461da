//! The files of `conf/` and `tests/fixtures/config/`, and what nothing may do: panic or tell
//! secrets.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::load::Disk;
use super::*;

mod include;
mod reference;

/// An environment of a few variables.
#[derive(Default)]
pub(in crate::config) struct Variables(pub(in crate::config) HashMap<&'static str, &'static str>);

impl Env for Variables {
    fn var(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| (*value).to_owned())
    }

    fn file(&self, path: &str) -> io::Result<String> {
        match path {
            "/run/secrets/token" => Ok("from-a-file\n".to_owned()),
            _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
        }
    }
}

/// What the fixtures may refer to. Every value contains "hidden".
fn fixture_env() -> Variables {
    Variables(HashMap::from([
        ("HIDDEN", "hidden value"),
        ("HIDDEN_NUMBER", "15hidden"),
        ("HIDDEN_URL", "http://hidden.internal:8000"),
        ("HIDDEN_TOKEN", "hidden-token"),
    ]))
}

fn no_env() -> Variables {
    Variables::default()
}

fn read(source: &str) -> model::Config {
    parse(source, "longwire.toml", &no_env()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .collect();
    files.sort();
    files
}

/// The folders of fixtures whose configuration is in several files.
fn folders(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut folders: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

/// Reads `longwire.toml` in `folder` and what it includes.
fn read_folder(folder: &Path) -> (String, Result<model::Config, Errors>) {
    let (mut disk, Text { origin, text }) = Disk::open(&folder.join("longwire.toml")).unwrap();
    let result = parse_with(&text, &origin, &fixture_env(), &mut disk);
    (text, result)
}

#[test]
fn bad_files_have_exactly_the_errors_that_they_announce() {
    let (files, folders) =
        (files("tests/fixtures/config/bad"), folders("tests/fixtures/config/bad"));
    assert!(files.len() >= 25 && folders.len() >= 5, "{} and {}", files.len(), folders.len());
    let files = files.into_iter().map(|(path, source)| {
        let origin = path.file_name().unwrap().to_str().unwrap();
        let result = parse(&source, origin, &fixture_env());
        (path, source, result)
    });
    let folders = folders.into_iter().map(|path| {
        let (source, result) = read_folder(&path);
        (path, source, result)
    });
    let mut wrong = Vec::new();
    for (path, source, result) in files.chain(folders) {
        let announced: Vec<_> =
            source.lines().map_while(|line| line.strip_prefix("# error: ")).collect();
        let found = match result {
            Ok(_) => "no error".to_owned(),
            Err(errors) => {
                let shown = format!("{errors}\n{}", errors.render(false));
                assert!(!shown.contains("hidden"), "a secret is shown: {shown}");
                errors.to_string().replace(&format!("{}/", path.display()), "")
            }
        };
        if announced.join("\n") != found {
            let (path, announced) = (path.display(), announced.join("\n"));
            wrong.push(format!("{path}\nannounced:\n{announced}\nfound:\n{found}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn good_files_have_no_errors() {
    let fixtures = files("tests/fixtures/config/good");
    assert!(fixtures.len() >= 5, "only {} files", fixtures.len());
    for (path, source) in fixtures.into_iter().chain(files("conf")) {
        if let Err(errors) = parse(&source, &path.display().to_string(), &fixture_env()) {
            panic!("{errors}");
        }
    }
    for folder in folders("tests/fixtures/config/good") {
        read_folder(&folder).1.unwrap_or_else(|errors| panic!("{errors}"));
    }
}

#[test]
fn secrets_come_from_the_environment_and_from_files() {
    let source = r#"
        [listeners.web]
        bind = ["127.0.0.1:${PORT:-8081}"]
        [routes.all]
        upstream = "${HIDDEN_URL}"
        headers.request_set = { Authorization = "Bearer ${HIDDEN_TOKEN}", X = "$${X}" }
        [admin]
        token = "${file:/run/secrets/token}"
    "#;
    let config = parse(source, "longwire.toml", &fixture_env()).unwrap();
    assert_eq!(config.listeners[0].bind[0].to_string(), "127.0.0.1:8081");
    assert_eq!(config.upstreams[0].name, "hidden.internal:8000");
    let token = config.admin.as_ref().unwrap().token.as_ref().unwrap();
    assert_eq!(token.expose(), "from-a-file");
    let model::Target::Proxy(proxy) = &config.routes[0].target else {
        panic!("the route has an upstream");
    };
    assert_eq!(proxy.headers.request_set[0].1, "Bearer hidden-token");
    assert_eq!(proxy.headers.request_set[1].1, "${X}");
    let debug = format!("{config:?}");
    assert!(!debug.contains("hidden-token") && !debug.contains("from-a-file"), "{debug}");
}

#[test]
fn the_lines_of_secrets_are_masked() {
    let source = "[admin]\nbind = \"off\"\ntoken = \"pass word\"\n\
                  [routes.a.headers.request_set]\nHost = \"sec-ret\"\nX = \"sec\\nret\"\n";
    let errors = parse(source, "longwire.toml", &no_env()).unwrap_err();
    let shown = errors.render(false) + &errors.to_string();
    assert!(shown.contains("admin.token: expected visible ASCII"), "{shown}");
    assert!(!shown.contains("pass word"), "{shown}");
    assert!(!shown.contains("sec"), "{shown}");
}

#[test]
fn everything_keeps_the_order_of_the_file() {
    let config = read(
        r#"
        [listeners.z]
        bind = ["127.0.0.1:1", "127.0.0.1:2"]
        [listeners.a]
        bind = ["127.0.0.1:3"]
        [routes.z]
        upstream = "http://b"
        headers.request_set = { Z = "1", A = "2" }
        [routes.a]
        paths = ["/a"]
        upstream = "http://a"
        [routes.m]
        paths = ["/m"]
        upstream = "http://B:80/"
        "#,
    );
    let names = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(names(config.listeners.iter().map(|listener| &listener.name).collect()), "z a");
    assert_eq!(names(config.routes.iter().map(|route| &route.name).collect()), "z a m");
    let upstreams = names(config.upstreams.iter().map(|upstream| &upstream.name).collect());
    assert_eq!(upstreams, "b:80 a:80", "routes with the same URL share an upstream");
}

#[test]
fn a_route_starts_from_the_default_timeouts() {
    let base = r#"
        [listeners.web]
        bind = ["127.0.0.1:0"]
        [defaults.timeouts]
        connect = "1s"
        first_byte = "2s"
        first_event = "3s"
        idle = "4s"
        send = "off"
        max_duration = "6s"
        [routes.all]
        upstream = "http://127.0.0.1:8000"
    "#;
    let timeouts = |own: &str| match read(&format!("{base}{own}")).routes.remove(0).target {
        model::Target::Proxy(proxy) => proxy.timeouts,
        model::Target::Respond(_) => panic!("the route has an upstream"),
    };
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let expected = model::Timeouts {
        connect: Duration::from_secs(1),
        tls: defaults::TLS_TIMEOUT,
        first_byte: seconds(2),
        first_event: seconds(3),
        idle: seconds(4),
        send: None,
        max_duration: seconds(6),
    };
    assert_eq!(timeouts(""), expected);
    let changed = model::Timeouts { idle: None, send: seconds(8), ..expected };
    assert_eq!(timeouts("timeouts = { send = \"8s\", idle = \"off\" }"), changed);
}

#[test]
fn the_command_line_is_a_small_file() {
    let listen = "127.0.0.1:8080".parse().unwrap();
    let minimal = files("conf").into_iter().find(|(path, _)| path.ends_with("minimal.toml"));
    assert_eq!(simple("http://127.0.0.1:8000", listen).unwrap(), read(&minimal.unwrap().1));
    let upstream = |url: &str| simple(url, listen).unwrap().upstreams.remove(0).name;
    assert_eq!(upstream("https://Example.com"), "https://example.com:443");
    assert_eq!(upstream("unix:/run/\"${X}\\.sock"), "unix:/run/\"${X}\\.sock", "as it is");
    let error = simple("https://example.com/v1", listen).unwrap_err();
    assert!(error.contains("without a path, found \"https://example.com/v1\""), "{error}");
    assert!(simple("http://a\"\n[x]", listen).is_err(), "it cannot smuggle keys");
    assert!(simple("all", listen).is_err(), "it is a URL, not a name");
    let error = simple("http://a", defaults::ADMIN_BIND).unwrap_err();
    assert!(
        error.contains("as in admin.bind (its default)"),
        "the admin address is taken: {error}"
    );
}

/// Everything that may be done with a file, whatever is in it.
fn exercise(source: &str) {
    if let Err(errors) = parse(source, "fuzz.toml", &no_env()) {
        assert!(errors.iter().next().is_some(), "errors without an error:\n{source}");
        assert!(!errors.to_string().is_empty());
        assert!(errors.render(false).contains(" in fuzz.toml"));
    }
}

#[test]
fn no_truncation_panics() {
    let source = reference_without_prose();
    for end in (0..=source.len()).filter(|end| source.is_char_boundary(*end)) {
        exercise(&source[..end]);
        exercise(&source[end..]);
    }
}

#[test]
fn no_mutation_panics() {
    let original = reference_without_prose();
    let original = original.as_bytes();
    // xorshift64; the seed is fixed, so a failure repeats.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let interesting = b"\"'[]{}=.,#\n\r\t\\$ 0-:/\0\x7f\xc3\xff";
    for _ in 0..3000 {
        let mut bytes = original.to_vec();
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = interesting[random(interesting.len())],
                1 => bytes.insert(at, interesting[random(interesting.len())]),
                2 => drop(bytes.remove(at)),
                _ => {
                    let end = (at + random(40)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    let to = random(bytes.len());
                    bytes.splice(to..to, piece);
                }
            }
        }
        exercise(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn no_shape_of_values_panics() {
    let values = [
        "0",
        "-1",
        "1e400",
        "99999999999999999999999999",
        "0xff",
        "nan",
        "true",
        "1979-05-27",
        "\"\"",
        "\"off\"",
        "\"\\u0000\"",
        "'''\n'''",
        "[]",
        "[[]]",
        "[{}]",
        "[1, \"a\"]",
        "{}",
        "{ a = {} }",
        "\"${\"",
        "\"${}\"",
        "\"${file:}\"",
        "\"0.0.0.0:0\"",
        "\"🦀\"",
    ];
    let reference = reference_without_prose();
    for value in values {
        for (index, line) in reference.lines().enumerate() {
            let Some((key, _)) = line.split_once(" = ") else {
                continue;
            };
            let changed = |(at, old): (usize, &str)| match at == index {
                true => format!("{key} = {value}\n"),
                false => format!("{old}\n"),
            };
            exercise(&reference.lines().enumerate().map(changed).collect::<String>());
        }
        for table in ["server", "listeners", "routes", "routes.a", "upstreams.a", "admin", "log"] {
            exercise(&format!("{table} = {value}\n"));
            exercise(&format!("[[{table}]]\nx = {value}\n[{table}]\n"));
        }
    }
}

/// The reference without comments: the same keys, a quarter of the text to run through.
fn reference_without_prose() -> String {
    let reference = reference::with_all_keys();
    let lines = reference.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}
