//! Integration tests: the real executable between scripted or real peers.
//!
//! Each test is a conversation: an upstream that writes bytes and chooses the cuts, the proxy, a
//! client. Nothing sleeps for luck: everything waits for a condition, with a deadline.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests say what went wrong by failing")]
#![allow(unreachable_pub, reason = "nothing is reachable in a test binary")]
#![allow(clippy::disallowed_methods, reason = "tests measure with the clock on the wall")]
#![allow(clippy::print_stdout, reason = "shown when a test fails: which case it was")]

mod harness;

/// What is let in, what is refused, and which route takes it.
mod admission;
/// Who may come in: addresses, keys, tokens, another server's word.
mod auth;
/// Bodies up and down: every framing, every cut, both ways at once.
mod bodies;
/// Chromium over TLS and HTTP/2: streams, WebSockets, and the one connection beneath them.
mod browser_h2;
/// The command line: exit codes, messages, `run` without a file.
mod cli;
/// Pages of other origins.
mod cors;
/// Panics, and what the kernel refuses: what goes on.
mod crash;
/// The dashboard in a browser.
mod dashboard;
/// `longwire demo`: its page in a browser, its model under SDKs.
mod demo;
/// What runs longwire elsewhere: the image, and the manifests for Docker and Kubernetes.
mod deploy;
/// What model APIs' streams end with and fail with, and what SDKs make of it.
mod dialects;
/// What the documents show is a configuration.
mod docs;
/// SIGTERM: what runs on, what ends, and when.
mod drain;
/// Error events byte for byte, and where none may stand.
mod error_events;
/// Every event when it is read, byte for byte.
mod events;
/// Model servers that fail in turn, under a load of streams.
mod failover;
/// Upstreams that fail: what the client sees, and the one reason for it.
mod failure;
/// What event streams are told while the process drains, and when.
mod farewell;
/// What becomes of header fields and targets, on the way up and on the way down.
mod forwarding;
/// Which endpoints are fit to be picked: by question and by experience.
mod health;
/// Heartbeats: when, where, and where not.
mod heartbeat;
/// HTTP/2 clients that are unfriendly: what each attack costs, and that nobody else suffers.
mod http2_attacks;
/// HTTP/2 and HPACK by the letter of their RFCs, in raw frames.
mod http2_conformance;
/// What a stream of an HTTP/2 client costs in memory, idle and stalled.
mod http2_memory;
/// HTTP/2 clients of others: curl, nghttp, h2load, httpx, Node.
mod http2_peers;
/// A model that thinks longer than nginx in front of us waits.
mod impatient;
/// Configurations in several files.
mod include;
/// Streams that an operator ends, and what their clients see of it.
mod kill;
/// Clients that leave, and how soon the upstream knows.
mod leave;
/// What a route refuses to have more of, and that every place is given back.
mod limits;
/// Where clients connect: unix sockets, IPv6, the PROXY protocol, and when there are too many.
mod listeners;
/// The table of streams and its API.
mod live;
/// What a watcher of the table is told.
mod live_feed;
/// A log in a file, and a log of a share.
mod log_file;
/// A log that nobody reads.
mod log_pipe;
/// Requests that two servers could read in two ways.
mod malformed;
/// Every family of metrics, next to what the document says of it.
mod metrics;
/// The rules and the dashboard that come with it, next to the metrics that there are.
mod monitoring;
/// Names whose addresses change.
mod names;
/// A real Prometheus, next to what clients measure themselves.
mod observe;
/// Spans, as a collector takes them; only in a build that has them.
#[cfg(feature = "otlp")]
mod otlp;
/// The Debian package, the manual page and the completions in it.
mod packages;
/// Programs that nobody here wrote: a browser, curl, Node, Python, nginx, promtool.
mod peers;
/// The bounds of the pool, next to what the kernel says.
mod pool;
/// Upstreams that are full: who waits, in which order, and who is sent away.
mod queue;
/// The keep-alive race, with real servers.
mod race;
/// What the README says is true.
mod readme;
/// Every reason of the table, provoked once.
mod reasons;
/// A configuration that is replaced while everything goes on.
mod reload;
/// Reloads under a load of streams and requests, again and again.
mod reload_soak;
/// What is sent again, and above all what is not.
mod replay;
/// Upstream connections: which are used again, which are not, and how they are counted.
mod reuse;
/// What a service manager is told, and the unit that it is given.
mod service;
/// Clients that do not read, or send too slowly.
mod slow;
/// The same by a program that is made for it.
mod slowhttptest;
/// The shape of the source: layers, edges, sizes.
mod tidy;
/// Each deadline, and the reason that it ends with.
mod timeouts;
/// TLS towards clients: versions, names, certificates that are renewed or asked for.
mod tls;
/// `longwire top`, in a terminal and without one.
mod top;
/// Traces: continued or begun, towards the upstream and in the log.
mod tracing;
/// Two instances behind a balancer: what a page notices when one of them drains.
mod two_instances;
/// One process in place of another: what clients see of it, which is nothing.
mod upgrade;
/// Upstreams behind unix sockets, TLS and HTTP/2.
mod upstream_kinds;
/// A wall clock that jumps.
mod wall_clock;
/// WebSockets: who may open one, and what is tunnelled.
mod websocket;
/// WebSockets: every way in which one ends, clients that do not read, many at once.
mod websocket_ends;
/// WebSockets: pings, violations, counts of frames.
mod websocket_frames;
/// WebSockets of others: browsers, Node, Python, Go.
mod websocket_peers;
