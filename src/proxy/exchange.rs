//! One request and its answer, whoever gives it.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::admit::{self, Admitted};
use super::app::{Context, date};
use super::details;
use super::enter::{self, Entry, Stop};
use super::forward;
use super::reply::{CLIENT_LEFT, Denial, OwnField, Reply};
use super::snapshot::{Action, Taken};
use crate::client::Client;
use crate::clock;
use crate::config::model::{Respond, Tracing};
use crate::headers;
use crate::http1::framing::Framing;
use crate::http1::head::{RequestHead, Version};
use crate::live::kind::Kind;
use crate::live::reason::CloseReason;
use crate::policy::account::Account;
use crate::policy::cors;
use crate::policy::principal::Principal;
use crate::policy::streams::Permit;
use crate::route::Query;
use crate::telemetry::access::Record;
use crate::telemetry::meter::Meter;
use crate::telemetry::span::{Attempt, Details, Span};
use crate::trace::Trace;

/// Longest path kept for the log, in bytes.
const LOGGED_PATH_MAX_BYTES: usize = 512;

/// How long a client may take to accept an answer of our own; they are short.
pub const REPLY_LIMIT: Duration = Duration::from_secs(10);

/// 204 No Content.
const NO_CONTENT: u16 = 204;

/// Longest body that is read behind an answer of our own, for the sake of the connection: most
/// questions to a model are shorter, and so is what a kernel has taken of them already.
const SKIPPED_BODY_MAX_BYTES: usize = 64 * 1024;

/// How long such a body may take.
const SKIP_LIMIT: Duration = Duration::from_secs(2);

/// What becomes of the client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It stands at the start of the next request.
    KeepAlive,
    /// It ends, after a whole response or in the middle of a framed body.
    Close,
    /// It ends so that nobody can take that for the end of the body. The client gets what was
    /// written before, if it does not let it wait longer than `patience`.
    Abort {
        /// The route's `slow_client_timeout`.
        patience: Option<Duration>,
    },
    /// The client has left.
    Gone,
}

/// What is kept of a request while its response is under way: what the log wants.
pub struct Request {
    /// When it was read.
    pub started: SystemTime,
    /// Its id in both log lines and in `X-Request-Id`.
    pub id: String,
    /// Its place in a trace, if `tracing.propagate`.
    pub trace: Option<Trace>,
    /// What its span says besides, if it has one.
    pub details: Option<Box<Details>>,
    /// It is among those that have lines in the log even if they go well.
    pub is_sampled: bool,
    /// The method.
    pub method: Cow<'static, str>,
    /// The path without its query, cut to a decent length.
    pub path: Box<str>,
    /// The client's version.
    pub version: Version,
    /// The client's connection can be used again.
    pub keep_alive: bool,
    /// The client's address, as far as `trusted_proxies` says who is to be believed.
    pub address: Option<IpAddr>,
    /// Whoever asks, if they have proved who they are.
    pub principal: Option<Principal>,
    /// With whose requests it counts, as far as that is known already.
    pub account: Account,
    /// Fields of the answer, whoever gives it.
    pub own_fields: Vec<OwnField>,
    /// Its place among the open exchanges, if those are limited.
    pub permit: Option<Permit>,
}

impl Request {
    /// How the part of its body that nobody has read is framed, if that can be read behind an
    /// answer of our own, so that the connection can go on. A client that asks too often had better
    /// not have to connect anew each time.
    fn rest(&self, admitted: &Admitted) -> Option<Framing> {
        let is_short = match admitted.framing {
            Framing::None | Framing::Length(0) => true,
            // RFC 9110 §10.1.1: a client that expects 100 and gets something else may leave its
            // body out, or not.
            _ if admitted.expects_continue => false,
            Framing::Length(length) => {
                usize::try_from(length).is_ok_and(|length| length <= SKIPPED_BODY_MAX_BYTES)
            }
            // That is seen when it is read.
            Framing::Chunked => true,
            Framing::UntilClose => false,
        };
        (self.keep_alive && is_short).then_some(admitted.framing)
    }

    /// Answers it with text of our own; for `rest` see [`Self::deny`].
    async fn respond(
        &self,
        client: &mut Client,
        answer: &Respond,
        rest: Option<Framing>,
        meter: &mut Meter,
    ) -> After {
        let reply = Reply {
            content_type: "text/plain; charset=utf-8",
            ..Reply::new(answer.status, &answer.body)
        };
        self.reply(client, reply, rest, meter).await
    }

