//! Why somebody is not let in.

use bytes::Bytes;

/// Why credentials did not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There are none.
    Missing,
    /// They are wrong; says how, without saying what they are.
    Invalid(&'static str),
    /// They were right once.
    Expired,
    /// The server that decides said 401, perhaps with a `WWW-Authenticate` of its own.
    Challenged {
        /// The request had credentials.
        had_credentials: bool,
        /// The fields' values.
        challenges: Vec<Bytes>,
    },
    /// They are right, but not enough.
    Forbidden,
    /// Nobody can say.
    Unavailable,
}

impl Refusal {
    /// The reasons in `auth_failures_total`.
    pub const LABELS: [&'static str; 5] =
        ["missing", "invalid", "expired", "forbidden", "unavailable"];

    /// The place of its reason in [`Self::LABELS`].
    pub fn label(&self) -> usize {
        match self {
            Self::Missing | Self::Challenged { had_credentials: false, .. } => 0,
            Self::Invalid(_) | Self::Challenged { had_credentials: true, .. } => 1,
            Self::Expired => 2,
            Self::Forbidden => 3,
            Self::Unavailable => 4,
        }
    }
}
