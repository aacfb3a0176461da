//! `[routes.NAME.access]` and `[routes.NAME.cors]`: from where requests may come.

use std::time::Duration;

use super::Network;

/// `[routes.NAME.access]`: clients' addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Who may come; empty means everybody, and is never written so.
    pub allow: Vec<Network>,
    /// Who may not, although `allow` has them.
    pub deny: Vec<Network>,
}

/// `[routes.NAME.cors]`: which pages' scripts may read answers (the Fetch standard's CORS).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Whose pages; never empty.
    pub origins: Vec<CorsOrigin>,
    /// Methods that they may use.
    pub methods: Vec<String>,
    /// Fields that they may send; `None` is whatever they ask for.
    pub headers: Option<Vec<String>>,
    /// Fields of the answer that they may read, beyond those that every page may.
    pub expose: Vec<String>,
    /// Whether cookies and the like go along. Not with [`CorsOrigin::Any`].
    pub credentials: bool,
    /// How long browsers may remember the answer to a preflight.
    pub max_age: Duration,
}

/// An element of `cors.origins`, lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsOrigin {
    /// `*`
    Any,
    /// `https://app.example.com`
    Exact(String),
    /// `https://*.example.com`: any name below.
    Below {
        /// `https://`
        scheme: String,
        /// `.example.com`, perhaps with a port.
        domain: String,
    },
}