    /// Answers it with fields alone.
    async fn answer(
        &self,
        client: &mut Client,
        fields: &[OwnField],
        rest: Option<Framing>,
        meter: &mut Meter,
    ) -> After {
        self.reply(client, Reply { fields, ..Reply::new(NO_CONTENT, "") }, rest, meter).await
    }

    /// Answers it with an error. `rest` is the framing of what is still to be read of its body, or
    /// nothing if no request can follow.
    pub async fn deny(
        &self,
        client: &mut Client,
        denial: &Denial,
        rest: Option<Framing>,
        meter: &mut Meter,
    ) -> After {
        self.reply(client, Reply::of(denial, &denial.body()), rest, meter).await
    }

    async fn reply(
        &self,
        client: &mut Client,
        reply: Reply<'_>,
        rest: Option<Framing>,
        meter: &mut Meter,
    ) -> After {
        let date = date();
        let reply = Reply {
            connection: match (rest, self.version) {
                (None, _) => Some("close"),
                (Some(_), Version::Http10) => Some("keep-alive"),
                (Some(_), Version::Http11 | Version::Http2) => None,
            },
            to_head: self.method == "HEAD",
            request_id: &self.id,
            date: &date,
            more_fields: &self.own_fields,
            ..reply
        };
        if client.write_all(&reply.encode(), REPLY_LIMIT).await.is_err() {
            return After::Gone;
        }
        meter.own_bytes(reply.sent_body().len() as u64);
        match rest {
            Some(rest) if client.skip(rest, SKIPPED_BODY_MAX_BYTES, SKIP_LIMIT).await => {
                After::KeepAlive
            }
            _ => After::Close,
        }
    }

    /// Counts, traces and logs its end at `now`, after `attempts` in vain; `record` makes a line of
    /// its kind.
    pub fn close<'r>(
        &self,
        context: Context<'_>,
        meter: Meter,
        (reason, status, now): (CloseReason, u16, Instant),
        attempts: &[Attempt],
        record: impl FnOnce(Kind) -> Record<'r>,
    ) {
        let stream = Arc::clone(meter.stream());
        let (kind, duration) = meter.close(reason, status, now);
        let record = record(kind);
        if let (Some(details), Some(end)) = (&self.details, stream.ended()) {
            let ended = (stream.look(stream.began()), end);
            let span = Span::of(&record, details, self.started, ended, attempts);
            span.into_iter().for_each(|span| context.shared().spans.push(span));
        }
        context.snapshot.config.log.access.ended(record, reason, stream.totals(), duration);
    }

    /// Its line for the log, as far as the request tells.
    pub fn record(&self, context: Context<'_>, status: u16) -> Record<'_> {
        Record {
            id: &self.id,
            trace: self.trace,
            is_sampled: self.is_sampled,
            route: "",
            client: context.peer,
            principal: self.principal.as_ref().map(Principal::name),
            version: self.version.number(),
            method: &self.method,
            path: &self.path,
            status,
            kind: Kind::Http,
            upstream: "",
            endpoint: "",
            connection: "none",
            tries: 0,
            close_code: None,
            closed_by: None,
        }
    }
}

