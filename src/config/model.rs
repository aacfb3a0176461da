//! The configuration as it is used: checked, complete, without options that mean "default".
//!
//! Nothing here can hold nonsense; `build` is the only place that makes these values from a file.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Everything one configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The process as a whole. A change needs a restart.
    pub server: Server,
    /// Where clients connect. Never empty.
    pub listeners: Vec<Listener>,
    /// Named groups of endpoints, anonymous ones (from a route's URL) included.
    pub upstreams: Vec<Upstream>,
    /// Rules from host, path and method to an upstream or a fixed answer. Never empty.
    pub routes: Vec<Route>,
    /// The address for operators; `None` when `admin.bind = "off"`.
    pub admin: Option<Admin>,
    /// How metrics are exported.
    pub metrics: Metrics,
    /// What is logged and how.
    pub log: Log,
}

/// `[server]`: the process as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Worker threads, at least 1.
    pub workers: usize,
    /// Whose `X-Forwarded-*` and `Forwarded` fields are believed.
    pub trusted_proxies: Vec<Network>,
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
    /// Farewells are spread over this, so that clients do not come back all at once.
    pub spread: Duration,
}

/// An IP network such as `10.0.0.0/8`; a plain address is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The address with all host bits zero.
    pub address: IpAddr,
    /// Leading bits that count: 0 to 32 for IPv4, 0 to 128 for IPv6.
    pub prefix: u8,
}

/// `[listeners.NAME]`: one set of addresses with one behaviour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Name in metrics, logs and `routes.*.listeners`.
    pub name: String,
    /// Addresses to bind; never empty.
    pub bind: Vec<SocketAddr>,
    /// For a whole request head, however slowly it drips.
    pub header_timeout: Duration,
    /// How long a client connection may stay idle between two requests.
    pub keepalive_timeout: Duration,
    /// Largest request head in bytes.
    pub max_header_size: usize,
    /// TCP keep-alive on accepted connections; finds clients that vanished.
    pub tcp_keepalive: TcpKeepalive,
}

/// TCP keep-alive settings of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Between two probes.
    pub interval: Duration,
    /// Unanswered probes before the connection counts as dead.
    pub count: usize,
    /// How long sent data may stay unacknowledged (`TCP_USER_TIMEOUT`); zero is the system's
    /// default.
    pub user_timeout: Duration,
}

/// `[upstreams.NAME]`: a named group of endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Name in metrics and logs. For an anonymous upstream: its `host:port`.
    pub name: String,
    /// Never empty; names are unique within the upstream.
    pub endpoints: Vec<Endpoint>,
    /// Idle connections.
    pub pool: Pool,
}

/// One address in an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name in metrics and logs; default is `host:port`.
    pub name: String,
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// `[upstreams.NAME.pool]`: idle connections kept for reuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Idle connections kept per endpoint; 0 keeps none.
    pub max_idle: usize,
    /// How long an idle connection is kept; `None` for ever.
    pub idle_timeout: Option<Duration>,
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

/// A path to match.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// `=/v1/models`
    Exact(String),
    /// `/v1/`: everything that begins so.
    Prefix(String),
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
    /// Server-Sent Events.
    pub sse: Sse,
    /// WebSockets.
    pub websocket: WebSocket,
    /// Protocols that a client may switch to, lower case. Those other than `websocket` are passed
    /// through without a look.
    pub upgrade: Vec<String>,
    /// Fields set and removed.
    pub headers: Headers,
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
    /// A write to the client that makes no progress this long ends the exchange; `None` is `"off"`.
    pub slow_client_timeout: Option<Duration>,
}

/// `[routes.NAME.sse]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sse {
    /// Silence after which a heartbeat is sent; `None` is `"off"`.
    pub heartbeat: Option<Duration>,
    /// The comment line, beginning with `:`, without a line end.
    pub heartbeat_text: String,
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

impl std::fmt::Debug for Headers {
    /// Names only: the values often hold API keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
    /// Address to bind.
    pub bind: SocketAddr,
    /// Bearer token that every request but `/healthz` and `/readyz` must carry, if set.
    pub token: Option<Secret>,
}

/// `[metrics]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Path of the metrics page on the admin address.
    pub path: String,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Least severe level that is written.
    pub level: Level,
    /// JSON lines or text; `None` chooses text on a terminal, JSON elsewhere.
    pub format: Option<LogFormat>,
    /// `[log.access]`.
    pub access: AccessLog,
}

/// `log.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// One readable line.
    Text,
}

/// `[log.access]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// A line when an exchange ends.
    pub enabled: bool,
    /// A line when a stream opens, too.
    pub stream_start: bool,
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

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}
