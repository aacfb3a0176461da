//! Server-Sent Events as bytes (WHATWG HTML §9.2, "Server-sent events").

pub mod scanner;
