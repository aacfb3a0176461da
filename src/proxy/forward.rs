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
use super::tries::{Answered, Ended, Relay, Tries};
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
use crate::relay::duplex::Duplex;
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
    pub context: &'a Context<'a>,
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
    /// Whether the connection was used before, once there was one.
    pub(super) reused: Option<bool>,
    pub(super) tries: u32,
    /// Those after which there was another.
    pub(super) attempts: Vec<Attempt>,
}

/// The measurements of an exchange and its place in the registry, in the order in which they are
/// given up: it is closed before it leaves, even if this is dropped.
pub(super) struct Open {
    pub(super) meter: Meter,
    pub(super) place: Place,
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
    /// Not an `async fn`, which would hold room for its arguments twice; those below are boxed.
    pub fn run<'s>(
        &'s self,
        client: &'s mut Client,
        asked: Box<Asked>,
        meter: Meter,
    ) -> impl Future<Output = After> + Send + 's {
        let stream = Arc::clone(meter.stream());
        let place = self.context.shared().registry.enter(stream, self.identity());
        let mut open = Open { meter, place };
        async move {
            // What is named in here is no part of a stream's memory.
            let denying = {
                let contained = contain(self.exchange(client, asked, &mut open)).await;
                let Ok(outcome) = contained else { return self.broken(open) };
                match self.finish(open, outcome) {
                    Ok(after) => return after,
                    Err(denied) => Box::pin(self.deny(client, denied)),
                }
            };
            denying.await
        }
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

    /// Asks, and passes on what is answered. What comes before the first step is not contained, and
    /// must not panic.
    fn exchange<'s>(
        &'s self,
        client: &'s mut Client,
        asked: Box<Asked>,
        open: &'s mut Open,
    ) -> impl Future<Output = Outcome> + Send + 's {
        let around = Surroundings { rules: self.rules, entry: open.place.entry() };
        let upload = Upload::new(
            asked.admitted.framing,
            self.rules.retry.replay_body,
            self.rules.limits.max_request_body,
        );
        let expects_continue = asked.admitted.expects_continue;
        let link = Link::new(around, &mut open.meter, client, upload, expects_continue);
        let mut link = Box::new(link);
        async move {
            // Boxed: what it takes to get an answer is over when there is one, and a stream can
            // last for hours.
            let Begun { answered, sent, reached } = Box::pin(self.begin(asked, &mut link)).await;
            let has_begun = matches!(answered, Answered::Flows);
            let (mut end, mut denial) = match answered {
                Answered::Ended(ended) => ended,
                Answered::Flows => (self.flow(&mut link).await, None),
                Answered::Switches(head) => {
                    return Box::pin(self.switch(head, link.into_rest(), reached)).await;
                }
            };
            if sent.is_some() && self.rules.sse.error_event && end.is_to_be_told() {
                let words = denial.take().unwrap_or_else(|| {
                    Box::new(match has_begun {
                        true => Denial::broken_off(end),
                        false => Denial::from_end(end),
                    })
                });
                (end, denial) = Box::pin(self.tell(&mut link, end, words)).await;
            }
            self.release((end, denial), link.into_rest(), sent, reached)
        }
    }

    /// Lets go of the upstream's connection, and says how it ended.
    fn release(
        &self,
        (end, denial): Ended,
        rest: Rest<'_, Connection>,
        sent: Option<(u16, Answer)>,
        reached: Reached,
    ) -> Outcome {
        let ended_at = clock::now();
        if let Some(connection) = rest.upstream {
            let clean = rest.upstream_is_clean
                && sent.is_some_and(|(_, answer)| answer.upstream_keep_alive);
            match clean {
                true => connect::release(connection, &self.upstream.config().pool, ended_at),
                false => self.discard(connection),
            }
            if !clean && end.reason == CloseReason::ClientClosed {
                rest.meter.cancelled(ended_at, clock::now());
            }
        }
        Outcome {
            end,
            denial,
            sent,
            request_is_read: rest.request_is_read,
            client_is_owed: rest.client_is_owed,
            said_farewell: rest.said_farewell,
            reached,
            switched: None,
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
        rest: Rest<'s, Connection>,
        reached: Reached,
    ) -> impl Future<Output = Outcome> + Send + 's {
        let upstream = rest.upstream.expect("it has just answered");
        let wanted = self.wanted.as_ref().expect("it agreed to what was wanted");
        let machine = wanted.is_websocket().then(|| {
            let seed = mix(rest.around.entry.number());
            switch::websocket(&head, self.rules, seed, rest.meter.began())
        });
        let kind = if machine.is_some() { Kind::WebSocket } else { Kind::Stream };
        rest.meter.open(kind);
        self.opened(&reached, kind, SWITCHING);
        let greeting = switch::encode_greeting(*head, wanted, &self.request.own_fields);
        let ends = (rest.client, upstream);
        let mut duplex =
            Duplex::new(rest.around, rest.meter, ends, machine, &greeting, &rest.early);
        async move {
            let switched = duplex.run().await;
            let meter = duplex.hang_up();
            if switched.reason == CloseReason::ClientClosed {
                meter.cancelled(switched.at, clock::now());
            }
            Outcome {
                end: switched.reason.into(),
                denial: None,
                sent: None,
                request_is_read: false,
                client_is_owed: false,
                said_farewell: false,
                reached,
                switched: Some(switched),
                ended_at: clock::now(),
            }
        }
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
        let endpoint = reached.seat.as_ref().filter(|_| reached.reused.is_some());
        Record {
            route: &self.route.name,
            kind,
            upstream: self.upstream.name(),
            endpoint: endpoint.map_or("", |seat| seat.endpoint().name()),
            connection: match reached.reused {
                Some(true) => "reused",
                Some(false) => "new",
                None => "none",
            },
            tries: reached.tries,
            ..self.request.record(*self.context, status)
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
