//! A listener's application: reads requests from a connection, one after the other.

use std::future::{pending, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::exchange::{self, After, REPLY_LIMIT};
use super::ids::Ids;
use super::opening::Opened;
use super::reply::{Denial, Reply};
use super::snapshot::Snapshot;
use crate::client::http2::{self, Ended, Exchange, SessionLimits};
use crate::client::tls::TlsServer;
use crate::client::{Accepted, Client, Input, Transport};
use crate::clock;
use crate::config::model::Listener;
use crate::headers::Sender;
use crate::http1::head::{HeadError, RequestHead, parse_request};
use crate::live::kind::Kind;
use crate::live::registry::Registry;
use crate::telemetry::connections::{ConnectionMetrics, Refused, Spoken};
use crate::telemetry::spans::Spans;

/// What all listeners share.
pub struct Shared {
    /// The configuration in use.
    pub snapshot: ArcSwap<Snapshot>,
    /// The open exchanges.
    pub registry: Arc<Registry>,
    /// Tells exchanges apart.
    pub ids: Ids,
    /// Those that are sent elsewhere when they have ended.
    pub spans: Spans,
}

impl Shared {
    /// For one configuration.
    pub fn new(snapshot: Arc<Snapshot>, registry: Arc<Registry>, spans: Spans) -> Self {
        Self { snapshot: ArcSwap::new(snapshot), registry, ids: Ids::new(), spans }
    }
}

/// Empty lines before a request that are read over: old clients put one behind a body.
const EMPTY_LINES_MAX: usize = 8;

/// How long an idle connection is still looked at when the process ends: a request may lie in the
/// kernel that nobody has been told of.
pub const LAST_LOOK: Duration = Duration::from_millis(20);

/// The same for one that has brought no request yet: its client may have been told only now that it
/// is connected. Not longer than the process waits for connections at its end.
pub const FIRST_LOOK: Duration = Duration::from_millis(300);

/// Connections that are told why they are turned away, at once. The others are closed without a
/// word: telling takes a moment, and somebody else may need the descriptor.
const TOLD_AT_ONCE: usize = 64;

/// The application of one listener.
pub struct App {
    shared: Arc<Shared>,
    listener: Listener,
    tls: Option<Arc<TlsServer>>,
    metrics: Arc<ConnectionMetrics>,
    shutdown: watch::Receiver<bool>,
    told: Arc<Semaphore>,
}

/// What a connection that speaks HTTP/1 goes on with.
enum Next {
    Head(RequestHead),
    /// HTTP/2; its preface is among what was read.
    Http2,
    /// Its quiet end.
    End,
}

/// What surrounds the requests of one connection.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    app: &'a App,
    /// The configuration that it began with.
    pub snapshot: &'a Snapshot,
    /// The other end.
    pub peer: Option<SocketAddr>,
}

impl<'a> Context<'a> {
    /// What all listeners share.
    pub fn shared(&self) -> &'a Shared {
        &self.app.shared
    }

    /// Name of the listener.
    pub fn listener(&self) -> &'a str {
        &self.app.listener.name
    }

    /// Who is at the other end.
    pub fn sender(&self) -> Sender<'_> {
        Sender {
            peer: self.peer,
            trusted: &self.snapshot.config.server.trusted_proxies,
            scheme: if self.app.tls.is_some() { "https" } else { "http" },
        }
    }

    /// Whether connections are to be closed after their response.
    pub fn is_draining(&self) -> bool {
        *self.app.shutdown.borrow()
    }
}

impl App {
    /// For a listener, with `tls` if it has any; ends what it can when `shutdown` turns true.
    pub fn new(
        shared: Arc<Shared>,
        listener: Listener,
        tls: Option<Arc<TlsServer>>,
        metrics: Arc<ConnectionMetrics>,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        let told = Arc::new(Semaphore::new(TOLD_AT_ONCE));
        Self { shared, listener, tls, metrics, shutdown, told }
    }

    pub(super) fn listener(&self) -> &Listener {
        &self.listener
    }

