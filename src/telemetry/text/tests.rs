use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::config::model::{AccessLog, Share};
use crate::live::kind::Kind;
use crate::live::reason::CloseReason;
use crate::live::stream::Totals;
use crate::telemetry::access::Record;
use crate::trace::Trace;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that `log` makes, behind their time.
fn lines(ansi: bool, log: impl FnOnce()) -> Vec<String> {
    let written = Written::default();
    let sink = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(ansi)
        .event_format(Text)
        .with_max_level(Level::TRACE)
        .with_writer(move || sink.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, log);
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    text.lines().map(|line| line.split_once("Z").unwrap().1.to_owned()).collect()
}

const LOG: AccessLog = AccessLog { enabled: true, stream_start: true, sample: Share::ALL };

fn record() -> Record<'static> {
    Record {
        id: "1f-2",
        trace: None,
        is_sampled: true,
        route: "chat",
        client: Some("192.0.2.7:999".parse().unwrap()),
        principal: None,
        version: "1.1",
        method: "POST",
        path: "/v1/chat/completions",
        status: 200,
        kind: Kind::Sse,
        upstream: "models",
        endpoint: "gpu-a",
        connection: "reused",
        tries: 1,
        close_code: None,
        closed_by: None,
    }
}

fn ended(record: Record<'_>, reason: CloseReason) {
    let totals = Totals {
        bytes_in: 1234,
        bytes_out: 35_000,
        events: 42,
        heartbeats: 0,
        first_byte: Some(Duration::from_millis(210)),
    };
    LOG.ended(record, reason, totals, Duration::from_millis(12_345));
}

#[test]
fn an_exchange_has_columns() {
    let trace = Trace::of(&Default::default(), || 7, |_| false);
    let found = lines(false, || {
        LOG.opened(Record { trace: Some(trace), ..record() });
        ended(record(), CloseReason::Completed);
        let denied = Record { route: "", endpoint: "", status: 404, tries: 0, ..record() };
        ended(denied, CloseReason::Completed);
        let failed = Record { status: 502, tries: 3, principal: Some("Ann B"), ..record() };
        ended(failed, CloseReason::UpstreamReset);
    });
    let expected = [
        " INFO  open chat         sse       200  gpu-a  POST /v1/chat/completions \
         client=192.0.2.7:999 id=1f-2 trace_id=00000000000000070000000000000007",
        " INFO  end  chat         sse       200 completed         12.3s ttfb  210ms     42 events \
         in   1.2KiB out  34.1KiB  gpu-a  POST /v1/chat/completions client=192.0.2.7:999 id=1f-2",
        " INFO  end  -            sse       404 completed         12.3s ttfb  210ms     42 events \
         in   1.2KiB out  34.1KiB  -  POST /v1/chat/completions client=192.0.2.7:999 id=1f-2",
        " INFO  end  chat         sse       502 upstream_reset    12.3s ttfb  210ms     42 events \
         in   1.2KiB out  34.1KiB  gpu-a  POST /v1/chat/completions principal=\"Ann B\" attempts=3 \
         client=192.0.2.7:999 id=1f-2",
    ];
    assert_eq!(found, expected);
}

#[test]
fn anything_else_is_a_sentence() {
    let found = lines(false, || {
        tracing::info!(listener = "web", address = %"127.0.0.1:80", none = None::<u64>, "listening");
        tracing::warn!(target: "h2::proto", count = 3, "odd");
        tracing::error!(error = "a b\n\x1b[31mc", "not\nused");
    });
    let expected = [
        " INFO  listening listener=web address=127.0.0.1:80",
        " WARN  h2::proto: odd count=3",
        " ERROR not\\nused error=\"a b\\n\\u{1b}[31mc\"",
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_a_client_sends_cannot_paint_or_break_lines() {
    for path in ["/\x1b[2J", "/\n2026", "/a b", "/\u{202e}", "/\"", ""] {
        let found = lines(false, || LOG.opened(Record { path, ..record() }));
        assert_eq!(found.len(), 1, "{path:?}");
        assert!(found[0].is_ascii() && !found[0].contains('\x1b'), "{found:?}");
    }
}

#[test]
fn colour_is_for_terminals() {
    let log = || ended(record(), CloseReason::UpstreamReset);
    let (plain, painted) = (lines(false, log), lines(true, log));
    assert!(painted[0].contains("\x1b[31mupstream_reset"), "{painted:?}");
    let mut bare = String::new();
    for (at, part) in painted[0].split('\x1b').enumerate() {
        bare += if at == 0 { part } else { part.split_once('m').unwrap().1 };
    }
    // The stamp's colour ends behind the Z.
    assert_eq!(bare, plain[0]);
}
