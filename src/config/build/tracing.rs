//! `[tracing]`: how exchanges are found elsewhere.

use super::log::share;
use super::upstream::{of_url, url_and_target};
use crate::config::defaults;
use crate::config::model::{Otlp, Share, Tracing, Upstream};
use crate::config::read::{Table, Value};
use crate::config::units::Invalid;
use crate::config::url::{self, Url};

/// What a build is told to bring spans.
const BUILT_WITHOUT: &str =
    "false, since this build has no OTLP (cargo build --features otlp brings it)";

const A_COLLECTOR: &str = "a URL such as \"http://127.0.0.1:4318\"";

/// The specification of OTLP/HTTP: "The default URL path for requests that carry trace data is
/// `/v1/traces`"; a path of the endpoint stands before it.
const TRACES: &str = "/v1/traces";

/// Reads `[tracing]`; adds the upstream that takes spans to `upstreams`, if one does. `has_otlp`
/// says whether the build can send them.
pub(super) fn tracing(
    mut table: Table<'_>,
    upstreams: &mut Vec<Upstream>,
    has_otlp: bool,
) -> Tracing {
    let propagate = table.boolean("propagate", defaults::TRACING_PROPAGATE);
    let mut otlp_table = table.table("otlp");
    let enabled = otlp_table.take("enabled");
    let is_enabled = enabled.as_ref().map_or(Some(defaults::OTLP), Value::boolean) == Some(true);
    if let Some(value) = enabled.filter(|_| is_enabled) {
        if !has_otlp {
            value.unexpected(BUILT_WITHOUT);
        } else if !propagate {
            value.misfit("false, since tracing.propagate is off: a span has a place in a trace");
        }
    }
    let endpoint = otlp_table.take("endpoint");
    let read = endpoint.as_ref().and_then(|value| value.parse(A_COLLECTOR, collector));
    let (url, target) = read.map_or_else(by_default, |written| written.value);
    let upstream = match &endpoint {
        _ if !is_enabled => url.unique_name(),
        Some(value) => of_url(url, (value.reader(), value.place()), upstreams),
        None => of_url(url, (otlp_table.reader(), otlp_table.place()), upstreams),
    };
    let sample = share(&mut otlp_table, "sample", Share::new(defaults::OTLP_SAMPLE));
    otlp_table.finish();
    table.finish();
    Tracing { propagate, otlp: Otlp { enabled: is_enabled, upstream, target, sample } }
}

fn by_default() -> (Url, String) {
    let url = url::endpoint(defaults::OTLP_ENDPOINT).expect("the default is a URL");
    (url, TRACES.to_owned())
}

/// Where a collector is, and what it is asked for.
fn collector(text: &str) -> Result<(Url, String), Invalid> {
    let (url, target) = url_and_target(text, A_COLLECTOR)?;
    let path = target.as_deref().unwrap_or_default().trim_end_matches('/');
    if path.contains('?') {
        return Err(Invalid::new(format!("{A_COLLECTOR} without a query")));
    }
    if path.ends_with(TRACES) {
        let meant = text.trim_end_matches('/').trim_end_matches(TRACES);
        return Err(Invalid::new(format!("{A_COLLECTOR}, {TRACES} is added")).suggest(meant));
    }
    Ok((url, format!("{path}{TRACES}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::Variables;
    use crate::config::{Errors, read};

    /// What a `[tracing]` with these lines is, and the upstreams that it adds.
    fn built(lines: &str, has_otlp: bool) -> Result<(Tracing, Vec<String>), Errors> {
        let env = Variables::default();
        let reader = read::Reader::new(&env);
        let document = reader.document("t.toml", lines);
        let mut upstreams = Vec::new();
        let tracing = tracing(Table::root(&reader, &document), &mut upstreams, has_otlp);
        reader.finish()?;
        Ok((tracing, upstreams.into_iter().map(|upstream| upstream.name).collect()))
    }

    fn error(lines: &str, has_otlp: bool) -> String {
        let errors = built(lines, has_otlp).unwrap_err();
        let messages: Vec<_> = errors.iter().map(|problem| problem.message.clone()).collect();
        messages.join("\n")
    }

    #[test]
    fn a_build_without_it_says_so_and_how_to_get_one() {
        let message = error("otlp.enabled = true", false);
        assert!(message.contains("this build has no OTLP"), "{message}");
        assert!(message.contains("cargo build --features otlp"), "{message}");
        for has_otlp in [false, true] {
            let (tracing, upstreams) = built("otlp.enabled = false", has_otlp).unwrap();
            assert!(!tracing.otlp.enabled && upstreams.is_empty());
            assert!(!tracing.otlp.samples(0), "nothing is recorded");
        }
    }

    #[test]
    fn a_collector_is_an_upstream_where_it_is_asked_for() {
        let lines = |endpoint| format!("otlp = {{ enabled = true, endpoint = \"{endpoint}\" }}");
        for (endpoint, name, target) in [
            ("http://127.0.0.1:4318", "127.0.0.1:4318", "/v1/traces"),
            ("https://otel.example.com/", "https://otel.example.com:443", "/v1/traces"),
            ("http://otel:4318/team/a/", "otel:4318", "/team/a/v1/traces"),
        ] {
            let (tracing, upstreams) = built(&lines(endpoint), true).unwrap();
            assert_eq!(tracing.otlp.upstream, name);
            assert_eq!((upstreams, tracing.otlp.target.as_str()), (vec![name.to_owned()], target));
        }
        let (tracing, upstreams) = built("otlp.enabled = true", true).unwrap();
        assert_eq!(tracing.otlp.upstream, "127.0.0.1:4318");
        assert_eq!((upstreams.len(), tracing.otlp.sample), (1, Share::new(0.05)));
    }

    #[test]
    fn what_makes_no_sense() {
        let message = error("propagate = false\notlp.enabled = true", true);
        assert!(message.contains("tracing.propagate is off"), "{message}");
        let message = error("otlp.endpoint = \"http://a:4318/v1/traces\"", true);
        assert!(message.contains("did you mean \"http://a:4318\""), "{message}");
        for bad in ["a:4318", "ftp://a", "http://a/?key=1", "http://u:p@a", "http://a/#b"] {
            assert!(collector(bad).is_err(), "{bad}");
        }
    }
}
