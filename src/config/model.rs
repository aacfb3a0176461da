//! The configuration as it is used: checked, complete, without options that mean "default".
//!
//! Nothing here can hold nonsense; `build` is the only place that makes these values from a file.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

mod access;
mod auth;
mod limits;
mod listener;
mod log;
mod network;

pub use access::{Access, Cors, CorsOrigin};
pub use auth::{Algorithm, ApiKey, ApiKeyAuth, Auth, ForwardAuth, JwtAuth, KeySource};
pub use limits::{Limits, Queue, RateKey, RateLimit};
pub use listener::{
    Bind, CertificateFiles, ClientAuth, Listener, ListenerTls, Protocols, ProxyProtocol,
    TcpKeepalive, TlsVersion,
};
pub use log::{AccessLog, Level, Log, LogFormat, Otlp, Share, Tracing};
pub use network::Network;

/// Everything one configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The process as a whole.
    pub server: Server,
    /// Where clients connect. Never empty.
    pub listeners: Vec<Listener>,
    /// Named groups of endpoints, anonymous ones (from a URL of a route, or of `tracing.otlp`)
    /// included.
    pub upstreams: Vec<Upstream>,
    /// `[defaults.timeouts]`.
    pub timeouts: Timeouts,
    /// Rules from host, path and method to an upstream or a fixed answer. Never empty.
    pub routes: Vec<Route>,
    /// The address for operators; `None` when `admin.bind = "off"`.
    pub admin: Option<Admin>,
    /// How metrics are exported.
    pub metrics: Metrics,
    /// What is logged and how.
    pub log: Log,
    /// How exchanges are found in traces.
    pub tracing: Tracing,
}

/// `[server]`: the process as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Worker threads, at least 1.
    pub workers: usize,
    /// Whose `X-Forwarded-*` and `Forwarded` fields are believed.
    pub trusted_proxies: Vec<Network>,
    /// Client connections at once, at least 1; `None` is what the limit on descriptors allows.
    pub max_connections: Option<usize>,
    /// How often to look whether the configuration has changed; `None` is never.
    pub watch: Option<Duration>,
    /// The unix socket at which a successor gets the listening sockets; `None` is nowhere.
    pub upgrade_socket: Option<PathBuf>,
    /// What happens on SIGTERM.
    pub drain: Drain,
}

/// `[server.drain]`: how the process ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// How long open exchanges may run on once no connection is accepted any more.
    pub grace: Duration,
    /// How long to go on accepting after readiness was withdrawn.
    pub min_wait: Duration,
    /// Whether clients are told to come back: `retry:` on event streams, a close frame on
    /// WebSockets.
    pub notify: bool,
    /// Farewells are spread over this, so that clients do not come back all at once.
    pub spread: Duration,
}

/// `[upstreams.NAME]`: a named group of endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Name in metrics and logs. For an anonymous upstream: its `host:port`, `https://host:port` or
    /// `unix:/path`.
    pub name: String,
    /// Never empty; names are unique within the upstream.
    pub endpoints: Vec<Endpoint>,
    /// Which endpoint is next.
    pub balance: Balance,
    /// Over this time an endpoint that is new or back grows from a tenth to its full weight; `None`
    /// is `"off"`.
    pub slow_start: Option<Duration>,
    /// How `https` endpoints are spoken to.
    pub tls: UpstreamTls,
    /// Connections.
    pub pool: Pool,
    /// Which endpoints are fit to be picked.
    pub health: Health,
}

/// One entry of `endpoints`. A name with several addresses is several endpoints at run time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name in metrics and logs; default is `host:port`, or the path of a unix socket.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// The URL's scheme is `https`.
    pub https: bool,
    /// Its share next to the others, 1 to 1000.
    pub weight: u32,
    /// Exchanges open at once; `None` for no limit.
    pub max_streams: Option<usize>,
    /// It is picked only when none of the others is fit.
    pub backup: bool,
    /// How often its name is looked up.
    pub resolve: Duration,
}

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host and a TCP port.
    Tcp {
        /// Name or address, lower case, without brackets.
        host: String,
        /// Not 0.
        port: u16,
    },
    /// A unix socket's path.
    Unix(PathBuf),
}

