use super::*;
use crate::config::tests::Variables;
use crate::config::{SystemEnv, parse};

const SECRETS: &str = r#"
    [listeners.web]
    bind = ["127.0.0.1:8080"]
    [upstreams.models]
    endpoints = ["http://127.0.0.1:8000"]
    health.active = { path = "/health?key=secret-1" }
    [routes.keys]
    paths = ["/keys/"]
    upstream = "models"
    headers.request_set = { "Authorization" = "Bearer secret-2", "X-Team" = "secret-3" }
    headers.response_set = { "X-Served-By" = "secret-4" }
    [routes.keys.auth]
    type = "api_key"
    keys = [
        { name = "web", sha256 = "942e941fc3ac142578f5c7be154bfbd9bb559cabe9d396640ec3dc51fec1a868" }
    ]
    [routes.asked]
    paths = ["/asked/"]
    upstream = "models"
    [routes.asked.auth]
    type = "forward"
    url = "http://127.0.0.1:9000/check?secret-5"
    [admin]
    token = "${TOKEN}"
"#;

#[test]
fn no_secret_is_shown() {
    let env = Variables(std::collections::HashMap::from([("TOKEN", "secret-6")]));
    let config = parse(SECRETS, "test.toml", &env).unwrap_or_else(|errors| panic!("{errors}"));
    let shown = shown(&config);
    let text = shown.to_string();
    for secret in ["secret", "942e941f", "148,46,148,31"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let keys = &shown["routes"]["keys"];
    assert_eq!(keys["headers"]["request_set"]["X-Team"], HIDDEN);
    assert_eq!(keys["auth"]["keys"], json!([{ "name": "web", "sha256": HIDDEN }]));
    assert_eq!(shown["routes"]["asked"]["auth"]["target"], "/check?***");
    assert_eq!(shown["upstreams"]["models"]["health"]["active"]["path"], "/health?***");
    assert_eq!(shown["admin"]["token"], HIDDEN);
}

#[test]
fn values_are_written_as_a_file_writes_them() {
    let text = "[listeners.web]\nbind = [\"127.0.0.1:8080\"]\n[routes.all]\n\
        upstream = \"http://127.0.0.1:8000\"\n\
        limits.requests_per_second = { rate = 30, burst = 40 }\n";
    let shown = shown(&parse(text, "test.toml", &SystemEnv).unwrap());
    for (pointer, expected) in [
        ("/server/drain/grace", json!("5m")),
        ("/listeners/web/max_header_size", json!("32KiB")),
        ("/listeners/web/protocols", json!(["http/1.1", "h2c"])),
        ("/defaults/timeouts/max_duration", json!("off")),
        ("/upstreams/127.0.0.1:8000/endpoints/0/url", json!("http://127.0.0.1:8000")),
        ("/upstreams/127.0.0.1:8000/balance", json!("least_streams")),
        ("/routes/all/paths", json!(["/"])),
        ("/routes/all/sse/heartbeat", json!("15s")),
        ("/routes/all/limits/requests_per_second/rate", json!(30.0)),
        ("/admin/token", Value::Null),
        ("/admin/allow_kill", json!(true)),
        ("/metrics/per_connection/max_series", json!(200)),
        ("/tracing/otlp/upstream", json!("127.0.0.1:4318")),
        ("/tracing/otlp/target", json!("/v1/traces")),
    ] {
        assert_eq!(shown.pointer(pointer), Some(&expected), "{pointer} of {shown:#}");
    }
}
