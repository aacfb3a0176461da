//! HTTP/2 towards clients (RFC 9113).
//!
//! [`serve`] serves one connection. Each request becomes a head, in the terms of HTTP/1.1, and an
//! [`Exchange`], which looks like a client's HTTP/1.1 connection that serves this one request: a
//! framed body is read from it, heads and framed bodies are written to it. So the relay exists
//! once.
//!
//! [`request`] and [`response`] translate heads and are pure, as is [`flood`], which counts frames
//! that are cheap to send and dear to handle; [`sending`] is the response half of an exchange,
//! [`tunnel`] the handshake of a WebSocket; [`limits`] say what a connection may cost. What is the
//! same towards upstreams is in [`crate::http2`].

mod exchange;
mod flood;
pub mod limits;
mod request;
mod response;
mod sending;
mod session;
mod shared;
mod tunnel;
mod wire;

pub use exchange::Exchange;
pub use flood::Flood;
pub use limits::SessionLimits;
pub use session::{Ended, serve};

/// What a client says first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether a connection begins with HTTP/2's preface; `None` is not clear yet.
pub fn preface(input: &[u8]) -> Option<bool> {
    let agrees = input.iter().zip(PREFACE).all(|(a, b)| a == b);
    if !agrees || input.len() >= PREFACE.len() { Some(agrees) } else { None }
}

#[cfg(test)]
mod tests;
