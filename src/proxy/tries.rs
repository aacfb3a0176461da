//! The tries of one request: a place, a connection, the request, an answer; and again if that is
//! safe, until a response has begun.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::answer::{self, Answer};
use super::early;
use super::forward::{Asked, Forward, Reached, SWITCHING};
use super::reply::Denial;
use super::switch;
use crate::clock;
use crate::http1::head::ResponseHead;
use crate::live::kind::Kind;
use crate::live::reason::CloseReason;
use crate::relay::drive::{End, Event, Link, Loss};
use crate::relay::gate::Gate;
use crate::sse::dialect::Dialects;
use crate::telemetry::limited::Limit;
use crate::telemetry::metrics::ConnectResult;
use crate::telemetry::span::Attempt;
use crate::upstream::NoSeat;
use crate::upstream::connect::{self, Connected, Limits, Want};
use crate::upstream::connection::Connection;
use crate::upstream::http2::NotProcessed;
use crate::upstream::replay::{self, Again, Failure};
use crate::upstream::roster::{Ask, Verdict};

/// How a request ended; the denial says more than the end, if there is one.
pub(super) type Ended = (End, Option<Box<Denial>>);

/// What became of a request.
pub(super) enum Answered {
    /// It is over.
    Ended(Ended),
    /// The upstream's response has begun, and goes on.
    Flows,
    /// The upstream switches to the protocol that was asked for.
    Switches(Box<ResponseHead>),
}

/// One request on its way to an answer.
pub(super) struct Tries<'f> {
    forward: &'f Forward<'f>,
    asked: Box<Asked>,
    ask: Ask,
    /// Whose turn it is in a queue.
    turn: u64,
    /// The last connection was stale: the next one is to be a new one.
    wants_fresh: bool,
    /// The status and the framing that the client got, once its head was sent.
    pub(super) sent: Option<(u16, Answer)>,
    pub(super) reached: Reached,
    /// What the last try came to, for when there is no other.
    last: Option<Box<Denial>>,
}

/// What is left to do after an event.
enum Next {
    /// Wait for more.
    Wait,
    /// Try again.
    Again,
    /// Nothing.
    Done(Answered),
}

/// A client and its exchange with an upstream.
pub(super) type Relay<'l> = Link<'l, Connection>;

impl<'f> Tries<'f> {
    pub(super) fn new(forward: &'f Forward<'f>, asked: Box<Asked>, ask: Ask, turn: u64) -> Self {
        Self {
            forward,
            asked,
            ask,
            turn,
            wants_fresh: false,
            sent: None,
            reached: Reached::default(),
            last: None,
        }
    }

    /// Runs until there is an answer, or cannot be one.
    pub(super) async fn run(&mut self, link: &mut Relay<'_>) -> Answered {
        loop {
            match self.reach(link).await {
                Err(ended) => return Answered::Ended(ended),
                Ok(connected) => self.attach(link, connected),
            }
            match self.wait(link).await {
                Next::Again | Next::Wait => {}
                Next::Done(answered) => return answered,
            }
        }
    }

    // === A place and a connection ===

    /// A connection to the endpoint that is next, while the client is watched.
    async fn reach(&mut self, link: &mut Relay<'_>) -> Result<Connected, Ended> {
        loop {
            if self.reached.seat.is_none()
                && let Err(no_seat) = self.seat(link).await?
            {
                // What the last try came to says more than that there is no other.
                let denial = self.last.take().unwrap_or_else(|| Box::new(Denial::no_seat(no_seat)));
                return Err((CloseReason::UpstreamReset.into(), Some(denial)));
            }
            let failure = match self.connect(link).await? {
                Ok(connected) => return Ok(connected),
                Err(failure) => failure,
            };
            let denial = Box::new(Denial::unreachable(failure));
            if !self.again(link, Failure::Connect) {
                return Err((CloseReason::UpstreamReset.into(), Some(denial)));
            }
            self.last = Some(denial);
        }
    }

