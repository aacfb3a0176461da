//! The running process: bind, serve, change, drain.

pub mod accept;
pub mod certificates;
pub mod current;
pub mod descriptors;
pub mod drain;
pub mod listener;
pub mod listeners;
pub mod notify;
pub mod process;
pub mod reload;
pub mod run;
pub mod signal;
pub mod sockets;
