use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::harness::{Client, Proxy, Upstream, soon, taken, until};
use crate::websocket::{
    AGREE, ASK, BINARY, CLOSE, CONTINUATION, FIN, Frame, KEY, PING, PONG, TEXT, Ws, agreeing, bye,
    ended, frame, millis, rules,
};

/// Pings of ours that came before something else, not answered.
async fn past_pings(ws: &mut Ws) -> (usize, Frame) {
    let mut pings = 0;
    loop {
        let frame = ws.frame().await;
        if frame.first != FIN | PING {
            return (pings, frame);
        }
        pings += 1;
    }
}

// === Pings ===

#[tokio::test]
async fn both_silent_sides_get_pings_and_their_pongs_do_not_pass() {
    async fn answers(ws: &mut Ws) -> Vec<u8> {
        let mut first = None;
        for _ in 0..3 {
            let ping = ws.frame().await;
            assert_eq!(ping.first, FIN | PING, "only pings come: {ping:?}");
            let payload = first.get_or_insert_with(|| ping.payload.clone());
            assert_eq!(&ping.payload, payload, "recognisable");
            assert!(payload.len() >= 8, "nobody else's by chance: {payload:02X?}");
            ws.send(PONG, ping.payload).await;
        }
        first.unwrap()
    }
    async fn says(ws: &mut Ws, ours: &str, theirs: &str) {
        ws.send(TEXT, ours).await;
        let frame = ws.frame_after_pings().await.unwrap();
        assert_eq!((frame.first, &frame.payload[..]), (FIN | TEXT, theirs.as_bytes()));
    }
    let upstream = agreeing(|mut upstream| async move {
        answers(&mut upstream).await;
        says(&mut upstream, "from upstream", "from client").await;
        while upstream.frame_after_pings().await.is_some() {}
    })
    .await;
    let websocket = rules("ping = \"100ms\"\npong_timeout = \"5s\"");
    let proxy = Proxy::to(upstream.address).tables(&websocket).start().await;
    let mut client = Ws::open(&proxy).await;
    let began = Instant::now();
    answers(&mut client).await;
    let took = began.elapsed();
    assert!((millis(250)..millis(1000)).contains(&took), "three pings 100 ms apart took {took:?}");
    until("both have had three pings", || async {
        proxy.sum(&["heartbeats_sent_total{", "kind=\"websocket\""]).await >= 6.0
    })
    .await;
    says(&mut client, "from client", "from upstream").await;
    let count = async |direction: &str, opcode: &str| {
        proxy.sum(&["websocket_frames_total{", direction, &format!("\"{opcode}\"")]).await
    };
    for direction in ["\"in\"", "\"out\""] {
        until("the text is counted", || async { count(direction, "text").await == 1.0 }).await;
        assert_eq!(count(direction, "ping").await, 0.0, "ours are heartbeats, no frames of a peer");
        assert_eq!(count(direction, "pong").await, 0.0);
    }
    let heartbeats = proxy.sum(&["heartbeats_sent_total{", "kind=\"websocket\""]).await;
    assert!(heartbeats >= 6.0, "{heartbeats}");
}

