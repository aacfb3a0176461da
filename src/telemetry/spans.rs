//! Spans that wait to be sent. Nobody waits for room: what finds none is dropped and counted.

use prometheus::IntCounter;
use tokio::sync::mpsc;

use super::metrics::Metrics;
use super::span::Span;

/// Most spans that wait, some two KiB each: what OpenTelemetry's own processor holds by default.
const QUEUED_MAX: usize = 2048;

/// Takes spans.
pub struct Spans {
    queue: mpsc::Sender<Span>,
    dropped: IntCounter,
}

/// Where they come out.
pub struct Queue {
    receiver: mpsc::Receiver<Span>,
    dropped: IntCounter,
}

impl Spans {
    /// A queue. Without the other end, all are dropped.
    pub fn new(metrics: &Metrics) -> (Self, Queue) {
        let (queue, receiver) = mpsc::channel(QUEUED_MAX);
        let dropped = metrics.spans_dropped();
        (Self { queue, dropped: dropped.clone() }, Queue { receiver, dropped })
    }

    /// Hands one over, at once.
    pub fn push(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.dropped.inc();
        }
    }
}

impl Queue {
    /// Waits for spans and puts those that are there behind others in `batch`, at most `room` of
    /// them. None came if the queue is closed and empty. Cancel-safe.
    pub async fn take(&mut self, batch: &mut Vec<Span>, room: usize) -> usize {
        self.receiver.recv_many(batch, room).await
    }

    /// Lets nothing more in; what is there can still be taken.
    pub fn close(&mut self) {
        self.receiver.close();
    }

    /// Whether nothing more comes in.
    pub fn is_closed(&self) -> bool {
        self.receiver.is_closed()
    }

    /// That many were taken, and were not sent.
    pub fn lose(&self, count: usize) {
        self.dropped.inc_by(count as u64);
    }

    /// How many were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::trace::Trace;

    fn span() -> Span {
        Span {
            trace: Trace::of(&Default::default(), || 7, |_| true),
            name: String::new(),
            started: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            attributes: Vec::new(),
            events: Vec::new(),
            error: None,
        }
    }

    #[tokio::test]
    async fn what_finds_no_room_is_counted() {
        let metrics = Metrics::new();
        let (spans, mut queue) = Spans::new(&metrics);
        (0..QUEUED_MAX + 3).for_each(|_| spans.push(span()));
        assert_eq!(queue.dropped(), 3);
        let mut batch = Vec::new();
        assert_eq!(queue.take(&mut batch, 100).await, 100);
        queue.close();
        spans.push(span());
        assert_eq!(queue.dropped(), 4, "closed");
        assert_eq!(queue.take(&mut batch, QUEUED_MAX).await, QUEUED_MAX - 100, "but not lost");
        assert_eq!(queue.take(&mut batch, 1).await, 0);
        assert!(metrics.render().contains("\nlongwire_spans_dropped_total 4\n"));
    }
}
