use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::*;
use crate::config::model::Share;

/// The names of the fields of each event, whether they have a value or not.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<BTreeSet<String>>>>);

impl<S: tracing::Subscriber> Layer<S> for Names {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let names = event.metadata().fields().iter().map(|field| field.name().to_owned());
        self.0.lock().unwrap().push(names.collect());
    }
}

const LOG: AccessLog = AccessLog { enabled: true, stream_start: true, sample: Share::ALL };

fn record() -> Record<'static> {
    Record {
        id: "1",
        trace: None,
        is_sampled: true,
        route: "chat",
        client: None,
        principal: None,
        version: "1.1",
        method: "GET",
        path: "/",
        status: 200,
        kind: Kind::Sse,
        upstream: "",
        endpoint: "",
        connection: "none",
        tries: 0,
        close_code: None,
        closed_by: None,
    }
}

/// The names of the fields in the lines that `log` writes.
fn lines(log: impl FnOnce()) -> Vec<BTreeSet<String>> {
    let names = Names::default();
    let subscriber = tracing_subscriber::registry().with(names.clone());
    tracing::subscriber::with_default(subscriber, log);
    std::mem::take(&mut names.0.lock().unwrap())
}

fn end(log: &AccessLog, record: Record<'_>, reason: CloseReason) {
    log.ended(record, reason, Totals::default(), Duration::ZERO);
}

#[test]
fn the_document_has_every_field_of_both_lines_and_no_other() {
    let written = lines(|| {
        LOG.opened(record());
        end(&LOG, record(), CloseReason::Completed);
    });
    let document = include_str!("../../../docs/logging.md");
    let rows = document.lines().skip_while(|line| !line.starts_with("| field |")).skip(2);
    let rows: Vec<Vec<_>> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|row| row.split('|').map(str::trim).collect())
        .collect();
    for (line, written) in ["open", "end"].iter().zip(&written) {
        let is_there = |row: &&Vec<&str>| row[2] == "both" || row[2] == *line;
        let documented = rows.iter().filter(is_there).map(|row| row[1].trim_matches('`'));
        let mut expected = written.clone();
        expected.extend(["timestamp", "level", "target"].map(str::to_owned));
        assert_eq!(documented.map(str::to_owned).collect::<BTreeSet<_>>(), expected, "{line}");
        assert!(rows.iter().all(|row| row.len() == 5 && !row[3].is_empty()));
    }
}

#[test]
fn what_is_not_in_the_sample_has_a_line_when_it_fails() {
    let aside = Record { is_sampled: false, ..record() };
    for (status, reason, has_line) in [
        (200, CloseReason::Completed, false),
        (399, CloseReason::UpstreamClosed, false),
        (200, CloseReason::ClientClosed, false),
        (400, CloseReason::Completed, true),
        (499, CloseReason::ClientClosed, true),
        (200, CloseReason::Truncated, true),
        (502, CloseReason::UpstreamReset, true),
    ] {
        let written = lines(|| {
            LOG.opened(Record { status, ..aside });
            end(&LOG, Record { status, ..aside }, reason);
        });
        assert_eq!(written.len(), usize::from(has_line), "{status} {reason:?}");
        let all = lines(|| {
            LOG.opened(Record { status, ..record() });
            end(&LOG, Record { status, ..record() }, reason);
        });
        assert_eq!(all.len(), 2);
        let off = AccessLog { enabled: false, ..LOG };
        assert!(lines(|| end(&off, Record { status, ..record() }, reason)).is_empty());
    }
}
