//! HTTP/2 towards upstreams (RFC 9113).
//!
//! A [`Session`] is one connection; it has places for as many exchanges as the limits and the peer
//! allow. An [`Exchange`] takes one of them and looks like an HTTP/1.1 connection that serves one
//! request: a head and a framed body are written to it, a response is read from it. So the relay,
//! with its heartbeats, deadlines and watch over the client, exists once.
//!
//! [`request`] and [`response`] translate heads and are pure; [`sending`] and [`receiving`] are the
//! two halves of an exchange; [`driver`] is the task that moves a connection's bytes, with [`wire`]
//! to hear what the peer said last. What is the same towards clients is in [`crate::http2`].

mod driver;
mod exchange;
mod failure;
mod receiving;
mod request;
mod response;
mod sending;
mod session;
mod wire;

pub use exchange::Exchange;
pub use failure::NotProcessed;
pub use session::{Session, SessionLimits};

#[cfg(test)]
mod tests;
