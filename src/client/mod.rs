//! Connections from clients.

pub mod http2;
pub mod rewind;
