//! The running process: bind, serve, drain.

pub mod descriptors;
pub mod listener;
pub mod run;
pub mod signal;