/// Serves one request.
///
/// What is not passed on to an upstream is boxed, so that what is holds no room for it. Nor does it
/// for arguments, as an `async fn` would, nor for what could be named again behind an `.await`.
pub fn run<'a>(
    context: Context<'a>,
    client: &'a mut Client,
    mut head: RequestHead,
) -> impl Future<Output = After> + Send + 'a {
    let began = clock::now();
    let mut request = request(context, &head);
    let admitted = admit::admit(&mut head);
    let asked = match admitted {
        Ok(admitted) => Ok(Box::new(forward::Asked { head, admitted })),
        Err(denial) => Err(Box::new(denial)),
    };
    async move {
        let asked = match asked {
            Ok(asked) => asked,
            Err(denial) => {
                // Where the next request would begin is not known.
                return Box::pin(unrouted(context, client, &request, began, &denial, None)).await;
            }
        };
        let forward::Asked { head, admitted } = &*asked;
        request.path = logged_path(admitted.path());
        request.keep_alive = admitted.keep_alive && !context.is_draining();
        let route = context.snapshot.route(Query {
            host: &admitted.host,
            path: admitted.path(),
            method: &request.method,
            preflight: cors::asked_method(head),
            listener: context.listener(),
        });
        let Some(Taken { route, path, answers_preflight }) = route else {
            let denial = Denial::new(404, "no_route", "no route takes this host, path and method");
            let rest = request.rest(admitted);
            return Box::pin(unrouted(context, client, &request, began, &denial, rest)).await;
        };
        if let Some(details) = &mut request.details {
            details.pattern = Some(details::pattern(path));
        }
        let mut meter = Meter::new(Arc::clone(&route.metrics), began);
        let (status, after) = match &route.action {
            Action::Respond(answer) => {
                let rest = request.rest(admitted);
                let after = Box::pin(request.respond(client, answer, rest, &mut meter)).await;
                (answer.status, after)
            }
            Action::Proxy(rules, upstream) => {
                let visitor = (&mut *client, &mut *request);
                let found = (route, answers_preflight);
                let entry = enter::enter(&context, found, rules, visitor, (head, admitted)).await;
                match entry {
                    Ok(Entry::In(wanted)) => {
                        let context = &context;
                        let forward =
                            forward::Forward { context, request, route, rules, upstream, wanted };
                        return forward.run(client, asked, meter).await;
                    }
                    Ok(Entry::Answered(fields)) => {
                        let rest = request.rest(admitted);
                        let answer = request.answer(client, &fields, rest, &mut meter);
                        (NO_CONTENT, Box::pin(answer).await)
                    }
                    Err(Stop::Denied(denial)) => {
                        let rest = request.rest(admitted);
                        let deny = request.deny(client, &denial, rest, &mut meter);
                        (denial.status, Box::pin(deny).await)
                    }
                    Err(Stop::Left) => (CLIENT_LEFT, After::Gone),
                }
            }
        };
        let record = Record { route: &route.name, ..request.record(context, status) };
        finish(context, &request, record, meter, after);
        after
    }
}

/// What a head tells.
///
/// Boxed: as it is handed on, each future on its way would hold room for it.
fn request(context: Context<'_>, head: &RequestHead) -> Box<Request> {
    let address = context.sender().client_address(head);
    let (ids, config) = (&context.shared().ids, &context.snapshot.config);
    let Tracing { propagate, otlp } = &config.tracing;
    let trace =
        propagate.then(|| Trace::of(&head.fields, || ids.random(), |id| otlp.samples(id.low())));
    let has_span = otlp.enabled && trace.is_some_and(|trace| trace.is_sampled());
    Box::new(Request {
        started: clock::wall(),
        id: headers::request_id(head).map_or_else(|| ids.request_id(), str::to_owned),
        trace,
        details: has_span.then(|| details::details(context, head, address)),
        // Not by the id: clients choose theirs, and might choose to be in no log.
        is_sampled: config.log.access.sample.takes(|| ids.random()),
        method: head.method.clone(),
        path: Box::default(),
        version: head.version,
        keep_alive: false,
        address,
        principal: None,
        account: Account::at(address),
        own_fields: Vec::new(),
        permit: None,
    })
}

/// Answers a request that no route took.
async fn unrouted(
    context: Context<'_>,
    client: &mut Client,
    request: &Request,
    began: Instant,
    denial: &Denial,
    rest: Option<Framing>,
) -> After {
    let mut meter = Meter::new(Arc::clone(&context.snapshot.unrouted), began);
    let after = request.deny(client, denial, rest, &mut meter).await;
    finish(context, request, request.record(context, denial.status), meter, after);
    after
}

/// Counts and logs an answer of our own.
fn finish(context: Context<'_>, request: &Request, record: Record<'_>, meter: Meter, after: After) {
    let reason = match after {
        After::Gone => CloseReason::ClientClosed,
        _ => CloseReason::Completed,
    };
    context.shared().registry.past().answered(meter.stream());
    request.close(context, meter, (reason, record.status, clock::now()), &[], |_| record);
}

fn logged_path(path: &str) -> Box<str> {
    let mut end = path.len().min(LOGGED_PATH_MAX_BYTES);
    while !path.is_char_boundary(end) {
        end -= 1;
    }
    path[..end].into()
}
