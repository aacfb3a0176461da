//! `upstreams.NAME.endpoints`.

use std::collections::HashMap;

use crate::config::defaults::{self, DURATION_MAX, DURATION_MIN};
use crate::config::model::{Address, Endpoint};
use crate::config::read::{Place, Table, Value, Written};
use crate::config::units::Invalid;
use crate::config::url::{AN_ENDPOINT, Url, endpoint};

/// An endpoint, and what is needed to point at it.
pub(super) struct ReadEndpoint {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Where its element of the array is.
    pub place: Place,
}

impl ReadEndpoint {
    /// Whether it is a unix socket.
    pub(super) fn is_unix(&self) -> bool {
        matches!(self.endpoint.address, Address::Unix(_))
    }
}

/// Reads `endpoints`. Those that are wrong are left out.
pub(super) fn endpoints(table: &mut Table<'_>) -> Vec<ReadEndpoint> {
    let expected = "an array of at least one endpoint such as [\"http://127.0.0.1:8000\"]";
    let reader = table.reader();
    let Some(value) = table.take("endpoints") else {
        table.lacks("endpoints", expected);
        return Vec::new();
    };
    let mut endpoints = Vec::new();
    let mut names: HashMap<String, Place> = HashMap::new();
    for element in value.some_elements(expected) {
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
        endpoints.push(ReadEndpoint { endpoint, place: element.place().clone() });
    }
    endpoints
}

/// The endpoint of a URL, of which nothing else is said.
pub(super) fn plain(url: Url) -> Endpoint {
    Endpoint {
        name: url.name(),
        address: url.address,
        https: url.https,
        weight: defaults::WEIGHT,
        max_streams: None,
        backup: false,
        resolve: defaults::RESOLVE,
    }
}

/// `"http://host:port"` or a table. Text and place of the result are those of the name, or of the
/// URL that stands in for it.
fn one_endpoint(element: &Value<'_>) -> Option<Written<Endpoint>> {
    if !element.is_table() {
        return element.parse(AN_ENDPOINT, |text| endpoint(text).map(plain));
    }
    let mut table = element.table(AN_ENDPOINT)?;
    let url = match table.take("url") {
        Some(value) => value.parse(AN_ENDPOINT, |text| endpoint(text).map(plain)),
        None => {
            table.lacks("url", AN_ENDPOINT);
            None
        }
    };
    let name = table.take("name").map(|value| value.parse("a name", endpoint_name));
    let weight =
        table.count("weight", defaults::WEIGHT, (defaults::WEIGHT_MIN, defaults::WEIGHT_MAX));
    let max_streams = table.limit("max_streams", defaults::MAX_STREAMS_MAX);
    let backup = table.boolean("backup", false);
    let resolve = table.duration("resolve", defaults::RESOLVE, (DURATION_MIN, DURATION_MAX));
    table.finish();
    let url = url?;
    let (name, text, place) = match name {
        None => (url.value.name, url.text, url.place),
        // It has been reported.
        Some(None) => return None,
        Some(Some(name)) => (name.value, name.text, name.place),
    };
    let value = Endpoint { name, weight, max_streams, backup, resolve, ..url.value };
    Some(Written { value, text, place })
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
