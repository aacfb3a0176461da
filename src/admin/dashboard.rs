//! The page for operators: one file without a build step, which asks `/api` for what it shows.
//!
//! Nothing in it is secret, so that it is given without a token; it asks the person for one.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::Answer;

const PAGE: &str = include_str!("dashboard.html");
const HTML: &str = "text/html; charset=utf-8";

/// What a browser lets the page do: run its own script, and ask the address that it is from. Names
/// and principals on it come from outside; should one of them ever become markup, it still does
/// nothing.
static POLICY: LazyLock<Bytes> = LazyLock::new(|| {
    let script = source("script");
    let style = source("style");
    let policy = format!(
        "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    policy.into()
});

/// Whether the page is there.
pub(super) fn is_at(path: &str) -> bool {
    matches!(path, "/" | "/dashboard")
}

/// The page.
pub(super) fn page() -> Answer {
    let mut answer = Answer::new(200, HTML, PAGE);
    answer.fields = vec![
        ("Content-Security-Policy", POLICY.clone()),
        ("Referrer-Policy", "no-referrer".into()),
    ];
    answer
}

/// The one element of that name as CSP's level 3 (§2.3.1, `hash-source`) wants it.
fn source(element: &str) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, content(element).as_bytes());
    format!("'sha256-{}'", STANDARD.encode(hash))
}

fn content(element: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("<{element}>")).unwrap_or_default();
    rest.split_once(&format!("</{element}>")).unwrap_or_default().0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_in_the_one_script_and_the_one_style() {
        for element in ["script", "style"] {
            assert!(content(element).len() > 1000, "{element} has little in it");
            let count = PAGE.matches(&format!("<{element}")).count();
            assert_eq!(count, 1, "the policy allows one {element}");
        }
        let markup = PAGE.replace(content("script"), "").replace(content("style"), "");
        for refused in [" style=", " onclick=", " onload=", "javascript:", " src=", "<link href"] {
            assert!(!markup.contains(refused), "the policy refuses {refused:?}");
        }
    }

    /// What comes from outside reaches the page as text and as nothing else.
    #[test]
    fn the_script_makes_no_markup_from_text() {
        let script = content("script");
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "DOMParser",
            "eval(",
            "new Function",
            "createContextualFragment",
            "srcdoc",
        ] {
            assert!(!script.contains(way), "the script uses {way}");
        }
    }

    #[test]
    fn it_is_sent_with_its_hashes() {
        let answer = page();
        let field = |name| answer.fields.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone());
        let policy = field("Content-Security-Policy").unwrap();
        let policy = std::str::from_utf8(&policy).unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        // The SHA-256 of nothing: an element was not found.
        assert!(!policy.contains("47DEQpj8HBSa"), "{policy}");
    }
}
