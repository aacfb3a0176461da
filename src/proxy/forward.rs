//! A request that goes to an upstream: pick, connect, send, wait, relay, finish.

use std::borrow::Cow;
use std::sync::Arc;

use super::admit::Admitted;
use super::answer::{Answer, Asker};
use super::app::Context;
use super::ending::Outcome;
use super::exchange::{After, Request};
use super::key;
use super::reply::Denial;
use super::snapshot::Route;
use super::switch::{self, Wanted};
use super::tries::{Answered, Relay, Tries};
use crate::client::Client;
use crate::clock;
use crate::config::model::Proxy;
use crate::contain::contain;
use crate::headers::{self, Delivery, Marks};
use crate::http1::encode;
use crate::http1::head::{RequestHead, ResponseHead, Version};
use crate::live::kind::Kind;
use crate::live::reason::CloseReason;
use crate::live::registry::Place;
use crate::live::stream::Identity;
use crate::policy::cors;
use crate::policy::principal::Principal;
use crate::relay::drive::{Link, Rest, Surroundings, Wire};
use crate::relay::duplex::{Duplex, Ended};
use crate::relay::upload::Upload;
use crate::telemetry::access::Record;
use crate::telemetry::limited::Limit;
use crate::telemetry::meter::Meter;
use crate::telemetry::metrics::PoolClose;
use crate::telemetry::span::Attempt;
use crate::upstream::Upstream;
use crate::upstream::connect;
use crate::upstream::connection::Connection;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::roster::Ask;
use crate::upstream::seat::Seat;

/// A request and the rules of the route that took it.
pub struct Forward<'a> {
    /// What surrounds it.
    pub context: Context<'a>,
    /// The request, as far as the log wants it.
    pub request: Box<Request>,
    /// The route.
    pub route: &'a Route,
    /// The route's rules.
    pub rules: &'a Proxy,
    /// Where it goes.
    pub upstream: &'a Arc<Upstream>,
    /// What the client wants to switch to.
    pub wanted: Option<Wanted>,
}

/// A request as it came.
pub struct Asked {
    /// Its head.
    pub head: RequestHead,
    /// What was learned from it.
    pub admitted: Admitted,
}

impl Wire for Connection {
    fn is_acknowledged(&self) -> bool {
        self.is_acknowledged()
    }

    fn mark(&mut self) {
        self.begin();
    }
}

/// What the log says about the upstream.
#[derive(Default)]
pub(super) struct Reached {
    pub(super) seat: Option<Seat>,
    /// `new` or `reused`, once there was one.
    pub(super) connection: Option<&'static str>,
    pub(super) tries: u32,
    /// Those after which there was another.
    pub(super) attempts: Vec<Attempt>,
}

/// What came of asking.
struct Begun {
    answered: Answered,
    /// The status that the client got and how the response was framed, once its head was sent.
    sent: Option<(u16, Answer)>,
    reached: Reached,
}

