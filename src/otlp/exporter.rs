//! The task that sends spans.
//!
//! Streams never wait for it: they put spans into a bounded queue or drop them. Whatever a
//! collector does, there is one request under way, and one batch besides the queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::message;
use super::resource::{self, Attributes};
use crate::clock;
use crate::http1::fields::Fields;
use crate::telemetry::span::Span;
use crate::telemetry::spans::Queue;
use crate::upstream::Upstream;
use crate::upstream::question::Question;

/// Most spans of one message: some 700 KiB, a quarter of the queue, and what OpenTelemetry's own
/// processor sends by default.
const BATCH_MAX: usize = 512;

/// How long the first span of a batch waits for others: whoever watches a trace does not notice,
/// and a busy proxy sends one message a second.
const GATHER: Duration = Duration::from_secs(1);

/// How long a collector may take for a message: the specification's own default.
const SEND_LIMIT: Duration = Duration::from_secs(10);

/// First and longest pause before a message is sent again, which doubles between.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));

/// How long a message is sent again and again: a collector restarts within that.
const KEEP: Duration = Duration::from_secs(60);

/// How long the end of the process waits for the last spans.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// Between two lines of the log that say the same.
const REPEAT: Duration = Duration::from_secs(60);

/// Who takes spans.
pub struct Collector {
    /// Where it is.
    pub upstream: Arc<Upstream>,
    /// What it is asked for.
    pub target: String,
}

/// Sends spans in the background.
pub struct Exporter {
    /// Turns true when nothing more is to come.
    ends: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Taken,
    /// It may be taken another time; the status, if there was one.
    Later(Option<u16>),
    /// It will never be.
    Refused(u16),
    /// Nobody is there to take it any more.
    Unwanted,
}

impl Sent {
    /// OTLP/HTTP, "Retryable Response Codes".
    fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Taken,
            429 | 502..=504 => Self::Later(Some(status)),
            _ => Self::Refused(status),
        }
    }
}

impl Exporter {
    /// Begins to send what comes out of `queue` to the `collector` of the moment; must be called
    /// inside a runtime.
    pub fn start(
        queue: Queue,
        collector: impl Fn() -> Option<Collector> + Send + Sync + 'static,
    ) -> Self {
        let (ends, ending) = watch::channel(false);
        let trouble = Trouble::default();
        let work = Work { queue, collector, ending, resource: resource::of_process(), trouble };
        Self { ends, task: tokio::spawn(work.run()) }
    }

    /// Sends what is there, for a short time, and ends.
    pub async fn finish(&mut self) {
        self.ends.send_replace(true);
        // It has a limit of its own.
        let _ = (&mut self.task).await;
    }
}

struct Work<C> {
    queue: Queue,
    collector: C,
    ending: watch::Receiver<bool>,
    resource: Attributes,
    trouble: Trouble,
}

impl<C: Fn() -> Option<Collector>> Work<C> {
    async fn run(mut self) {
        let mut ending = self.ending.clone();
        let mut batch = Vec::new();
        let over = async {
            let _ = ending.wait_for(|&ends| ends).await;
            sleep(FLUSH_LIMIT).await;
        };
        tokio::select! {
            () = self.send_all(&mut batch) => {}
            () = over => {}
        }
        // What did not get out in time.
        self.queue.close();
        while self.queue.take(&mut batch, BATCH_MAX).await > 0 {}
        self.queue.lose(batch.len());
        let lost = self.queue.dropped() - self.trouble.lost;
        if lost > 0 {
            tracing::warn!(spans = lost, "spans were lost");
        }
    }

    /// Sends batch by batch, until it is to end and nothing is left. The batch that is under way is
    /// in `batch`.
    async fn send_all(&mut self, batch: &mut Vec<Span>) {
        while self.gather(batch).await {
            self.deliver(batch).await;
            batch.clear();
            self.trouble.tell_of_lost(self.queue.dropped(), clock::now());
        }
    }

