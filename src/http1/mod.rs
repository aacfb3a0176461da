//! HTTP/1 as bytes: heads, body framing, and nothing that reads or writes a socket.
//!
//! pingora has an HTTP/1 codec of its own; this one is here because a proxy for streams needs what
//! that one cannot give: both directions moving alone in one task, a deadline for a whole head, a
//! framing check before anything goes upstream, and no buffer held by a stream that is silent.
//!
//! Standards: RFC 9110 (semantics), RFC 9112 (HTTP/1.1).

pub mod body;
pub mod encode;
pub mod fields;
pub mod framing;
pub mod head;
