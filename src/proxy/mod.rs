//! The life of a request: what the parts below do together.

pub mod admit;
pub mod answer;
pub mod app;
pub mod asker;
mod details;
pub mod early;
mod ending;
pub mod enter;
pub mod exchange;
mod flow;
pub mod forward;
pub mod guard;
mod ids;
pub mod key;
pub mod limits;
mod opening;
pub mod reply;
pub mod snapshot;
pub mod switch;
mod tries;
