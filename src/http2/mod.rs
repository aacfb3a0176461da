//! What HTTP/2 towards clients and towards upstreams have in common (RFC 9113).
//!
//! Both make one stream look like an HTTP/1.1 connection: [`incoming`] turns DATA into a body as
//! HTTP/1.1 frames it, [`outgoing`] turns such a body into DATA, [`heads`] is what requests and
//! responses that go have in common, and [`keep_alive`] finds a peer that is gone. Heads as a
//! whole, and the connections themselves, are different on the two sides.

use std::io;

pub mod heads;
pub mod incoming;
pub mod keep_alive;
pub mod outgoing;
mod pending;

/// The error for a stream or a connection that failed: [`io::ErrorKind::ConnectionReset`] with h2's
/// error inside.
pub fn lost(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}
