//! The address for operators: metrics and health.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::{Accepted, Client};
use crate::config::model::Admin;
use crate::http1::framing::Framing;
use crate::http1::head::{RequestHead, Version};
use crate::policy::digest::same;
use crate::proxy::admit::{Admitted, admit};
use crate::proxy::app::{date, parse_head};
use crate::proxy::reply::{Denial, Reply};
use crate::telemetry::metrics::Metrics;

/// Largest request head here.
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// For a request, an answer, and the time between two requests.
const LIMIT: Duration = Duration::from_secs(60);

/// `prometheus` writes the text format only, whatever `Accept` says.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const TEXT: &str = "text/plain; charset=utf-8";

/// The application of the admin address.
pub struct AdminApp {
    admin: Admin,
    metrics_path: String,
    metrics: Arc<Metrics>,
    /// False once the process drains.
    ready: Arc<AtomicBool>,
}

impl AdminApp {
    /// Serves `metrics` at `metrics_path`, and `ready` at `/readyz`.
    pub fn new(
        admin: Admin,
        metrics_path: String,
        metrics: Arc<Metrics>,
        ready: Arc<AtomicBool>,
    ) -> Self {
        Self { admin, metrics_path, metrics, ready }
    }

    /// Status, type and body for a request.
    fn answer(&self, head: &RequestHead, path: &str) -> (u16, &'static str, String) {
        let deny = |denial: Denial| (denial.status, "application/json", denial.body());
        if !matches!(head.method.as_ref(), b"GET" | b"HEAD") {
            return deny(Denial::new(405, "method_not_allowed", "only GET and HEAD"));
        }
        match path {
            "/healthz" => (200, TEXT, "ok\n".to_owned()),
            "/readyz" if self.ready.load(Ordering::Acquire) => (200, TEXT, "ready\n".to_owned()),
            "/readyz" => (503, TEXT, "draining\n".to_owned()),
            _ if !self.is_allowed(head) => {
                deny(Denial::new(401, "unauthorized", "a bearer token is needed"))
            }
            _ if path == self.metrics_path => (200, METRICS_TYPE, self.metrics.render()),
            _ => deny(Denial::new(404, "not_found", "there is no such page")),
        }
    }

    fn is_allowed(&self, head: &RequestHead) -> bool {
        let Some(token) = &self.admin.token else { return true };
        let Some(value) = head.fields.get("authorization") else { return false };
        let Some((scheme, given)) = value.split_at_checked("Bearer ".len()) else { return false };
        scheme.eq_ignore_ascii_case(b"Bearer ") && same(given, token.expose().as_bytes())
    }
}

impl AdminApp {
    /// Serves a connection to its end.
    pub async fn serve(&self, accepted: Accepted) {
        let mut client = Client::new(accepted.socket);
        // A deadline per request rather than per phase: operators' tools are quick.
        while let Ok(Some(head)) = tokio::time::timeout(LIMIT, read_head(&mut client)).await {
            let (answer, to_head, keep_alive) = match &head {
                Err(denial) => ((denial.status, "application/json", denial.body()), false, false),
                Ok((head, admitted)) => (
                    self.answer(head, admitted.path()),
                    head.method.as_ref() == b"HEAD",
                    // An HTTP/1.0 client is not worth the words.
                    head.version == Version::Http11
                        && admitted.keep_alive
                        && admitted.framing == Framing::None,
                ),
            };
            if !send(&mut client, &answer, keep_alive, to_head).await || !keep_alive {
                break;
            }
        }
        client.close().await;
    }
}

async fn send(
    client: &mut Client,
    (status, content_type, body): &(u16, &'static str, String),
    keep_alive: bool,
    to_head: bool,
) -> bool {
    let date = date();
    let reply = Reply {
        content_type,
        connection: if keep_alive { None } else { Some("close") },
        to_head,
        date: &date,
        ..Reply::new(*status, body)
    };
    client.write_all(&reply.encode(), LIMIT).await.is_ok()
}

/// The next request, or `None` at the connection's end.
async fn read_head(client: &mut Client) -> Option<Result<(RequestHead, Admitted), Denial>> {
    let mut head = match parse_head(client, HEAD_MAX_BYTES).await {
        Ok(head) => head?,
        Err(denial) => return Some(Err(denial)),
    };
    Some(admit(&mut head).map(|admitted| (head, admitted)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{Bind, Secret};
    use crate::http1::head::parse_request;

    fn answer(token: Option<&str>, text: &str) -> u16 {
        let admin = Admin {
            bind: Bind::Tcp("127.0.0.1:0".parse().unwrap()),
            token: token.map(|token| Secret::new(token.to_owned())),
        };
        let ready = Arc::new(AtomicBool::new(false));
        let app = AdminApp::new(admin, "/metrics".into(), Arc::new(Metrics::new()), ready);
        let mut head = parse_request(text.as_bytes()).unwrap().unwrap().0;
        let admitted = admit(&mut head).unwrap();
        app.answer(&head, admitted.path()).0
    }

    #[test]
    fn pages_and_tokens() {
        for (token, line, authorization, expected) in [
            (None, "GET /metrics", "x", 200),
            (None, "GET /metrics?x", "x", 200),
            (None, "POST /metrics", "x", 405),
            (None, "GET /", "x", 404),
            (Some("s3"), "GET /metrics", "x", 401),
            (Some("s3"), "GET /metrics", "Bearer s4", 401),
            (Some("s3"), "GET /metrics", "Bearer s3x", 401),
            (Some("s3"), "GET /metrics", "bearer s3", 200),
            (Some("s3"), "GET /healthz", "x", 200),
            (Some("s3"), "GET /readyz", "x", 503),
            (Some("s3"), "GET /nothing", "x", 401),
        ] {
            let text =
                format!("{line} HTTP/1.1\r\nHost: a\r\nAuthorization: {authorization}\r\n\r\n");
            assert_eq!(answer(token, &text), expected, "{line} {authorization}");
        }
    }
}
