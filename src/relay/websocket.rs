//! A WebSocket between a client and an upstream: what passes, when to ping, how it ends. Pure.
//!
//! Payload is never unmasked, copied or reassembled; the trackers follow frame heads only.

use std::time::{Duration, Instant};

use crate::config::model::WebSocket as Rules;
use crate::live::reason::CloseReason;
use crate::ws::close;
use crate::ws::head::{Opcode, control_frame};
use crate::ws::tracker::{Item, Tracker, Violation};

/// How long both sides have to answer a close frame and close their connection. RFC 6455 §7.1.1
/// wants "a reasonable time".
pub const CLOSE_WAIT: Duration = Duration::from_secs(3);

/// Payload of a ping of ours.
const PING_BYTES: usize = 12;

/// A ping of ours to a client, head and payload.
pub const PING_FRAME_BYTES: u64 = 2 + PING_BYTES as u64;

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who called us.
    Client,
    /// Whom we called.
    Upstream,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Upstream,
            Self::Upstream => Self::Client,
        }
    }

    /// The name in logs and in the `side` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
        }
    }
}

/// A frame from that side began; whether it is the last of its message.
pub type Seen = (Side, Opcode, bool);

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// A ping to that side, if one may be written.
    Ping(Side),
    /// It is over: tell both sides.
    End(CloseReason),
    /// It is over, and both sides had their time.
    Cut,
}

/// One side of the connection.
struct Peer {
    tracker: Tracker,
    /// When something came from it; or since when it is read again, after a time when it was not.
    heard: Instant,
    /// A ping of ours that it has not answered, and when that was written.
    pinged: Option<Instant>,
    /// It is not being read, because the other side takes nothing.
    paused: bool,
    /// It has closed its half of the connection.
    eof: bool,
}

/// The machine.
pub struct WebSocket {
    client: Peer,
    upstream: Peer,
    ping: [u8; PING_BYTES],
    /// Unpredictable enough for frames of ours to the upstream (RFC 6455 §10.3 is about payload
    /// that an attacker chooses; ours is fixed).
    mask: [u8; 4],
    began: Instant,
    data_at: Instant,
    /// The first close frame that came: its code, and whose it was.
    said: Option<(Option<u16>, Side)>,
    ending: Option<Ending>,
}

#[derive(Debug, Clone, Copy)]
struct Ending {
    reason: CloseReason,
    code: u16,
    since: Instant,
}

impl WebSocket {
    /// After the handshake. `seed` makes the pings of this connection recognisable.
    pub fn new(
        client: Tracker,
        upstream: Tracker,
        seed: u64,
        began: Instant,
        now: Instant,
    ) -> Self {
        let peer = |tracker| Peer { tracker, heard: now, pinged: None, paused: false, eof: false };
        let mut ping = *b"lw..........";
        let seed = seed.to_be_bytes();
        ping[4..].copy_from_slice(&seed);
        let mask = [seed[7], seed[5] ^ 0x5A, seed[6] ^ 0xA5, seed[4] ^ 0x3C];
        Self {
            client: peer(client),
            upstream: peer(upstream),
            ping,
            mask,
            began,
            data_at: now,
            said: None,
            ending: None,
        }
    }

    /// Bytes came from `side`; what goes to the other is appended to `out`. Says whether what
    /// is due next may be due earlier now: a pong of ours came, or a close frame.
    pub fn read(
        &mut self,
        side: Side,
        bytes: &[u8],
        now: Instant,
        out: &mut Vec<u8>,
        mut seen: impl FnMut(Seen),
    ) -> Result<bool, Violation> {
        let ending = self.ending.is_some();
        let ping = self.ping;
        let peer = self.peer(side);
        peer.heard = now;
        let outstanding = peer.pinged.is_some();
        let (mut input, mut answered) = (bytes, false);
        loop {
            let expected = outstanding.then_some(&ping[..]);
            match self.peer(side).tracker.next(&mut input, expected)? {
                Item::More => break,
                Item::Pass(bytes) if !ending => out.extend_from_slice(bytes),
                Item::Held(held) if !ending => out.extend_from_slice(held.as_slice()),
                // Both were told that it is over; nothing follows a close frame.
                Item::Pass(_) | Item::Held(_) => {}
                Item::Frame { opcode, fin, .. } => {
                    if !opcode.is_control() {
                        self.data_at = now;
                    }
                    seen((side, opcode, fin));
                }
                Item::OurPong => {
                    self.peer(side).pinged = None;
                    answered = true;
                }
            }
        }
        if let Some(frame) = self.peer(side).tracker.closed() {
            self.said.get_or_insert((frame.code, side));
            answered = true;
        }
        // Bytes in the middle of something long are a sign of life as good as a pong.
        if let Some(pinged) = &mut self.peer(side).pinged {
            *pinged = now;
        }
        Ok(answered)
    }

    /// Whether that side is not being read.
    pub fn is_paused(&self, side: Side) -> bool {
        self.side(side).paused
    }

    /// That side is read again, or not any more.
    pub fn pause(&mut self, side: Side, paused: bool, now: Instant) {
        let peer = self.peer(side);
        if peer.paused && !paused {
            peer.heard = now;
            peer.pinged = peer.pinged.map(|_| now);
        }
        peer.paused = paused;
    }

    /// That side closed its half; says whether it had said so in a close frame.
    pub fn eof(&mut self, side: Side, now: Instant) -> bool {
        let peer = self.peer(side);
        peer.eof = true;
        peer.pinged = None;
        peer.heard = now;
        peer.tracker.closed().is_some()
    }

