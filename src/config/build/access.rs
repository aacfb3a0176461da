//! `[routes.NAME.access]` and `[routes.NAME.cors]`: from where requests may come.

use std::time::Duration;

use super::fields::field_name;
use super::matching::{A_METHOD, method};
use crate::config::defaults;
use crate::config::model::{Access, Cors, CorsOrigin};
use crate::config::read::Table;
use crate::config::units::{A_NETWORK, Invalid, network};
use crate::config::url;
use crate::syntax::name::is_token;

/// Reads `access`.
pub(super) fn access(mut table: Table<'_>) -> Access {
    // An empty list would let everybody in, where somebody wrote that nobody may come.
    let allow = match table.take("allow") {
        Some(value) => value.some_elements(SOME_NETWORKS),
        None => Vec::new(),
    };
    let allow = allow.iter().filter_map(|element| element.parse(A_NETWORK, network));
    let allow = allow.map(|written| written.value).collect();
    let deny = table.list("deny", A_NETWORK, network).unwrap_or_default();
    let deny = deny.into_iter().map(|written| written.value).collect();
    table.finish();
    Access { allow, deny }
}

const SOME_NETWORKS: &str =
    "an array of at least one network such as [\"10.0.0.0/8\"] (without it, everybody may come)";

/// Reads `cors`, if it is there.
pub(super) fn cors(route: &mut Table<'_>) -> Option<Cors> {
    let mut table = route.take("cors")?.table("a table")?;
    let reader = table.reader();
    let origins = match table.take("origins") {
        Some(value) => value.some_elements(SOME_ORIGINS),
        None => {
            table.lacks("origins", SOME_ORIGINS);
            Vec::new()
        }
    };
    let origins: Vec<_> =
        origins.iter().filter_map(|element| element.parse(AN_ORIGIN, origin)).collect();
    let methods = table.list("methods", A_METHOD, method);
    let methods = match methods {
        Some(methods) => methods.into_iter().map(|written| written.value).collect(),
        None => defaults::CORS_METHODS.map(str::to_owned).to_vec(),
    };
    let mut names = |key| -> Option<Vec<String>> {
        let names = table.list(key, "the name of a header field", field_name)?;
        Some(names.into_iter().map(|written| written.value).collect())
    };
    let (headers, expose) = (names("headers"), names("expose"));
    let credentials = table.boolean("credentials", false);
    let any = origins.iter().find(|origin| origin.value == CorsOrigin::Any);
    if let (true, Some(any)) = (credentials, any) {
        // The Fetch standard, 3.3.5: browsers refuse that; and echoing the origin instead would let
        // every page act with its visitors' cookies.
        let message = "expected origins by name with credentials = true, found \"*\"";
        reader.problem(&any.place, message);
    }
    let limits = (Duration::ZERO, defaults::CORS_MAX_AGE_MAX);
    let max_age = table.duration("max_age", defaults::CORS_MAX_AGE, limits);
    table.finish();
    let origins = origins.into_iter().map(|written| written.value).collect();
    Some(Cors {
        origins,
        methods,
        headers,
        expose: expose.unwrap_or_default(),
        credentials,
        max_age,
    })
}

const SOME_ORIGINS: &str = "an array of at least one origin such as [\"https://app.example.com\"]";

const AN_ORIGIN: &str =
    "an origin such as \"https://app.example.com\" or \"https://*.example.com\", or \"*\"";

/// RFC 6454 §6.2: `scheme "://" host [ ":" port ]`, as browsers send it: lower case, without the
/// scheme's own port.
fn origin(text: &str) -> Result<CorsOrigin, Invalid> {
    let invalid = || Invalid::new(AN_ORIGIN);
    if text == "*" {
        return Ok(CorsOrigin::Any);
    }
    let lower = text.to_ascii_lowercase();
    if let Some(bare) = lower.strip_suffix('/')
        && origin(bare).is_ok()
    {
        return Err(Invalid::new(format!("{AN_ORIGIN}, without a path")).suggest(bare));
    }
    let (scheme, rest) = lower.split_once("://").ok_or_else(invalid)?;
    let (host, is_below) = match rest.strip_prefix("*.") {
        Some(host) => (host, true),
        None => (rest, false),
    };
    let is_authority = match scheme {
        "http" | "https" => url::endpoint(&format!("{scheme}://{host}")).is_ok(),
        // Those of browser extensions and apps.
        _ => !is_below && is_token(host),
    };
    if !is_authority || !is_token(scheme) || host.contains('/') {
        return Err(invalid());
    }
    let own_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    if let Some(bare) = lower.strip_suffix(own_port).filter(|_| !own_port.is_empty()) {
        return Err(Invalid::new(format!("{AN_ORIGIN}, as browsers send it")).suggest(bare));
    }
    Ok(match is_below {
        true => CorsOrigin::Below { scheme: format!("{scheme}://"), domain: format!(".{host}") },
        false => CorsOrigin::Exact(lower),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        let exact = |text: &str| Ok(CorsOrigin::Exact(text.to_owned()));
        assert_eq!(origin("*"), Ok(CorsOrigin::Any));
        assert_eq!(origin("https://App.example.com"), exact("https://app.example.com"));
        assert_eq!(origin("http://localhost:5173"), exact("http://localhost:5173"));
        assert_eq!(origin("http://[::1]:5173"), exact("http://[::1]:5173"));
        assert_eq!(origin("chrome-extension://abcdef"), exact("chrome-extension://abcdef"));
        let below = CorsOrigin::Below {
            scheme: "https://".to_owned(),
            domain: ".example.com:8443".to_owned(),
        };
        assert_eq!(origin("https://*.example.com:8443"), Ok(below));
        for bad in [
            "",
            "null",
            "example.com",
            "https://",
            "https://*",
            "https://*.",
            "https://a.*.b",
            "https://*a.b",
            "https://a/b",
            "https://a?b",
            "https://u@a",
            "*.example.com",
            "a://*.b",
        ] {
            assert!(origin(bad).is_err(), "{bad:?} is no origin");
        }
        for (text, meant) in [
            ("https://a.example/", "https://a.example"),
            ("https://a.example:443", "https://a.example"),
            ("http://*.a.example:80", "http://*.a.example"),
        ] {
            assert_eq!(origin(text).unwrap_err().suggestion.as_deref(), Some(meant));
        }
    }
}
