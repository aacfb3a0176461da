//! Every default and every limit of the configuration, each with its reason.
//!
//! `conf/reference.toml` states the same values for users; a test keeps the two equal.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::model::{Dialect, Level, ProxyProtocol, RetryOn, Share, SlowClient, TlsVersion};

/// `server.drain.grace`: most model answers end within five minutes.
pub const DRAIN_GRACE: Duration = Duration::from_secs(300);
/// `server.drain.min_wait`: without a load balancer in front nobody needs to notice first.
pub const DRAIN_MIN_WAIT: Duration = Duration::ZERO;
/// `server.drain.notify`: whoever is told comes back sooner, and to the right place.
pub const DRAIN_NOTIFY: bool = true;
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
/// `timeouts.tls`: a handshake is two round trips and a signature.
pub const TLS_TIMEOUT: Duration = Duration::from_secs(5);
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

/// `endpoints[].weight`: all alike.
pub const WEIGHT: u32 = 1;
/// `endpoints[].resolve`: a moved server is found soon, at six questions a minute.
pub const RESOLVE: Duration = Duration::from_secs(10);
/// `upstreams.NAME.slow_start`: model servers that answer at all are mostly warm.
pub const SLOW_START: Option<Duration> = None;
/// `tls.verify`: encryption to nobody in particular is no protection.
pub const TLS_VERIFY: bool = true;

/// `pool.max_idle`: covers a burst of short requests without holding many descriptors.
pub const POOL_MAX_IDLE: usize = 64;
/// `pool.idle_timeout`: at or below the idle close of common upstreams.
pub const POOL_IDLE_TIMEOUT: Option<Duration> = Some(Duration::from_secs(60));
/// `pool.learn`: what the upstream does is better known to it than to who writes the file.
pub const POOL_LEARN: bool = true;
/// `pool.max_lifetime`: a balancer between us and the endpoint gets its say twice an hour.
pub const POOL_MAX_LIFETIME: Option<Duration> = Some(Duration::from_secs(30 * 60));
/// `pool.warm`: a connection within a data centre opens in a millisecond.
pub const POOL_WARM: usize = 0;
/// `pool.http2`: most model servers speak HTTP/1.1 only.
pub const HTTP2: bool = false;
/// `pool.streams_per_connection`: a lost packet stalls no more than these, and servers commonly
/// allow 100.
pub const STREAMS_PER_CONNECTION: usize = 32;
/// `pool.h2_stream_window`: hundreds of events, and all that a stalled client makes us hold.
pub const H2_STREAM_WINDOW: usize = 64 * 1024;
/// `pool.tcp_keepalive.idle`: half of what clients get, as nobody between is on the move.
pub const UPSTREAM_KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// `pool.tcp_keepalive.interval`: one lost probe shall not matter.
pub const UPSTREAM_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// `pool.tcp_keepalive.count`: with the others, a dead upstream is known after a minute.
pub const UPSTREAM_KEEPALIVE_COUNT: usize = 3;

/// `health.active.interval`: with `unhealthy_after`, a dead endpoint is out after 15 s.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// `health.active.timeout`: a busy server needs a moment even for a health page.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// `health.active.expect_status`: what every framework answers when it is well.
pub const EXPECT_STATUS: (u16, u16) = (200, 299);
/// `health.active.healthy_after`: the first answer may come from a server still loading.
pub const HEALTHY_AFTER: u32 = 2;
/// `health.active.unhealthy_after`: one lost answer is no outage.
pub const UNHEALTHY_AFTER: u32 = 3;
/// `health.passive.failures`: an unlucky row of errors is shorter.
pub const FAILURES: u32 = 5;
/// `health.passive.eject_for`: a crashed process is back in about that time.
pub const EJECT_FOR: Duration = Duration::from_secs(10);
/// `health.passive.max_eject_for`: a repaired endpoint is found again before anybody asks why not.
pub const MAX_EJECT_FOR: Duration = Duration::from_secs(300);
/// `health.passive.max_ejected_percent`: the half that is left can still carry something; if all
/// fail, the fault is probably elsewhere.
pub const MAX_EJECTED_PERCENT: u32 = 50;

