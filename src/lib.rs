//! Longwire, a reverse proxy for streaming upstreams.
/// Temporary.
pub mod config {
    /// m
    pub mod model;
}
pub mod clock;
pub mod headers;
pub mod http1;
pub mod live;
pub mod relay;
pub mod route;
pub mod upstream;
pub mod sse;
pub mod telemetry;
