//! Every default and every limit of the configuration, each with its reason.
//!
//! `conf/reference.toml` states the same values for users; a test keeps the two equal.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::model::Level;

/// `server.drain.grace`: most model answers end within five minutes.
pub const DRAIN_GRACE: Duration = Duration::from_secs(300);
/// `server.drain.min_wait`: without a load balancer in front nobody needs to notice first.
pub const DRAIN_MIN_WAIT: Duration = Duration::ZERO;
/// `server.drain.spread`: clients that come back over twenty seconds are no stampede.
pub const DRAIN_SPREAD: Duration = Duration::from_secs(20);

/// `header_timeout`: a head is one packet; ten seconds forgive a lossy phone, not a slowloris.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// `keepalive_timeout`: longer than the 60 s after which common load balancers drop idle
/// connections, so that they close first and never meet a connection that we just closed.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(75);
/// `max_header_size`: room for large cookies and tokens, yet small per connection.
pub const MAX_HEADER_SIZE: usize = 32 * 1024;

/// `tcp_keepalive.idle`: below the idle limits of usual NATs and firewalls.
pub const TCP_KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// `tcp_keepalive.interval`: one lost probe shall not matter.
pub const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// `tcp_keepalive.count`: with the interval, a dead client is known after two minutes.
pub const TCP_KEEPALIVE_COUNT: usize = 6;
/// `tcp_keepalive.user_timeout`: heartbeats are data, so a client that vanished is found by them.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// `timeouts.connect`: one lost SYN is repeated after a second, two after three.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// `timeouts.first_byte`: a model server may queue a request before it answers.
pub const FIRST_BYTE_TIMEOUT: Option<Duration> = Some(Duration::from_secs(60));
/// `timeouts.first_event`: a long prompt is read before the first token.
pub const FIRST_EVENT_TIMEOUT: Option<Duration> = Some(Duration::from_secs(120));
/// `timeouts.idle`: an upstream that says nothing for so long has most likely died.
pub const IDLE_TIMEOUT: Option<Duration> = Some(Duration::from_secs(300));
/// `timeouts.send`: an upstream that reads nothing for so long is stuck.
pub const SEND_TIMEOUT: Option<Duration> = Some(Duration::from_secs(30));
/// `timeouts.max_duration`: a stream that is alive may live.
pub const MAX_DURATION: Option<Duration> = None;

/// `pool.max_idle`: covers a burst of short requests without holding many descriptors.
pub const POOL_MAX_IDLE: usize = 64;
/// `pool.idle_timeout`: at or below the idle close of common upstreams.
pub const POOL_IDLE_TIMEOUT: Option<Duration> = Some(Duration::from_secs(60));

/// `stream.slow_client_timeout`: a phone in a tunnel comes back within a minute.
pub const SLOW_CLIENT_TIMEOUT: Option<Duration> = Some(Duration::from_secs(60));
/// `sse.heartbeat`: half of the 30 s that the least patient common intermediaries wait.
pub const HEARTBEAT: Option<Duration> = Some(Duration::from_secs(15));
/// `sse.heartbeat_text`: what most SSE servers send.
pub const HEARTBEAT_TEXT: &str = ": keep-alive";

/// `routes.NAME.upgrade`: what browsers switch to.
pub const UPGRADE: &str = "websocket";
/// `websocket.ping`: half of the 60 s after which most intermediaries cut a silent connection.
pub const PING: Option<Duration> = Some(Duration::from_secs(30));
/// `websocket.pong_timeout`: a phone that changes cells answers within that.
pub const PONG_TIMEOUT: Duration = Duration::from_secs(10);
/// `websocket.idle`: chats are quiet for minutes; a tab that was forgotten is quiet for hours.
pub const WEBSOCKET_IDLE: Option<Duration> = Some(Duration::from_secs(600));
/// `websocket.max_frame`: an uploaded picture or a minute of audio; not a film.
pub const MAX_FRAME: usize = 16 * 1024 * 1024;
/// `websocket.drain_close`: 1001, "going away" (RFC 6455 §7.4.1), is what libraries reconnect on.
pub const DRAIN_CLOSE_CODE: u16 = 1001;
/// `websocket.drain_close`: for the person who reads the console.
pub const DRAIN_CLOSE_REASON: &str = "restarting";

/// `routes.NAME.paths`: everything.
pub const PATH_PREFIX: &str = "/";
/// `respond.status`: a fixed answer is mostly a health page.
pub const RESPOND_STATUS: u16 = 200;

/// `admin.bind`: only for this machine, and next to the port that proxies commonly use for it.
pub const ADMIN_BIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);
/// `metrics.path`: where Prometheus looks first.
pub const METRICS_PATH: &str = "/metrics";

/// `log.level`: what an operator wants to read every day.
pub const LOG_LEVEL: Level = Level::Info;
/// `log.access.enabled`: a proxy without an access log cannot be explained.
pub const ACCESS_LOG: bool = true;
/// `log.access.stream_start`: a stream may last hours; its end is too late to learn of it.
pub const ACCESS_LOG_STREAM_START: bool = true;

/// Longest duration, one year: timers and clocks are far from overflowing.
pub const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// Shortest duration where zero makes no sense; timers tick in milliseconds.
pub const DURATION_MIN: Duration = Duration::from_millis(1);
/// Linux keeps `TCP_KEEPIDLE` and `TCP_KEEPINTVL` in whole seconds up to this (`MAX_TCP_KEEPIDLE`).
pub const TCP_KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);
/// Linux keeps `TCP_KEEPCNT` up to this (`MAX_TCP_KEEPCNT`).
pub const TCP_KEEPALIVE_COUNT_MAX: usize = 127;
/// Longest `user_timeout`, a day: the kernel counts milliseconds in 31 bits.
pub const TCP_USER_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Smallest `max_header_size`: less refuses ordinary browsers.
pub const MAX_HEADER_SIZE_MIN: usize = 1024;
/// Largest `max_header_size`: every connection may hold this much.
pub const MAX_HEADER_SIZE_MAX: usize = 1024 * 1024;
/// Most worker threads: more than any machine has cores is a typo.
pub const WORKERS_MAX: usize = 1024;
/// Largest `pool.max_idle`: more than the ports to one address is a typo.
pub const POOL_MAX_IDLE_MAX: usize = 65_535;
/// Largest `websocket.max_frame`: longer ones are an attack.
pub const MAX_FRAME_MAX: usize = 1024 * 1024 * 1024;
/// Longest close reason: RFC 6455 §5.5 leaves 125 bytes for a control frame, two of them the code.
pub const CLOSE_REASON_MAX_BYTES: usize = 123;
/// Longest heartbeat text: it is sent to every idle stream again and again.
pub const HEARTBEAT_TEXT_MAX_BYTES: usize = 1024;
/// Longest name of a listener, upstream, endpoint or route: it becomes a metric label.
pub const NAME_MAX_CHARS: usize = 64;
/// Largest configuration file: thousands of routes are far smaller.
pub const CONFIG_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Largest file of `${file:…}`: a secret, not a document.
pub const SECRET_MAX_BYTES: u64 = 64 * 1024;