/// `routes.NAME.dialect`: paths and first events of the known ones are hard to mistake.
pub const DIALECT: Dialect = Dialect::Auto;
/// `retry.attempts`: two endpoints restarting at once is the most that is likely.
pub const RETRY_ATTEMPTS: u32 = 2;
/// `retry.on`: what surely was not worked on, or is an honest "not now".
pub const RETRY_ON: [RetryOn; 4] =
    [RetryOn::ConnectError, RetryOn::NotDelivered, RetryOn::Status(502), RetryOn::Status(503)];
/// `retry.idempotent_only`: nobody wants to pay twice for one answer.
pub const IDEMPOTENT_ONLY: bool = true;
/// `retry.budget_percent`: an outage costs a fifth more load, not a multiple.
pub const BUDGET_PERCENT: u32 = 20;
/// `retry.replay_body`: a long conversation in JSON, without pictures.
pub const REPLAY_BODY: usize = 1024 * 1024;
/// `limits.max_request_body`: a long conversation with some pictures; hardly a film.
pub const MAX_REQUEST_BODY: Option<usize> = Some(10 * 1024 * 1024);
/// `limits.queue.size`: a burst, not a backlog.
pub const QUEUE_SIZE: usize = 200;
/// `limits.queue.timeout`: longer than this, a person had better be told.
pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// `stream.slow_client`: people read at their own pace, and may.
pub const SLOW_CLIENT: SlowClient = SlowClient::Backpressure;
/// `stream.min_request_rate`: the worst of networks is faster, an attack by dripping bodies is not.
pub const MIN_REQUEST_RATE: usize = 64;
/// `stream.slow_client_timeout`: a phone in a tunnel comes back within a minute.
pub const SLOW_CLIENT_TIMEOUT: Option<Duration> = Some(Duration::from_secs(60));
/// `sse.heartbeat`: half of the 30 s that the least patient common intermediaries wait.
pub const HEARTBEAT: Option<Duration> = Some(Duration::from_secs(15));
/// `sse.heartbeat_text`: what most SSE servers send.
pub const HEARTBEAT_TEXT: &str = ": keep-alive";

/// `sse.commit_after`: the true status is worth more, unless somebody between is impatient.
pub const COMMIT_AFTER: Option<Duration> = None;
/// `sse.error_event`: an SDK raises an error that says why.
pub const ERROR_EVENT: bool = true;
/// `sse.retry`: browsers wait three seconds by themselves; a restarted process is there sooner.
pub const SSE_RETRY: Duration = Duration::from_secs(2);

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

/// `auth.header`: where HTTP has credentials (RFC 9110 §11.6.2), and SDKs send keys.
pub const AUTH_HEADER: &str = "authorization";
/// `auth.pass` with API keys: they are secrets between client and proxy, and of no use to others.
pub const PASS_API_KEY: bool = false;
/// `auth.pass` with tokens and with the server that decides: upstreams often read them as well.
pub const PASS_TOKEN: bool = true;
/// `auth.leeway`: what clocks without NTP drift apart between two corrections by hand.
pub const LEEWAY: Duration = Duration::from_secs(30);
/// `auth.principal_claim`: the subject (RFC 7519 §4.1.2).
pub const PRINCIPAL_CLAIM: &str = "sub";
/// `auth.timeout`: somebody waits for the first token meanwhile.
pub const AUTH_TIMEOUT: Duration = Duration::from_secs(2);
/// `auth.cache`: a key that was revoked is good for ten seconds more, and a burst asks once.
pub const AUTH_CACHE: Option<Duration> = Some(Duration::from_secs(10));
/// `auth.headers`: what browsers and programs prove themselves with.
pub const AUTH_HEADERS: [&str; 2] = ["authorization", "cookie"];
/// `auth.principal_header`: what common servers for this (Authelia, oauth2-proxy) resemble.
pub const PRINCIPAL_HEADER: &str = "x-auth-user";
/// `cors.methods`: those that HTTP APIs have.
pub const CORS_METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
/// `cors.max_age`: what the most cautious browsers remember at most.
pub const CORS_MAX_AGE: Duration = Duration::from_secs(600);

