//! What is open, and why it ended.

pub mod kind;
pub mod reason;
pub mod registry;