    pub(super) fn tls(&self) -> Option<&TlsServer> {
        self.tls.as_deref()
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// Counts a connection that was refused.
    pub fn count(&self, refused: Refused) {
        self.metrics.accepted();
        self.metrics.refused(refused);
    }

    /// Says that there is no place for a connection.
    pub fn turn_away(&self, accepted: Accepted) {
        // With TLS, saying it would cost more than serving it.
        if self.tls.is_some() {
            return;
        }
        let Ok(permit) = Arc::clone(&self.told).try_acquire_owned() else { return };
        tokio::spawn(async move {
            let message = "the proxy has as many connections as it may have";
            let mut denial = Denial::new(503, "too_many_connections", message);
            denial.retry_after = Some(1);
            tell(Client::new(accepted.socket), &denial).await;
            drop(permit);
        });
    }

    /// Serves a connection to its end.
    ///
    /// Not an `async fn`: that would hold room for the arguments to the end.
    pub fn serve(self: Arc<Self>, accepted: Accepted) -> impl Future<Output = ()> + Send {
        self.metrics.accepted();
        let app = Arc::clone(&self);
        // What is over when the first request begins is boxed, for the same reason.
        let opening = Box::pin(async move { app.open_in_time(accepted).await });
        async move {
            let open = self.metrics.open(Spoken::Http1);
            // Boxed, and waited for behind all that is named before: a connection that serves a
            // request holds no room for its end.
            let last: BoxFuture<'_, ()> = 'last: {
                let (mut client, peer) = match opening.await {
                    Ok(Opened { transport, peer, http2: false }) => (Client::new(transport), peer),
                    Ok(Opened { transport, peer, http2: true }) => {
                        drop(open);
                        break 'last Box::pin(self.serve_http2(transport, peer));
                    }
                    Err(refused) => return self.metrics.refused(refused),
                };
                // Waited for once, not once for each request.
                let mut shutdown = pin!(turns_true(self.shutdown.clone()));
                let mut last_look = FIRST_LOOK;
                let mut may_be_http2 = self.tls.is_none() && self.listener.protocols.http2;
                loop {
                    let next = self.next(&mut client, shutdown.as_mut(), may_be_http2, last_look);
                    let head = match next.await {
                        Ok(Next::Head(head)) => head,
                        Ok(Next::Http2) => {
                            drop(open);
                            break 'last Box::pin(self.serve_http2(client.into_transport(), peer));
                        }
                        Ok(Next::End) => return,
                        Err(denial) => {
                            break 'last Box::pin(Arc::clone(&self).refuse(client, denial));
                        }
                    };
                    may_be_http2 = false;
                    last_look = LAST_LOOK;
                    let carrier = self.shared.registry.carry();
                    // Each request has the configuration of its time.
                    let snapshot = self.snapshot();
                    let context = self.context(&snapshot, peer);
                    // Boxed, so that a connection between two requests holds no room for one.
                    match Box::pin(exchange::run(context, &mut client, head)).await {
                        After::KeepAlive => {}
                        After::Close => break 'last Box::pin(client.close()),
                        After::Abort { patience } => {
                            break 'last Box::pin(async move {
                                client.abort(patience).await;
                                drop(carrier);
                            });
                        }
                        After::Gone => return,
                    }
                }
            };
            last.await
        }
    }

    async fn open_in_time(&self, accepted: Accepted) -> Result<Opened, Refused> {
        let opened = timeout(self.listener.header_timeout, self.open(accepted)).await;
        opened.unwrap_or(Err(match self.tls {
            Some(_) => Refused::Tls,
            None => Refused::ProxyHeader,
        }))
    }

    fn context<'a>(&'a self, snapshot: &'a Snapshot, peer: Option<SocketAddr>) -> Context<'a> {
        Context { app: self, snapshot, peer }
    }

    /// Serves a connection's requests, each in a task of its own.
    async fn serve_http2(self: Arc<Self>, transport: Transport, peer: Option<SocketAddr>) {
        let open = self.metrics.open(Spoken::Http2);
        let carrier = self.shared.registry.carry();
        let limits = SessionLimits::new(&self.listener);
        // A silent client is found by PING; the kernel's limit would be one for slow readers, too.
        transport.allow_unacknowledged(None);
        let handle = |head, exchange: Exchange| {
            let app = Arc::clone(&self);
            async move {
                let mut client = Client::new(exchange);
                let snapshot = app.snapshot();
                let context = app.context(&snapshot, peer);
                match exchange::run(context, &mut client, head).await {
                    After::KeepAlive | After::Close => client.close().await,
                    After::Abort { patience } => client.abort(patience).await,
                    After::Gone => {}
                }
            }
        };
        let ended = http2::serve(transport, &limits, self.shutdown.clone(), handle).await;
        if let Ended::Flood(flood) = ended {
            self.metrics.refused(Refused::Flood);
            let client = peer.map(tracing::field::display);
            tracing::warn!(listener = self.listener.name, client, ?flood, "HTTP/2 client cut off");
        }
        drop((open, carrier));
    }

    /// Waits for the next request, or for HTTP/2's preface where it `may_be_http2` ("prior
    /// knowledge", RFC 9113 §3.3). A connection that idles is woken by `shutdown`.
    async fn next(
        &self,
        client: &mut Client,
        shutdown: impl Future<Output = ()>,
        may_be_http2: bool,
        last_look: Duration,
    ) -> Result<Next, Denial> {
        let idles_until = clock::now() + self.listener.keepalive_timeout;
        let ends = *self.shutdown.borrow();
        let has_begun = match ends {
            true => None,
            false => tokio::select! {
                biased;
                has_begun = begins(client, idles_until) => Some(has_begun),
                () = shutdown => None,
            },
        };
        let has_begun = match has_begun {
            Some(has_begun) => has_begun,
            // What has come before the end is answered.
            None => begins(client, clock::now() + last_look).await,
        };
        if !has_begun {
            return Ok(Next::End);
        }
        // For the whole head, however slowly it drips.
        let deadline = clock::now() + self.listener.header_timeout;
        // The first byte that differs decides: an HTTP/1.0 request is shorter than the preface.
        if may_be_http2 {
            let is_preface = loop {
                match http2::preface(&client.inbox) {
                    Some(is_preface) => break is_preface,
                    None => match client.read_more_by(deadline).await {
                        Input::More => {}
                        Input::End => return Ok(Next::End),
                        Input::Late => return Err(late()),
                    },
                }
            };
            if is_preface {
                return Ok(Next::Http2);
            }
        }
        if !self.listener.protocols.http1 {
            return Err(Denial::new(505, "version_not_supported", "only HTTP/2"));
        }
        match parse_head(client, self.listener.max_header_size, deadline).await? {
            Parsed::Head(head) => Ok(Next::Head(head)),
            Parsed::End => Ok(Next::End),
            Parsed::Late => Err(late()),
        }
    }

    /// Refuses what is not a request, and ends the connection: where the next request would begin
    /// is not known.
    async fn refuse(self: Arc<Self>, client: Client, denial: Denial) {
        self.snapshot().unrouted.finished(Kind::Http, denial.status);
        tell(client, &denial).await;
    }
}

