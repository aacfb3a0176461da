//! The limits of a route, and what is said to those who are beyond one.

use std::sync::Arc;
use std::time::Duration;

use super::exchange::Request;
use super::reply::{Denial, OwnField};
use crate::clock;
use crate::config::model::{self, RateKey, RateLimit};
use crate::http1::framing;
use crate::http1::head::RequestHead;
use crate::policy::account::Account;
use crate::policy::gcra::{Gcra, Verdict};
use crate::policy::rate::Rates;
use crate::policy::streams::{Full, Permit, Streams};
use crate::telemetry::limited::{Limit, Limited};

/// Sets what an address has failed apart from what it has asked.
const FAILED: &str = "failed";

/// The limits of one route with what counts towards them.
pub struct Limits {
    max_request_body: Option<u64>,
    rates: Option<Arc<Counted>>,
    streams: Option<Arc<Streams>>,
    /// Streams in all and for each client.
    most: (Option<usize>, Option<usize>),
    limited: Limited,
    /// `RateLimit-Policy` of every answer.
    policy: String,
    route: Box<str>,
}

/// What counts towards a rate.
struct Counted {
    rates: Rates,
    rate: RateLimit,
}

impl Limits {
    /// For the route of that name. What counts towards limits that `before`, the route's limits so
    /// far, has as well is taken over.
    pub fn new(
        route: &str,
        limits: &model::Limits,
        limited: Limited,
        before: Option<&Self>,
    ) -> Self {
        let rates = limits.requests_per_second.as_ref().map(|rate| {
            let same = before.and_then(|before| before.rates.as_ref());
            let same = same.filter(|same| same.rate == *rate).map(Arc::clone);
            same.unwrap_or_else(|| {
                Arc::new(Counted { rates: Rates::new(rate, clock::now()), rate: rate.clone() })
            })
        });
        let policy = rates.as_ref().map(|counted| policy(route, counted.rates.gcra()));
        let (most, each) = (limits.streams, limits.streams_per_client);
        let streams = (most.is_some() || each.is_some()).then(|| {
            let same = before.and_then(|before| before.streams.as_ref()).map(Arc::clone);
            same.unwrap_or_else(|| Arc::new(Streams::new(most, each)))
        });
        Self {
            max_request_body: limits.max_request_body,
            rates,
            streams,
            most: (most, each),
            limited,
            policy: policy.unwrap_or_default(),
            route: route.into(),
        }
    }

    /// Puts the limits in force for what was taken over, too.
    pub fn begin(&self) {
        if let Some(streams) = &self.streams {
            streams.limit(self.most.0, self.most.1);
        }
    }

    /// What is asked before anybody knows who it is: a rate by address or by field counts each
    /// request, whatever becomes of it.
    pub fn ask_early(&self, request: &mut Request, head: &RequestHead) -> Result<(), Denial> {
        let Some(Counted { rates, rate }) = self.rates.as_deref() else { return Ok(()) };
        let (at, now) = (Account::at(request.address), clock::now());
        let verdict = match &rate.key {
            RateKey::Header(name) => match head.fields.get(name) {
                Some(value) => rates.ask(&(name, value), now),
                // Without the field it must not be easier.
                None => rates.ask(&at, now),
            },
            RateKey::Ip => rates.ask(&at, now),
            RateKey::Auth => return Ok(()),
        };
        self.judge(request, verdict)
    }

    /// Counts credentials that did not do towards a rate by who asks: nobody knows who it was, so
    /// the address has to answer for it. Those who come from there with good ones do not.
    pub fn failed(&self, request: &mut Request) -> Result<(), Denial> {
        let Some(rates) = self.rates_by_auth() else { return Ok(()) };
        let verdict = rates.ask(&(FAILED, Account::at(request.address)), clock::now());
        self.judge(request, verdict)
    }

    /// Counts a request in, or says which limit it is beyond. A place among the open exchanges is
    /// kept in `request` for as long as that lives.
    ///
    /// A body that is too long is refused first, since it says nothing about the client. Then each
    /// request counts towards the rate of who asks, also one that finds no place: asking again and
    /// again for a place is what a rate is for.
    pub fn enter(&self, request: &mut Request, head: &RequestHead) -> Result<(), Denial> {
        if let Some(max) = self.max_request_body
            && let Ok(Some(length)) = framing::length(&head.fields)
            && length > max
        {
            self.limited.count(Limit::Body);
            return Err(Denial::body_too_large(max));
        }
        if let Some(rates) = self.rates_by_auth() {
            let verdict = rates.ask(&request.account, clock::now());
            self.judge(request, verdict)?;
        }
        request.permit = self.take_place(request)?;
        Ok(())
    }

    /// Counts a request that was refused at a limit which is looked after elsewhere.
    pub fn refused(&self, limit: Limit) {
        self.limited.count(limit);
    }

    fn rates_by_auth(&self) -> Option<&Rates> {
        let counted = self.rates.as_ref().filter(|counted| counted.rate.key == RateKey::Auth)?;
        Some(&counted.rates)
    }

    /// Notes where the client stands, and refuses what is too much.
    fn judge(&self, request: &mut Request, verdict: Verdict) -> Result<(), Denial> {
        request.own_fields.extend(self.rate_fields(verdict));
        let Some(wait) = verdict.refused_for else { return Ok(()) };
        self.limited.count(Limit::Rate);
        Err(Denial {
            retry_after: Some(whole_seconds(wait).max(1)),
            ..Denial::new(429, "rate_limited", "too many requests; ask again a little later")
        })
    }

    fn take_place(&self, request: &Request) -> Result<Option<Permit>, Denial> {
        let Some(streams) = &self.streams else { return Ok(None) };
        let (limit, status, kind, message) = match streams.enter(request.account) {
            Ok(permit) => return Ok(Some(permit)),
            Err(Full::Client) => {
                let message = "too many of your requests are open at once; let one end first";
                (Limit::StreamsPerClient, 429, "too_many_streams", message)
            }
            // Whoever asks has done nothing wrong.
            Err(Full::Route) => {
                (Limit::Streams, 503, "route_full", "too many requests are open on this route")
            }
        };
        self.limited.count(limit);
        // Nobody knows when a place will be free.
        Err(Denial { retry_after: Some(1), ..Denial::new(status, kind, message) })
    }

    /// draft-ietf-httpapi-ratelimit-headers-10 §3 and §4: lists of quoted names with parameters,
    /// `q` and `w` for quota and window, `r` for what remains, `t` for when all will be back.
    fn rate_fields(&self, verdict: Verdict) -> [OwnField; 2] {
        let (route, remaining) = (&self.route, verdict.remaining);
        let reset = whole_seconds(verdict.full_after);
        let now = format!("\"{route}\";r={remaining};t={reset}");
        [("RateLimit-Policy", self.policy.clone().into()), ("RateLimit", now.into())]
    }
}

/// The name is the route's, which needs no escapes.
fn policy(route: &str, gcra: Gcra) -> String {
    format!("\"{route}\";q={};w={}", gcra.burst(), whole_seconds(gcra.window()).max(1))
}

/// Rounded up: whoever waits so long has waited long enough.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