/// `upstreams.NAME.balance`: which endpoint is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Balance {
    /// The one with the fewest open exchanges for its weight.
    LeastStreams,
    /// In turn, smoothly by weight.
    RoundRobin,
    /// The better of two at random ("power of two choices").
    P2c,
    /// At random by weight.
    Random,
    /// The same for the same key, unless that one has far more than its share.
    Hash(HashKey),
}

impl Balance {
    /// As it is written in the configuration.
    pub fn label(&self) -> &'static str {
        match self {
            Self::LeastStreams => "least_streams",
            Self::RoundRobin => "round_robin",
            Self::P2c => "p2c",
            Self::Random => "random",
            Self::Hash(_) => "hash",
        }
    }
}

/// `upstreams.NAME.hash_key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The value of a header field; its name in lower case.
    Header(String),
    /// The value of a cookie.
    Cookie(String),
    /// The value of a query parameter.
    Query(String),
    /// The client's address.
    Ip,
    /// The path, without the query.
    Path,
}

/// `[upstreams.NAME.tls]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The name that is asked for and verified, lower case; `None` is the URL's host. Empty only if
    /// nothing is verified: no name is asked for then.
    pub sni: Option<String>,
    /// A PEM file of certificate authorities; `None` is the system's.
    pub ca: Option<PathBuf>,
    /// Whether certificates are verified.
    pub verify: bool,
}

/// `[upstreams.NAME.pool]`: connections, and which are kept for reuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Idle connections kept per endpoint; 0 keeps none.
    pub max_idle: usize,
    /// How long an idle connection is kept at most; `None` for ever.
    pub idle_timeout: Option<Duration>,
    /// Whether to stay below the time after which the upstream closes idle connections itself.
    pub learn: bool,
    /// How old a connection may become before it is not used again, less up to a tenth by chance;
    /// `None` for ever.
    pub max_lifetime: Option<Duration>,
    /// Connections per endpoint, idle and active; `None` for no limit.
    pub max_connections: Option<usize>,
    /// Idle connections per endpoint that are opened ahead of need.
    pub warm: usize,
    /// HTTP/2: by ALPN with `https`, by prior knowledge with `http`.
    pub http2: bool,
    /// Exchanges on one HTTP/2 connection at once, at least 1.
    pub streams_per_connection: usize,
    /// The HTTP/2 window of one stream in bytes: what may wait for a slow client.
    pub h2_stream_window: usize,
    /// TCP keep-alive; `user_timeout` is zero.
    pub tcp_keepalive: TcpKeepalive,
}

/// `[upstreams.NAME.health]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// `[upstreams.NAME.health.active]`; `None` without that table.
    pub active: Option<ActiveHealth>,
    /// `[upstreams.NAME.health.passive]`.
    pub passive: PassiveHealth,
}

/// Questions to each endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveHealth {
    /// What is asked for: a path, perhaps with a query.
    pub path: String,
    /// From one question to the next.
    pub interval: Duration,
    /// For one answer.
    pub timeout: Duration,
    /// The statuses that are well, as inclusive ranges; never empty.
    pub expect_status: Vec<(u16, u16)>,
    /// Good answers in a row that bring an endpoint back, at least 1.
    pub healthy_after: u32,
    /// Bad ones in a row that take it out, at least 1.
    pub unhealthy_after: u32,
}

/// What exchanges tell about an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassiveHealth {
    /// Failures in a row that eject it; 0 is never.
    pub failures: u32,
    /// For how long, at first; it doubles with each further ejection.
    pub eject_for: Duration,
    /// The longest ejection.
    pub max_eject_for: Duration,
    /// The share of the endpoints that may be ejected at once, 0 to 100.
    pub max_ejected_percent: u32,
}

/// `[routes.NAME]`: which requests, and what becomes of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Name in metrics and logs.
    pub name: String,
    /// Hosts that match; empty means any.
    pub hosts: Vec<HostPattern>,
    /// Paths that match; never empty (the default is the prefix `/`).
    pub paths: Vec<PathPattern>,
    /// Methods that match, upper case; empty means any.
    pub methods: Vec<String>,
    /// Names of listeners; empty means all.
    pub listeners: Vec<String>,
    /// What happens with a request that matches.
    pub target: Target,
}

