//! `[upstreams.NAME]`, and the anonymous upstreams of routes.

use std::collections::HashMap;

use crate::config::defaults;
use crate::config::model::{Endpoint, Pool, Upstream};
use crate::config::read::{Place, Table, Value, Written};
use crate::config::units::{AN_ENDPOINT, Authority, Invalid, endpoint};

/// Reads `[upstreams]`. None at all is fine, as routes may have URLs.
pub(super) fn upstreams(table: Table<'_>) -> Vec<Upstream> {
    let named = table.named("upstream");
    named.into_iter().map(|(name, table)| upstream(name, table)).collect()
}

/// The upstream of a route that has a URL: its name is `host:port`, so it never meets a named one.
pub(super) fn anonymous(authority: Authority) -> Upstream {
    let name = authority.authority();
    let Authority { host, port } = authority;
    let pool =
        Pool { max_idle: defaults::POOL_MAX_IDLE, idle_timeout: defaults::POOL_IDLE_TIMEOUT };
    Upstream { name: name.clone(), endpoints: vec![Endpoint { name, host, port }], pool }
}

fn upstream(name: String, mut table: Table<'_>) -> Upstream {
    let endpoints = endpoints(&mut table);
    let mut pool = table.table("pool");
    let upstream = Upstream {
        name,
        endpoints,
        pool: Pool {
            max_idle: pool.integer(
                "max_idle",
                defaults::POOL_MAX_IDLE,
                (0, defaults::POOL_MAX_IDLE_MAX),
            ),
            idle_timeout: pool.deadline("idle_timeout", defaults::POOL_IDLE_TIMEOUT),
        },
    };
    pool.finish();
    table.finish();
    upstream
}

fn endpoints(table: &mut Table<'_>) -> Vec<Endpoint> {
    let expected = "an array of at least one endpoint such as [\"http://127.0.0.1:8000\"]";
    let reader = table.reader();
    let Some(value) = table.take("endpoints") else {
        table.lacks("endpoints", expected);
        return Vec::new();
    };
    let elements = value.some_elements(expected);
    let mut endpoints = Vec::new();
    let mut names: HashMap<String, Place> = HashMap::new();
    for element in elements {
        let Some(Written { value: endpoint, text, place }) = one_endpoint(&element) else {
            continue;
        };
        if let Some(first) = names.get(&endpoint.name) {
            let message =
                format!("expected a name of its own, found {text} as in {}", reader.pointer(first));
            reader.problem(&place, message);
            continue;
        }
        names.insert(endpoint.name.clone(), place);
        endpoints.push(endpoint);
    }
    endpoints
}

/// `"http://host:port"` or `{ url = "http://host:port", name = "a" }`. Text and place of the
/// result are those of the name, or of the URL that stands in for it.
fn one_endpoint(element: &Value<'_>) -> Option<Written<Endpoint>> {
    let from_url = |url: Written<Authority>| Written {
        text: url.text,
        place: url.place,
        value: Endpoint { name: url.value.authority(), host: url.value.host, port: url.value.port },
    };
    if !element.is_table() {
        return element.parse(AN_ENDPOINT, endpoint).map(from_url);
    }
    let mut table = element.table(AN_ENDPOINT)?;
    let url = match table.take("url") {
        Some(value) => value.parse(AN_ENDPOINT, endpoint),
        None => {
            table.lacks("url", AN_ENDPOINT);
            None
        }
    };
    let name = table.take("name").map(|value| value.parse("a name", endpoint_name));
    table.finish();
    let mut written = from_url(url?);
    match name {
        None => {}
        // It has been reported.
        Some(None) => return None,
        Some(Some(name)) => {
            written.value.name = name.value;
            written.text = name.text;
            written.place = name.place;
        }
    }
    Some(written)
}

/// Names become metric labels; `.` and `:` are allowed because `host:port` is a name, too.
fn endpoint_name(text: &str) -> Result<String, Invalid> {
    let max = defaults::NAME_MAX_CHARS;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if (1..=max).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(Invalid::new(format!("a name of letters, digits, - _ . and : (at most {max})")))
}
