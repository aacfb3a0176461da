//! A listener's application: reads requests from a connection, one after the other.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use prometheus::{IntCounter, IntGauge};
use tokio::time::timeout;

use super::exchange::{self, After, REPLY_LIMIT};
use super::reply::{Denial, Reply};
use super::snapshot::Snapshot;
use crate::clock;
use crate::config::model::Listener;
use crate::headers::Sender;
use crate::http1::head::{HeadError, RequestHead, parse_request};
use crate::live::kind::Kind;
use crate::live::registry::Registry;
use crate::relay::client::Client;

/// What all listeners share.
pub struct Shared {
    /// The configuration in use.
    pub snapshot: Arc<Snapshot>,
    /// The open exchanges.
    pub registry: Arc<Registry>,
    /// Makes request ids: the process's start and a count.
    ids: (u64, AtomicU64),
}

impl Shared {
    /// For one configuration.
    pub fn new(snapshot: Arc<Snapshot>, registry: Arc<Registry>) -> Self {
        let since_epoch = clock::wall().duration_since(std::time::UNIX_EPOCH);
        let start = since_epoch.map(|since| since.as_micros() as u64).unwrap_or_default();
        Self { snapshot, registry, ids: (start, AtomicU64::new(1)) }
    }

    /// A request id that no other request of this process has.
    pub fn new_id(&self) -> String {
        let mut id = String::with_capacity(24);
        let count = self.ids.1.fetch_add(1, Ordering::Relaxed);
        // Writing into a string cannot fail.
        let _ = write!(id, "{:x}-{count:x}", self.ids.0);
        id
    }
}

/// Empty lines before a request that are read over: old clients put one behind a body.
const EMPTY_LINES_MAX: usize = 8;

/// The application of one listener.
pub struct App {
    shared: Arc<Shared>,
    listener: Listener,
    accepted: IntCounter,
    active: IntGauge,
}

/// A connection's place in the gauge.
struct Open<'a>(&'a IntGauge);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What surrounds the requests of one connection.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// What all listeners share.
    pub shared: &'a Shared,
    /// Name of the listener.
    pub listener: &'a str,
    /// The other end.
    pub peer: Option<SocketAddr>,
    /// Turns true when the process is to end.
    pub shutdown: &'a ShutdownWatch,
}

impl Context<'_> {
    /// Who is at the other end.
    pub fn sender(&self) -> Sender<'_> {
        Sender {
            peer: self.peer,
            trusted: &self.shared.snapshot.config.server.trusted_proxies,
            scheme: "http",
        }
    }

    /// Whether connections are to be closed after their response.
    pub fn is_draining(&self) -> bool {
        *self.shutdown.borrow()
    }
}

impl App {
    /// For a listener; `metrics` counts its connections.
    pub fn new(
        shared: Arc<Shared>,
        listener: Listener,
        (accepted, active): (IntCounter, IntGauge),
    ) -> Self {
        Self { shared, listener, accepted, active }
    }

    /// Serves a connection to its end.
    async fn serve(&self, stream: Stream, shutdown: &ShutdownWatch) {
        self.accepted.inc();
        self.active.inc();
        let _open = Open(&self.active);
        let digest = stream.get_socket_digest();
        let peer = digest.as_ref().and_then(|digest| digest.peer_addr()?.as_inet()).copied();
        let context =
            Context { shared: &self.shared, listener: &self.listener.name, peer, shutdown };
        let mut client = Client::new(stream);
        loop {
            let head = match self.read_head(&mut client, shutdown).await {
                Ok(Some(head)) => head,
                Ok(None) => return,
                Err(denial) => return self.refuse(client, &denial).await,
            };
            match exchange::run(context, &mut client, head).await {
                After::KeepAlive => {}
                After::Close => return client.close().await,
                After::Abort { patience } => return client.abort(patience).await,
                After::Gone => return,
            }
        }
    }

    /// Waits for the head of the next request. `Ok(None)` is the connection's quiet end.
    async fn read_head(
        &self,
        client: &mut Client,
        shutdown: &ShutdownWatch,
    ) -> Result<Option<RequestHead>, Denial> {
        let mut shutdown = shutdown.clone();
        let begins = tokio::select! {
            begins = timeout(self.listener.keepalive_timeout, begins(client)) => begins,
            _ = shutdown.wait_for(|&ends| ends) => return Ok(None),
        };
        if begins != Ok(true) {
            return Ok(None);
        }
        // The deadline is for the whole head, however slowly it drips.
        let head = parse_head(client, self.listener.max_header_size);
        let whole = timeout(self.listener.header_timeout, head).await;
        whole.unwrap_or_else(|_| {
            Err(Denial::new(408, "header_timeout", "the request head did not come in time"))
        })
    }

    /// Refuses what is not a request, and ends the connection: where the next request would begin
    /// is not known.
    async fn refuse(&self, mut client: Client, denial: &Denial) {
        let unrouted = &self.shared.snapshot.unrouted;
        unrouted.finished(Kind::Http, denial.status);
        let (body, date) = (denial.body(), date());
        let reply =
            Reply { fields: &denial.fields, date: &date, ..Reply::new(denial.status, &body) };
        let reply = reply.encode();
        if client.write_all(&reply, REPLY_LIMIT).await.is_ok() {
            client.close().await;
        }
    }
}

#[async_trait]
impl ServerApp for App {
    /// Serves a connection in a task of its own: pingora's, which holds its handshake, ends here
    /// instead of living as long as the stream (8.8 KB each).
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let (app, shutdown) = (Arc::clone(self), shutdown.clone());
        tokio::spawn(async move { app.serve(stream, &shutdown).await });
        None
    }
}

/// Waits until a request begins: RFC 9112 §2.2 has a server ignore "at least one empty line (CRLF)
/// received prior to the request-line". More of them than [`EMPTY_LINES_MAX`] count as a part of the
/// head, with its limits of size and time. `false` is the connection's end.
async fn begins(client: &mut Client) -> bool {
    let mut left = EMPTY_LINES_MAX;
    loop {
        while left > 0 && client.inbox.starts_with(b"\r\n") {
            client.inbox.drain(..2);
            left -= 1;
        }
        if !client.inbox.is_empty() && client.inbox != b"\r" {
            return true;
        }
        if !client.read_more().await {
            return false;
        }
    }
}

/// Takes a head of at most `limit` bytes off the front of what the client sends, waiting for it to
/// be complete. `Ok(None)` is the connection's end.
pub async fn parse_head(client: &mut Client, limit: usize) -> Result<Option<RequestHead>, Denial> {
    loop {
        let parsed = parse_request(&client.inbox).map_err(|error| match error {
            HeadError::Syntax(httparse::Error::TooManyHeaders) => {
                Denial::new(431, "head_too_large", "too many header fields")
            }
            HeadError::Version => Denial::new(505, "version_not_supported", error.to_string()),
            error => Denial::bad_request(error),
        })?;
        match parsed {
            Some((head, length)) if length <= limit => {
                client.inbox.drain(..length);
                client.inbox.shrink_to_fit();
                return Ok(Some(head));
            }
            None if client.inbox.len() <= limit => {}
            _ => {
                let message = format!("the request head is larger than {limit} bytes");
                return Err(Denial::new(431, "head_too_large", message));
            }
        }
        if !client.read_more().await {
            return Ok(None);
        }
    }
}

/// Now, for the `Date` field.
pub fn date() -> String {
    httpdate::fmt_http_date(clock::wall())
}
