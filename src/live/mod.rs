//! What is open, and why it ended.

pub mod farewell;
pub mod kind;
pub mod past;
pub mod reason;
pub mod registry;
pub mod stream;