/// `routes.NAME.paths`: everything.
pub const PATH_PREFIX: &str = "/";
/// `respond.status`: a fixed answer is mostly a health page.
pub const RESPOND_STATUS: u16 = 200;

/// `server.watch`: whoever writes a file in two steps, or checks it first, says when it is ready.
pub const WATCH: Option<Duration> = None;

/// `[listeners.NAME.tls] reload`: certificates are renewed days before they expire, so half a
/// minute is soon; reading a few files that often costs nothing.
pub const TLS_RELOAD: Option<Duration> = Some(Duration::from_secs(30));
/// `[listeners.NAME.tls] min_version`: TLS 1.0 and 1.1 are gone (RFC 8996); 1.2 is not.
pub const TLS_MIN_VERSION: TlsVersion = TlsVersion::V12;
/// `proxy_protocol`: whoever can reach a listener could forge it.
pub const PROXY_PROTOCOL: ProxyProtocol = ProxyProtocol::Off;
/// `server.max_connections`: this share of the limit on descriptors, halved, since every client
/// may need an upstream connection, too. The rest is for what is kept idle, and for files.
pub const DESCRIPTORS_PERCENT: usize = 80;

/// `admin.bind`: only for this machine, and next to the port that proxies commonly use for it.
pub const ADMIN_BIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);
/// `admin.dashboard`: whoever opens the address wants to see something.
pub const ADMIN_DASHBOARD: bool = true;
/// `admin.allow_kill`: an operator who sees that a stream runs wild can end it.
pub const ALLOW_KILL: bool = true;
/// `metrics.per_connection.enabled`: the page costs nothing until somebody asks for it.
pub const STREAM_SERIES_ENABLED: bool = true;
/// `metrics.per_connection.path`: below the other, and yet a page of its own.
pub const STREAM_SERIES_PATH: &str = "/metrics/streams";
/// `metrics.per_connection.max_series`: streams whose series a small Prometheus bears.
pub const STREAM_SERIES: usize = 200;
/// The most that can be asked for: a page of some ten megabytes.
pub const STREAM_SERIES_MAX: usize = 10_000;
/// `metrics.path`: where Prometheus looks first.
pub const METRICS_PATH: &str = "/metrics";

