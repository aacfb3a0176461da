//! What operators see: metrics for Prometheus and log lines.

pub mod access;
pub mod buckets;
pub mod connections;
pub mod handles;
pub mod limited;
pub mod log;
pub mod meter;
pub mod metrics;
mod outcome;
pub mod panics;
mod series;
mod sink;
pub mod span;
pub mod spans;
mod text;
