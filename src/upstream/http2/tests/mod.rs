//! Conversations with a peer that speaks frame by frame.

mod connection;
mod peer;
mod request;
mod response;
