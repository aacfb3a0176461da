//! Did the upstream get any of a request that was lost with its connection? Pure.
//!
//! A kept-alive connection can be closed by the upstream just as a request is on its way. Such a
//! request may be sent again only if nobody has read it, and TCP knows: what was received was
//! acknowledged. Two things blur that, and both were seen on Linux:
//!
//! - An acknowledgement may be delayed by 40 ms and more, and a reset does not carry one. An
//!   upstream
//!   that read a request and then reset its connection looks like one that never got it.
//! - A receiver that has emptied its socket acknowledges at once if two pushed segments had come.
//!
//! So the request on a reused connection goes out in two segments, the first of which is not a
//! whole head ([`FIRST_PUSH`]): whoever has read a whole request has acknowledged it. Where the
//! upstream's FIN came first no such care is needed: it closed before it could have answered.

/// So many bytes of a request's head are left for the second segment: the empty line that ends it.
pub const FIRST_PUSH: usize = 2;

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

/// How a connection was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The other end closed it: its FIN came before anything else.
    Closed,
    /// The other end reset it.
    Reset,
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

/// Judges by what the kernel said `before` the request was written and says `now`.
pub fn judge(before: Acknowledged, now: Acknowledged, loss: Loss) -> Delivery {
    if before.outstanding > 0 || now.bytes != before.bytes {
        return Delivery::Possible;
    }
    match loss {
        Loss::Reset => Delivery::None,
        // RFC 9293 §3.10.7.1: data for a connection that is closed is answered with a reset. Until
        // then it may reach one who has only closed its half and still reads.
        Loss::Closed if now.state == TCP_CLOSE => Delivery::None,
        Loss::Closed => Delivery::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_proved_counts() {
        use Delivery as D;
        let at = |bytes, outstanding, state| Acknowledged { bytes, outstanding, state };
        for (before, now, loss, expected) in [
            (at(9, 0, 1), at(9, 0, 7), Loss::Closed, D::None),
            (at(9, 0, 1), at(9, 0, 7), Loss::Reset, D::None),
            (at(9, 0, 1), at(9, 1, 8), Loss::Closed, D::Open),
            (at(9, 0, 1), at(10, 0, 8), Loss::Closed, D::Possible),
            (at(9, 0, 1), at(10, 0, 7), Loss::Closed, D::Possible),
            (at(9, 0, 1), at(99, 0, 7), Loss::Reset, D::Possible),
            (at(9, 1, 1), at(9, 0, 7), Loss::Reset, D::Possible),
        ] {
            assert_eq!(judge(before, now, loss), expected, "{before:?} {now:?} {loss:?}");
        }
    }
}