impl Forward<'_> {
    /// Serves it.
    ///
    /// What was asked is boxed, since it is handed on several times, and given up before the end.
    pub async fn run(&self, client: &mut Client, asked: Box<Asked>, meter: Meter) -> After {
        let stream = Arc::clone(meter.stream());
        let place = self.context.shared.registry.enter(stream, self.identity());
        // Behind its place, so that it is closed before it leaves even if this is dropped.
        let mut meter = meter;
        // What is named in here is no part of a stream's memory.
        let denying = {
            let contained = contain(self.exchange(client, asked, &place, &mut meter)).await;
            let Ok(outcome) = contained else { return self.broken(meter) };
            match self.finish(outcome, meter) {
                Ok(after) => return after,
                Err(denied) => Box::pin(self.deny(client, denied)),
            }
        };
        denying.await
    }

    /// Who and what the table of streams says it is.
    fn identity(&self) -> Identity {
        Identity {
            id: self.request.id.as_str().into(),
            route: Arc::clone(&self.route.name),
            upstream: self.upstream.shared_name(),
            principal: self.request.principal.as_ref().map(Principal::shared_name),
            client: self.request.address,
            version: match self.request.version {
                Version::Http2 => "2",
                version => version.number(),
            },
            started: self.request.started,
        }
    }

    async fn exchange(
        &self,
        client: &mut Client,
        asked: Box<Asked>,
        place: &Place,
        meter: &mut Meter,
    ) -> Outcome {
        let around = Surroundings { rules: self.rules, entry: place.entry() };
        let upload = Upload::new(
            asked.admitted.framing,
            self.rules.retry.replay_body,
            self.rules.limits.max_request_body,
        );
        let expects_continue = asked.admitted.expects_continue;
        let link = Link::new(around, &mut *meter, &mut *client, upload, expects_continue);
        let mut link = Box::new(link);
        // Boxed: what it takes to get an answer is over when there is one, and a stream can last
        // for hours.
        let Begun { answered, sent, reached } = Box::pin(self.begin(asked, &mut link)).await;
        let has_begun = matches!(answered, Answered::Flows);
        let (mut end, mut denial) = match answered {
            Answered::Ended(end, denial) => (end, denial),
            Answered::Flows => (self.flow(&mut link).await, None),
            Answered::Switches(head) => {
                // What has a name is kept beside its box, so that it is one step.
                let switch = Box::pin(self.switch(
                    head,
                    around,
                    (*link).into_rest(),
                    (meter, client),
                    &reached,
                ));
                let switched = switch.await;
                if switched.reason == CloseReason::ClientClosed {
                    meter.cancelled(switched.at, clock::now());
                }
                return Outcome {
                    end: switched.reason.into(),
                    denial: None,
                    sent: None,
                    request_is_read: false,
                    client_is_owed: false,
                    said_farewell: false,
                    reached,
                    switched: Some(switched),
                    ended_at: clock::now(),
                };
            }
        };
        if sent.is_some() && self.rules.sse.error_event && end.is_to_be_told() {
            let words = denial.take().unwrap_or_else(|| match has_begun {
                true => Denial::broken_off(end),
                false => Denial::from_end(end),
            });
            (end, denial) = Box::pin(self.tell(&mut link, end, words)).await;
        }
        let ended_at = clock::now();
        let rest = link.into_rest();
        let Rest { upstream, upstream_is_clean, request_is_read, client_is_owed, .. } = rest;
        let said_farewell = rest.said_farewell;
        if let Some(connection) = upstream {
            let clean =
                upstream_is_clean && sent.is_some_and(|(_, answer)| answer.upstream_keep_alive);
            match clean {
                true => connect::release(connection, &self.upstream.config().pool, ended_at),
                false => self.discard(connection),
            }
            if !clean && end.reason == CloseReason::ClientClosed {
                meter.cancelled(ended_at, clock::now());
            }
        }
        let switched = None;
        Outcome {
            end,
            denial,
            sent,
            request_is_read,
            client_is_owed,
            said_farewell,
            reached,
            switched,
            ended_at,
        }
    }

    /// Gets an answer, or learns that there is none.
    async fn begin(&self, asked: Box<Asked>, link: &mut Relay<'_>) -> Begun {
        let Asked { head, admitted } = &*asked;
        let address = self.request.address;
        let key = key::of_request(&self.upstream.config().balance, head, admitted, address);
        let ask = Ask { key, tried: Vec::new() };
        self.upstream.deposit(self.rules.retry.budget_percent);
        let turn = key::of_account(&self.request.account);
        let mut tries = Tries::new(self, asked, ask, turn);
        let answered = tries.run(link).await;
        let Tries { sent, reached, .. } = tries;
        Begun { answered, sent, reached }
    }

    /// Counts that it was refused at a limit.
    pub(super) fn refused(&self, limit: Limit) {
        if let Some(limits) = &self.route.limits {
            limits.refused(limit);
        }
    }

    /// Closes a connection that is not clean.
    pub(super) fn discard(&self, connection: Connection) {
        connection.endpoint().metrics().pool_closed(PoolClose::Unclean).inc();
    }

    /// Passes bytes both ways after the upstream agreed to switch.
    fn switch<'s>(
        &'s self,
        head: Box<ResponseHead>,
        around: Surroundings<'s>,
        rest: Rest<Connection>,
        (meter, client): (&'s mut Meter, &'s mut Client),
        reached: &Reached,
    ) -> impl Future<Output = Ended> + Send + 's {
        let upstream = rest.upstream.expect("it has just answered");
        let wanted = self.wanted.as_ref().expect("it agreed to what was wanted");
        let machine = wanted.is_websocket().then(|| {
            let seed = mix(around.entry.number());
            switch::websocket(&head, self.rules, seed, meter.began())
        });
        let kind = if machine.is_some() { Kind::WebSocket } else { Kind::Stream };
        meter.open(kind);
        let access = &self.context.snapshot.config.log.access;
        access.opened(self.record(reached, kind, SWITCHING));
        let greeting = switch::encode_greeting(*head, wanted, &self.request.own_fields);
        let mut duplex = Duplex::new(around, meter, client, upstream, machine, &greeting);
        async move { duplex.run(rest.early).await }
    }

    /// Who asks, and how; `request_is_read` says that no more of its request is to come.
    pub(super) fn asker(&self, request_is_read: bool) -> Asker {
        Asker {
            version: self.request.version,
            to_head: self.request.method == "HEAD",
            // A request that is still coming would be taken for the next one.
            keep_alive: self.request.keep_alive && request_is_read && !self.context.is_draining(),
        }
    }

    /// A stream has begun.
    pub(super) fn opened(&self, reached: &Reached, kind: Kind, status: u16) {
        let record = self.record(reached, kind, status);
        self.context.snapshot.config.log.access.opened(record);
    }

    pub(super) fn encode_request(&self, asked: &Asked, endpoint: &Endpoint) -> Vec<u8> {
        let Asked { head, admitted } = asked;
        let rules = headers::Rules {
            host: &self.rules.host_header,
            headers: &self.rules.headers,
            auth: &self.rules.auth,
            authority: endpoint.authority(),
        };
        let marks = Marks { request_id: &self.request.id, trace: self.request.trace.as_ref() };
        let sender = self.context.sender();
        // The head is kept as it came: another endpoint may have to get it with another Host.
        let mut fields = headers::to_upstream(head, admitted.framing, sender, marks, rules);
        if let Some(wanted) = &self.wanted {
            headers::switch(&mut fields, &wanted.protocol);
        }
        let target = stripped(&admitted.target, &self.rules.strip_prefix);
        let mut out = Vec::with_capacity(512);
        encode::request_head(&mut out, head.method.as_bytes(), target.as_bytes(), &fields);
        out
    }

    pub(super) fn encode_interim(&self, mut head: ResponseHead) -> Vec<u8> {
        let mut out = Vec::new();
        // RFC 9110 §15.2: "a server MUST NOT send a 1xx response to an HTTP/1.0 client".
        if self.request.version != Version::Http10 {
            headers::interim_to_client(&mut head);
            encode::response_head(&mut out, head.status, &head.reason, &head.fields);
        }
        out
    }

    pub(super) fn encode_response(&self, mut head: ResponseHead, answer: Answer) -> Vec<u8> {
        let delivery = Delivery {
            framing: answer.to,
            close: answer.close,
            client: self.request.version,
            sse: answer.kind == Kind::Sse,
            request_id: &self.request.id,
            now: clock::wall,
        };
        headers::to_client(&mut head, delivery, &self.rules.headers);
        if self.rules.cors.is_some() {
            cors::strip(&mut head.fields);
        }
        headers::add_own(&mut head.fields, &self.request.own_fields);
        let mut out = Vec::with_capacity(512);
        encode::response_head(&mut out, head.status, &head.reason, &head.fields);
        out
    }

    pub(super) fn record<'r>(
        &'r self,
        reached: &'r Reached,
        kind: Kind,
        status: u16,
    ) -> Record<'r> {
        let endpoint = reached.seat.as_ref().filter(|_| reached.connection.is_some());
        Record {
            route: &self.route.name,
            kind,
            upstream: self.upstream.name(),
            endpoint: endpoint.map_or("", |seat| seat.endpoint().name()),
            connection: reached.connection.unwrap_or("none"),
            tries: reached.tries,
            ..self.request.record(self.context, status)
        }
    }
}

