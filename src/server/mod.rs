//! The running process: bind, serve, drain.

pub mod accept;
pub mod certificates;
pub mod descriptors;
pub mod listener;
pub mod notify;
pub mod run;
pub mod signal;