/// A host to match, lower case, without port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `chat.example.com`
    Exact(String),
    /// `*.example.com`: any name below; holds `example.com`.
    Below(String),
}

impl fmt::Display for HostPattern {
    /// As it is written in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

/// A path to match.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// `=/v1/models`
    Exact(String),
    /// `/v1/`: everything that begins so.
    Prefix(String),
}

impl fmt::Display for PathPattern {
    /// As it is written in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "={path}"),
            Self::Prefix(path) => f.write_str(path),
        }
    }
}

/// What a route does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Hand it to an upstream.
    Proxy(Box<Proxy>),
    /// Answer it here.
    Respond(Respond),
}

/// `routes.NAME.respond`: a fixed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    /// Status, 200 to 599.
    pub status: u16,
    /// Body, sent as `text/plain; charset=utf-8`.
    pub body: String,
}

/// How a route hands requests to its upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Name of an upstream in [`Config::upstreams`].
    pub upstream: String,
    /// Removed from the front of the path; empty for nothing.
    pub strip_prefix: String,
    /// What the upstream sees as `Host`.
    pub host_header: HostHeader,
    /// Deadlines towards the upstream.
    pub timeouts: Timeouts,
    /// Slow clients.
    pub stream: Stream,
    /// What event streams on this route speak.
    pub dialect: Dialect,
    /// When a request may be sent again.
    pub retry: Retry,
    /// How much of everything it may have.
    pub limits: Limits,
    /// Server-Sent Events.
    pub sse: Sse,
    /// WebSockets.
    pub websocket: WebSocket,
    /// Protocols that a client may switch to, lower case. Those other than `websocket` are passed
    /// through without a look.
    pub upgrade: Vec<String>,
    /// Fields set and removed.
    pub headers: Headers,
    /// From which addresses requests may come.
    pub access: Access,
    /// Who may come in.
    pub auth: Auth,
    /// Whose pages may read answers; `None` leaves that to the upstream.
    pub cors: Option<Cors>,
}

/// `routes.NAME.dialect`: what an event stream speaks, and so how it ends and how it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// By path and first event.
    Auto,
    /// OpenAI's chat completions; ends with `data: [DONE]`.
    OpenAiChat,
    /// OpenAI's responses; ends with `event: response.completed` and the like.
    OpenAiResponses,
    /// Anthropic's messages; ends with `event: message_stop`.
    Anthropic,
    /// Anything; ends when the body ends.
    Plain,
}

/// `[routes.NAME.retry]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Further tries after the first; 0 for none.
    pub attempts: u32,
    /// What may be tried again.
    pub on: Vec<RetryOn>,
    /// Whether what is not proved to be undelivered is tried again for idempotent methods only.
    pub idempotent_only: bool,
    /// Retries per hundred requests.
    pub budget_percent: u32,
    /// Larger request bodies, in bytes, are not kept for a retry.
    pub replay_body: usize,
}

/// An element of `routes.NAME.retry.on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// `connect_error`: no connection.
    ConnectError,
    /// `not_delivered`: the upstream provably received none of it, or a kept-alive connection
    /// failed under an idempotent request.
    NotDelivered,
    /// `reset`: the connection ended without an answer.
    Reset,
    /// `first_byte_timeout`
    FirstByteTimeout,
    /// A status such as `"503"`, 500 to 599 or 429.
    Status(u16),
}

/// `routes.NAME.host_header`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostHeader {
    /// As the client sent it.
    Preserve,
    /// The endpoint's own `host:port`.
    Upstream,
    /// This text.
    Literal(String),
}

/// `[defaults.timeouts]` and `[routes.NAME.timeouts]`; `None` is `"off"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP connect.
    pub connect: Duration,
    /// TLS handshake.
    pub tls: Duration,
    /// Request sent to response head.
    pub first_byte: Option<Duration>,
    /// Response head to first body byte.
    pub first_event: Option<Duration>,
    /// Between two upstream bytes; heartbeats do not count.
    pub idle: Option<Duration>,
    /// One write to the upstream.
    pub send: Option<Duration>,
    /// The whole stream.
    pub max_duration: Option<Duration>,
}