/// 101 Switching Protocols.
pub(super) const SWITCHING: u16 = 101;

/// Spreads a count over all bits, so that the pings of two connections have little in common.
fn mix(number: u64) -> u64 {
    (number ^ 0x9E37_79B9_7F4A_7C15).wrapping_mul(0xD6E8_FEB8_6659_FD93).rotate_left(29)
}

/// The target without the prefix; what is left begins with one slash. A prefix ends with a segment:
/// without `/api`, `/api../x` would be a dot segment that nobody has checked. And `/api//evil.test`
/// would be `//evil.test`: a host for whoever takes the target for a reference (RFC 3986 §4.2), in
/// a redirect for instance.
fn stripped<'t>(target: &'t str, prefix: &str) -> Cow<'t, str> {
    let rest = target.strip_prefix(prefix).filter(|_| !prefix.is_empty());
    match rest {
        Some(rest) if rest.starts_with('/') => {
            let slashes = rest.len() - rest.trim_start_matches('/').len();
            Cow::Borrowed(&rest[slashes - 1..])
        }
        Some(rest) if prefix.ends_with('/') || rest.is_empty() || rest.starts_with('?') => {
            Cow::Owned(format!("/{rest}"))
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
            ("/api//evil.test/x", "/api", "/evil.test/x"),
            ("/api///evil.test/x", "/api/", "/evil.test/x"),
            ("/api//", "/api", "/"),
            ("/api//?//x", "/api", "/?//x"),
            ("//api//x", "/api", "//api//x"),
            ("/api", "/api", "/"),
            ("/api?x", "/api", "/?x"),
            ("/other", "/api", "/other"),
            ("/a", "", "/a"),
            ("/api../x", "/api", "/api../x"),
            ("/apis/x", "/api", "/apis/x"),
        ] {
            assert_eq!(stripped(target, prefix), expected, "{target} {prefix}");
        }
    }
}
