//! The metrics page: every family, and where the data path gets its handles.
//!
//! Label values come from the configuration or from a list in code, never from a request. Handles
//! are looked up when a snapshot is built, so a byte costs an atomic addition and nothing else.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use super::connections::ConnectionMetrics;
use super::handles::{EndpointMetrics, KindMetrics, RouteMetrics, UpstreamMetrics};
use super::limited::Limited;
pub use super::outcome::{ConnectResult, PoolClose};
use super::series::{self, Owners, Remove};
use super::{buckets, log};
use crate::live::kind::Kind;
use crate::live::reason::CloseReason;
use crate::ws::head::Opcode;

/// The `route` of requests that no route took, and the `upstream` of what is answered here. Not a
/// name that a configuration can have.
pub const NONE: &str = "(none)";

macro_rules! families {
    ($($field:ident: $type:ident = $new:ident($($argument:expr),*);)*) => {
        /// All families of one process.
        pub struct Metrics {
            registry: Registry,
            owners: AllOwners,
            $($field: $type,)*
        }

        impl Metrics {
            /// Registers every family, and the process's own.
            pub fn new() -> Self {
                let registry = Registry::new();
                $(let $field = register(&registry, $new($($argument),*));)*
                registry
                    .register(Box::new(ProcessCollector::for_self()))
                    .expect("its names do not begin with ours");
                Self { registry, owners: AllOwners::default(), $($field,)* }
            }

            /// The family of that name, if it is one of ours.
            fn family(&self, name: &str) -> Option<&dyn Remove> {
                $(if self.$field.desc().iter().any(|desc| desc.fq_name == name) {
                    return Some(&self.$field);
                })*
                None
            }
        }
    };
}

