//! Routes, as they may be shown.

use serde_json::{Map, Value, json};

use super::{HIDDEN, access, deadline, duration, of_timeouts, size, without_query};
use crate::config::model::{
    ApiKeyAuth, Auth, Cors, CorsOrigin, Dialect, DrainClose, ForwardAuth, Headers, HostHeader,
    JwtAuth, KeySource, Limits, Origin, Proxy, Queue, RateKey, RateLimit, Respond, Retry, RetryOn,
    Route, SlowClient, Sse, Stream, Target, WebSocket,
};

/// A route's table.
pub(super) fn route(route: &Route) -> Value {
    let Route { name: _, hosts, paths, methods, listeners, target } = route;
    let mut table = match target {
        Target::Proxy(rules) => proxy(rules),
        Target::Respond(Respond { status, body }) => {
            json!({ "respond": { "status": status, "body": body } })
        }
    };
    table["hosts"] = hosts.iter().map(ToString::to_string).collect();
    table["paths"] = paths.iter().map(ToString::to_string).collect();
    table["methods"] = json!(methods);
    table["listeners"] = json!(listeners);
    table
}

fn proxy(rules: &Proxy) -> Value {
    let Proxy {
        upstream,
        strip_prefix,
        host_header,
        timeouts,
        stream,
        dialect,
        retry,
        limits,
        sse,
        websocket,
        upgrade,
        headers,
        access: addresses,
        auth,
        cors,
    } = rules;
    let Stream { slow_client, slow_client_timeout, min_request_rate } = stream;
    json!({
        "upstream": upstream,
        "strip_prefix": strip_prefix,
        "host_header": match host_header {
            HostHeader::Preserve => "preserve",
            HostHeader::Upstream => "upstream",
            HostHeader::Literal(host) => host,
        },
        "timeouts": of_timeouts(timeouts),
        "stream": {
            "slow_client": match slow_client {
                SlowClient::Backpressure => "backpressure",
                SlowClient::Disconnect => "disconnect",
            },
            "slow_client_timeout": deadline(*slow_client_timeout),
            "min_request_rate": size(min_request_rate.unwrap_or_default()),
        },
        "dialect": match dialect {
            Dialect::Auto => "auto",
            Dialect::OpenAiChat => "openai-chat",
            Dialect::OpenAiResponses => "openai-responses",
            Dialect::Anthropic => "anthropic",
            Dialect::Plain => "plain",
        },
        "retry": of_retry(retry),
        "limits": of_limits(limits),
        "sse": of_sse(sse),
        "websocket": of_websocket(websocket),
        "upgrade": upgrade,
        "headers": of_headers(headers),
        "access": access(addresses),
        "auth": of_auth(auth),
        "cors": cors.as_ref().map(of_cors),
    })
}

fn of_retry(retry: &Retry) -> Value {
    let Retry { attempts, on, idempotent_only, budget_percent, replay_body } = retry;
    let cause = |cause: &RetryOn| match cause {
        RetryOn::ConnectError => "connect_error".to_owned(),
        RetryOn::NotDelivered => "not_delivered".to_owned(),
        RetryOn::Reset => "reset".to_owned(),
        RetryOn::FirstByteTimeout => "first_byte_timeout".to_owned(),
        RetryOn::Status(status) => status.to_string(),
    };
    json!({
        "attempts": attempts,
        "on": on.iter().map(cause).collect::<Vec<_>>(),
        "idempotent_only": idempotent_only,
        "budget_percent": budget_percent,
        "replay_body": size(*replay_body),
    })
}

fn of_limits(limits: &Limits) -> Value {
    let Limits { streams, streams_per_client, requests_per_second, max_request_body, queue } =
        limits;
    let Queue { size: length, timeout } = queue;
    let rate = requests_per_second.as_ref().map(|RateLimit { interval, burst, key }| {
        let key = match key {
            RateKey::Ip => "ip".to_owned(),
            RateKey::Auth => "auth".to_owned(),
            RateKey::Header(name) => format!("header:{name}"),
        };
        // The interval is rounded up to whole nanoseconds.
        let rate = (1e3 / interval.as_secs_f64()).round() / 1e3;
        json!({ "rate": rate, "burst": burst, "key": key })
    });
    json!({
        "streams": streams.unwrap_or_default(),
        "streams_per_client": streams_per_client.unwrap_or_default(),
        "requests_per_second": rate,
        "max_request_body": max_request_body.map_or_else(|| "off".to_owned(), size),
        "queue": { "size": length, "timeout": duration(*timeout) },
    })
}

