//! What is decided about whoever asks, before an upstream hears of it.

pub mod gcra;
pub mod rate;
pub mod streams;
