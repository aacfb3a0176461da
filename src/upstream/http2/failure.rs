//! Why an exchange failed, as the relay's `io::Error`.

use std::io;

use h2::Reason;

use super::wire::Mark;
use crate::http2::lost;

/// The upstream did nothing with the request, and that is proved: it may be sent again, whatever
/// its method (RFC 9113 §8.7). It stands in [`io::Error::get_ref`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the upstream did not process the request")]
pub struct NotProcessed;

impl NotProcessed {
    /// Whether the error carries this proof.
    pub fn is_proved_by(error: &io::Error) -> bool {
        error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Self>)
    }
}

/// The error for a request that was never sent.
pub(super) fn never_sent() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, NotProcessed)
}

/// The error for a stream or a connection that failed before any part of a response was read.
///
/// A GOAWAY is told to a stream only if its last stream id is lower than the stream's: "Requests
/// that have not been processed" (RFC 9113 §6.8). Streams below it run on. `request` was set before
/// the request was given to h2.
pub(super) fn before_response(error: h2::Error, request: &Mark) -> io::Error {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    if request.is_last() || error.is_remote() && (refused || error.is_go_away()) {
        never_sent()
    } else {
        lost(error)
    }
}