fn of_sse(sse: &Sse) -> Value {
    let Sse { heartbeat, heartbeat_text, commit_after, error_event, retry } = sse;
    json!({
        "heartbeat": deadline(*heartbeat),
        "heartbeat_text": heartbeat_text,
        "commit_after": deadline(*commit_after),
        "error_event": error_event,
        "retry": duration(*retry),
    })
}

fn of_websocket(websocket: &WebSocket) -> Value {
    let WebSocket { ping, pong_timeout, idle, max_frame, origins, drain_close } = websocket;
    let DrainClose { code, reason } = drain_close;
    let origin = |origin: &Origin| match origin {
        Origin::Same => "same".to_owned(),
        Origin::Any => "*".to_owned(),
        Origin::Exact(origin) => origin.clone(),
    };
    json!({
        "ping": deadline(*ping),
        "pong_timeout": duration(*pong_timeout),
        "idle": deadline(*idle),
        "max_frame": size(*max_frame),
        "origins": origins.iter().map(origin).collect::<Vec<_>>(),
        "drain_close": { "code": code, "reason": reason },
    })
}

/// Names only: the values often hold API keys.
fn of_headers(headers: &Headers) -> Value {
    let Headers { request_set, request_remove, response_set, response_remove } = headers;
    let hidden = |fields: &[(String, String)]| -> Map<_, _> {
        fields.iter().map(|(name, _)| (name.clone(), HIDDEN.into())).collect()
    };
    json!({
        "request_set": hidden(request_set),
        "request_remove": request_remove,
        "response_set": hidden(response_set),
        "response_remove": response_remove,
    })
}

fn of_auth(auth: &Auth) -> Value {
    match auth {
        Auth::None => json!({ "type": "none" }),
        Auth::ApiKey(ApiKeyAuth { header, keys, pass }) => {
            let key = |name: &String| json!({ "name": name, "sha256": HIDDEN });
            let keys: Vec<_> = keys.iter().map(|one| key(&one.name)).collect();
            json!({ "type": "api_key", "header": header, "keys": keys, "pass": pass })
        }
        Auth::Jwt(jwt) => of_jwt(jwt),
        Auth::Forward(forward) => of_forward(forward),
    }
}

fn of_jwt(jwt: &JwtAuth) -> Value {
    let JwtAuth { algorithms, keys, issuer, audience, leeway, principal_claim, pass } = jwt;
    let (key_file, jwks_file) = match keys {
        KeySource::File(path) => (Some(path), None),
        KeySource::Jwks(path) => (None, Some(path)),
    };
    json!({
        "type": "jwt",
        "algorithms": algorithms.iter().map(|one| one.name()).collect::<Vec<_>>(),
        "key_file": key_file,
        "jwks_file": jwks_file,
        "issuer": issuer,
        "audience": audience,
        "leeway": duration(*leeway),
        "principal_claim": principal_claim,
        "pass": pass,
    })
}

fn of_forward(forward: &ForwardAuth) -> Value {
    let ForwardAuth { upstream, target, timeout, cache, headers, principal_header, pass } = forward;
    json!({
        "type": "forward",
        "upstream": upstream,
        "target": without_query(target),
        "timeout": duration(*timeout),
        "cache": deadline(*cache),
        "headers": headers,
        "principal_header": principal_header,
        "pass": pass,
    })
}

fn of_cors(cors: &Cors) -> Value {
    let Cors { origins, methods, headers, expose, credentials, max_age } = cors;
    let origin = |origin: &CorsOrigin| match origin {
        CorsOrigin::Any => "*".to_owned(),
        CorsOrigin::Exact(origin) => origin.clone(),
        CorsOrigin::Below { scheme, domain } => format!("{scheme}*{domain}"),
    };
    json!({
        "origins": origins.iter().map(origin).collect::<Vec<_>>(),
        "methods": methods,
        "headers": headers,
        "expose": expose,
        "credentials": credentials,
        "max_age": duration(*max_age),
    })
}
