//! The configuration as it may be shown: as a file would write it, defaults included, and every
//! secret as `***`. Pure.
//!
//! Each table is taken apart by name, so that a key that is new cannot be forgotten here, and
//! whoever adds one decides whether it is a secret. What stands behind a `?` is taken for one.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::model::{
    Access, AccessLog, ActiveHealth, Address, Admin, Balance, CertificateFiles, ClientAuth, Config,
    Drain, Endpoint, HashKey, Health, Level, Listener, ListenerTls, Log, LogFormat, Metrics,
    Network, Otlp, PassiveHealth, PerConnection, Pool, ProxyProtocol, Server, TcpKeepalive,
    Timeouts, TlsVersion, Tracing, Upstream, UpstreamTls,
};
use super::units::{written_duration, written_size};

mod route;

/// Instead of a secret.
const HIDDEN: &str = "***";

/// The whole configuration.
pub fn shown(config: &Config) -> Value {
    let Config { server, listeners, upstreams, timeouts, routes, admin, metrics, log, tracing } =
        config;
    json!({
        "server": of_server(server),
        "listeners": named(listeners.iter().map(|one| (one.name.clone(), listener(one)))),
        "defaults": { "timeouts": of_timeouts(timeouts) },
        "upstreams": named(upstreams.iter().map(|one| (one.name.clone(), upstream(one)))),
        "routes": named(routes.iter().map(|one| (one.name.clone(), route::route(one)))),
        "admin": admin.as_ref().map_or_else(|| json!({ "bind": "off" }), of_admin),
        "metrics": of_metrics(metrics),
        "log": of_log(log),
        "tracing": of_tracing(tracing),
    })
}

fn named(tables: impl Iterator<Item = (String, Value)>) -> Value {
    Value::Object(tables.collect::<Map<_, _>>())
}

fn duration(duration: Duration) -> String {
    written_duration(duration)
}

/// `"off"` is none.
fn deadline(limit: Option<Duration>) -> String {
    limit.map_or_else(|| "off".to_owned(), duration)
}

fn size(bytes: impl TryInto<u64>) -> String {
    written_size(bytes.try_into().unwrap_or(u64::MAX))
}

/// The path of a target; its query may hold a secret.
fn without_query(target: &str) -> String {
    match target.split_once('?') {
        Some((path, _)) => format!("{path}?{HIDDEN}"),
        None => target.to_owned(),
    }
}

fn network(network: &Network) -> String {
    format!("{}/{}", network.address, network.prefix)
}

fn networks(networks: &[Network]) -> Vec<String> {
    networks.iter().map(network).collect()
}

fn access(access: &Access) -> Value {
    let Access { allow, deny } = access;
    json!({ "allow": networks(allow), "deny": networks(deny) })
}

fn of_server(server: &Server) -> Value {
    let Server { workers, trusted_proxies, max_connections, watch, upgrade_socket, drain } = server;
    let Drain { grace, min_wait, notify, spread } = drain;
    json!({
        "workers": workers,
        "trusted_proxies": networks(trusted_proxies),
        "max_connections": max_connections,
        "watch": deadline(*watch),
        "upgrade_socket": upgrade_socket,
        "drain": {
            "grace": duration(*grace),
            "min_wait": duration(*min_wait),
            "notify": notify,
            "spread": duration(*spread),
        },
    })
}

fn listener(listener: &Listener) -> Value {
    let Listener {
        name: _,
        bind,
        protocols,
        proxy_protocol,
        header_timeout,
        keepalive_timeout,
        max_header_size,
        tcp_keepalive,
        tls,
    } = listener;
    let http2 = if tls.is_some() { "h2" } else { "h2c" };
    let spoken = [(protocols.http1, "http/1.1"), (protocols.http2, http2)];
    let spoken = spoken.iter().filter(|(is_spoken, _)| *is_spoken);
    json!({
        "bind": bind.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "protocols": spoken.map(|(_, name)| *name).collect::<Vec<_>>(),
        "proxy_protocol": match proxy_protocol {
            ProxyProtocol::Off => "off",
            ProxyProtocol::Optional => "optional",
            ProxyProtocol::Required => "required",
        },
        "header_timeout": duration(*header_timeout),
        "keepalive_timeout": duration(*keepalive_timeout),
        "max_header_size": size(*max_header_size),
        "tcp_keepalive": keepalive(tcp_keepalive),
        "tls": tls.as_ref().map(listener_tls),
    })
}

fn listener_tls(tls: &ListenerTls) -> Value {
    let ListenerTls { certificates, reload, min_version, client_auth } = tls;
    let certificate =
        |CertificateFiles { cert, key }: &CertificateFiles| json!({ "cert": cert, "key": key });
    let (mode, ca) = match client_auth {
        ClientAuth::Off => ("off", None),
        ClientAuth::Request(ca) => ("request", Some(ca)),
        ClientAuth::Require(ca) => ("require", Some(ca)),
    };
    json!({
        "certificates": certificates.iter().map(certificate).collect::<Vec<_>>(),
        "reload": deadline(*reload),
        "min_version": match min_version {
            TlsVersion::V12 => "1.2",
            TlsVersion::V13 => "1.3",
        },
        "client_auth": { "mode": mode, "ca": ca },
    })
}

fn keepalive(keepalive: &TcpKeepalive) -> Value {
    let TcpKeepalive { idle, interval, count, user_timeout } = keepalive;
    json!({
        "idle": duration(*idle),
        "interval": duration(*interval),
        "count": count,
        "user_timeout": duration(*user_timeout),
    })
}

