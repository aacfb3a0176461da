//! Server-Sent Events as bytes (WHATWG HTML §9.2, "Server-sent events").

pub mod dialect;
pub mod marks;
pub mod scanner;