/// Answers with an error and ends the connection.
async fn tell(mut client: Client, denial: &Denial) {
    let (body, date) = (denial.body(), date());
    let reply = Reply { date: &date, ..Reply::of(denial, &body) };
    if client.write_all(&reply.encode(), REPLY_LIMIT).await.is_ok() {
        client.close().await;
    }
}

async fn turns_true(mut watched: watch::Receiver<bool>) {
    if watched.wait_for(|&is_true| is_true).await.is_err() {
        // Nobody is left to say so.
        pending().await
    }
}

fn late() -> Denial {
    Denial::new(408, "header_timeout", "the request head did not come in time")
}

/// Waits until a request begins: RFC 9112 §2.2 has a server ignore "at least one empty line (CRLF)
/// received prior to the request-line". More of them than [`EMPTY_LINES_MAX`] count as a part of the
/// head, with its limits of size and time. `false` is the connection's end, or the `deadline`.
fn begins(client: &mut Client, deadline: Instant) -> impl Future<Output = bool> {
    let mut left = EMPTY_LINES_MAX;
    client.wait_until(deadline);
    poll_fn(move |cx| {
        loop {
            while left > 0 && client.inbox.starts_with(b"\r\n") {
                client.inbox.drain(..2);
                left -= 1;
            }
            if !client.inbox.is_empty() && client.inbox != b"\r" {
                return Poll::Ready(true);
            }
            if ready!(client.poll_more(cx)) != Input::More {
                return Poll::Ready(false);
            }
        }
    })
}

/// What came of waiting for a head.
pub enum Parsed {
    /// It is here.
    Head(RequestHead),
    /// The connection's end.
    End,
    /// It was not complete in time.
    Late,
}

/// Takes a head of at most `limit` bytes off the front of what the client sends, waiting until
/// `deadline` for it to be complete.
pub async fn parse_head(
    client: &mut Client,
    limit: usize,
    deadline: Instant,
) -> Result<Parsed, Denial> {
    loop {
        if let Some(head) = take_head(&mut client.inbox, limit)? {
            return Ok(Parsed::Head(head));
        }
        match client.read_more_by(deadline).await {
            Input::More => {}
            Input::End => return Ok(Parsed::End),
            Input::Late => return Ok(Parsed::Late),
        }
    }
}

/// Takes a head of at most `limit` bytes off the front of `inbox`, if it is complete.
fn take_head(inbox: &mut Vec<u8>, limit: usize) -> Result<Option<RequestHead>, Denial> {
    let parsed = parse_request(inbox).map_err(|error| match error {
        HeadError::Syntax(httparse::Error::TooManyHeaders) => {
            Denial::new(431, "head_too_large", "too many header fields")
        }
        HeadError::Version => Denial::new(505, "version_not_supported", error.to_string()),
        error => Denial::bad_request(error),
    })?;
    match parsed {
        Some((head, length)) if length <= limit => {
            inbox.drain(..length);
            inbox.shrink_to_fit();
            Ok(Some(head))
        }
        None if inbox.len() <= limit => Ok(None),
        _ => {
            let message = format!("the request head is larger than {limit} bytes");
            Err(Denial::new(431, "head_too_large", message))
        }
    }
}

/// Now, for the `Date` field.
pub fn date() -> String {
    httpdate::fmt_http_date(clock::wall())
}
