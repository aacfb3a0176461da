//! Asks each endpoint again and again whether it is well.

use std::sync::{Arc, Weak};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Upstream;
use super::connect::Limits;
use super::dial::{Dialled, dial};
use super::endpoint::Endpoint;
use super::tls::Alpn;
use super::transport::Transport;
use crate::config::model::ActiveHealth;
use crate::http1::head::parse_response;

/// Largest head of an answer.
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// Runs until the upstream is gone.
pub(super) async fn run(upstream: Weak<Upstream>) {
    let rules = upstream.upgrade().and_then(|upstream| upstream.config().health.active.clone());
    let Some(rules) = rules else { return };
    let mut ticks = interval(rules.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(upstream) = upstream.upgrade() else { return };
        upstream.names_are_known().await;
        let mut checks = JoinSet::new();
        let endpoints = upstream.roster().endpoints();
        for endpoint in endpoints {
            checks.spawn(check(Arc::clone(&upstream), endpoint, rules.clone()));
        }
        while checks.join_next().await.is_some() {}
    }
}

async fn check(upstream: Arc<Upstream>, endpoint: Arc<Endpoint>, rules: ActiveHealth) {
    let asked = timeout(rules.timeout, ask(&upstream, &endpoint, &rules)).await;
    let good = asked.ok().flatten().is_some_and(|status| {
        rules.expect_status.iter().any(|(low, high)| (*low..=*high).contains(&status))
    });
    endpoint.metrics().checked(good).inc();
    let change = upstream.checked(&endpoint, good);
    upstream.announce(&endpoint, change);
}

/// The status of the answer; none if there is no proper one.
async fn ask(upstream: &Upstream, endpoint: &Endpoint, rules: &ActiveHealth) -> Option<u16> {
    let pool = &upstream.config().pool;
    let limits = Limits { connect: rules.timeout, tls: rules.timeout };
    let alpn = if pool.http2 { Alpn::Http2OrHttp1 } else { Alpn::Http1 };
    let dialled = dial(endpoint, pool, alpn, limits).await.ok()?;
    let (mut stream, _session) = match dialled {
        Dialled::Alone(transport) => (transport, None),
        Dialled::Shared(session) => (Transport::Http2(Box::new(session.open()?)), Some(session)),
    };
    // A connection of its own each time: that a new one can be opened is part of the question.
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: longwire-health\r\nConnection: close\r\n\r\n",
        rules.path,
        endpoint.authority(),
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut head = Vec::new();
    while head.len() < HEAD_MAX_BYTES {
        if stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
        if let Some((head, _)) = parse_response(&head).ok()? {
            return Some(head.status);
        }
    }
    None
}
