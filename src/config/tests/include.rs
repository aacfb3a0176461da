//! A configuration of several texts: what is merged, and what is pointed at.

use std::collections::VecDeque;

use super::{no_env, read_folder};
use crate::config::model::{Config, Target};
use crate::config::{Errors, Files, Named, Text, parse, parse_with};

/// Answers every question with the next of these.
struct Next(VecDeque<Vec<Result<Text, String>>>);

impl Files for Next {
    fn find(&mut self, _named: &Named) -> Vec<Result<Text, String>> {
        self.0.pop_front().unwrap()
    }
}

/// Reads `first`, which includes a file for each of `others`, called `1.toml` and so on.
fn read(first: &str, others: &[&str]) -> Result<Config, Errors> {
    let text = |(index, text): (usize, &&str)| {
        let origin = format!("{}.toml", index + 1);
        vec![Ok(Text { origin, text: (*text).to_owned() })]
    };
    let mut files = Next(others.iter().enumerate().map(text).collect());
    let first = format!("include = {:?}\n{first}", vec!["x"; others.len()]);
    parse_with(&first, "0.toml", &no_env(), &mut files)
}

const LISTENER: &str = "[listeners.web]\nbind = [\"127.0.0.1:0\"]\n";
const ROUTE: &str = "[routes.all]\nupstream = \"chat\"\n";
const UPSTREAM: &str = "[upstreams.chat]\nendpoints = [\"http://127.0.0.1:8000\"]\n";

#[test]
fn however_it_is_cut_it_is_the_same_configuration() {
    let timeouts = "[defaults.timeouts]\nidle = \"1m\"\n";
    let parts = [LISTENER, ROUTE, UPSTREAM, timeouts];
    let whole = parse(&parts.concat(), "0.toml", &no_env()).unwrap();
    for cut in 0..parts.len() {
        let (first, others) = parts.split_at(cut);
        assert_eq!(read(&first.concat(), others).unwrap(), whole, "cut at {cut}");
    }
}

#[test]
fn files_are_read_once_and_in_the_order_of_their_names() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/config/good/several_files");
    let config = read_folder(&folder).1.unwrap();
    let names: Vec<_> = config.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["first", "third", "second"], "10-… is sorted before 2-…");
    let Target::Proxy(proxy) = &config.routes[0].target else {
        panic!("the route has an upstream");
    };
    assert_eq!(proxy.timeouts.idle, Some(std::time::Duration::from_secs(420)));
}

#[test]
fn a_text_alone_includes_nothing() {
    let source = format!("include = [\"x.toml\"]\n{LISTENER}{ROUTE}");
    let errors = parse(&source, "0.toml", &no_env()).unwrap_err();
    let message = "0.toml:1: include[0]: expected no other file, because this text is in no folder";
    assert_eq!(errors.to_string(), message, "the upstream may be in the file that is not read");
    assert!(parse(&format!("include = []\n{source}"), "", &no_env()).is_err());
    assert!(read(&[LISTENER, ROUTE, UPSTREAM].concat(), &[]).is_ok());
}

#[test]
fn every_snippet_is_from_its_own_file() {
    let first = [LISTENER, ROUTE, "methods = [\"get\"]\n"].concat();
    let second = format!("\n\n{UPSTREAM}balance = \"best\"\n");
    let third = "[admin]\nbind = \"off\"\ntoken = \"sec ret\"\n";
    let errors = read(&first, &[&second, third]).unwrap_err();
    let shown = errors.render(false);
    for snippet in [
        "0.toml:6:12\n  |\n6 | methods = [\"get\"]\n",
        "1.toml:5:11\n  |\n5 | balance = \"best\"\n",
        "2.toml:3:9\n  |\n3 | token = *********\n",
        "3 errors in 3 files\n",
    ] {
        assert!(shown.contains(snippet), "{snippet}\nis not in\n{shown}");
    }
    let origins: Vec<_> = errors.iter().map(|problem| errors.origin_of(problem)).collect();
    assert_eq!(origins, ["0.toml", "1.toml", "2.toml"]);
}

#[test]
fn secrets_of_a_table_that_is_there_twice_are_masked() {
    let first = [LISTENER, ROUTE, UPSTREAM, "[admin]\nbind = \"off\"\n"].concat();
    let errors = read(&first, &["admin = { bind = \"off\", token = \"secret\" }\n"]).unwrap_err();
    let shown = errors.render(false);
    assert!(shown.contains("1 | admin = { bind = \"off\", token = ******** }"), "{shown}");
    assert!(shown.contains("found as in admin (0.toml:8)"), "{shown}");
}

#[test]
fn nothing_that_is_included_panics() {
    let whole = [LISTENER, ROUTE, UPSTREAM].concat();
    for end in 0..=whole.len() {
        let (start, rest) = whole.split_at(end);
        for errors in [read(start, &[rest]), read(rest, &[start]), read(&whole, &[start, rest])] {
            if let Err(errors) = errors {
                assert!(!errors.to_string().is_empty());
                assert!(errors.render(false).contains(" in "));
            }
        }
    }
}