/// `log.level`: what an operator wants to read every day.
pub const LOG_LEVEL: Level = Level::Info;
/// `log.access.enabled`: a proxy without an access log cannot be explained.
pub const ACCESS_LOG: bool = true;
/// `log.access.stream_start`: a stream may last hours; its end is too late to learn of it.
pub const ACCESS_LOG_STREAM_START: bool = true;
/// `log.access.sample`: whoever has too many lines knows it.
pub const ACCESS_LOG_SAMPLE: Share = Share::ALL;
/// `tracing.propagate`: a trace with a gap in it is two.
pub const TRACING_PROPAGATE: bool = true;
/// `tracing.otlp.enabled`: spans cost somebody money; and not every build has them.
pub const OTLP: bool = false;
/// `tracing.otlp.endpoint`: OTLP over HTTP, by the specification's own default.
pub const OTLP_ENDPOINT: &str = "http://127.0.0.1:4318";
/// `tracing.otlp.sample`: one in twenty shows what is usual; metrics have the rest.
pub const OTLP_SAMPLE: f64 = 0.05;

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
/// Largest `max_connections`: Linux's `NR_OPEN` is at most 2^30.
pub const CLIENT_CONNECTIONS_MAX: usize = 1 << 30;
/// Longest path of a unix socket: `sun_path` has 108 bytes, one of them for the end (unix(7)).
pub const UNIX_PATH_MAX_BYTES: usize = 107;
/// Smallest weight; an endpoint that shall get nothing is left out, or is a `backup`.
pub const WEIGHT_MIN: u32 = 1;
/// Largest weight: finer shares than a thousandth are noise.
pub const WEIGHT_MAX: u32 = 1000;
/// Most `max_streams`: more than the descriptors of a process is a typo.
pub const MAX_STREAMS_MAX: usize = 1_000_000;
/// Highest `min_request_rate`: more than a gigabyte a second is a typo.
pub const MIN_REQUEST_RATE_MAX: usize = 1 << 30;
/// Most connections to one endpoint, in `pool.max_idle`, `pool.max_connections` and `pool.warm`:
/// more than the ports to one address is a typo.
pub const CONNECTIONS_MAX: usize = 65_535;
/// Most `pool.streams_per_connection`: no server allows that many.
pub const STREAMS_PER_CONNECTION_MAX: usize = 10_000;
/// Smallest `pool.h2_stream_window`: less stops after every event.
pub const H2_STREAM_WINDOW_MIN: usize = 1024;
/// Largest `pool.h2_stream_window`: every stalled client may hold this much.
pub const H2_STREAM_WINDOW_MAX: usize = 16 * 1024 * 1024;
/// Most answers or failures in a row that anything waits for: more is "never".
pub const IN_A_ROW_MAX: u32 = 1000;
/// Most `retry.attempts`: more is a storm.
pub const ATTEMPTS_MAX: u32 = 10;
/// Largest `retry.replay_body`: every request may hold this much.
pub const REPLAY_BODY_MAX: usize = 64 * 1024 * 1024;
/// Smallest `limits.max_request_body`: a route that takes no body at all has `methods`.
pub const MAX_REQUEST_BODY_MIN: usize = 1;
/// Largest `limits.max_request_body`, a tebibyte: more is "off".
pub const MAX_REQUEST_BODY_MAX: usize = 1024 * 1024 * 1024 * 1024;
/// Smallest `limits.requests_per_second.rate`: less than four in an hour is no rate.
pub const RATE_MIN: f64 = 0.001;
/// Largest `limits.requests_per_second.rate`: more than a process can serve.
pub const RATE_MAX: f64 = 1_000_000.0;
/// Most `limits.requests_per_second.burst`: at the smallest rate, 32 years.
pub const BURST_MAX: u32 = 1_000_000;
/// Most `limits.queue.size`: more could not be served within any patience.
pub const QUEUE_SIZE_MAX: usize = 100_000;
/// Largest `websocket.max_frame`: longer ones are an attack.
pub const MAX_FRAME_MAX: usize = 1024 * 1024 * 1024;
/// Longest `auth.leeway`: more is no clock.
pub const LEEWAY_MAX: Duration = Duration::from_secs(600);
/// Longest `auth.timeout`: nobody waits longer to be let in.
pub const AUTH_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Longest `auth.cache`: whoever is shut out should not be in for longer.
pub const AUTH_CACHE_MAX: Duration = Duration::from_secs(3600);
/// Longest `cors.max_age`: no browser remembers for longer than a day.
pub const CORS_MAX_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Longest close reason: RFC 6455 §5.5 leaves 125 bytes for a control frame, two of them the code.
pub const CLOSE_REASON_MAX_BYTES: usize = 123;
/// Longest heartbeat text: it is sent to every idle stream again and again.
pub const HEARTBEAT_TEXT_MAX_BYTES: usize = 1024;
/// Longest name of a listener, upstream, endpoint or route: it becomes a metric label.
pub const NAME_MAX_CHARS: usize = 64;
/// Largest configuration, all files together: thousands of routes are far smaller.
pub const CONFIG_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Most files of a configuration: one for each route of a large one.
pub const CONFIG_MAX_FILES: usize = 1000;
/// Largest file of `${file:…}`: a secret, not a document.
pub const SECRET_MAX_BYTES: u64 = 64 * 1024;
