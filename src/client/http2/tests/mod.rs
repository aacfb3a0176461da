//! Conversations with clients, h2's own and one that speaks frame by frame.

mod abuse;
mod connection;
mod exchange;
mod peer;
mod websocket;
