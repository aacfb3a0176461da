//! WebSocket as bytes (RFC 6455): frame heads, one tracker per direction, close frames, handshake
//! checks.
//!
//! It is no WebSocket endpoint: payload is neither unmasked, copied nor reassembled, so text is not
//! checked to be UTF-8 (that is left to the peer that reads it). Control frames, which have at most
//! 125 bytes of payload, are the exception: they are looked at whole.

pub mod close;
pub mod handshake;
pub mod head;
pub mod tracker;
