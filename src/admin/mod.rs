//! The address for operators: metrics, health, and what they may ask for.

pub mod control;
mod dashboard;
mod groups;
mod live;
mod series;
mod table;
mod wish;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, RwLock, Semaphore, watch};

use control::Control;
use wish::Wish;

use crate::client::{Accepted, Client};
use crate::clock;
use crate::config::model::{self, Admin, Bind};
use crate::http1::framing::Framing;
use crate::http1::head::{RequestHead, Version};
use crate::policy::digest::same;
use crate::proxy::admit::{Admitted, admit};
use crate::proxy::app::{Parsed, Shared, date, parse_head};
use crate::proxy::reply::{Denial, OwnField, Reply};
use crate::telemetry::metrics::Metrics;

/// Largest request head here.
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// For a request, an answer, and the time between two requests.
const LIMIT: Duration = Duration::from_secs(60);

/// `prometheus` writes the text format only, whatever `Accept` says.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What every answer says, besides: it is for whoever has asked, now, and it is what it says.
const FIELDS: [OwnField; 2] = [
    ("Cache-Control", Bytes::from_static(b"no-store")),
    ("X-Content-Type-Options", Bytes::from_static(b"nosniff")),
];

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Those who are told what changes, at once.
pub const WATCHERS_MAX: usize = 16;

/// The application of the admin address.
pub struct AdminApp {
    admin: Admin,
    pages: model::Metrics,
    process: Arc<Process>,
    /// Turns true when others hold: another token, say.
    outdated: watch::Sender<bool>,
}

/// What operators see of the process, and where they ask for more.
pub struct Process {
    /// Its metrics.
    pub metrics: Arc<Metrics>,
    /// The configuration in use, and the open exchanges.
    pub shared: Arc<Shared>,
    /// False once it drains.
    pub ready: AtomicBool,
    /// Turns true when another process answers at this address.
    pub replaced: watch::Sender<bool>,
    /// Where it hears.
    pub control: Control,
    /// When it began.
    pub started: Instant,
    /// Places for those who are told what changes.
    pub watchers: Arc<Semaphore>,
    /// Held for reading until an answer has been written: who asked the process to end wants to
    /// hear that it does.
    pub answering: RwLock<()>,
}

/// How a request is answered.
enum Served {
    /// At once.
    Whole(Answer),
    /// For as long as the client listens.
    Live(OwnedSemaphorePermit),
}

impl<A: Into<Answer>> From<A> for Served {
    fn from(answer: A) -> Self {
        Self::Whole(answer.into())
    }
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