families! {
    build_info: IntGaugeVec = gauge("build_info", "Version of the running binary.", &["version", "revision"]);
    connections_active: IntGaugeVec = gauge("connections_active",
        "Client sockets open.", &["listener", "protocol"]);
    connections_accepted: IntCounterVec = counter("connections_accepted_total",
        "Client connections accepted.", &["listener"]);
    connections_refused: IntCounterVec = counter("connections_refused_total",
        "Client connections closed before or instead of being served.", &["listener", "reason"]);
    certificate_not_after: IntGaugeVec = gauge("tls_certificate_not_after_timestamp_seconds",
        "When a listener's certificate ends.", &["listener", "name"]);
    requests: IntCounterVec = counter("requests_total",
        "Finished requests.", &["route", "kind", "code"]);
    request_duration: HistogramVec = histogram("request_duration_seconds",
        "Request read to response delivered, for kind http only.",
        buckets::REQUEST_DURATION, &["route", "kind"]);
    streams_active: IntGaugeVec = gauge("streams_active",
        "Responses under way.", &["route", "upstream", "kind"]);
    streams_opened: IntCounterVec = counter("streams_opened_total",
        "Responses begun.", &["route", "upstream", "kind"]);
    streams_closed: IntCounterVec = counter("streams_closed_total",
        "Responses ended, by close reason.", &["route", "upstream", "kind", "reason"]);
    time_to_first_byte: HistogramVec = histogram("time_to_first_byte_seconds",
        "Request read to first body byte written to the client.",
        buckets::FIRST_BYTE, &["route", "upstream", "kind"]);
    upstream_first_byte: HistogramVec = histogram("upstream_first_byte_seconds",
        "Request sent to first upstream body byte.", buckets::FIRST_BYTE, &["upstream", "kind"]);
    inter_event: HistogramVec = histogram("inter_event_seconds",
        "Gap between two upstream events.", buckets::INTER_EVENT, &["route", "upstream", "kind"]);
    forward_delay: HistogramVec = histogram("forward_delay_seconds",
        "Bytes read to the same bytes written: what the proxy itself adds.",
        buckets::DELAY, &["route", "kind"]);
    client_stall: HistogramVec = histogram("client_stall_seconds",
        "A write's wait for a slow client.", buckets::DELAY, &["route", "kind"]);
    stream_duration: HistogramVec = histogram("stream_duration_seconds",
        "Request read to end, one observation a response.",
        buckets::STREAM_DURATION, &["route", "kind"]);
    stream_events: HistogramVec = histogram("stream_events",
        "Events in one response.", buckets::EVENTS, &["route", "kind"]);
    stream_size: HistogramVec = histogram("stream_size_bytes",
        "Body bytes in one exchange.", buckets::BYTES, &["route", "kind", "direction"]);
    bytes: IntCounterVec = counter("bytes_total",
        "Body bytes, from the client (in) and to it (out).", &["route", "kind", "direction"]);
    events: IntCounterVec = counter("events_total",
        "Events.", &["route", "kind", "direction"]);
    heartbeats: IntCounterVec = counter("heartbeats_sent_total",
        "Heartbeat comments in event streams, and pings to sides of WebSockets.", &["route", "kind"]);
    websocket_frames: IntCounterVec = counter("websocket_frames_total",
        "WebSocket frames, from the client (in) and to it (out).",
        &["route", "direction", "opcode"]);
    websocket_missed_pongs: IntCounterVec = counter("websocket_missed_pongs_total",
        "Pings of ours that a side did not answer in time.", &["route", "side"]);
    limited: IntCounterVec = counter("limited_total",
        "Requests refused at a limit of their route.", &["route", "limit"]);
    cancelled: IntCounterVec = counter("cancelled_upstream_total",
        "Upstream requests ended because the client had left.", &["route", "upstream"]);
    cancel: HistogramVec = histogram("cancel_seconds",
        "Client found gone to upstream connection closed.",
        buckets::DELAY, &["route", "upstream"]);
    upstream_connections: IntGaugeVec = gauge("upstream_connections",
        "Connections to an endpoint.", &["upstream", "endpoint", "state"]);
    upstream_connects: IntCounterVec = counter("upstream_connects_total",
        "Connection attempts.", &["upstream", "endpoint", "result"]);
    upstream_connect_duration: HistogramVec = histogram("upstream_connect_duration_seconds",
        "Time to connect.", buckets::CONNECT, &["upstream", "phase"]);
    upstream_requests: IntCounterVec = counter("upstream_requests_total",
        "Requests sent, on new and on reused connections.",
        &["upstream", "endpoint", "connection"]);
    upstream_pool_closed: IntCounterVec = counter("upstream_pool_closed_total",
        "Connections that were not kept for reuse.", &["upstream", "reason"]);
    upstream_retries: IntCounterVec = counter("upstream_retries_total",
        "Requests that were sent again, or on to another endpoint.", &["upstream", "cause"]);
    upstream_learned_idle: GaugeVec = seconds("upstream_learned_idle_seconds",
        "Shortest time after which the endpoint closes idle connections itself; 0: not known.",
        &["upstream", "endpoint"]);
    upstream_endpoint_up: IntGaugeVec = gauge("upstream_endpoint_up",
        "1 while the endpoint may be picked.", &["upstream", "endpoint"]);
    upstream_health_checks: IntCounterVec = counter("upstream_health_checks_total",
        "Answers to health checks.", &["upstream", "endpoint", "result"]);
    upstream_ejections: IntCounterVec = counter("upstream_ejections_total",
        "Times that an endpoint was taken out because requests to it failed.",
        &["upstream", "endpoint"]);
    upstream_queue_length: IntGaugeVec = gauge("upstream_queue_length",
        "Requests that wait because every endpoint is full.", &["upstream"]);
    upstream_queue_wait: HistogramVec = histogram("upstream_queue_wait_seconds",
        "Time in the queue, of those that had to wait.", buckets::FIRST_BYTE, &["upstream"]);
    upstream_endpoint_streams: IntGaugeVec = gauge("upstream_endpoint_streams",
        "Exchanges open at an endpoint: what least_streams sees.", &["upstream", "endpoint"]);
    auth_failures: IntCounterVec = counter("auth_failures_total",
        "Requests that were not let in.", &["route", "reason"]);
    log_lines_dropped: IntCounterVec = counter("log_lines_dropped_total",
        "Log lines dropped because nobody read the log.", &[]);
    spans_dropped: IntCounterVec = counter("spans_dropped_total",
        "Spans dropped because nobody took them, or not soon enough.", &[]);
    config_reloads: IntCounterVec = counter("config_reloads_total",
        "Times that the configuration was read anew.", &["result"]);
    config_last_reload_successful: IntGaugeVec = gauge("config_last_reload_successful",
        "1 if the last attempt to load the configuration succeeded.", &[]);
    config_last_reload_success_timestamp: GaugeVec = seconds(
        "config_last_reload_success_timestamp_seconds",
        "When the configuration in use was loaded.", &[]);
    draining: IntGaugeVec = gauge("draining",
        "1 while the process is ending.", &[]);
    omitted: IntGaugeVec = gauge("per_connection_series_omitted",
        "Streams that are not on the page with series of each, for want of room.", &[]);
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Who has the handles for what, so that series go with the last of them.
#[derive(Default)]
struct AllOwners {
    /// By route and upstream.
    routes: Owners<(String, String), RouteMetrics>,
    upstreams: Owners<String, UpstreamMetrics>,
    /// By upstream and endpoint.
    endpoints: Owners<(String, String), EndpointMetrics>,
    listeners: Owners<String, ConnectionMetrics>,
}

impl Metrics {
    /// The page in Prometheus' text format.
    pub fn render(&self) -> String {
        self.sweep();
        self.draining();
        let dropped = self.log_lines_dropped.with_label_values::<&str>(&[]);
        dropped.inc_by(log::dropped_lines().saturating_sub(dropped.get()));
        // The registry holds only families made here, which encode.
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }

    /// Takes away the series of what is gone.
    fn sweep(&self) {
        let AllOwners { routes, upstreams, endpoints, listeners } = &self.owners;
        let (routes, upstreams) = (routes.sweep(), upstreams.sweep());
        let (endpoints, listeners) = (endpoints.sweep(), listeners.sweep());
        if !(routes.any || upstreams.any || endpoints.any || listeners.any) {
            return;
        }
        let is_live = |labels: &HashMap<&str, &str>| {
            let label = |name| labels.get(name).copied();
            let (route, upstream, endpoint) =
                (label("route"), label("upstream"), label("endpoint"));
            // With both labels it is the pair that counts.
            let of_route = route.is_none_or(|route| {
                routes.has(|(name, to)| name == route && upstream.is_none_or(|one| one == to))
            });
            let of_upstream = upstream.is_none_or(|upstream| {
                route.is_some()
                    || upstreams.has(|one| one == upstream)
                    || endpoints.has(|(of, _)| of == upstream)
            });
            let of_endpoint = endpoint.is_none_or(|endpoint| {
                endpoints.has(|(of, name)| Some(of.as_str()) == upstream && name == endpoint)
            });
            of_route
                && of_upstream
                && of_endpoint
                && label("listener").is_none_or(|name| listeners.has(|one| one == name))
        };
        for family in self.registry.gather() {
            if let Some(from) = self.family(family.name()) {
                series::retain(from, &family, is_live);
            }
        }
    }

    /// Says which version runs.
    pub fn set_build_info(&self, version: &str, revision: &str) {
        self.build_info.with_label_values(&[version, revision]).set(1);
    }

    /// The configuration was loaded, or could not be, `at` seconds after 1970. The first time is
    /// the start, which is no reload.
    pub fn config_loaded(&self, succeeded: bool, is_reload: bool, at: f64) {
        let none: [&str; 0] = [];
        for (result, happened) in [("ok", succeeded), ("failed", !succeeded)] {
            let counter = self.config_reloads.with_label_values(&[result]);
            counter.inc_by(u64::from(happened && is_reload));
        }
        self.config_last_reload_successful.with_label_values(&none).set(i64::from(succeeded));
        if succeeded {
            self.config_last_reload_success_timestamp.with_label_values(&none).set(at);
        }
    }

    /// The `draining` gauge.
    pub fn draining(&self) -> IntGauge {
        self.draining.with_label_values::<&str>(&[])
    }

    /// The counter of spans that were dropped.
    pub fn spans_dropped(&self) -> IntCounter {
        self.spans_dropped.with_label_values::<&str>(&[])
    }

    /// Handles for one listener; all label sets exist from here on.
    pub fn listener(&self, listener: &str) -> Arc<ConnectionMetrics> {
        let make = || ConnectionMetrics::new(self, listener);
        self.owners.listeners.get(listener.to_owned(), make)
    }

    /// Client sockets open, at all listeners.
    pub fn connections(&self) -> u64 {
        let families = self.connections_active.collect();
        let series = families.iter().flat_map(|family| family.get_metric());
        series.map(|metric| metric.get_gauge().get_value()).sum::<f64>() as u64
    }

    /// Memory of the process that is in use; 0 if the system does not say. Not by the collector,
    /// which counts all open files, too: each watcher asks each second.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        // proc_pid_status(5): "VmRSS:   23429 kB"
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok());
        kib.map_or(0, |kib: u64| kib * 1024)
    }

    /// Streams that are not on the page with series of each.
    pub fn omitted(&self, streams: usize) {
        let gauge = self.omitted.with_label_values::<&str>(&[]);
        gauge.set(i64::try_from(streams).unwrap_or(i64::MAX));
    }

    pub(super) fn connections_accepted(&self, listener: &str) -> IntCounter {
        self.connections_accepted.with_label_values(&[listener])
    }

    pub(super) fn connections_active(&self, listener: &str, protocol: &str) -> IntGauge {
        self.connections_active.with_label_values(&[listener, protocol])
    }

    pub(super) fn connections_refused(&self, listener: &str, reason: &str) -> IntCounter {
        self.connections_refused.with_label_values(&[listener, reason])
    }

    /// When a listener's certificate in that file ends, in seconds since 1970.
    pub fn certificate_ends(&self, listener: &str, file: &str, not_after: i64) {
        self.certificate_not_after.with_label_values(&[listener, file]).set(not_after);
    }

    /// A listener no longer uses the certificate in that file.
    pub fn hide_certificate(&self, listener: &str, file: &str) {
        // An error says that it was not shown.
        let _ = self.certificate_not_after.remove_label_values(&[listener, file]);
    }

    /// Handles for one route and its upstream; all label sets exist from here on. What is answered
    /// here, without an upstream, is always of kind `http`.
    pub fn route(&self, route: &str, upstream: Option<&str>) -> Arc<RouteMetrics> {
        let key = (route.to_owned(), upstream.unwrap_or(NONE).to_owned());
        self.owners.routes.get(key, || self.new_route(route, upstream))
    }

    fn new_route(&self, route: &str, upstream: Option<&str>) -> RouteMetrics {
        let kinds = if upstream.is_some() { &Kind::ALL[..] } else { &[Kind::Http] };
        let cancelled = upstream.map(|upstream| {
            let labels = [route, upstream];
            (self.cancelled.with_label_values(&labels), self.cancel.with_label_values(&labels))
        });
        let upstream = upstream.unwrap_or(NONE);
        RouteMetrics {
            kinds: kinds.iter().map(|&kind| self.kind(route, upstream, kind)).collect(),
            frames: ["in", "out"].map(|direction| {
                Opcode::ALL.map(|opcode| {
                    let labels = [route, direction, opcode.label()];
                    self.websocket_frames.with_label_values(&labels)
                })
            }),
            missed_pongs: ["client", "upstream"]
                .map(|side| self.websocket_missed_pongs.with_label_values(&[route, side])),
            requests: self.requests.clone(),
            route: route.into(),
            cancelled,
        }
    }

    /// Handles for the limits of one route.
    pub fn limited(&self, route: &str) -> Limited {
        Limited::new(&self.limited, route)
    }

    fn kind(&self, route: &str, upstream: &str, kind: Kind) -> KindMetrics {
        let kind = kind.label();
        let (rk, ruk) = ([route, kind], [route, upstream, kind]);
        KindMetrics {
            request_duration: (kind == Kind::Http.label())
                .then(|| self.request_duration.with_label_values(&rk)),
            ok: OnceLock::new(),
            active: self.streams_active.with_label_values(&ruk),
            opened: self.streams_opened.with_label_values(&ruk),
            closed: CloseReason::ALL
                .iter()
                .map(|reason| reason.row().label)
                .map(|reason| {
                    self.streams_closed.with_label_values(&[route, upstream, kind, reason])
                })
                .collect(),
            time_to_first_byte: self.time_to_first_byte.with_label_values(&ruk),
            upstream_first_byte: self.upstream_first_byte.with_label_values(&[upstream, kind]),
            inter_event: self.inter_event.with_label_values(&ruk),
            forward_delay: self.forward_delay.with_label_values(&rk),
            client_stall: self.client_stall.with_label_values(&rk),
            duration: self.stream_duration.with_label_values(&rk),
            events_per_stream: self.stream_events.with_label_values(&rk),
            size_in: self.stream_size.with_label_values(&[route, kind, "in"]),
            size_out: self.stream_size.with_label_values(&[route, kind, "out"]),
            bytes_in: self.bytes.with_label_values(&[route, kind, "in"]),
            bytes_out: self.bytes.with_label_values(&[route, kind, "out"]),
            events: self.events.with_label_values(&[route, kind, "out"]),
            events_in: (kind == Kind::WebSocket.label())
                .then(|| self.events.with_label_values(&[route, kind, "in"])),
            heartbeats: self.heartbeats.with_label_values(&[route, kind]),
        }
    }

    /// Handles for one upstream; `causes` are those for which requests are tried again.
    pub fn upstream(&self, upstream: &str, causes: &[&str]) -> Arc<UpstreamMetrics> {
        self.owners.upstreams.get(upstream.to_owned(), || self.new_upstream(upstream, causes))
    }

    fn new_upstream(&self, upstream: &str, causes: &[&str]) -> UpstreamMetrics {
        let retries = causes
            .iter()
            .map(|cause| self.upstream_retries.with_label_values(&[upstream, cause]))
            .collect();
        UpstreamMetrics {
            retries,
            queue_length: self.upstream_queue_length.with_label_values(&[upstream]),
            queue_wait: self.upstream_queue_wait.with_label_values(&[upstream]),
        }
    }

    /// The counters of requests to a route that were not let in, for each of `reasons`.
    pub fn auth_failures(&self, route: &str, reasons: &[&str]) -> Vec<IntCounter> {
        let counter = |reason: &&str| self.auth_failures.with_label_values(&[route, *reason]);
        reasons.iter().map(counter).collect()
    }

    /// Handles for one endpoint.
    pub fn endpoint(&self, upstream: &str, endpoint: &str) -> Arc<EndpointMetrics> {
        let key = (upstream.to_owned(), endpoint.to_owned());
        self.owners.endpoints.get(key, || self.new_endpoint(upstream, endpoint))
    }

    /// The gauge that says whether an endpoint may be picked. It is on the page until
    /// [`Self::hide_endpoint`]: one that was taken away is not down.
    pub fn endpoint_up(&self, upstream: &str, endpoint: &str) -> IntGauge {
        self.upstream_endpoint_up.with_label_values(&[upstream, endpoint])
    }

    /// An endpoint is no longer in the configuration; the rest of its series stay until its last
    /// exchange has ended.
    pub fn hide_endpoint(&self, upstream: &str, endpoint: &str) {
        // An error says that it was not shown.
        let _ = self.upstream_endpoint_up.remove_label_values(&[upstream, endpoint]);
    }

    fn new_endpoint(&self, upstream: &str, endpoint: &str) -> EndpointMetrics {
        let state =
            |state| self.upstream_connections.with_label_values(&[upstream, endpoint, state]);
        let connection =
            |kind| self.upstream_requests.with_label_values(&[upstream, endpoint, kind]);
        EndpointMetrics {
            idle: state("idle"),
            active: state("active"),
            on_new: connection("new"),
            on_reused: connection("reused"),
            connects: ConnectResult::ALL.map(|result| {
                self.upstream_connects.with_label_values(&[upstream, endpoint, result.label()])
            }),
            connect_duration: self.upstream_connect_duration.with_label_values(&[upstream, "tcp"]),
            tls_duration: self.upstream_connect_duration.with_label_values(&[upstream, "tls"]),
            pool_closed: PoolClose::ALL.map(|reason| {
                self.upstream_pool_closed.with_label_values(&[upstream, reason.label()])
            }),
            learned_idle: self.upstream_learned_idle.with_label_values(&[upstream, endpoint]),
            checks: ["ok", "failed"].map(|result| {
                self.upstream_health_checks.with_label_values(&[upstream, endpoint, result])
            }),
            ejections: self.upstream_ejections.with_label_values(&[upstream, endpoint]),
            streams: self.upstream_endpoint_streams.with_label_values(&[upstream, endpoint]),
        }
    }
}

/// A family is a handle: the registry and we hold the same one.
fn register<C: Collector + Clone + 'static>(registry: &Registry, family: C) -> C {
    let registered = registry.register(Box::new(family.clone()));
    registered.expect("every family is listed once");
    family
}

fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(opts(name, help), labels).expect("names and labels are valid")
}

fn gauge(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    IntGaugeVec::new(opts(name, help), labels).expect("names and labels are valid")
}

fn seconds(name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    GaugeVec::new(opts(name, help), labels).expect("names and labels are valid")
}

fn histogram(name: &str, help: &str, buckets: &[f64], labels: &[&str]) -> HistogramVec {
    let opts = HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec());
    HistogramVec::new(opts, labels).expect("names, labels and buckets are valid")
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("longwire_{name}"), help)
}