    /// Waits for the next batch; `false` if there is none.
    async fn gather(&mut self, batch: &mut Vec<Span>) -> bool {
        let mut ending = self.ending.clone();
        let mut full_at = None;
        loop {
            let room = BATCH_MAX - batch.len();
            let patience = async {
                match full_at {
                    Some(at) => sleep(remaining(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                count = self.queue.take(batch, room) => {
                    if count == 0 || batch.len() == BATCH_MAX {
                        return !batch.is_empty();
                    }
                    full_at.get_or_insert_with(|| clock::now() + GATHER);
                }
                _ = ending.wait_for(|&ends| ends), if !self.queue.is_closed() => self.queue.close(),
                () = patience => return true,
            }
        }
    }

    /// Sends a batch until it is taken, refused, or too old. At the end there is one more try.
    async fn deliver(&mut self, batch: &[Span]) {
        let body = message::encode(&self.resource, batch);
        let deadline = clock::now() + KEEP;
        let mut pause = PAUSES.0;
        let mut ending = self.ending.clone();
        let mut is_last = *ending.borrow();
        loop {
            let sent = self.send(&body).await;
            let (now, lost) = (clock::now(), self.queue.dropped());
            match sent {
                Sent::Taken => return self.trouble.ends(),
                Sent::Unwanted => return self.queue.lose(batch.len()),
                Sent::Refused(status) => {
                    self.queue.lose(batch.len());
                    return self.trouble.tell(Some(status), self.queue.dropped(), now);
                }
                Sent::Later(status) => self.trouble.tell(status, lost, now),
            }
            if is_last || now + pause > deadline {
                return self.queue.lose(batch.len());
            }
            is_last = timeout(pause, ending.wait_for(|&ends| ends)).await.is_ok();
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn send(&self, body: &[u8]) -> Sent {
        // Anew each time: a reload may have changed it.
        let Some(collector) = (self.collector)() else { return Sent::Unwanted };
        let Collector { upstream, target } = collector;
        let mut fields = Fields::with_capacity(2);
        fields.append("Content-Type", "application/x-protobuf");
        fields.append("User-Agent", concat!("longwire/", env!("CARGO_PKG_VERSION")));
        let question = Question { method: "POST", target: &target, fields: &fields, body };
        let answer = upstream.ask(question, SEND_LIMIT).await;
        answer.map_or(Sent::Later(None), |head| Sent::of(head.status))
    }
}

fn remaining(at: Instant) -> Duration {
    at.saturating_duration_since(clock::now())
}

/// What was said in the log of spans that are not taken: the first time, and then now and again.
#[derive(Debug, Default)]
struct Trouble {
    /// There is some, and it was told.
    is_told: bool,
    told_at: Option<Instant>,
    /// Spans that were lost by then.
    lost: u64,
}

impl Trouble {
    /// A message was not taken; `lost` spans were lost since the start.
    fn tell(&mut self, status: Option<u16>, lost: u64, now: Instant) {
        if self.is_due(now) {
            let spans = lost - std::mem::replace(&mut self.lost, lost);
            tracing::warn!(status, lost = spans, "spans are not taken by tracing.otlp.endpoint");
            self.is_told = true;
        }
    }

    /// `lost` spans were lost since the start, perhaps for want of room.
    fn tell_of_lost(&mut self, lost: u64, now: Instant) {
        if lost > self.lost && self.is_due(now) {
            let spans = lost - std::mem::replace(&mut self.lost, lost);
            tracing::warn!(spans, "spans were lost");
        }
    }

    /// A message was taken.
    fn ends(&mut self) {
        if std::mem::take(&mut self.is_told) {
            tracing::info!("spans are taken again");
        }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.told_at.is_none_or(|at| now.saturating_duration_since(at) >= REPEAT);
        if is_due {
            self.told_at = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_sent_again() {
        for (status, sent) in [
            (200, Sent::Taken),
            (202, Sent::Taken),
            (400, Sent::Refused(400)),
            (404, Sent::Refused(404)),
            (429, Sent::Later(Some(429))),
            (500, Sent::Refused(500)),
            (503, Sent::Later(Some(503))),
        ] {
            assert_eq!(Sent::of(status), sent);
        }
    }

    #[test]
    fn the_log_is_told_now_and_again() {
        let (mut trouble, now) = (Trouble::default(), clock::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(trouble.is_due(now));
        assert!(!trouble.is_due(after(59)));
        assert!(trouble.is_due(after(60)));
        trouble.tell_of_lost(7, after(61));
        assert_eq!(trouble.lost, 0, "not yet");
        trouble.tell_of_lost(9, after(121));
        assert_eq!(trouble.lost, 9);
    }
}
