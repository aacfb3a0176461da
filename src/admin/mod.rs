//! The address for operators: metrics, health, and what they may ask for.

pub mod control;
mod dashboard;
mod wish;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use control::Control;
use wish::Wish;

use crate::client::{Accepted, Client};
use crate::config::model::{Admin, Bind};
use crate::http1::framing::Framing;
use crate::http1::head::{RequestHead, Version};
use crate::policy::digest::same;
use crate::proxy::admit::{Admitted, admit};
use crate::proxy::app::{Shared, date, parse_head};
use crate::proxy::reply::{Denial, OwnField, Reply};
use crate::telemetry::metrics::Metrics;

/// Largest request head here.
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// For a request, an answer, and the time between two requests.
const LIMIT: Duration = Duration::from_secs(60);

/// `prometheus` writes the text format only, whatever `Accept` says.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// The application of the admin address.
pub struct AdminApp {
    admin: Admin,
    metrics_path: String,
    process: Arc<Process>,
}

/// What operators see of the process, and where they ask for more.
pub struct Process {
    /// Its metrics.
    pub metrics: Arc<Metrics>,
    /// The configuration in use, and the open exchanges.
    pub shared: Arc<Shared>,
    /// False once it drains.
    pub ready: AtomicBool,
    /// Where it hears.
    pub control: Control,
}

/// An answer.
struct Answer {
    status: u16,
    content_type: &'static str,
    body: String,
    /// Fields that must go with it.
    fields: Vec<OwnField>,
}

impl Answer {
    fn new(status: u16, content_type: &'static str, body: impl Into<String>) -> Self {
        Self { status, content_type, body: body.into(), fields: Vec::new() }
    }

    fn json(status: u16, value: &serde_json::Value) -> Self {
        Self::new(status, JSON, format!("{value}\n"))
    }

    fn not_allowed(allow: &'static str) -> Self {
        let mut denial = Denial::new(405, "method_not_allowed", format!("only {allow}"));
        // RFC 9110 §15.5.6 demands it.
        denial.fields.push(("Allow", allow.into()));
        denial.into()
    }
}

impl From<Denial> for Answer {
    fn from(denial: Denial) -> Self {
        let body = denial.body();
        Self { fields: denial.fields, ..Self::new(denial.status, JSON, body) }
    }
}

impl AdminApp {
    /// Shows the metrics of `process` at `metrics_path`.
    pub fn new(admin: Admin, metrics_path: String, process: Arc<Process>) -> Self {
        Self { admin, metrics_path, process }
    }

    async fn answer(&self, head: &RequestHead, admitted: &Admitted) -> Answer {
        let path = admitted.path();
        let reads = matches!(head.method.as_ref(), b"GET" | b"HEAD");
        let is_health = matches!(path, "/healthz" | "/readyz");
        if self.admin.dashboard && dashboard::is_at(path) && path != self.metrics_path {
            return if reads { dashboard::page() } else { Answer::not_allowed("GET, HEAD") };
        }
        if !is_health && !self.is_allowed(head) {
            let mut denial = Denial::new(401, "unauthorized", "a bearer token is needed");
            denial.fields.push(("WWW-Authenticate", "Bearer".into()));
            return denial.into();
        }
        if path == self.metrics_path || is_health {
            return if reads { self.page(path) } else { Answer::not_allowed("GET, HEAD") };
        }
        let Some(wish) = Wish::of(path) else {
            return Denial::new(404, "not_found", "there is no such page").into();
        };
        if head.method.as_ref() != b"POST" {
            return Answer::not_allowed("POST");
        }
        if let Err(denial) = self.check_sender(head, admitted) {
            return denial.into();
        }
        wish.grant(&self.process).await
    }

    fn page(&self, path: &str) -> Answer {
        match path {
            "/healthz" => Answer::new(200, TEXT, "ok\n"),
            "/readyz" if self.process.ready.load(Ordering::Acquire) => {
                Answer::new(200, TEXT, "ready\n")
            }
            "/readyz" => Answer::new(503, TEXT, "draining\n"),
            _ => Answer::new(200, METRICS_TYPE, self.process.metrics.render()),
        }
    }

    fn is_allowed(&self, head: &RequestHead) -> bool {
        let Some(token) = &self.admin.token else { return true };
        let Some(value) = head.fields.get("authorization") else { return false };
        let Some((scheme, given)) = value.split_at_checked("Bearer ".len()) else { return false };
        scheme.eq_ignore_ascii_case(b"Bearer ") && same(given, token.expose().as_bytes())
    }

    /// Without a token, any page that an operator's browser has open could ask for things: by a
    /// form, or under a name of its own that it has made to mean this machine (DNS rebinding).
    fn check_sender(&self, head: &RequestHead, admitted: &Admitted) -> Result<(), Denial> {
        let deny = |message| Err(Denial::new(403, "forbidden", message));
        if let Some(origin) = head.fields.get("origin") {
            let own = head.fields.get("host").map(|host| [b"http://", &host[..]].concat());
            if own.is_none_or(|own| own != *origin) {
                return deny("pages of other origins may not ask for this");
            }
        }
        let host = admitted.host.trim_matches(['[', ']']);
        let is_named = host != "localhost" && host.parse::<IpAddr>().is_err();
        if self.admin.token.is_none() && is_named && matches!(self.admin.bind, Bind::Tcp(_)) {
            return deny("ask by address or as localhost, or set admin.token");
        }
        Ok(())
    }
}

impl AdminApp {
    /// Serves a connection to its end.
    pub async fn serve(&self, accepted: Accepted) {
        let mut client = Client::new(accepted.socket);
        // A deadline per request rather than per phase: operators' tools are quick.
        while let Ok(Some(head)) = tokio::time::timeout(LIMIT, read_head(&mut client)).await {
            let (answer, to_head, keep_alive) = match &head {
                Err(denial) => (denial.clone().into(), false, false),
                Ok((head, admitted)) => (
                    self.answer(head, admitted).await,
                    head.method.as_ref() == b"HEAD",
                    // An HTTP/1.0 client is not worth the words.
                    head.version == Version::Http11
                        && admitted.keep_alive
                        && matches!(admitted.framing, Framing::None | Framing::Length(0)),
                ),
            };
            if !send(&mut client, &answer, keep_alive, to_head).await || !keep_alive {
                break;
            }
        }
        client.close().await;
    }
}

async fn send(client: &mut Client, answer: &Answer, keep_alive: bool, to_head: bool) -> bool {
    let date = date();
    let reply = Reply {
        content_type: answer.content_type,
        connection: if keep_alive { None } else { Some("close") },
        fields: &answer.fields,
        to_head,
        date: &date,
        ..Reply::new(answer.status, &answer.body)
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
mod tests;