    fn json(status: u16, value: &impl Serialize) -> Self {
        // What is answered here has no keys but texts, so that it can be written.
        let text = serde_json::to_string(value).unwrap_or_default();
        Self::new(status, JSON, text + "\n")
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
    /// Shows what there is to see of `process`, the metrics where `pages` says.
    pub fn new(admin: Admin, pages: model::Metrics, process: Arc<Process>) -> Self {
        Self { admin, pages, process, outdated: watch::Sender::new(false) }
    }

    /// Whether it goes by the same rules as `other`.
    pub fn is_like(&self, other: &Self) -> bool {
        self.admin == other.admin && self.pages == other.pages
    }

    /// Other rules hold now: connections that came under these end.
    pub fn outdate(&self) {
        self.outdated.send_replace(true);
    }

    async fn answer(self: &Arc<Self>, head: &RequestHead, admitted: &Admitted) -> Served {
        let path = admitted.path();
        let is_health = matches!(path, "/healthz" | "/readyz");
        // A page of the configuration's own, such as metrics at /, goes before it.
        if self.admin.dashboard && dashboard::is_at(path) && self.page_at(path).is_none() {
            return match head.method.as_ref() {
                "GET" | "HEAD" => dashboard::page().into(),
                _ => Answer::not_allowed("GET, HEAD").into(),
            };
        }
        if !is_health && !self.is_allowed(head) {
            let mut denial = Denial::new(401, "unauthorized", "a bearer token is needed");
            denial.fields.push(("WWW-Authenticate", "Bearer".into()));
            return denial.into();
        }
        let page = match self.page_at(path) {
            None => return self.wish(head, admitted).await,
            // A client may call its stream so: it is to be seen and to end, too.
            Some(Page::Ended) if head.method == "DELETE" => return self.wish(head, admitted).await,
            Some(Page::Ended) if query_of(admitted).starts_with("number=") => {
                Page::Stream("ended".to_owned())
            }
            Some(page) => page,
        };
        let is_api = path.starts_with("/api/");
        let allow = match page {
            // What is said of one stream may be asked for, and so may its end.
            Page::Stream(_) if head.method == "DELETE" => return self.wish(head, admitted).await,
            Page::Stream(_) => "GET, HEAD, DELETE",
            Page::Live => "GET",
            _ => "GET, HEAD",
        };
        if !(head.method == "GET" || head.method == "HEAD" && !matches!(page, Page::Live)) {
            return Answer::not_allowed(allow).into();
        }
        if is_api && let Err(denial) = self.check_reader(head, admitted) {
            return denial.into();
        }
        if matches!(page, Page::Healthz | Page::Readyz | Page::Live) {
            // Answered even when there is no thread to be had.
            return self.page(page, "");
        }
        // Thousands of rows take a while, and the streams of this worker had better not wait.
        let (app, query) = (Arc::clone(self), query_of(admitted).to_owned());
        let page = tokio::task::spawn_blocking(move || app.page(page, &query)).await;
        page.unwrap_or_else(|_| Denial::new(500, "proxy_error", "the page failed").into())
    }

    /// The page at a path.
    fn page_at(&self, path: &str) -> Option<Page> {
        let per_connection = &self.pages.per_connection;
        Some(match path {
            "/healthz" => Page::Healthz,
            "/readyz" => Page::Readyz,
            _ if path == self.pages.path => Page::Metrics,
            _ if per_connection.enabled && path == per_connection.path => Page::StreamMetrics,
            "/api/streams" => Page::Streams,
            "/api/streams/ended" => Page::Ended,
            "/api/upstreams" => Page::Upstreams,
            "/api/routes" => Page::Routes,
            "/api/config" => Page::Config,
            "/api/live" => Page::Live,
            _ => Page::Stream(table::id_in(path)?.into_owned()),
        })
    }

    async fn wish(&self, head: &RequestHead, admitted: &Admitted) -> Served {
        let number = match table::number_in(query_of(admitted)) {
            Err(denial) if table::id_in(admitted.path()).is_some() => return denial.into(),
            number => number.ok().flatten(),
        };
        let Some((wish, method)) = Wish::of(admitted.path(), number) else {
            return Denial::new(404, "not_found", "there is no such page").into();
        };
        if head.method != method {
            return Answer::not_allowed(method).into();
        }
        if let Err(denial) = self.check_sender(head, admitted) {
            return denial.into();
        }
        if matches!(wish, Wish::Kill { .. }) && !self.admin.allow_kill {
            return Denial::new(403, "forbidden", "admin.allow_kill is false").into();
        }
        wish.grant(&self.process).await.into()
    }

    fn page(&self, page: Page, query: &str) -> Served {
        let process = &*self.process;
        let trusted = self.admin.token.is_some();
        match page {
            Page::Healthz => Answer::new(200, TEXT, "ok\n"),
            Page::Readyz if process.ready.load(Ordering::Acquire) => {
                Answer::new(200, TEXT, "ready\n")
            }
            Page::Readyz => Answer::new(503, TEXT, "draining\n"),
            Page::Metrics => {
                process.metrics.omitted(series::omitted(process, &self.pages.per_connection));
                Answer::new(200, METRICS_TYPE, process.metrics.render())
            }
            Page::StreamMetrics => {
                let most = self.pages.per_connection.max_series;
                Answer::new(200, METRICS_TYPE, series::page(process, most))
            }
            Page::Streams => table::open(process, query, trusted),
            Page::Ended => table::ended(process, query, trusted),
            Page::Stream(id) => table::one(process, &id, query, trusted),
            Page::Upstreams => groups::upstreams(process),
            Page::Routes => groups::routes(process),
            Page::Config => groups::config(process),
            Page::Live => return live::begin(process),
        }
        .into()
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
        // With one, no page asks in an operator's name: browsers keep no token that they would add
        // by themselves. And `Host` may be what a proxy in front makes of it.
        if self.admin.token.is_some() {
            return Ok(());
        }
        if let Some(origin) = head.fields.get("origin") {
            let own = head.fields.get("host").map(|host| [b"http://", host].concat());
            if own.is_none_or(|own| own != *origin) {
                return forbidden("pages of other origins may not ask for this");
            }
        }
        self.check_host(admitted)
    }

    /// Such a page could read things, too, under a name of its own; and what it cannot read, it
    /// could still ask for until there is no place for anybody else.
    fn check_reader(&self, head: &RequestHead, admitted: &Admitted) -> Result<(), Denial> {
        let site = head.fields.get("sec-fetch-site");
        if site.is_some_and(|site| site == b"cross-site" || site == b"same-site") {
            return forbidden("pages of other origins may not ask for this");
        }
        self.check_host(admitted)
    }

    fn check_host(&self, admitted: &Admitted) -> Result<(), Denial> {
        let host = admitted.host.trim_matches(['[', ']']);
        let is_named = host != "localhost" && host.parse::<IpAddr>().is_err();
        if self.admin.token.is_none() && is_named && matches!(self.admin.bind, Bind::Tcp(_)) {
            return forbidden("ask by address or as localhost, or set admin.token");
        }
        Ok(())
    }
}

fn forbidden(message: &str) -> Result<(), Denial> {
    Err(Denial::new(403, "forbidden", message))
}

/// What can be read here.
enum Page {
    Healthz,
    Readyz,
    Metrics,
    StreamMetrics,
    Streams,
    Ended,
    Stream(String),
    Upstreams,
    Routes,
    Config,
    Live,
}

/// The part of a target behind its `?`.
fn query_of(admitted: &Admitted) -> &str {
    admitted.target.split_once('?').map_or("", |(_, query)| query)
}

impl AdminApp {
    /// Serves a connection to its end.
    pub async fn serve(self: Arc<Self>, accepted: Accepted) {
        let mut client = Client::new(accepted.socket);
        let mut replaced = self.process.replaced.subscribe();
        let mut outdated = self.outdated.subscribe();
        loop {
            // A deadline per request rather than per phase: operators' tools are quick. Whoever
            // keeps a connection is to ask the process that serves.
            let head = tokio::select! {
                biased;
                head = read_head(&mut client) => head,
                _ = replaced.wait_for(|&replaced| replaced) => break,
                _ = outdated.wait_for(|&outdated| outdated) => break,
            };
            let Some(head) = head else { break };
            if *outdated.borrow() {
                break;
            }
            let answering = self.process.answering.read().await;
            let (served, to_head, keep_alive) = match &head {
                Err(denial) => (denial.clone().into(), false, false),
                Ok((head, admitted)) => (
                    self.answer(head, admitted).await,
                    head.method == "HEAD",
                    // An HTTP/1.0 client is not worth the words.
                    head.version == Version::Http11
                        && admitted.keep_alive
                        && matches!(admitted.framing, Framing::None | Framing::Length(0)),
                ),
            };
            let answer = match served {
                Served::Whole(answer) => answer,
                Served::Live(place) => {
                    drop(answering);
                    tokio::select! {
                        () = live::feed(&mut client, Arc::clone(&self)) => {}
                        _ = outdated.wait_for(|&outdated| outdated) => {}
                    }
                    drop(place);
                    break;
                }
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
        more_fields: &FIELDS,
        to_head,
        date: &date,
        ..Reply::new(answer.status, &answer.body)
    };
    client.write_all(&reply.encode(), LIMIT).await.is_ok()
}

/// The next request, or `None` at the connection's end, or if it does not come in time.
async fn read_head(client: &mut Client) -> Option<Result<(RequestHead, Admitted), Denial>> {
    let mut head = match parse_head(client, HEAD_MAX_BYTES, clock::now() + LIMIT).await {
        Ok(Parsed::Head(head)) => head,
        Ok(Parsed::End | Parsed::Late) => return None,
        Err(denial) => return Some(Err(denial)),
    };
    Some(admit(&mut head).map(|admitted| (head, admitted)))
}

#[cfg(test)]
mod tests;