    /// The code of the first close frame that came, and whose it was.
    pub fn close_code(&self) -> Option<(Option<u16>, Side)> {
        self.said
    }

    /// The code that both sides were told, if it ends by our will.
    pub fn our_code(&self) -> Option<u16> {
        self.ending.map(|ending| ending.code)
    }

    /// Both sides have sent their close frame.
    fn both_closed(&self) -> bool {
        self.client.tracker.closed().is_some() && self.upstream.tracker.closed().is_some()
    }

    /// Neither side has anything more to say, and the connection was ended: by the upstream, whose
    /// turn that is (RFC 6455 §7.1.1), or by us.
    pub fn is_over(&self) -> bool {
        let is_done = |peer: &Peer| peer.eof || peer.tracker.closed().is_some();
        let ended = self.ending.is_some() || self.upstream.eof;
        is_done(&self.client) && is_done(&self.upstream) && ended
    }

    /// It ends by our will: the frames that say so, for each side that can still take one.
    pub fn end(
        &mut self,
        reason: CloseReason,
        code: u16,
        text: &str,
        now: Instant,
        (to_client, to_upstream): (&mut Vec<u8>, &mut Vec<u8>),
    ) {
        if self.ending.is_some() {
            return;
        }
        let payload = close::payload(code, text);
        if self.upstream.tracker.at_boundary() {
            control_frame(to_client, Opcode::Close, &payload, None);
        }
        if self.client.tracker.at_boundary() {
            control_frame(to_upstream, Opcode::Close, &payload, Some(self.mask));
        }
        self.ending = Some(Ending { reason, code, since: now });
    }

    /// The sides get their time to close anew.
    pub fn postpone(&mut self, now: Instant) {
        self.client.heard = now;
        if let Some(ending) = &mut self.ending {
            ending.since = now;
        }
    }

    /// Why it is ending, if it is by our will.
    pub fn ending(&self) -> Option<CloseReason> {
        self.ending.map(|ending| ending.reason)
    }

    /// Appends a ping for that side, if one may stand there.
    pub fn push_ping(&mut self, side: Side, now: Instant, out: &mut Vec<u8>) -> bool {
        let boundary = self.peer(side.other()).tracker.at_boundary();
        if !boundary {
            return false;
        }
        let mask = (side == Side::Upstream).then_some(self.mask);
        control_frame(out, Opcode::Ping, &self.ping, mask);
        self.peer(side).pinged = Some(now);
        true
    }

    /// A ping was due and had no place: it will be looked at again after another silence.
    pub fn skip_ping(&mut self, side: Side, now: Instant) {
        self.peer(side).heard = now;
    }

    /// What is due at `now`.
    pub fn due(&self, rules: &Rules, max_duration: Option<Duration>, now: Instant) -> Due {
        let dues = self.dues(rules, max_duration);
        let mut due = dues.into_iter().flatten().filter(|(at, _)| *at <= now);
        due.next().map_or(Due::Nothing, |(_, due)| due)
    }

    /// When to call [`Self::due`] next.
    pub fn next(&self, rules: &Rules, max_duration: Option<Duration>) -> Option<Instant> {
        self.dues(rules, max_duration).into_iter().flatten().map(|(at, _)| at).min()
    }

    /// Who missed a pong, if that is why it is over.
    pub fn silent_side(&self, rules: &Rules, now: Instant) -> Option<Side> {
        let late = |peer: &Peer| peer.pinged.is_some_and(|at| at + rules.pong_timeout <= now);
        if late(&self.client) {
            return Some(Side::Client);
        }
        late(&self.upstream).then_some(Side::Upstream)
    }

    fn dues(&self, rules: &Rules, max_duration: Option<Duration>) -> [Option<(Instant, Due)>; 5] {
        if let Some(ending) = self.ending {
            return [Some((ending.since + CLOSE_WAIT, Due::Cut)), None, None, None, None];
        }
        let peer = |peer: &Peer, side: Side| {
            if peer.paused {
                return None;
            }
            if peer.eof {
                // It can answer nothing; what the other still sends is delivered, if it comes.
                let other = self.side(side.other());
                return Some((other.heard.max(peer.heard) + rules.pong_timeout, Due::Cut));
            }
            if let Some(pinged) = peer.pinged {
                return Some((pinged + rules.pong_timeout, Due::End(CloseReason::PongTimeout)));
            }
            Some((peer.heard + rules.ping?, Due::Ping(side)))
        };
        // Two close frames: the TCP connections have their time to end.
        let closed = self
            .both_closed()
            .then(|| (self.client.heard.max(self.upstream.heard) + CLOSE_WAIT, Due::Cut));
        let idle = rules.idle.filter(|_| closed.is_none());
        let end = |since: Instant, limit: Option<Duration>, reason| {
            Some((since + limit?, Due::End(reason)))
        };
        [
            closed,
            end(self.began, max_duration, CloseReason::MaxDuration),
            end(self.data_at, idle, CloseReason::IdleTimeout),
            peer(&self.client, Side::Client).filter(|_| closed.is_none()),
            peer(&self.upstream, Side::Upstream).filter(|_| closed.is_none()),
        ]
    }

    fn side(&self, side: Side) -> &Peer {
        match side {
            Side::Client => &self.client,
            Side::Upstream => &self.upstream,
        }
    }

    fn peer(&mut self, side: Side) -> &mut Peer {
        match side {
            Side::Client => &mut self.client,
            Side::Upstream => &mut self.upstream,
        }
    }
}

#[cfg(test)]
mod tests;
