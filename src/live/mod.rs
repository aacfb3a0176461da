//! What is open, and why it ended.

pub mod farewell;
pub mod feed;
pub mod kind;
pub mod past;
pub mod query;
pub mod reason;
pub mod registry;
pub mod row;
pub mod stream;