    async fn seat(&mut self, link: &mut Relay<'_>) -> Result<Result<(), NoSeat>, Ended> {
        let (upstream, ask) = (self.forward.upstream, self.ask.clone());
        let (turn, queue) = (self.turn, &self.forward.rules.limits.queue);
        let seating = async move { upstream.seat(&ask, turn, queue).await };
        Ok(match self.while_watching(link, seating).await? {
            Ok(seat) => {
                self.reached.seat = Some(seat);
                Ok(())
            }
            Err(no_seat) => {
                if matches!(no_seat, NoSeat::QueueFull | NoSeat::QueueTimeout) {
                    self.forward.refused(Limit::Queue);
                }
                Err(no_seat)
            }
        })
    }

    async fn connect(
        &mut self,
        link: &mut Relay<'_>,
    ) -> Result<Result<Connected, ConnectResult>, Ended> {
        let seat = self.reached.seat.as_ref().expect("a place comes before a connection");
        let (upstream, endpoint) = (self.forward.upstream, Arc::clone(seat.endpoint()));
        let limits = Limits::from(&self.forward.rules.timeouts);
        let want = match (self.forward.wanted.is_some(), self.wants_fresh) {
            (true, _) => Want::Http1,
            (false, true) => Want::Fresh,
            (false, false) => Want::Any,
        };
        self.reached.tries += 1;
        let config = upstream.config();
        let connecting = connect::connect(&endpoint, &config.pool, want, limits);
        let connected = self.while_watching(link, connecting).await?;
        if let Err(result) = &connected {
            self.report(Verdict::Unreachable, clock::now());
            let (upstream, endpoint) = (upstream.name(), endpoint.name());
            let result = result.label();
            tracing::warn!(upstream, endpoint, result, "cannot connect");
        }
        Ok(connected)
    }

