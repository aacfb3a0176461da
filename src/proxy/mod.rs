//! The life of a request: what the parts below do together.

pub mod admit;
pub mod answer;
pub mod app;
pub mod early;
pub mod enter;
pub mod exchange;
pub mod forward;
pub mod key;
pub mod limits;
pub mod reply;
pub mod snapshot;
pub mod switch;
mod tries;
