use super::*;
use crate::config::model::Secret;
use crate::config::{SystemEnv, parse};
use crate::http1::head::parse_request;
use crate::live::registry::Registry;
use crate::proxy::snapshot::Snapshot;
use crate::telemetry::spans::Spans;

const CONFIG: &str = "[listeners.web]\nbind = [\"127.0.0.1:0\"]\n\
    [routes.all]\nupstream = \"http://127.0.0.1:1\"\n";

async fn answer(token: Option<&str>, request: &str) -> u16 {
    answer_of(token, true, request).await
}

async fn answer_of(token: Option<&str>, allow_kill: bool, request: &str) -> u16 {
    let admin = Admin {
        bind: Bind::Tcp("127.0.0.1:0".parse().unwrap()),
        token: token.map(|token| Secret::new(token.to_owned())),
        dashboard: true,
        allow_kill,
    };
    let metrics = Arc::new(Metrics::new());
    let config = parse(CONFIG, "test.toml", &SystemEnv).unwrap();
    let snapshot = Snapshot::prepare(config, None, &metrics).unwrap().begin(&metrics);
    let (spans, _) = Spans::new(&metrics);
    let shared = Shared::new(Arc::new(snapshot), Arc::new(Registry::default()), spans);
    let shared = Arc::new(shared);
    // Nobody hears.
    let (control, _) = Control::new();
    let process = Process {
        metrics,
        shared,
        ready: AtomicBool::new(false),
        control,
        replaced: watch::Sender::new(false),
        started: clock::now(),
        watchers: Arc::new(Semaphore::new(1)),
        answering: RwLock::default(),
    };
    let pages = process.shared.snapshot.load().config.metrics.clone();
    let app = Arc::new(AdminApp::new(admin, pages, Arc::new(process)));
    let mut head = parse_request(request.as_bytes()).unwrap().unwrap().0;
    let admitted = admit(&mut head).unwrap();
    match app.answer(&head, &admitted).await {
        Served::Whole(answer) => answer.status,
        Served::Live(_) => 200,
    }
}

#[tokio::test]
async fn pages_and_tokens() {
    for (token, line, authorization, expected) in [
        (None, "GET /metrics", "x", 200),
        (None, "GET /metrics?x", "x", 200),
        (None, "POST /metrics", "x", 405),
        (None, "GET /", "x", 200),
        (Some("s3"), "GET /dashboard", "x", 200),
        (None, "POST /", "x", 405),
        (None, "GET /dashboard/", "x", 404),
        (Some("s3"), "GET /metrics", "x", 401),
        (Some("s3"), "GET /metrics", "Bearer s4", 401),
        (Some("s3"), "GET /metrics", "Bearer s3x", 401),
        (Some("s3"), "GET /metrics", "bearer s3", 200),
        (Some("s3"), "GET /healthz", "x", 200),
        (Some("s3"), "GET /readyz", "x", 503),
        (Some("s3"), "GET /nothing", "x", 401),
        (None, "GET /-/reload", "x", 405),
        (None, "POST /-/reload", "x", 409),
        (None, "POST /-/reload?x", "x", 409),
        (Some("s3"), "POST /-/reload", "x", 401),
        (Some("s3"), "POST /-/drain", "Bearer s3", 503),
        (None, "POST /api/upstreams/127.0.0.1:1/endpoints/127.0.0.1:1/drain", "x", 200),
        (None, "POST /api/upstreams/other/endpoints/127.0.0.1:1/drain", "x", 404),
        (None, "POST /api/upstreams/127.0.0.1:1/endpoints/other/drain", "x", 404),
        (None, "GET /metrics/streams", "x", 200),
        (Some("s3"), "GET /metrics/streams", "x", 401),
        (None, "GET /api/streams", "x", 200),
        (None, "HEAD /api/streams?limit=1", "x", 200),
        (None, "GET /api/streams?limit=x", "x", 400),
        (None, "POST /api/streams", "x", 405),
        (None, "DELETE /api/streams", "x", 405),
        (None, "GET /api/streams/ended?reason=killed", "x", 200),
        (None, "DELETE /api/streams/ended", "x", 404),
        (None, "POST /api/streams/ended", "x", 405),
        (None, "GET /api/streams/1", "x", 404),
        (None, "GET /api/streams/1?number=7", "x", 404),
        (None, "GET /api/streams/1?number=x", "x", 400),
        (None, "POST /api/streams/1", "x", 405),
        (None, "DELETE /api/streams/1", "x", 404),
        (None, "DELETE /api/streams/1?number=x", "x", 400),
        (None, "GET /api/streams/ended?number=7", "x", 404),
        (None, "DELETE /api/streams/ended?number=7", "x", 404),
        (Some("s3"), "DELETE /api/streams/1", "x", 401),
        (None, "GET /api/upstreams", "x", 200),
        (None, "GET /api/routes", "x", 200),
        (None, "GET /api/config", "x", 200),
        (None, "GET /api/live", "x", 200),
        (None, "HEAD /api/live", "x", 405),
        (Some("s3"), "GET /api/live", "x", 401),
        (None, "GET /api/nothing", "x", 404),
    ] {
        let request =
            format!("{line} HTTP/1.1\r\nHost: [::1]:1\r\nAuthorization: {authorization}\r\n\r\n");
        assert_eq!(answer(token, &request).await, expected, "{line} {authorization}");
    }
}

#[tokio::test]
async fn a_page_in_an_operators_browser_may_not_ask() {
    for (token, host, origin, expected) in [
        (None, "127.0.0.1:9901", None, 409),
        (None, "localhost:9901", Some("http://localhost:9901"), 409),
        (None, "127.0.0.1:9901", Some("http://evil.example"), 403),
        (None, "127.0.0.1:9901", Some("null"), 403),
        (None, "evil.example:9901", Some("http://evil.example:9901"), 403),
        (None, "evil.example:9901", None, 403),
        (Some("s3"), "proxy.internal:9901", None, 409),
        // Behind a proxy with TLS, which may put its own name for us into `Host`.
        (Some("s3"), "127.0.0.1:9901", Some("https://ops.example.com"), 409),
    ] {
        let origin = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
        let request = format!(
            "POST /-/reload HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer s3\r\n{origin}\r\n"
        );
        assert_eq!(answer(token, &request).await, expected, "{host} {origin}");
    }
}

#[tokio::test]
async fn nor_may_it_read_or_end_anything() {
    for (token, line, fields, expected) in [
        (None, "GET /api/streams", "Host: evil.example", 403),
        (None, "GET /api/live", "Host: evil.example:9901", 403),
        (None, "GET /metrics", "Host: evil.example", 200),
        (None, "GET /api/streams", "Host: localhost:9901", 200),
        (None, "GET /api/streams", "Host: [::1]:9901\r\nSec-Fetch-Site: same-origin", 200),
        (None, "GET /api/live", "Host: [::1]:9901\r\nSec-Fetch-Site: cross-site", 403),
        (Some("s3"), "GET /api/streams", "Host: proxy.internal", 200),
        (None, "DELETE /api/streams/1", "Host: evil.example", 403),
        (None, "DELETE /api/streams/1", "Host: localhost\r\nOrigin: http://evil.example", 403),
        (None, "DELETE /api/streams/1", "Host: localhost\r\nOrigin: http://localhost", 404),
    ] {
        let request = format!("{line} HTTP/1.1\r\nAuthorization: Bearer s3\r\n{fields}\r\n\r\n");
        assert_eq!(answer(token, &request).await, expected, "{line} {fields}");
    }
    let kill = "DELETE /api/streams/1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(answer_of(None, false, kill).await, 403);
}
