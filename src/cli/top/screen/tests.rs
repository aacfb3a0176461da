use super::*;
use crate::cli::top::feed::Said;
use serde_json::json;

fn world() -> World {
    let mut world = World::default();
    let stream = |number: u32| {
        json!({
            "number": number, "id": format!("id-{number}"), "route": "chat", "upstream": "models",
            "endpoint": "gpu-a", "kind": "websocket", "principal": format!("user-{number}\x1b[2J"),
            "state": "streaming", "started": number, "since_upstream": 0.02,
            "events_per_second": 24.9, "events_out": 311, "bytes_out": 90211, "first_byte": 0.84,
        })
    };
    let streams: Vec<_> = (0..40).map(stream).collect();
    world.hear(&Said::Snapshot(json!({
        "now": 100.0, "uptime": 3661.0, "version": "0.1.0", "allow_kill": true,
        "totals": { "active": { "sse": 0, "websocket": 40 }, "ttft_p50": 0.5 },
        "streams": streams,
        "upstreams": [{ "name": "models", "queue_length": 2, "endpoints": [
            { "name": "gpu-a", "state": "up", "requests_new": 1, "requests_reused": 3 },
            { "name": "gpu-b", "state": "ejected" },
        ]}],
    })));
    world
}

fn view() -> View {
    View::new(Sort::Age, String::new())
}

fn texts(lines: &[Line]) -> Vec<String> {
    lines.iter().map(Line::text).collect()
}

#[test]
fn it_fits_every_screen() {
    let world = world();
    for (columns, rows) in [(80, 24), (200, 60), (40, 10), (1, 1), (120, 3)] {
        for shows_upstreams in [false, true] {
            let mut view = View { shows_upstreams, selected: Some(39), ..view() };
            let lines = texts(&lines(&world, &mut view, columns, rows));
            assert_eq!(lines.len(), rows);
            for line in &lines {
                assert!(line.width() <= columns, "{columns}x{rows}: {line:?}");
                assert!(!line.contains('\x1b'), "{line:?}");
            }
        }
    }
}

#[test]
fn eighty_columns_hold_what_matters() {
    let text = texts(&lines(&world(), &mut view(), 80, 24)).join("\n");
    for part in [
        "longwire 0.1.0  up 1h01m  live",
        "40 open  0 sse  40 websocket",
        "1 of 2 endpoints up  models: 2 waiting  models›gpu-b ejected",
        "AGE↓ SILENT   EV/S      OUT\n",
        "streaming chat",
        "1m40s",
        "20ms",
        "24.9",
        "88.1KiB",
        "p pause  d upstreams",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn the_row_under_the_cursor_stays_in_sight() {
    let mut view = View { selected: Some(39), ..view() };
    let shown = lines(&world(), &mut view, 160, 24);
    let is_cursor = |line: &&Line| line.0.first().is_some_and(|(look, _)| *look == Look::Reverse);
    let cursor = shown.iter().filter(is_cursor).nth(1).expect("below the heads");
    assert!(cursor.text().contains("id-39"), "{}", cursor.text());
}

#[test]
fn killing_is_asked_with_the_streams_name() {
    let mode = Mode::Confirm { number: 7, id: "id-7".into() };
    let mut view = View { mode, ..view() };
    let shown = texts(&lines(&world(), &mut view, 120, 24));
    assert!(shown[23].starts_with("kill chat of user-7"), "{}", shown[23]);
    assert!(shown[23].contains("from models›gpu-a, 1m33s old (id-7)? y/n"), "{}", shown[23]);
}

#[test]
fn once_is_plain_text() {
    let text = plain(&world(), &view());
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    assert_eq!(text.lines().count(), 4 + 2 + 40, "{text}");
    let head = text.lines().nth(5).unwrap();
    let row = text.lines().nth(6).unwrap();
    let words: Vec<_> = row.split_whitespace().collect();
    assert!(head.starts_with("STATE ") && head.ends_with("ID"), "{head}");
    assert_eq!((words[0], words[1], words[2], words[11]), ("streaming", "chat", "ws", "id-0"));
}
