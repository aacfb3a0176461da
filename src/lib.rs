//! Longwire, a reverse proxy for streaming upstreams (Server-Sent Events, WebSockets), on
//! Cloudflare's pingora.
//!
//! # The map
//!
//! A [`client`]'s connection comes in at [`server`] (sockets, signals); its requests, over HTTP/1
//! or HTTP/2, are read by [`proxy`] (the life of a request), find their [`route`], are let in or
//! not by [`policy`], get a connection from [`upstream`], and their bytes are moved by [`relay`].
//! What they carry is understood by [`http1`], [`http2`], [`sse`] and [`ws`]; [`syntax`] says
//! what hosts, paths and names are; [`headers`] are rewritten on the way; [`live`] knows what is
//! open and why it ended, [`trace`] where it stands in a longer story, [`telemetry`] shows it,
//! `otlp` (a feature) sends it elsewhere, [`admin`] serves it. [`config`] is where all rules come
//! from, [`cli`] where people start, [`demo`] where they look first.
//!
//! # Three rules
//!
//! - **Pure core**: scanners, decoders, timers, routing, balance, framing and config building take
//!   bytes and `now` and give decisions. They have no socket and no clock ([`clock`] is the only
//!   place that reads it).
//! - **pingora at the edges**: its types are named where upstream connections are kept, and where
//!   the kernel is asked about one.
//! - **Guards**: a count that goes up is an object that goes down when it is dropped.

pub mod admin;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod contain;
pub mod demo;
pub mod headers;
pub mod http1;
pub mod http2;
pub mod live;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod outbox;
pub mod policy;
pub mod proxy;
pub mod relay;
pub mod route;
pub mod scratch;
pub mod server;
pub mod sse;
pub mod syntax;
pub mod telemetry;
pub mod tls;
pub mod trace;
pub mod upstream;
pub mod ws;
