//! Moves an exchange's bytes.
//!
//! The decisions are pure: [`upload`] (client to upstream), [`download`] (upstream to client),
//! [`timers`] and [`gate`] take bytes and `now` and say what to write and when to end.
//! [`drive`] is the one loop that does the IO, and [`duplex`] the one of a connection that has
//! switched protocols.

pub mod download;
pub mod drive;
pub mod duplex;
pub mod gate;
pub mod timers;
pub mod upload;
pub mod websocket;
