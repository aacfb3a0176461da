//! A request that goes to an upstream: pick, connect, send, wait, relay, finish.

use std::borrow::Cow;

use super::admit::Admitted;
use super::answer::{Answer, Asker};
use super::app::{Context, date};
use super::exchange::{After, Request};
use super::reply::{CLIENT_LEFT, Denial};
use super::snapshot::Route;
use super::switch::{self, Wanted};
use crate::clock;
use crate::config::model::Proxy;
use crate::headers::{self, Delivery, Sender};
use crate::http1::encode;
use crate::http1::framing::Framing;
use crate::http1::head::{RequestHead, ResponseHead, Version};
use crate::live::kind::Kind;
use crate::live::reason::CloseReason;
use crate::live::registry::{Entry, Place};
use crate::relay::client::Client;
use crate::relay::drive::{End, Event, Link, Outgoing, Rest, Surroundings};
use crate::relay::duplex::{Duplex, Ended};
use crate::relay::upload::Upload;
use crate::telemetry::access::Record;
use crate::telemetry::meter::Meter;
use crate::telemetry::metrics::{ConnectResult, PoolClose};
use crate::upstream::connect::Connection;
use crate::upstream::endpoint::Seat;
use crate::upstream::{Tried, Upstream};

/// A request and the rules of the route that took it.
pub struct Forward<'a> {
    /// What surrounds it.
    pub context: Context<'a>,
    /// The request, as far as the log wants it.
    pub request: Request,
    /// The route.
    pub route: &'a Route,
    /// The route's rules.
    pub rules: &'a Proxy,
    /// Where it goes.
    pub upstream: &'a Upstream,
    /// What the client wants to switch to.
    pub wanted: Option<Wanted>,
}

/// How it ended.
struct Outcome {
    end: End,
    /// Why it failed, in words for the client, if that is more than the end says.
    denial: Option<Denial>,
    /// The status that the client got and how the response was framed, once its head was sent.
    sent: Option<(u16, Answer)>,
    /// The client's connection stands at the start of its next request.
    request_is_read: bool,
    /// The client was left in the middle of something, so nothing sensible can follow.
    client_is_owed: bool,
    seat: Option<Seat>,
    reused: bool,
    /// How it ended after it had switched to another protocol.
    switched: Option<Ended>,
}

impl Outcome {
    /// An end before anything else had happened.
    fn new(end: End) -> Self {
        Self {
            end,
            denial: None,
            sent: None,
            request_is_read: false,
            client_is_owed: false,
            seat: None,
            reused: false,
            switched: None,
        }
    }
}

/// What the upstream answered.
enum Answered<'a> {
    /// A response, to its end, or none; what was sent to the client, if a head was.
    Response(End, Option<(u16, Answer)>),
    /// It switches to the protocol that was asked for.
    Switches(Box<ResponseHead>, &'a Wanted),
}

