//! Integration tests: the real executable between scripted or real peers.
//!
//! Each test is a conversation: an upstream that writes bytes and chooses the cuts, the proxy, a
//! client. Nothing sleeps for luck: everything waits for a condition, with a deadline.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests say what went wrong by failing")]

mod harness;

/// Heartbeats: when, where, and where not.
mod heartbeat;
