//! Did the upstream get any of a request that was lost with its connection? Pure.
//!
//! A kept-alive connection can be closed by the upstream just as a request is on its way. Such a
//! request may be sent again only if nobody has read it. TCP knows what was received: that is
//! acknowledged. But an acknowledgement may be delayed by 40 ms and more, and a reset does not
//! carry one: an upstream that read a request and then reset its connection looks like one that
//! never got it (seen on Linux 6.18). So a reset proves nothing, unless the upstream's FIN came
//! first: what it had received by then is acknowledged by the FIN, and later bytes were answered
//! with the reset, since nobody was there any more.

/// `tcpi_state` of a connection that is over (linux/tcp_states.h).
const TCP_CLOSE: u8 = 7;

/// What the kernel says about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// Bytes acknowledged by the other end since the connection was opened.
    pub bytes: u64,
    /// Segments that it has not acknowledged.
    pub outstanding: u32,
    /// `tcpi_state`.
    pub state: u8,
}

/// What is known about a request that got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The upstream read none of it.
    None,
    /// It may have read it.
    Possible,
    /// The kernel does not know yet: bytes are under way to an upstream that has closed.
    Open,
}

/// Judges a connection on which a FIN came first, or whose other end acknowledges at once, by what
/// the kernel said `before` the request was written and says `now`.
pub fn judge(before: Acknowledged, now: Acknowledged) -> Delivery {
    match () {
        () if before.outstanding > 0 || now.bytes != before.bytes => Delivery::Possible,
        // RFC 9293 §3.10.7.1: data for a connection that is closed is answered with a reset. Until
        // then it may reach one who has only closed its half and still reads.
        () if now.state == TCP_CLOSE => Delivery::None,
        () => Delivery::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_proved_counts() {
        use Delivery as D;
        let at = |bytes, outstanding, state| Acknowledged { bytes, outstanding, state };
        for (before, now, expected) in [
            (at(9, 0, 1), at(9, 0, 7), D::None),
            (at(9, 0, 1), at(9, 1, 8), D::Open),
            (at(9, 0, 1), at(10, 0, 8), D::Possible),
            (at(9, 0, 1), at(10, 0, 7), D::Possible),
            (at(9, 1, 1), at(9, 0, 7), D::Possible),
        ] {
            assert_eq!(judge(before, now), expected, "{before:?} {now:?}");
        }
    }
}