    /// Does `work` while the client is watched, and gets its heartbeats if its response has begun.
    async fn while_watching<T>(
        &mut self,
        link: &mut Relay<'_>,
        work: impl Future<Output = T>,
    ) -> Result<T, Ended> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                event = link.event() => match event {
                    Event::End(end) => return Err((end, None)),
                    Event::Commit => self.commit(link),
                    // Without an upstream there is none.
                    Event::Head { .. } => {}
                },
            }
        }
    }

    fn attach(&mut self, link: &mut Relay<'_>, connected: Connected) {
        let Connected { connection, reused, at: now } = connected;
        let metrics = connection.endpoint().metrics();
        if reused {
            metrics.on_reused.inc()
        } else {
            metrics.on_new.inc()
        }
        let head = self.forward.encode_request(&self.asked, connection.endpoint());
        self.reached.reused = Some(reused);
        let name = connection.endpoint().source().shared_name();
        link.meter().reached(name, reused, now);
        // What is idempotent is simply sent again. And a gate that stays shut is of use only if
        // there can be another try.
        let risky = !replay::is_idempotent(&self.forward.request.method)
            && connection.may_be_stale(now)
            && self.decide(link, Failure::NotDelivered { reused: true }).is_some();
        let gate = risky.then(|| Gate::new(head.len(), connection.patience())).flatten();
        link.attach(connection, head, gate, now);
    }

    // === An answer ===

    /// Waits for the answer.
    async fn wait(&mut self, link: &mut Relay<'_>) -> Next {
        loop {
            let next = match link.event().await {
                Event::Commit => {
                    self.commit(link);
                    Next::Wait
                }
                Event::End(end) => self.failed(link, end).await,
                Event::Head { head, came_at } => self.answered(link, head, came_at),
            };
            if !matches!(next, Next::Wait) {
                return next;
            }
        }
    }

    /// There is no answer.
    async fn failed(&mut self, link: &mut Relay<'_>, end: End) -> Next {
        let (failure, is_bad) = match end.reason {
            CloseReason::UpstreamReset => self.lost(link).await,
            CloseReason::FirstByteTimeout => (Failure::FirstByteTimeout, true),
            CloseReason::ProtocolError if !end.client_to_blame => {
                self.report(Verdict::Bad, clock::now());
                return Next::ended(end, None);
            }
            _ => return Next::ended(end, None),
        };
        // An endpoint that gets another chance with this exchange is judged by that.
        let stays = self.decide(link, failure).is_some_and(|again| again.same_endpoint);
        if is_bad && !stays {
            self.report(Verdict::Bad, clock::now());
        }
        if !self.again(link, failure) {
            if is_bad && stays {
                self.report(Verdict::Bad, clock::now());
            }
            return Next::ended(end, None);
        }
        self.last = Some(Box::new(Denial::from_end(end)));
        self.drop_upstream(link);
        Next::Again
    }

    /// The connection was lost: did the request get through, and was it the endpoint's fault rather
    /// than the connection's?
    async fn lost(&mut self, link: &mut Relay<'_>) -> (Failure, bool) {
        // What broke off in an answer was no stale connection.
        let has_begun = link.answer_has_begun();
        let was_gated = link.is_gated();
        let at_once = link.acknowledges_at_once();
        let reused = self.reached.reused == Some(true) && !has_begun;
        let (connection, loss) = link.detach();
        let Some(connection) = connection else { return (Failure::Lost { reused }, true) };
        // One that only kept us waiting has not closed anything.
        let was_closed = loss.is_some();
        let undelivered = !has_begun
            && match loss {
                _ if was_gated => true,
                Some(Loss::Failed(error)) if NotProcessed::is_proved_by(&error) => true,
                Some(loss) => connection.was_undelivered(at_once || is_fin(&loss)).await,
                None => false,
            };
        let is_stale = reused && undelivered;
        if is_stale && was_closed {
            connection.was_stale();
        }
        self.forward.discard(connection);
        match undelivered {
            true => (Failure::NotDelivered { reused }, !is_stale),
            false => (Failure::Lost { reused }, true),
        }
    }

    fn answered(
        &mut self,
        link: &mut Relay<'_>,
        head: Box<ResponseHead>,
        came_at: Instant,
    ) -> Next {
        let status = head.status;
        if status >= 200 || status == SWITCHING {
            link.meter().answered(came_at);
        }
        let agrees = |wanted| status == SWITCHING && switch::agrees(&head, wanted);
        if self.forward.wanted.as_ref().is_some_and(agrees) {
            self.report(Verdict::Good, came_at);
            return Next::Done(Answered::Switches(head));
        }
        if (100..200).contains(&status) && status != SWITCHING {
            // Nothing can be put before a response that has begun.
            let passes = self.sent.is_none();
            let interim = passes.then(|| self.forward.encode_interim(*head));
            link.interim(interim.unwrap_or_default());
            return Next::Wait;
        }
        // An answer to half a head (408, as a rule) is about the connection, not about the request.
        if link.is_gated() && self.again(link, Failure::NotDelivered { reused: true }) {
            self.drop_upstream(link);
            return Next::Again;
        }
        let bad = matches!(status, 502..=504);
        self.report(if bad { Verdict::Bad } else { Verdict::Good }, came_at);
        if self.again(link, Failure::Status(status)) {
            self.drop_upstream(link);
            return Next::Again;
        }
        let asker = self.forward.asker(link.upload().is_done());
        match Answer::new(&head, asker) {
            Err(reason) => Next::ended(reason.into(), None),
            Ok(answer) => match self.sent {
                Some((_, early)) => self.join(link, (*head, came_at), answer, early),
                None => self.begin(link, (*head, came_at), answer),
            },
        }
    }

    fn begin(
        &mut self,
        link: &mut Relay<'_>,
        (head, came_at): (ResponseHead, Instant),
        answer: Answer,
    ) -> Next {
        let status = head.status;
        let body = answer.body(&self.forward.rules.sse, self.dialects());
        self.sent = Some((status, answer));
        link.meter().open(answer.kind);
        self.forward.opened(&self.reached, answer.kind, status);
        link.begin(self.forward.encode_response(head, answer), body, came_at);
        Next::Done(Answered::Flows)
    }

    // === An answer that begins early ===

    /// Begins the response, if the client has asked for a stream.
    fn commit(&mut self, link: &mut Relay<'_>) {
        let upload = link.upload();
        let body = upload.kept().filter(|_| upload.is_done());
        let asker = self.forward.asker(upload.is_done());
        let possible = self.sent.is_none()
            && self.forward.wanted.is_none()
            && !asker.to_head
            // Nothing could be put between: the client would never send its body.
            && !link.expects_continue();
        if !possible || !early::asks_for_stream(&self.asked.head, body) {
            return;
        }
        let answer = early::answer(asker);
        let body = answer.body(&self.forward.rules.sse, self.dialects());
        self.sent = Some((200, answer));
        link.meter().open(Kind::Sse);
        self.forward.opened(&self.reached, Kind::Sse, 200);
        link.begin_early(self.forward.encode_response(early::head(), answer), body);
    }

    /// The upstream has answered after the response had begun.
    fn join(
        &mut self,
        link: &mut Relay<'_>,
        (head, came_at): (ResponseHead, Instant),
        answer: Answer,
        early: Answer,
    ) -> Next {
        if let Err(denial) = early::check(&head, answer) {
            self.drop_upstream(link);
            return Next::ended(CloseReason::LateFailure.into(), Some(Box::new(denial)));
        }
        let Answer { from, upstream_keep_alive, .. } = answer;
        self.sent = Some((200, Answer { from, upstream_keep_alive, ..early }));
        link.join(from, came_at);
        Next::Done(Answered::Flows)
    }

    // === Another try ===

    /// Whether to try again; if so, what comes next is prepared.
    fn again(&mut self, link: &mut Relay<'_>, failure: Failure) -> bool {
        let (rules, upstream) = (&self.forward.rules.retry, self.forward.upstream);
        let Some(again) = self.decide(link, failure) else { return false };
        let Some(seat) = &self.reached.seat else { return false };
        let id = seat.endpoint().id();
        if !again.same_endpoint && !upstream.has_another(&self.ask, id) {
            return false;
        }
        if again.is_paid && !upstream.spend(rules.budget_percent) {
            return false;
        }
        upstream.count_retry(again.cause);
        let at = clock::now().saturating_duration_since(link.meter().began());
        let endpoint = seat.endpoint().source().shared_name();
        self.reached.attempts.push(Attempt { at, endpoint, cause: again.cause.label() });
        self.wants_fresh = again.same_endpoint;
        if !again.same_endpoint {
            self.ask.tried.push(id);
            self.reached.seat = None;
        }
        true
    }

    /// What the rules say about another try.
    fn decide(&self, link: &Relay<'_>, failure: Failure) -> Option<Again> {
        let request = replay::Request {
            method: &self.forward.request.method,
            is_kept: link.upload().kept().is_some(),
            tries: self.reached.tries,
        };
        replay::decide(&self.forward.rules.retry, failure, request)
    }

    fn drop_upstream(&self, link: &mut Relay<'_>) {
        if let (Some(connection), _) = link.detach() {
            self.forward.discard(connection);
        }
    }

    fn report(&mut self, verdict: Verdict, now: Instant) {
        if let Some(seat) = &mut self.reached.seat {
            seat.report(verdict, now);
        }
    }

    /// What the stream may speak.
    fn dialects(&self) -> Dialects {
        answer::dialects(self.forward.rules.dialect, &self.forward.request.path)
    }
}

/// Whether the other end closed the connection before anything else happened to it. The kernel's
/// `tcp_reset` makes a broken pipe of a reset that comes behind a FIN.
fn is_fin(loss: &Loss) -> bool {
    match loss {
        Loss::Closed => true,
        Loss::Failed(error) => error.kind() == io::ErrorKind::BrokenPipe,
    }
}

impl Next {
    fn ended(end: End, denial: Option<Box<Denial>>) -> Self {
        Self::Done(Answered::Ended((end, denial)))
    }
}
