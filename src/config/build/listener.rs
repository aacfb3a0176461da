//! `[listeners.NAME]`.

use std::time::Duration;

use super::keepalive::tcp_keepalive;
use super::upstream::A_CA_FILE;
use crate::config::defaults::{self, DURATION_MAX, DURATION_MIN};
use crate::config::model::{
    Bind, CertificateFiles, ClientAuth, Listener, ListenerTls, Protocols, ProxyProtocol,
    TcpKeepalive, TlsVersion,
};
use crate::config::read::{Table, Written};
use crate::config::units::{A_BIND, Invalid, bind, file};

/// Reads `[listeners]`; adds all addresses to `binds`.
pub(super) fn listeners(root: &mut Table<'_>, binds: &mut Vec<Written<Bind>>) -> Vec<Listener> {
    let reader = root.reader();
    let before = reader.problems();
    let table = root.merged("listeners");
    if table.is_empty() && reader.problems() == before {
        reader.misplaced(table.place(), "expected at least one [listeners.NAME], found none");
    }
    table.named("listener").into_iter().map(|(name, table)| listener(name, table, binds)).collect()
}

fn listener(name: String, mut table: Table<'_>, binds: &mut Vec<Written<Bind>>) -> Listener {
    let positive = (DURATION_MIN, DURATION_MAX);
    let addresses = addresses(&mut table);
    let tls = table.take("tls").and_then(|value| value.table("a table")).map(tls);
    let listener = Listener {
        name,
        bind: addresses.iter().map(|address| address.value.clone()).collect(),
        protocols: protocols(&mut table, tls.is_some()),
        proxy_protocol: table
            .choice("proxy_protocol", &PROXY_PROTOCOL)
            .unwrap_or(defaults::PROXY_PROTOCOL),
        header_timeout: table.duration("header_timeout", defaults::HEADER_TIMEOUT, positive),
        keepalive_timeout: table.duration(
            "keepalive_timeout",
            defaults::KEEPALIVE_TIMEOUT,
            positive,
        ),
        max_header_size: table.size(
            "max_header_size",
            defaults::MAX_HEADER_SIZE,
            (defaults::MAX_HEADER_SIZE_MIN, defaults::MAX_HEADER_SIZE_MAX),
        ),
        tcp_keepalive: client_keepalive(table.table("tcp_keepalive")),
        tls,
    };
    table.finish();
    binds.extend(addresses);
    listener
}

const PROXY_PROTOCOL: [(&str, ProxyProtocol); 3] = [
    ("off", ProxyProtocol::Off),
    ("optional", ProxyProtocol::Optional),
    ("required", ProxyProtocol::Required),
];

fn addresses(table: &mut Table<'_>) -> Vec<Written<Bind>> {
    let expected = "an array of at least one address such as [\"127.0.0.1:8080\"]";
    let Some(value) = table.take("bind") else {
        table.lacks("bind", expected);
        return Vec::new();
    };
    let elements = value.some_elements(expected);
    elements.iter().filter_map(|element| element.parse(A_BIND, bind)).collect()
}

const HTTP_1_1: &str = "http/1.1";

fn protocols(table: &mut Table<'_>, with_tls: bool) -> Protocols {
    let all = Protocols { http1: true, http2: true };
    let (http2, other) = if with_tls { ("h2", "h2c") } else { ("h2c", "h2") };
    let Some(value) = table.take("protocols") else { return all };
    let expected = format!("\"{HTTP_1_1}\" or \"{http2}\"");
    let elements = value.some_elements(&format!("an array of at least one of {expected}"));
    let mut protocols = Protocols { http1: false, http2: false };
    for element in elements {
        element.parse(&expected, |text| {
            match text {
                HTTP_1_1 => protocols.http1 = true,
                _ if text == http2 => protocols.http2 = true,
                _ if text == other => {
                    let with = if with_tls { "with" } else { "without" };
                    let expected = format!("{expected} {with} tls");
                    let invalid = Invalid { is_misplaced: true, ..Invalid::new(expected) };
                    return Err(invalid.suggest(http2));
                }
                _ => return Err(Invalid::new(expected.as_str())),
            }
            Ok(())
        });
    }
    protocols
}

fn tls(mut table: Table<'_>) -> ListenerTls {
    let tls = ListenerTls {
        certificates: certificates(&mut table),
        reload: table.deadline("reload", defaults::TLS_RELOAD),
        min_version: table
            .choice("min_version", &[("1.2", TlsVersion::V12), ("1.3", TlsVersion::V13)])
            .unwrap_or(defaults::TLS_MIN_VERSION),
        client_auth: client_auth(table.table("client_auth")),
    };
    table.finish();
    tls
}

fn certificates(table: &mut Table<'_>) -> Vec<CertificateFiles> {
    let expected = "an array of at least one table such as { cert = \"a.crt\", key = \"a.key\" }";
    let Some(value) = table.take("certificates") else {
        table.lacks("certificates", expected);
        return Vec::new();
    };
    let elements = value.some_elements(expected);
    let tables = elements.iter().filter_map(|element| element.table("a table"));
    tables
        .map(|mut table| {
            let mut path = |key: &'static str| match table.take(key) {
                Some(value) => {
                    value.parse(A_PEM_FILE, file(A_PEM_FILE)).map(|written| written.value)
                }
                None => {
                    table.lacks(key, A_PEM_FILE);
                    None
                }
            };
            let (cert, key) = (path("cert"), path("key"));
            table.finish();
            CertificateFiles { cert: cert.unwrap_or_default(), key: key.unwrap_or_default() }
        })
        .collect()
}

const A_PEM_FILE: &str = "the path of a PEM file such as \"/etc/longwire/tls/chat.pem\"";

fn client_auth(mut table: Table<'_>) -> ClientAuth {
    let modes = ["off", "request", "require"].map(|mode| (mode, mode));
    let mode = table.choice("mode", &modes).unwrap_or("off");
    let ca = match table.take("ca") {
        Some(value) => value.parse(A_CA_FILE, file(A_CA_FILE)),
        None => {
            if mode != "off" {
                table.lacks("ca", A_CA_FILE);
            }
            None
        }
    };
    table.finish();
    let ca = ca.map(|written| written.value).unwrap_or_default();
    match mode {
        "request" => ClientAuth::Request(ca),
        "require" => ClientAuth::Require(ca),
        _ => ClientAuth::Off,
    }
}

fn client_keepalive(mut table: Table<'_>) -> TcpKeepalive {
    let base = TcpKeepalive {
        idle: defaults::TCP_KEEPALIVE_IDLE,
        interval: defaults::TCP_KEEPALIVE_INTERVAL,
        count: defaults::TCP_KEEPALIVE_COUNT,
        user_timeout: defaults::TCP_USER_TIMEOUT,
    };
    let limits = (Duration::ZERO, defaults::TCP_USER_TIMEOUT_MAX);
    let keepalive = tcp_keepalive(&mut table, &base);
    let user_timeout = table.duration("user_timeout", base.user_timeout, limits);
    table.finish();
    TcpKeepalive { user_timeout, ..keepalive }
}
