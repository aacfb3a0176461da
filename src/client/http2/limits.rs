//! What one connection from a client may cost.

use std::time::Duration;

use h2::server::Builder;

use crate::config::model::Listener;

/// Requests at once. Browsers open as many streams of events as they are let; each costs what an
/// exchange costs.
pub const STREAMS: u32 = 128;
/// Bytes of one request body that wait for its reader: a slow upstream holds no more, and a quick
/// one gets no more in a round trip (5 MB/s over 50 ms).
pub const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Bytes of all request bodies of a connection that wait. With more than four stalled uploads
/// the others wait, too.
pub const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes of one response that wait in h2 because the client, or its connection, takes none. Two
/// frames: while one is written the next one comes.
pub const SEND_BUFFER_BYTES: usize = 32 * 1024;
/// Most data in one frame that we receive; the smallest that can be said (RFC 9113 §6.5.2).
const MAX_FRAME_BYTES: u32 = 16 * 1024;
/// Largest request head after decompression, where no listener says otherwise. With it h2 bounds a
/// block of fields and the CONTINUATION frames of one, too (CVE-2024-27316).
const MAX_HEAD_BYTES: u32 = 32 * 1024;
/// Requests that a client may take back before we have looked at them (rapid reset,
/// CVE-2023-44487). A browser may open and cancel all its streams in one packet.
const PENDING_RESETS: usize = STREAMS as usize;
/// Streams of one connection that h2 may have to reset for an error of the client's, over all its
/// time (MadeYouReset, CVE-2025-8671; reset flood, CVE-2019-9514). A client that does not know our
/// limit yet may have hundreds refused at the start; later an honest one has none.
const ERROR_RESETS: usize = 1024;
/// Requests that we may have to reset because they are malformed, as above. h2 does not see them.
pub(super) const MALFORMED: u32 = 100;
/// What small frames of request bodies that wait may cost in bookkeeping: 256 bytes for each, less
/// its data. Stalled WebSockets that send messages of a few bytes need some; without a limit a
/// window of them takes hundreds of times its size (CVE-2019-9518 is about empty ones, of which h2
/// bears 100).
const SMALL_FRAME_BUDGET: usize = 4 * CONNECTION_WINDOW_BYTES as usize;

/// Silence after which a client with open streams is asked whether it is there. An exchange's own
/// timers see nothing: what they write is taken by a kernel that nobody answers.
const PING_AFTER: Duration = Duration::from_secs(60);
/// Phones answer late when they wake their radio.
const PONG_WITHIN: Duration = Duration::from_secs(20);
/// How long the preface and each head may take, where no listener says otherwise.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long nothing may be asked, where no listener says otherwise.
const IDLE: Duration = Duration::from_secs(60);
/// How long a connection that is to end may take to hear it, once nothing is open any more.
const FAREWELL: Duration = Duration::from_secs(5);

/// What one connection may hold and how it is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionLimits {
    /// How long the preface may take, and each head from the front of its HEADERS to its end: the
    /// listener's `header_timeout`.
    pub handshake: Duration,
    /// With no request open, time after which the connection is ended: the listener's
    /// `keepalive_timeout`.
    pub idle: Duration,
    /// Largest request head, in bytes after decompression: the listener's `max_header_size`. A
    /// larger one is answered with 431 by h2, a much larger one ends the connection.
    pub head_bytes: u32,
    /// Requests at once, at least 1.
    pub streams: u32,
    /// With a request open, silence after which the client is asked whether it is there.
    pub ping_after: Duration,
    /// How long its answer may take before the connection counts as dead.
    pub pong_within: Duration,
    /// How long it may take to hear that it is to end, once no request is open any more.
    pub farewell: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            handshake: HANDSHAKE,
            idle: IDLE,
            head_bytes: MAX_HEAD_BYTES,
            streams: STREAMS,
            ping_after: PING_AFTER,
            pong_within: PONG_WITHIN,
            farewell: FAREWELL,
        }
    }
}

impl SessionLimits {
    /// From the configuration of a listener.
    pub fn new(listener: &Listener) -> Self {
        Self {
            handshake: listener.header_timeout,
            idle: listener.keepalive_timeout,
            head_bytes: u32::try_from(listener.max_header_size).unwrap_or(u32::MAX),
            ..Self::default()
        }
    }

    /// How h2 is to hold them.
    pub(super) fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        builder
            .max_concurrent_streams(self.streams)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buffer_size(SEND_BUFFER_BYTES)
            .max_frame_size(MAX_FRAME_BYTES)
            .max_header_list_size(self.head_bytes)
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .max_local_error_reset_streams(Some(ERROR_RESETS))
            .data_frame_budget(SMALL_FRAME_BUDGET)
            .enable_connect_protocol();
        builder
    }
}