impl Forward<'_> {
    /// Serves it.
    pub async fn run(
        self,
        client: &mut Client,
        head: RequestHead,
        admitted: Admitted,
        mut meter: Meter,
    ) -> After {
        let place = self.context.shared.registry.enter();
        let outcome = self.exchange(client, head, admitted, &place, &mut meter).await;
        let reason = outcome.end.reason;
        let (status, after) = match &outcome.sent {
            _ if outcome.switched.is_some() => (SWITCHING, After::Close),
            _ if reason == CloseReason::ClientClosed => {
                (outcome.sent.map_or(CLIENT_LEFT, |(status, _)| status), After::Gone)
            }
            Some((status, answer)) => (*status, self.after(*answer, &outcome)),
            None if outcome.client_is_owed => (CLIENT_LEFT, After::Close),
            None => {
                let denial = outcome.denial.clone();
                let denial = denial.unwrap_or_else(|| Denial::from_end(outcome.end));
                let keep_alive = self.request.keep_alive
                    && outcome.request_is_read
                    && !self.context.is_draining();
                (denial.status, self.request.deny(client, &denial, keep_alive).await)
            }
        };
        let totals = meter.totals();
        let (kind, duration) = meter.close(reason, status, clock::now());
        let record = Record {
            close_code: outcome.switched.and_then(|ended| ended.code),
            closed_by: outcome.switched.and_then(|ended| ended.closed_by),
            ..self.record(outcome.seat.as_ref(), outcome.reused, kind, status)
        };
        self.context.shared.snapshot.config.log.access.ended(record, reason, totals, duration);
        after
    }

    /// What becomes of the client's connection after a response whose head was sent.
    fn after(&self, answer: Answer, outcome: &Outcome) -> After {
        let whole =
            matches!(outcome.end.reason, CloseReason::Completed | CloseReason::UpstreamClosed);
        match (whole, answer.to) {
            (true, _) if answer.close || !outcome.request_is_read => After::Close,
            (true, _) => After::KeepAlive,
            (false, Framing::UntilClose) => {
                After::Abort { patience: self.rules.stream.slow_client_timeout }
            }
            // Without its last chunk or its last byte, it is broken for everybody to see.
            (false, _) => After::Close,
        }
    }

    async fn exchange(
        &self,
        client: &mut Client,
        mut head: RequestHead,
        admitted: Admitted,
        place: &Place,
        meter: &mut Meter,
    ) -> Outcome {
        let bodyless = admitted.framing == Framing::None;
        // Boxed, because connecting takes 9 KB of state that a stream need not keep for its life.
        let (seat, connection) = match Box::pin(self.reach(client, place.entry())).await {
            Ok(reached) => reached,
            Err((end, denial)) => {
                return Outcome { denial, request_is_read: bodyless, ..Outcome::new(end) };
            }
        };
        let (reused, key) = (connection.reused, connection.key);
        let endpoint = seat.endpoint();
        let metrics = endpoint.metrics();
        if reused {
            metrics.on_reused.inc()
        } else {
            metrics.on_new.inc()
        }
        let outgoing = Outgoing {
            head: self.encode_request(&mut head, &admitted, &seat),
            body: Upload::new(admitted.framing),
            expects_continue: admitted.expects_continue,
        };
        // A stream can last for hours; from here on nothing is kept of the head.
        drop((head, admitted));

        let around = Surroundings { rules: self.rules, entry: place.entry() };
        let mut link = Link::new(around, meter, client, connection.stream, outgoing);
        let answered = self.relay(&mut link, &seat, reused).await;
        let ended_at = clock::now();
        let rest = link.into_rest();
        let (end, sent) = match answered {
            Answered::Response(end, sent) => (end, sent),
            Answered::Switches(head, wanted) => {
                let record = self.record(Some(&seat), reused, Kind::Http, SWITCHING);
                let switched =
                    self.switch((*head, wanted), around, meter, client, rest, record).await;
                if switched.reason == CloseReason::ClientClosed {
                    meter.cancelled(switched.at, clock::now());
                }
                let end = switched.reason.into();
                let (seat, switched) = (Some(seat), Some(switched));
                return Outcome { seat, reused, switched, ..Outcome::new(end) };
            }
        };
        let Rest { upstream, upstream_is_clean, request_is_read, client_is_owed, .. } = rest;
        if upstream_is_clean && sent.is_some_and(|(_, answer)| answer.upstream_keep_alive) {
            let connector = &self.context.shared.snapshot.connector;
            connector.release(endpoint, upstream, key, self.upstream.pool());
        } else {
            drop(upstream);
            metrics.pool_closed(PoolClose::Unclean).inc();
            if end.reason == CloseReason::ClientClosed {
                meter.cancelled(ended_at, clock::now());
            }
        }
        let seat = Some(seat);
        Outcome { sent, request_is_read, client_is_owed, seat, reused, ..Outcome::new(end) }
    }

    /// Passes bytes both ways after the upstream agreed to switch.
    async fn switch(
        &self,
        (head, wanted): (ResponseHead, &Wanted),
        around: Surroundings<'_>,
        meter: &mut Meter,
        client: &mut Client,
        rest: Rest,
        record: Record<'_>,
    ) -> Ended {
        let machine = wanted.is_websocket().then(|| {
            let seed = mix(around.entry.number());
            switch::websocket(&head, self.rules, seed, meter.began())
        });
        let kind = if machine.is_some() { Kind::WebSocket } else { Kind::Stream };
        meter.open(kind);
        let access = &self.context.shared.snapshot.config.log.access;
        access.opened(Record { kind, ..record });
        let greeting = switch::encode_greeting(head, wanted);
        let duplex = Duplex::new(around, meter, client, rest.upstream, machine, &greeting);
        duplex.run(rest.early).await
    }

    /// A connection to an endpoint; those that cannot be connected to are passed over.
    async fn reach(
        &self,
        client: &mut Client,
        entry: &Entry,
    ) -> Result<(Seat, Connection), (End, Option<Denial>)> {
        let mut tried = Tried::default();
        let mut failure = ConnectResult::Other;
        let connector = &self.context.shared.snapshot.connector;
        let ended = std::future::poll_fn(|cx| match entry.poll_ended(cx) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        });
        tokio::pin!(ended);
        while let Some(seat) = self.upstream.pick(&mut tried, clock::now()) {
            let limit = self.rules.timeouts.connect;
            tokio::select! {
                connected = connector.connect(seat.endpoint(), limit) => match connected {
                    Ok(connection) => return Ok((seat, connection)),
                    Err(result) => {
                        failure = result;
                        seat.endpoint().failed(clock::now());
                        let name = seat.endpoint().name();
                        tracing::warn!(
                            upstream = self.upstream.name(),
                            endpoint = name,
                            result = result.label(),
                            "cannot connect"
                        );
                        if tried.count() < self.upstream.size() {
                            seat.endpoint().metrics().retries.inc();
                        }
                    }
                },
                () = client.gone() => return Err((CloseReason::ClientClosed.into(), None)),
                () = &mut ended => return Err((CloseReason::Drained.into(), None)),
            }
        }
        Err((CloseReason::UpstreamReset.into(), Some(Denial::unreachable(failure))))
    }

    /// Runs the exchange to its end; gives what was sent to the client, if a head was.
    async fn relay(&self, link: &mut Link<'_>, seat: &Seat, reused: bool) -> Answered<'_> {
        let mut sent = None;
        loop {
            let head = match link.next().await {
                Event::End(end) => return Answered::Response(end, sent),
                Event::Head(head) => head,
            };
            if let Some(wanted) = &self.wanted
                && head.status == SWITCHING
                && switch::agrees(&head, wanted)
            {
                return Answered::Switches(head, wanted);
            }
            if (100..200).contains(&head.status) && head.status != SWITCHING {
                link.interim(&self.encode_interim(*head));
                continue;
            }
            let asker = Asker {
                version: self.request.version,
                to_head: self.request.method == "HEAD",
                // A request that is still coming would be taken for the next one.
                keep_alive: self.request.keep_alive
                    && link.request_is_read()
                    && !self.context.is_draining(),
            };
            let answer = match Answer::new(&head, asker) {
                Ok(answer) => answer,
                Err(reason) => return Answered::Response(reason.into(), sent),
            };
            let status = head.status;
            sent = Some((status, answer));
            link.meter().open(answer.kind);
            let record = self.record(Some(seat), reused, answer.kind, status);
            self.context.shared.snapshot.config.log.access.opened(record);
            let sse = &self.rules.sse;
            let heartbeat = sse.heartbeat.map(|_| sse.heartbeat_text.as_str());
            link.begin(&self.encode_response(*head, answer), answer.body(heartbeat));
        }
    }

    fn encode_request(&self, head: &mut RequestHead, admitted: &Admitted, seat: &Seat) -> Vec<u8> {
        let sender = Sender {
            peer: self.context.peer,
            trusted: &self.context.shared.snapshot.config.server.trusted_proxies,
            scheme: "http",
        };
        let authority = seat.endpoint().authority();
        let route = (&self.rules.host_header, &self.rules.headers, authority);
        headers::to_upstream(head, admitted.framing, sender, &self.request.id, route);
        if let Some(wanted) = &self.wanted {
            headers::switch(&mut head.fields, &wanted.protocol);
        }
        let target = stripped(&admitted.target, &self.rules.strip_prefix);
        let mut out = Vec::with_capacity(512);
        encode::request_head(&mut out, &head.method, target.as_bytes(), &head.fields);
        out
    }

    fn encode_interim(&self, mut head: ResponseHead) -> Vec<u8> {
        let mut out = Vec::new();
        // RFC 9110 §15.2: "a server MUST NOT send a 1xx response to an HTTP/1.0 client".
        if self.request.version == Version::Http11 {
            headers::interim_to_client(&mut head);
            encode::response_head(&mut out, head.status, &head.reason, &head.fields);
        }
        out
    }

    fn encode_response(&self, mut head: ResponseHead, answer: Answer) -> Vec<u8> {
        let delivery = Delivery {
            framing: answer.to,
            close: answer.close,
            client: self.request.version,
            sse: answer.kind == Kind::Sse,
            request_id: &self.request.id,
            date: &date(),
        };
        headers::to_client(&mut head, delivery, &self.rules.headers);
        let mut out = Vec::with_capacity(512);
        encode::response_head(&mut out, head.status, &head.reason, &head.fields);
        out
    }

    fn record<'r>(
        &'r self,
        seat: Option<&'r Seat>,
        reused: bool,
        kind: Kind,
        status: u16,
    ) -> Record<'r> {
        Record {
            route: &self.route.name,
            kind,
            upstream: self.upstream.name(),
            endpoint: seat.map_or("", |seat| seat.endpoint().name()),
            reused,
            ..self.request.record(self.context, status)
        }
    }
}

/// 101 Switching Protocols.
const SWITCHING: u16 = 101;

/// Spreads a count over all bits, so that the pings of two connections have little in common.
fn mix(number: u64) -> u64 {
    (number ^ 0x9E37_79B9_7F4A_7C15).wrapping_mul(0xD6E8_FEB8_6659_FD93).rotate_left(29)
}

/// The target without the prefix; what is left begins with a slash.
fn stripped<'t>(target: &'t str, prefix: &str) -> Cow<'t, str> {
    match target.strip_prefix(prefix) {
        Some(rest) if !prefix.is_empty() => {
            if rest.starts_with('/') {
                Cow::Borrowed(rest)
            } else {
                Cow::Owned(format!("/{rest}"))
            }
        }
        _ => Cow::Borrowed(target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_begins_with_a_slash() {
        for (target, prefix, expected) in [
            ("/api/v1?x", "/api", "/v1?x"),
            ("/api/v1", "/api/", "/v1"),
            ("/api", "/api", "/"),
            ("/api?x", "/api", "/?x"),
            ("/other", "/api", "/other"),
            ("/a", "", "/a"),
        ] {
            assert_eq!(stripped(target, prefix), expected, "{target} {prefix}");
        }
    }
}
