//! The running process: bind, serve, change, drain.

pub mod accept;
pub mod certificates;
pub mod current;
pub mod descriptors;
pub mod drain;
pub mod handoff;
pub mod inherited;
pub mod listener;
pub mod listeners;
pub mod notify;
pub mod predecessor;
pub mod process;
pub mod reload;
pub mod run;
pub mod signal;
pub mod sockets;
mod spans;
pub mod successor;
pub mod upgrade;
