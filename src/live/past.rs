//! The exchanges that have ended: the last of them, and the sums of all.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::kind::Kind;
use super::reason::CloseReason;
use super::stream::{Look, Stream};

/// Streams that have ended and can still be looked at.
pub const STREAMS_KEPT: usize = 1000;

/// Exchanges of kind `http` that are kept besides: short ones would push the streams out, so these
/// have a place of their own, and only those have it that did not complete or took long.
pub const OTHERS_KEPT: usize = 200;

/// An exchange of kind `http` that took so long is kept although it completed.
const LONG: Duration = Duration::from_secs(5);

/// Sums of exchanges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Those that have ended.
    pub closed: u64,
    /// Those of them that failed: see [`CloseReason::is_failure`].
    pub failed: u64,
    /// Requests that were answered without an upstream; their bytes are among the others.
    pub answered: u64,
    /// Events to clients, of those that are open, too.
    pub events_out: u64,
    /// Bytes from clients, of those that are open, too.
    pub bytes_in: u64,
    /// Bytes to clients, of those that are open, too.
    pub bytes_out: u64,
}

impl Sums {
    fn add(&mut self, look: &Look) {
        self.events_out += look.events_out;
        self.bytes_in += look.bytes_in;
        self.bytes_out += look.bytes_out;
    }
}

#[derive(Default)]
struct Rows {
    sums: Sums,
    /// Rows so far; the number of the next one.
    kept: u64,
    streams: VecDeque<(u64, Arc<Stream>)>,
    others: VecDeque<(u64, Arc<Stream>)>,
}

/// All of it, behind one lock that is taken once at the end of an exchange.
#[derive(Default)]
pub struct Past(Mutex<Rows>);

impl Past {
    /// One has left. Whoever drops it has closed it before.
    pub fn left(&self, stream: &Arc<Stream>) {
        let look = stream.look(stream.began());
        let mut rows = self.rows();
        let rows = &mut *rows;
        stream.leaves();
        rows.sums.add(&look);
        rows.sums.closed += 1;
        let Some(end) = look.ended else { return };
        rows.sums.failed += u64::from(end.reason.is_failure());
        let (row, most) = match look.kind {
            Kind::Http if end.reason == CloseReason::Completed && end.duration < LONG => return,
            Kind::Http => (&mut rows.others, OTHERS_KEPT),
            _ => (&mut rows.streams, STREAMS_KEPT),
        };
        if row.len() == most {
            row.pop_front();
        }
        row.push_back((rows.kept, Arc::clone(stream)));
        rows.kept += 1;
    }

    /// A request was answered without an upstream.
    pub fn answered(&self, stream: &Stream) {
        let mut rows = self.rows();
        rows.sums.answered += 1;
        rows.sums.add(&stream.look(stream.began()));
    }

    /// Those that are kept, the one that ended last first.
    pub fn streams(&self) -> Vec<Arc<Stream>> {
        self.since(0).0
    }

    /// Those of them that have come since this was asked with another answer's second half; 0 is
    /// the beginning.
    pub fn since(&self, number: u64) -> (Vec<Arc<Stream>>, u64) {
        let rows = self.rows();
        let kept = rows.kept;
        let new = |row: &&(u64, Arc<Stream>)| row.0 >= number;
        let streams = rows.streams.iter().rev().take_while(new);
        let others = rows.others.iter().rev().take_while(new);
        let mut all: Vec<_> = streams.chain(others).cloned().collect();
        drop(rows);
        all.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
        (all.into_iter().map(|(_, stream)| stream).collect(), kept)
    }

    /// The sums of those that have left and of `open`, each counted once however many of the open
    /// ones leave meanwhile.
    pub fn sums(&self, open: &[Arc<Stream>]) -> Sums {
        let rows = self.rows();
        let mut sums = rows.sums;
        for stream in open.iter().filter(|stream| !stream.is_past()) {
            sums.add(&stream.look(stream.began()));
        }
        sums
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Its rows cannot be left half-changed by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::clock;
    use crate::live::stream::{End, Identity};

    pub(in crate::live) fn identity(id: &str) -> Identity {
        Identity {
            id: id.into(),
            route: "chat".into(),
            upstream: "models".into(),
            principal: None,
            client: None,
            version: "1.1",
            started: UNIX_EPOCH,
        }
    }

    fn ended(id: usize, kind: Kind, reason: CloseReason, secs: u64) -> Arc<Stream> {
        let stream = Stream::new(clock::now());
        stream.identify(id as u64, identity(&id.to_string()));
        stream.opened(kind);
        stream.came_down(10, 1, clock::now());
        stream.ends(End { reason, status: 200, duration: Duration::from_secs(secs) });
        Arc::new(stream)
    }

    #[test]
    fn short_exchanges_push_no_stream_out() {
        let past = Past::default();
        past.left(&ended(0, Kind::Sse, CloseReason::Killed, 9999));
        for id in 1..2000 {
            past.left(&ended(id, Kind::Http, CloseReason::Completed, 1));
        }
        for id in 2000..3000 {
            past.left(&ended(id, Kind::Http, CloseReason::UpstreamReset, 1));
        }
        past.left(&ended(3000, Kind::Http, CloseReason::Completed, 5));
        let kept = past.streams();
        assert_eq!(kept.len(), 1 + OTHERS_KEPT);
        let last = |kept: &[Arc<Stream>]| kept[0].identity().unwrap().id.to_string();
        assert_eq!(last(&kept), "3000");
        let (_, number) = past.since(0);
        assert!(past.since(number).0.is_empty());
        past.left(&ended(3001, Kind::WebSocket, CloseReason::Completed, 5));
        let (new, _) = past.since(number);
        assert_eq!((new.len(), last(&new)), (1, "3001".to_owned()));
        let sums = past.sums(&[]);
        assert_eq!((sums.closed, sums.failed, sums.events_out), (3002, 1001, 3002));
        for id in 0..2000 {
            past.left(&ended(id, Kind::Sse, CloseReason::Completed, 1));
        }
        assert_eq!(past.streams().len(), STREAMS_KEPT + OTHERS_KEPT);
    }

    #[test]
    fn nothing_is_summed_twice() {
        let past = Past::default();
        let open = Arc::new(Stream::new(clock::now()));
        open.came_down(10, 1, clock::now());
        let list = [Arc::clone(&open)];
        assert_eq!(past.sums(&list).bytes_out, 10);
        let duration = Duration::ZERO;
        open.ends(End { reason: CloseReason::Completed, status: 200, duration });
        past.left(&open);
        assert_eq!(past.sums(&list).bytes_out, 10, "the list was made before it ended");
    }
}