fn of_timeouts(timeouts: &Timeouts) -> Value {
    let Timeouts { connect, tls, first_byte, first_event, idle, send, max_duration } = timeouts;
    json!({
        "connect": duration(*connect),
        "tls": duration(*tls),
        "first_byte": deadline(*first_byte),
        "first_event": deadline(*first_event),
        "idle": deadline(*idle),
        "send": deadline(*send),
        "max_duration": deadline(*max_duration),
    })
}

fn upstream(upstream: &Upstream) -> Value {
    let Upstream { name: _, endpoints, balance, slow_start, tls, pool: of, health } = upstream;
    let UpstreamTls { sni, ca, verify } = tls;
    let hash_key = match balance {
        Balance::Hash(key) => Some(hash_key(key)),
        Balance::LeastStreams | Balance::RoundRobin | Balance::P2c | Balance::Random => None,
    };
    json!({
        "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "balance": balance.label(),
        "hash_key": hash_key,
        "slow_start": deadline(*slow_start),
        "tls": { "sni": sni, "ca": ca, "verify": verify },
        "pool": pool(of),
        "health": of_health(health),
    })
}

fn hash_key(key: &HashKey) -> String {
    match key {
        HashKey::Header(name) => format!("header:{name}"),
        HashKey::Cookie(name) => format!("cookie:{name}"),
        HashKey::Query(name) => format!("query:{name}"),
        HashKey::Ip => "ip".to_owned(),
        HashKey::Path => "path".to_owned(),
    }
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let Endpoint { name, address, https, weight, max_streams, backup, resolve } = endpoint;
    let scheme = if *https { "https" } else { "http" };
    let url = match address {
        Address::Tcp { host, port } if host.contains(':') => format!("{scheme}://[{host}]:{port}"),
        Address::Tcp { host, port } => format!("{scheme}://{host}:{port}"),
        Address::Unix(path) => format!("unix:{}", path.display()),
    };
    json!({
        "url": url,
        "name": name,
        "weight": weight,
        "max_streams": max_streams,
        "backup": backup,
        "resolve": duration(*resolve),
    })
}

fn pool(pool: &Pool) -> Value {
    let Pool {
        max_idle,
        idle_timeout,
        learn,
        max_lifetime,
        max_connections,
        warm,
        http2,
        streams_per_connection,
        h2_stream_window,
        tcp_keepalive,
    } = pool;
    json!({
        "max_idle": max_idle,
        "idle_timeout": deadline(*idle_timeout),
        "learn": learn,
        "max_lifetime": deadline(*max_lifetime),
        "max_connections": max_connections.unwrap_or_default(),
        "warm": warm,
        "http2": http2,
        "streams_per_connection": streams_per_connection,
        "h2_stream_window": size(*h2_stream_window),
        "tcp_keepalive": keepalive(tcp_keepalive),
    })
}

fn of_health(health: &Health) -> Value {
    let Health { active, passive } = health;
    let PassiveHealth { failures, eject_for, max_eject_for, max_ejected_percent } = passive;
    let active =
        active.as_ref().map(|active| {
            let ActiveHealth {
                path,
                interval,
                timeout,
                expect_status,
                healthy_after,
                unhealthy_after,
            } = active;
            let statuses = expect_status.iter().map(|(first, last)| format!("{first}-{last}"));
            json!({
                "path": without_query(path),
                "interval": duration(*interval),
                "timeout": duration(*timeout),
                "expect_status": statuses.collect::<Vec<_>>(),
                "healthy_after": healthy_after,
                "unhealthy_after": unhealthy_after,
            })
        });
    json!({
        "active": active,
        "passive": {
            "failures": failures,
            "eject_for": duration(*eject_for),
            "max_eject_for": duration(*max_eject_for),
            "max_ejected_percent": max_ejected_percent,
        },
    })
}

fn of_admin(admin: &Admin) -> Value {
    let Admin { bind, token, dashboard, allow_kill } = admin;
    let token = token.as_ref().map(|_| HIDDEN);
    json!({
        "bind": bind.to_string(),
        "token": token,
        "dashboard": dashboard,
        "allow_kill": allow_kill,
    })
}

fn of_metrics(metrics: &Metrics) -> Value {
    let Metrics { path, per_connection } = metrics;
    let PerConnection { enabled, path: page, max_series } = per_connection;
    let page = json!({ "enabled": enabled, "path": page, "max_series": max_series });
    json!({ "path": path, "per_connection": page })
}

fn of_log(log: &Log) -> Value {
    let Log { level, format, file, access } = log;
    let AccessLog { enabled, stream_start, sample } = access;
    json!({
        "level": match level {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        },
        "format": format.map(|format| match format {
            LogFormat::Json => "json",
            LogFormat::Text => "text",
        }),
        "file": file,
        "access": { "enabled": enabled, "stream_start": stream_start, "sample": sample.fraction() },
    })
}

fn of_tracing(tracing: &Tracing) -> Value {
    let Tracing { propagate, otlp } = tracing;
    let Otlp { enabled, upstream, target, sample } = otlp;
    json!({
        "propagate": propagate,
        "otlp": {
            "enabled": enabled,
            "upstream": upstream,
            "target": target,
            "sample": sample.fraction(),
        },
    })
}

#[cfg(test)]
mod tests;