/// `[routes.NAME.stream]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// What becomes of a client that takes less than comes.
    pub slow_client: SlowClient,
    /// How long a client may take nothing, or be behind; `None` is `"off"`.
    pub slow_client_timeout: Option<Duration>,
    /// Bytes a second that a request's body must come at, on average, beyond
    /// `slow_client_timeout`; `None` is 0.
    pub min_request_rate: Option<u64>,
}

/// `stream.slow_client`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowClient {
    /// It slows its upstream down. It is ended when it takes nothing for `slow_client_timeout`.
    Backpressure,
    /// It is ended when it has been behind for `slow_client_timeout`, whatever it takes.
    Disconnect,
}

/// `[routes.NAME.sse]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sse {
    /// Silence after which a heartbeat is sent; `None` is `"off"`.
    pub heartbeat: Option<Duration>,
    /// The comment line, beginning with `:`, without a line end.
    pub heartbeat_text: String,
    /// How long the true status is held for a client that asked for a stream, before 200 and
    /// heartbeats are sent; `None` is for ever.
    pub commit_after: Option<Duration>,
    /// Whether a broken upstream is told to the client as an event in its dialect.
    pub error_event: bool,
    /// How long clients are told to wait, at least, before they come back after a drain.
    pub retry: Duration,
}

/// `[routes.NAME.websocket]`; `None` is `"off"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocket {
    /// Silence of a side after which it gets a ping.
    pub ping: Option<Duration>,
    /// How long its pong may take.
    pub pong_timeout: Duration,
    /// No data frame in either direction.
    pub idle: Option<Duration>,
    /// Longest frame in bytes.
    pub max_frame: u64,
    /// Whose pages may connect.
    pub origins: Vec<Origin>,
    /// What both sides are told when the process ends.
    pub drain_close: DrainClose,
}

/// An `Origin` that may open WebSockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The request's own host.
    Same,
    /// Any.
    Any,
    /// This one, such as `https://app.example.com`, lower case.
    Exact(String),
}

/// `websocket.drain_close`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainClose {
    /// A close code.
    pub code: u16,
    /// At most 123 bytes.
    pub reason: String,
}

/// `[routes.NAME.headers]`. Names as written; they compare case-insensitively.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// Set on the request to the upstream.
    pub request_set: Vec<(String, String)>,
    /// Removed from the request to the upstream.
    pub request_remove: Vec<String>,
    /// Set on the response to the client.
    pub response_set: Vec<(String, String)>,
    /// Removed from the response to the client.
    pub response_remove: Vec<String>,
}

impl fmt::Debug for Headers {
    /// Names only: the values often hold API keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |fields: &[(String, String)]| -> Vec<String> {
            fields.iter().map(|(name, _)| format!("{name}: ***")).collect()
        };
        f.debug_struct("Headers")
            .field("request_set", &names(&self.request_set))
            .field("request_remove", &self.request_remove)
            .field("response_set", &names(&self.response_set))
            .field("response_remove", &self.response_remove)
            .finish()
    }
}

/// `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub bind: Bind,
    /// Bearer token that every request but those for `/healthz`, `/readyz` and the dashboard's page
    /// must carry, if set.
    pub token: Option<Secret>,
    /// Whether the dashboard is at `/` and `/dashboard`.
    pub dashboard: bool,
    /// Whether operators may end streams.
    pub allow_kill: bool,
}

/// `[metrics]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Path of the metrics page on the admin address.
    pub path: String,
    /// A page with series of each stream.
    pub per_connection: PerConnection,
}

/// `metrics.per_connection`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerConnection {
    /// Whether there is such a page.
    pub enabled: bool,
    /// Its path on the admin address.
    pub path: String,
    /// Streams that are on it at once, at least 1: those that are open longest.
    pub max_series: usize,
}

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the secret's text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for comparing or sending; not for printing.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
