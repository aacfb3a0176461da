//! Machines with made-up time: an hour is a few thousand additions.

use super::*;
use crate::config::model::Target;
use crate::config::{SystemEnv, parse};
use crate::http1::framing::Framing;
use crate::relay::download::{Download, Shape};
use crate::sse::dialect::Dialects;

fn rules(lines: &str) -> Proxy {
    let text = format!(
        "[listeners.web]\nbind = [\"127.0.0.1:0\"]\n[routes.all]\nupstream = \"http://127.0.0.1:1\"\n{lines}"
    );
    let config = parse(&text, "test.toml", &SystemEnv).unwrap();
    match config.routes.into_iter().next().unwrap().target {
        Target::Proxy(rules) => *rules,
        Target::Respond(_) => unreachable!("the route has an upstream"),
    }
}

/// Some moment; only differences count.
fn start() -> Instant {
    crate::clock::now()
}

const fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// Waits, as the loop does, for what is due first: when, and what.
fn wait(timers: &mut Timers, rules: &Proxy) -> Option<(Instant, Due)> {
    let at = timers.next(rules)?;
    let due = timers.due(rules, at);
    assert_ne!(due, Due::Nothing, "woken for nothing");
    if due == Due::Heartbeat {
        timers.heartbeat_done(at);
    }
    Some((at, due))
}

#[test]
fn an_hour_of_heartbeats_never_lands_inside_an_event() {
    // A model that sends one byte a minute, so that it is silent at every place of an event, and
    // for several heartbeats each time; for more than an hour.
    const EVENTS: &[u8] = b"id: 7\r\ndata: hello\r\n\r\n: theirs\n\ndata: b\n\nid: 8\n";
    let rules = rules("sse.heartbeat = \"15s\"\ntimeouts.idle = \"2h\"");
    let heartbeat = Some(": keep-alive");
    let dialects = Dialects { setting: None, hint: None };
    let (from, to) = (Framing::UntilClose, Framing::UntilClose);
    let mut download = Download::new(Shape { from, to, scan: Some(dialects), heartbeat });
    let began = start();
    let (mut timers, mut out) = (Timers::new(began), Vec::new());
    timers.request_sent(began);
    timers.head_read(true, began);
    let (mut beats, mut skipped) = (0, 0);
    for minute in 0..120 {
        let byte = EVENTS.iter().cycle().nth(minute).unwrap();
        let speaks = began + ms(60_000 * (minute as u64 + 1));
        while let Some(at) = timers.next(&rules).filter(|at| *at < speaks) {
            assert_eq!(timers.due(&rules, at), Due::Heartbeat);
            timers.heartbeat_done(at);
            if download.push_heartbeat(&mut out).is_some() { beats += 1 } else { skipped += 1 }
        }
        timers.body_read(speaks);
        download.push(&mut &[*byte][..], &mut out).1.unwrap();
    }
    assert_eq!(beats + skipped, 120 * 3, "due at 15, 30 and 45 seconds of each silence");
    assert!(beats > 0 && skipped > beats, "{beats} heartbeats, {skipped} had no place");
    let text = String::from_utf8(out).unwrap();
    let model: Vec<_> = EVENTS.iter().cycle().take(120).copied().collect();
    let without = text.replace(": keep-alive\n", "");
    assert_eq!(without.as_bytes(), model, "whole lines, and the rest untouched");
    for (at, _) in text.match_indices(": keep-alive\n") {
        let before = text[..at].replace("\r\n", "\n").replace(": keep-alive\n", "");
        let before = before.replace(": theirs\n", "");
        let boundary = before.is_empty() || before.ends_with("\n\n");
        assert!(boundary, "inside an event, behind {before:?}");
    }
}

#[test]
fn each_wait_has_its_deadline() {
    let rules = rules(
        "sse.heartbeat = \"off\"\ntimeouts = { first_byte = \"1s\", first_event = \"2s\", \
         idle = \"3s\", send = \"4s\", max_duration = \"off\" }",
    );
    let began = start();
    let mut timers = Timers::new(began);
    let slow = Due::End(CloseReason::SlowClient);
    assert_eq!(wait(&mut timers, &rules), Some((began + ms(60_000), slow)), "it owes a body");
    timers.upstream_stalls(began);
    assert_eq!(wait(&mut timers, &rules).unwrap().1, Due::End(CloseReason::SendTimeout));
    timers.upstream_flows(began);
    timers.request_sent(began);
    let end = |reason| Due::End(reason);
    let first_byte = (began + ms(1000), end(CloseReason::FirstByteTimeout));
    assert_eq!(wait(&mut timers, &rules), Some(first_byte));
    timers.head_read(false, began + ms(500));
    let first_event = (began + ms(2500), end(CloseReason::FirstEventTimeout));
    assert_eq!(wait(&mut timers, &rules), Some(first_event));
    timers.body_read(began + ms(700));
    let idle = (began + ms(3700), end(CloseReason::IdleTimeout));
    assert_eq!(wait(&mut timers, &rules), Some(idle));
}

