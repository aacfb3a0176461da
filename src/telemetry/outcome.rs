//! What can become of upstream connections, as metrics name it.

/// What can become of a connection attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ConnectResult {
    Ok,
    Refused,
    Timeout,
    Tls,
    Dns,
    Other,
}

impl ConnectResult {
    pub(super) const ALL: [Self; 6] =
        [Self::Ok, Self::Refused, Self::Timeout, Self::Tls, Self::Dns, Self::Other];

    /// The name in the `result` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Dns => "dns",
            Self::Other => "other",
        }
    }
}

/// Why an idle connection was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum PoolClose {
    IdleTimeout,
    MaxLifetime,
    PeerClosed,
    Full,
    Unclean,
}

impl PoolClose {
    pub(super) const ALL: [Self; 5] =
        [Self::IdleTimeout, Self::MaxLifetime, Self::PeerClosed, Self::Full, Self::Unclean];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::IdleTimeout => "idle_timeout",
            Self::MaxLifetime => "max_lifetime",
            Self::PeerClosed => "peer_closed",
            Self::Full => "full",
            Self::Unclean => "unclean",
        }
    }
}
