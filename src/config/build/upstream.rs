//! `[upstreams.NAME]`, and the anonymous upstreams that are URLs elsewhere.

use std::net::Ipv6Addr;

use super::balance::balance;
use super::endpoint::{self, ReadEndpoint, endpoints};
use super::health::health;
use super::matching::request_target;
use super::pool::pool;
use crate::config::defaults;
use crate::config::model::{Upstream, UpstreamTls};
use crate::config::read::{Place, Reader, Table};
use crate::config::units::{Invalid, file};
use crate::config::url::{self, Url, is_host_name};

/// Reads `[upstreams]`. None at all is fine, as routes may have URLs.
pub(super) fn upstreams(table: Table<'_>) -> Vec<Upstream> {
    let named = table.named("upstream");
    named.into_iter().map(|(name, table)| upstream(name, table)).collect()
}

/// The name of the upstream that a URL is, which is written at that place; adds it to `upstreams`
/// unless it is there already.
pub(super) fn of_url(
    url: Url,
    (reader, place): (&Reader<'_>, &Place),
    upstreams: &mut Vec<Upstream>,
) -> String {
    let name = url.unique_name();
    if !upstreams.iter().any(|upstream| upstream.name == name) {
        upstreams.push(anonymous(url, reader, place));
    }
    name
}

/// Where a server is, and what it is asked for if the URL says more than that.
pub(super) fn url_and_target(text: &str, expected: &str) -> Result<(Url, Option<String>), Invalid> {
    let authority = text.find("://").map_or(text.len(), |at| at + "://".len());
    let path = text[authority..].find(['/', '?', '#']).map_or(text.len(), |at| authority + at);
    let as_url = |invalid: Invalid| Invalid { expected: expected.to_owned(), ..invalid };
    let url = url::endpoint(&text[..path]).map_err(as_url)?;
    let target = match &text[path..] {
        "" => None,
        target => Some(request_target(target).map_err(as_url)?),
    };
    Ok((url, target))
}

/// The upstream of a URL, which is written at `place`. All its settings are defaults.
fn anonymous(url: Url, reader: &Reader<'_>, place: &Place) -> Upstream {
    let name = url.unique_name();
    let endpoint = ReadEndpoint { endpoint: endpoint::plain(url), place: place.clone() };
    settings(name, vec![endpoint], Table::empty(reader, place.clone()))
}

fn upstream(name: String, mut table: Table<'_>) -> Upstream {
    let reader = table.reader();
    let before = reader.problems();
    let endpoints = endpoints(&mut table);
    // Otherwise the one that is missing may be the one with https.
    let is_plain = reader.problems() == before && !endpoints.iter().any(|e| e.endpoint.https);
    if let Some(tls) = table.place_of("tls").filter(|_| is_plain) {
        let message = "expected only with an https endpoint, found none: it has no effect";
        reader.misplaced(tls, message);
    }
    settings(name, endpoints, table)
}

/// Everything but the endpoints.
fn settings(name: String, endpoints: Vec<ReadEndpoint>, mut table: Table<'_>) -> Upstream {
    let upstream = Upstream {
        name,
        balance: balance(&mut table),
        slow_start: table.deadline("slow_start", defaults::SLOW_START),
        tls: tls(table.table("tls")),
        pool: pool(table.table("pool"), &endpoints),
        health: health(table.table("health")),
        endpoints: endpoints.into_iter().map(|read| read.endpoint).collect(),
    };
    table.finish();
    upstream
}

fn tls(mut table: Table<'_>) -> UpstreamTls {
    let verify = table.take("verify").map_or(Some(defaults::TLS_VERIFY), |value| value.boolean());
    let sni = table.take("sni").and_then(|value| {
        let sni = value.parse(A_SERVER_NAME, server_name)?;
        // With an empty name nothing is verified; that has to be said in so many words.
        if sni.value.is_empty() && verify == Some(true) {
            value.misfit("a name such as \"models.internal\" unless verify = false");
        }
        Some(sni.value)
    });
    let ca = table.take("ca").and_then(|value| value.parse(A_CA_FILE, file(A_CA_FILE)));
    table.finish();
    let verify = verify.unwrap_or(defaults::TLS_VERIFY);
    UpstreamTls { sni, ca: ca.map(|written| written.value), verify }
}

const A_SERVER_NAME: &str = "a host name such as \"models.internal\" or an address";

/// RFC 6066, 3, knows names only; an address is verified, but not sent.
fn server_name(text: &str) -> Result<String, Invalid> {
    let is_ipv6 = text.parse::<Ipv6Addr>().is_ok();
    if text.is_empty() || is_ipv6 || is_host_name(text) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Invalid::new(A_SERVER_NAME))
}

/// PEM.
pub(super) const A_CA_FILE: &str = "a path such as \"/etc/longwire/ca.pem\"";
