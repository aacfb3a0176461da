//! Spans to a collector, by OTLP over HTTP (OpenTelemetry Protocol 1.x, binary protobuf).
//!
//! Pure: a [`message`] is made of spans, a [`resource`] says who sends it. IO: the [`exporter`]
//! sends one after the other over the connections of an ordinary upstream, so that a collector's
//! name, its TLS and its failures are dealt with as those of any other server.

mod exporter;
mod message;
mod resource;

pub use exporter::{Collector, Exporter};