#[tokio::test]
async fn pings_and_pongs_of_others_pass_byte_for_byte() {
    let up = [
        frame(FIN | PING, "are you there?", Some(KEY)),
        frame(FIN | PONG, "unasked", Some([1, 2, 3, 4])),
        frame(FIN | PONG, "", Some([0; 4])),
        frame(FIN | PING, [b'x'; 125], Some([9; 4])),
    ]
    .concat();
    let down = [
        frame(FIN | PING, "and you?", None),
        frame(FIN | PONG, "are you there?", None),
        frame(FIN | PONG, [b'x'; 125], None),
    ]
    .concat();
    let (expected, answer) = (up.clone(), down.clone());
    let upstream = Upstream::serve(move |mut upstream| {
        let (expected, answer) = (expected.clone(), answer.clone());
        async move {
            upstream.request().await;
            upstream.write(AGREE).await;
            assert_eq!(upstream.bytes(expected.len()).await, expected);
            upstream.write(answer).await;
            upstream.hold().await;
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = Ws::open(&proxy).await;
    for part in up.chunks(7) {
        client.write(part).await;
        taken(&client.stream).await;
    }
    let mut got = vec![0; down.len()];
    soon("all of it", client.stream.read_exact(&mut got)).await.unwrap();
    assert_eq!(got, down);
}

#[tokio::test]
async fn no_ping_stands_in_a_frame_and_one_may_between_fragments() {
    let upstream = agreeing(|mut upstream| async move {
        let whole = frame(FIN | TEXT, "0123456789", None);
        upstream.write(&whole[..7]).await;
        tokio::time::sleep(millis(500)).await;
        upstream.write(&whole[7..]).await;
        // The client's ping comes here, as it has been silent all the time.
        tokio::time::sleep(millis(500)).await;
        upstream.send(TEXT, "between").await;
        upstream.write(frame(TEXT, "Hel", None)).await;
        tokio::time::sleep(millis(500)).await;
        upstream.write(frame(FIN | CONTINUATION, "lo", None)).await;
        while upstream.frame_after_pings().await.is_some() {}
    })
    .await;
    let websocket = rules("ping = \"100ms\"\npong_timeout = \"10s\"");
    let proxy = Proxy::to(upstream.address).tables(&websocket).start().await;
    let mut client = Ws::open(&proxy).await;
    client.gets("0123456789").await;
    let ping = client.frame().await;
    assert_eq!(ping.first, FIN | PING, "{ping:?}");
    client.send(PONG, ping.payload).await;
    let between = client.frame_after_pings().await.unwrap();
    assert_eq!(between.payload, b"between");
    let first = client.frame_after_pings().await.unwrap();
    assert_eq!((first.first, &first.payload[..]), (TEXT, &b"Hel"[..]));
    let (pings, last) = past_pings(&mut client).await;
    assert!(pings >= 1, "a control frame may stand between fragments");
    assert_eq!((last.first, &last.payload[..]), (FIN | CONTINUATION, &b"lo"[..]));
}

#[tokio::test]
async fn no_ping_to_the_upstream_stands_in_a_clients_frame() {
    let upstream = agreeing(|mut upstream| async move {
        upstream.gets("0123456789").await;
        assert_eq!(upstream.frame().await.first, FIN | PING, "the upstream was silent");
        upstream.hold().await;
    })
    .await;
    let websocket = rules("ping = \"100ms\"\npong_timeout = \"10s\"");
    let proxy = Proxy::to(upstream.address).tables(&websocket).start().await;
    let mut client = proxy.client().await;
    let whole = frame(FIN | TEXT, "0123456789", Some(KEY));
    client.send([ASK.as_bytes(), &whole[..9]].concat()).await;
    client.head().await;
    tokio::time::sleep(millis(500)).await;
    client.send(&whole[9..]).await;
    // Left when the upstream has had its ping.
    until("the upstream gets a ping", || async {
        proxy.sum(&["heartbeats_sent_total{", "\"websocket\""]).await >= 1.0
    })
    .await;
    tokio::time::sleep(millis(200)).await;
}

#[tokio::test]
async fn a_client_that_misses_a_pong_ends_it() {
    let (closes, mut closed) = mpsc::unbounded_channel();
    let upstream = agreeing(move |mut upstream| {
        let closes = closes.clone();
        async move {
            let close = upstream.frame_after_pings().await.unwrap();
            closes.send(close.close().0).unwrap();
        }
    })
    .await;
    let websocket = rules("ping = \"100ms\"\npong_timeout = \"300ms\"");
    let proxy = Proxy::to(upstream.address).tables(&websocket).start().await;
    let mut client = Ws::open(&proxy).await;
    let began = Instant::now();
    let (pings, close) = past_pings(&mut client).await;
    let took = began.elapsed();
    assert_eq!((pings, close.close().0), (1, 1011));
    assert!((millis(350)..millis(1000)).contains(&took), "{took:?}");
    assert_eq!(soon("the upstream is told", closed.recv()).await, Some(1011));
    drop(client);
    ended(&proxy, "pong_timeout").await;
    let missed = "websocket_missed_pongs_total{";
    assert_eq!(proxy.sum(&[missed, "side=\"client\""]).await, 1.0);
    assert_eq!(proxy.sum(&[missed, "side=\"upstream\""]).await, 0.0);
}

#[tokio::test]
async fn an_upstream_that_misses_a_pong_ends_it() {
    let upstream = agreeing(|mut upstream| async move {
        let (_, close) = past_pings(&mut upstream).await;
        assert_eq!(close.close().0, 1011);
    })
    .await;
    let websocket = rules("ping = \"100ms\"\npong_timeout = \"300ms\"");
    let proxy = Proxy::to(upstream.address).tables(&websocket).start().await;
    let mut client = Ws::open(&proxy).await;
    let began = Instant::now();
    let close = client.frame_after_pings().await.unwrap();
    let took = began.elapsed();
    assert_eq!(close.close().0, 1011);
    assert!((millis(350)..millis(1000)).contains(&took), "{took:?}");
    drop(client);
    ended(&proxy, "pong_timeout").await;
    let missed = "websocket_missed_pongs_total{";
    assert_eq!(proxy.sum(&[missed, "side=\"upstream\""]).await, 1.0);
    assert_eq!(proxy.sum(&[missed, "side=\"client\""]).await, 0.0);
}

// === Violations ===

/// Frames that break the rules, and the code that says so; masked or not as `key` says.
fn violations(key: Option<[u8; 4]>) -> Vec<(&'static str, Vec<u8>, u16)> {
    let wrong_key = if key.is_some() { None } else { Some(KEY) };
    let close = |payload: &[u8]| frame(FIN | CLOSE, payload, key);
    let mut long_form = frame(FIN | TEXT, "", key);
    long_form.splice(1..2, [long_form[1] | 126, 0, 0]);
    vec![
        ("reserved opcode 3", frame(FIN | 3, "BAD", key), 1002),
        ("reserved opcode 11", frame(FIN | 11, "BAD", key), 1002),
        ("RSV1", frame(FIN | 0x40 | TEXT, "BAD", key), 1002),
        ("RSV2", frame(FIN | 0x20 | TEXT, "BAD", key), 1002),
        ("RSV3 on a ping", frame(FIN | 0x10 | PING, "BAD", key), 1002),
        ("wrong masking", frame(FIN | TEXT, "BAD", wrong_key), 1002),
        ("wrong masking of a ping", frame(FIN | PING, "BAD", wrong_key), 1002),
        ("fragmented ping", frame(PING, "BAD", key), 1002),
        ("fragmented close", frame(CLOSE, bye(1000, ""), key), 1002),
        ("oversized ping", frame(FIN | PING, [b'B'; 126], key), 1002),
        ("continuation of nothing", frame(FIN | CONTINUATION, "BAD", key), 1002),
        ("length not minimal", long_form, 1002),
        ("too long", frame(FIN | BINARY, [b'B'; 1025], key), 1009),
        ("half a close code", close(&[3]), 1002),
        ("close 999", close(&bye(999, "")), 1002),
        ("close 1004", close(&bye(1004, "")), 1002),
        ("close 1005", close(&bye(1005, "")), 1002),
        ("close 1006", close(&bye(1006, "BAD")), 1002),
        ("close 1015", close(&bye(1015, "")), 1002),
        ("close 2999", close(&bye(2999, "")), 1002),
    ]
}

/// "ok", what is between, and the close frame: what both sides get, nothing of the bad frame.
async fn is_told(ws: &mut Ws, good: bool, code: u16) {
    if good {
        ws.gets("ok").await;
    }
    assert_eq!(ws.gets_close().await.0, code);
    ws.send(CLOSE, bye(code, "")).await;
    ws.ends().await;
}

#[tokio::test]
async fn a_clients_violation_closes_both_sides_and_nothing_of_it_passes() {
    for (name, bad, code) in violations(Some(KEY)) {
        println!("case: {name}");
        let upstream = agreeing(move |mut upstream| async move {
            upstream.gets("ok").await;
            assert_eq!(upstream.gets_close().await.0, code);
        })
        .await;
        let websocket = rules("max_frame = \"1KiB\"");
        let proxy = Proxy::to(upstream.address).tables(&websocket).start().await;
        let mut client = Ws::open(&proxy).await;
        client.write([frame(FIN | TEXT, "ok", Some(KEY)), bad].concat()).await;
        is_told(&mut client, false, code).await;
        drop(client);
        let end = ended(&proxy, "protocol_error").await;
        assert_eq!(end["closed_by"], "proxy", "{end}");
        assert_eq!(end["close_code"], code, "{end}");
    }
}

#[tokio::test]
async fn an_upstreams_violation_closes_both_sides_and_nothing_of_it_passes() {
    for (name, bad, code) in violations(None) {
        println!("case: {name}");
        let upstream = agreeing(move |mut upstream| {
            let bad = bad.clone();
            async move {
                upstream.gets("go").await;
                upstream.write([frame(FIN | TEXT, "ok", None), bad].concat()).await;
                assert_eq!(upstream.gets_close().await.0, code);
            }
        })
        .await;
        let websocket = rules("max_frame = \"1KiB\"");
        let proxy = Proxy::to(upstream.address).tables(&websocket).start().await;
        let mut client = Ws::open(&proxy).await;
        client.send(TEXT, "go").await;
        is_told(&mut client, true, code).await;
        drop(client);
        ended(&proxy, "protocol_error").await;
    }
}

/// A good frame and a bad one come in the packet of the handshake.
async fn broken_at_once(by_client: bool) {
    let upstream = Upstream::serve(move |mut upstream| async move {
        upstream.request().await;
        let mut answer = AGREE.as_bytes().to_vec();
        if !by_client {
            answer.extend(frame(FIN | TEXT, "ok", None));
            answer.extend(frame(FIN | 3, "BAD", None));
        }
        upstream.write(answer).await;
        let mut upstream = Ws::of(upstream);
        if by_client {
            upstream.gets("ok").await;
        }
        assert_eq!(upstream.gets_close().await.0, 1002);
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut ask = ASK.as_bytes().to_vec();
    if by_client {
        ask.extend(frame(FIN | TEXT, "ok", Some(KEY)));
        ask.extend(frame(FIN | 3, "BAD", Some(KEY)));
    }
    let mut client = proxy.client().await;
    client.send(ask).await;
    let mut client = Ws::ask(client, "").await;
    is_told(&mut client, !by_client, 1002).await;
    drop(client);
    ended(&proxy, "protocol_error").await;
}

#[tokio::test]
async fn a_good_frame_before_the_101_comes_before_the_close_for_a_bad_one() {
    broken_at_once(true).await;
}

#[tokio::test]
async fn a_good_frame_in_the_packet_of_the_101_comes_before_the_close_for_a_bad_one() {
    broken_at_once(false).await;
}

#[tokio::test]
async fn good_frames_come_before_the_close_for_a_bad_one_even_to_a_slow_client() {
    const EACH: usize = 1000;
    let good = frame(FIN | BINARY, [b'g'; EACH], None);
    let all = good.clone();
    let upstream = Upstream::serve(move |mut upstream| {
        let good = all.clone();
        async move {
            let request = upstream.request().await;
            let (_, count) = request.split_once("GET /").unwrap();
            let count: usize = count.split(' ').next().unwrap().parse().unwrap();
            let bad = frame(FIN | 3, "BAD", None);
            let all = [AGREE.as_bytes(), &good.repeat(count), &bad].concat();
            // The first client leaves in the middle of it.
            let _ = upstream.stream.write_all(&all).await;
            Ws::of(upstream).hold().await;
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let open = async |count: usize| {
        let mut client = Client::connect_narrow(proxy.address).await;
        client.send(ASK.replace("/chat", &format!("/{count}"))).await;
        client
    };
    // How much goes through while nobody reads: somewhere around that, the proxy's write of a read
    // with the bad frame in it is cut.
    let stuck = open(10_000).await;
    tokio::time::sleep(millis(500)).await;
    let sent = proxy.sum(&["bytes_total{", "\"out\"", "\"websocket\""]).await as usize;
    drop(stuck);
    let mut clients = Vec::new();
    for step in 0..40 {
        let count = (sent + 96 * 1024).saturating_sub(step * 6 * 1024) / good.len();
        clients.push((count, open(count).await));
    }
    tokio::time::sleep(millis(500)).await;
    for (count, mut client) in clients {
        client.head().await;
        let mut got = std::mem::take(&mut client.inbox);
        let expected = good.repeat(count);
        let mut space = vec![0; 64 * 1024];
        while got.len() < expected.len() + 2 {
            let read = soon("frames", client.stream.read(&mut space)).await.unwrap();
            assert!(read > 0, "the end after {} of {} bytes", got.len(), expected.len());
            got.extend_from_slice(&space[..read]);
        }
        let rest = got.split_off(expected.len());
        let cut = got.iter().zip(&expected).position(|(got, expected)| got != expected);
        assert_eq!(cut, None, "with {count} frames, stuck at {sent}, something is in between");
        let mut client = Ws { stream: client.stream, inbox: rest, key: Some(KEY) };
        assert_eq!(client.gets_close().await.0, 1002);
    }
}

// === Metrics ===

#[tokio::test]
async fn frames_are_counted_by_direction_and_opcode() {
    let upstream = agreeing(|mut upstream| async move {
        for _ in 0..9 {
            upstream.frame().await;
        }
        upstream.write(frame(TEXT, "a", None)).await;
        upstream.send(PONG, "p").await;
        upstream.write(frame(FIN | CONTINUATION, "b", None)).await;
        upstream.send(BINARY, [1; 70_000]).await;
        upstream.send(CLOSE, bye(1000, "")).await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = Ws::open(&proxy).await;
    for _ in 0..3 {
        client.send(TEXT, "t").await;
    }
    client.send(BINARY, [0; 300]).await;
    client.send(PING, "p").await;
    client.write(frame(BINARY, "a", client.key)).await;
    client.write(frame(CONTINUATION, "b", client.key)).await;
    client.write(frame(FIN | CONTINUATION, "c", client.key)).await;
    client.send(CLOSE, bye(1000, "")).await;
    while client.try_frame().await.is_some() {}
    drop(client);
    ended(&proxy, "completed").await;
    for (opcode, sent, received) in [
        ("text", 3.0, 1.0),
        ("binary", 2.0, 1.0),
        ("continuation", 2.0, 1.0),
        ("ping", 1.0, 0.0),
        ("pong", 0.0, 1.0),
        ("close", 1.0, 1.0),
    ] {
        let label = format!("opcode=\"{opcode}\"");
        let frames = "websocket_frames_total{";
        assert_eq!(proxy.sum(&[frames, &label, "\"in\""]).await, sent, "{opcode} in");
        assert_eq!(proxy.sum(&[frames, &label, "\"out\""]).await, received, "{opcode} out");
    }
    let events = "longwire_events_total{";
    assert_eq!(proxy.sum(&[events, "\"websocket\"", "\"in\""]).await, 5.0, "messages");
    assert_eq!(proxy.sum(&[events, "\"websocket\"", "\"out\""]).await, 2.0, "messages");
}