#[test]
fn a_stalled_client_stops_the_other_clocks() {
    let rules = rules(
        "sse.heartbeat = \"1s\"\ntimeouts.idle = \"3s\"\nstream.slow_client_timeout = \"10s\"",
    );
    let began = start();
    let mut timers = Timers::new(began);
    timers.request_sent(began);
    timers.head_read(true, began);
    timers.body_read(began);
    timers.client_stalls(began);
    let slow = Due::End(CloseReason::SlowClient);
    assert_eq!(wait(&mut timers, &rules), Some((timers.next(&rules).unwrap(), slow)));
    assert_eq!(timers.next(&rules), Some(began + ms(10_000)), "no heartbeat, no idle");
    timers.client_took_some(&rules, began + ms(4000));
    assert_eq!(timers.next(&rules), Some(began + ms(14_000)), "progress counts");
    let mut strict = rules.clone();
    strict.stream.slow_client = SlowClient::Disconnect;
    timers.client_took_some(&strict, began + ms(4500));
    assert_eq!(timers.next(&rules), Some(began + ms(14_000)), "it does not count here");
    timers.client_flows(began + ms(5000));
    let (at, due) = wait(&mut timers, &rules).unwrap();
    assert_eq!(due, Due::Heartbeat, "overdue: sent at once");
    assert!(at <= began + ms(5000));
    assert_eq!(timers.due(&rules, began + ms(7999)), Due::Heartbeat);
    let idle = Due::End(CloseReason::IdleTimeout);
    assert_eq!(timers.due(&rules, began + ms(8000)), idle, "idle begins anew");
}

#[test]
fn whose_turn_it_is_decides_who_is_late() {
    let rules = rules("timeouts.first_byte = \"1s\"\nstream.slow_client_timeout = \"10s\"");
    let began = start();
    let mut timers = Timers::new(began);
    // The upstream was asked for `100 Continue`.
    timers.request_sent(began);
    assert_eq!(timers.next(&rules), Some(began + ms(1000)));
    // The client sends without it.
    timers.request_read(0, began + ms(900));
    assert_eq!(timers.next(&rules), Some(began + ms(10_900)));
    timers.request_sent(began + ms(2000));
    assert_eq!(timers.next(&rules), Some(began + ms(3000)));
    timers.head_read(false, began + ms(2500));
    timers.request_read(0, began + ms(2600));
    assert!(timers.next(&rules) > Some(began + ms(60_000)), "a response under way is not late");
}

#[test]
fn a_request_that_drips_is_late_in_the_end() {
    let rules = rules(
        "stream = { slow_client_timeout = \"10s\", min_request_rate = \"100B\" }\n\
         timeouts.send = \"1h\"",
    );
    let began = start();
    let mut timers = Timers::new(began);
    timers.attached(began);
    // A byte a second keeps it from being silent, and not from being slow.
    for second in 1..10 {
        timers.request_read(1, began + ms(second * 1000));
    }
    assert_eq!(timers.next(&rules), Some(began + ms(10_090)));
    timers.request_read(991, began + ms(10_000));
    assert_eq!(timers.next(&rules), Some(began + ms(20_000)), "a thousand bytes are ten seconds");
    // While the upstream takes nothing, the client cannot send.
    timers.upstream_stalls(began + ms(15_000));
    timers.upstream_flows(began + ms(75_000));
    assert_eq!(timers.next(&rules), Some(began + ms(80_000)));
    let slow = Due::End(CloseReason::SlowClient);
    assert_eq!(timers.due(&rules, began + ms(80_000)), slow);
    // Once there is an answer both may take their time.
    timers.head_read(false, began + ms(79_000));
    assert_ne!(timers.due(&rules, began + ms(80_000)), slow);
}

#[test]
fn max_duration_runs_from_the_beginning() {
    let rules =
        rules("timeouts = { idle = \"off\", max_duration = \"1h\" }\nsse.heartbeat = \"off\"");
    let began = start();
    let mut timers = Timers::new(began);
    timers.request_sent(began);
    timers.head_read(false, began);
    for minute in 0..59 {
        timers.body_read(began + ms(minute * 60_000));
    }
    assert_eq!(timers.due(&rules, began + ms(3_599_000)), Due::Nothing);
    assert_eq!(timers.due(&rules, began + ms(3_601_000)), Due::End(CloseReason::MaxDuration));
}
