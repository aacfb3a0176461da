use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::harness::{Client, Proxy, Upstream, soon, taken, until};
use crate::websocket::{
    AGREE, ASK, BINARY, CLOSE, FIN, KEY, TEXT, Ws, agreeing, bye, ended, frame, millis, rules,
};

// === Ends by our will ===

#[tokio::test]
async fn without_data_frames_it_is_idle_whatever_the_pings() {
    let upstream = agreeing(|mut upstream| async move {
        tokio::time::sleep(millis(300)).await;
        upstream.send(TEXT, "data").await;
        let close = upstream.frame_after_pings().await.unwrap();
        assert_eq!(close.close().0, 1001);
    })
    .await;
    let websocket = rules("ping = \"100ms\"\npong_timeout = \"5s\"\nidle = \"500ms\"");
    let proxy = Proxy::to(upstream.address).tables(&websocket).start().await;
    let mut client = Ws::open(&proxy).await;
    let began = Instant::now();
    assert_eq!(client.frame_after_pings().await.unwrap().payload, b"data");
    let close = client.frame_after_pings().await.unwrap();
    assert_eq!(close.close().0, 1001);
    let took = began.elapsed();
    assert!((millis(750)..millis(1500)).contains(&took), "data counts, pings do not: {took:?}");
    drop(client);
    let end = ended(&proxy, "idle_timeout").await;
    assert_eq!(end["closed_by"], "proxy", "{end}");
}

#[tokio::test]
async fn max_duration_ends_the_liveliest() {
    let upstream = agreeing(Ws::echo).await;
    let route = "timeouts.max_duration = \"500ms\"";
    let proxy = Proxy::to(upstream.address).route(route).start().await;
    let mut client = Ws::open(&proxy).await;
    let began = Instant::now();
    let close = loop {
        client.stream.write_all(&frame(FIN | TEXT, "on", Some(KEY))).await.unwrap();
        let frame = client.frame().await;
        if frame.opcode() != TEXT {
            break frame;
        }
        tokio::time::sleep(millis(20)).await;
    };
    assert_eq!(close.close().0, 1008);
    assert!(began.elapsed() < millis(1200), "{:?}", began.elapsed());
    client.send(CLOSE, bye(1008, "")).await;
    drop(client);
    ended(&proxy, "max_duration").await;
}

// === Ends by theirs ===

#[tokio::test]
async fn close_frames_pass_with_code_and_reason() {
    for (payload, code) in [
        (bye(1000, ""), Some(1000)),
        (bye(3000, "as you like"), Some(3000)),
        (bye(4999, &"x".repeat(123)), Some(4999)),
        (Vec::new(), None),
    ] {
        for by_client in [true, false] {
            println!("case: {code:?} by the client: {by_client}");
            let payload = Arc::new(payload.clone());
            let theirs = Arc::clone(&payload);
            let upstream = agreeing(move |mut upstream| {
                let payload = Arc::clone(&theirs);
                async move {
                    if !by_client {
                        upstream.send(CLOSE, &*payload).await;
                    }
                    let close = upstream.frame().await;
                    assert_eq!((close.first, &close.payload), (FIN | CLOSE, &*payload));
                    if by_client {
                        upstream.send(CLOSE, &*payload).await;
                    }
                }
            })
            .await;
            let proxy = Proxy::to(upstream.address).start().await;
            let mut client = Ws::open(&proxy).await;
            if by_client {
                client.send(CLOSE, &*payload).await;
            }
            let close = client.frame().await;
            assert_eq!((close.first, &close.payload), (FIN | CLOSE, &*payload));
            if !by_client {
                client.send(CLOSE, &*payload).await;
            }
            client.ends().await;
            drop(client);
            let end = ended(&proxy, "completed").await;
            assert_eq!(end["close_code"], serde_json::json!(code), "{end}");
            assert_eq!(end["closed_by"], if by_client { "client" } else { "upstream" }, "{end}");
        }
    }
}

#[tokio::test]
async fn the_answer_to_a_half_closed_client_arrives() {
    let upstream = agreeing(|mut upstream| async move {
        upstream.gets("last").await;
        assert_eq!(upstream.try_frame().await, None, "the half-close passes");
        tokio::time::sleep(millis(300)).await;
        upstream.send(TEXT, "answer").await;
        upstream.send(CLOSE, bye(1000, "done")).await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = Ws::open(&proxy).await;
    client.send(TEXT, "last").await;
    client.shut_down().await;
    client.gets("answer").await;
    assert_eq!(client.gets_close().await, (1000, "done".into()));
    client.ends().await;
    ended(&proxy, "completed").await;
}

#[tokio::test]
async fn an_upstream_that_dies_is_told_to_the_client_as_1011() {
    for (by_reset, reason) in [(true, "upstream_reset"), (false, "truncated")] {
        let upstream = agreeing(move |mut upstream| async move {
            upstream.gets("go").await;
            upstream.send(TEXT, "bye").await;
            taken(&upstream.stream).await;
            if by_reset {
                upstream.reset();
            }
        })
        .await;
        let proxy = Proxy::to(upstream.address).start().await;
        let mut client = Ws::open(&proxy).await;
        client.send(TEXT, "go").await;
        client.gets("bye").await;
        assert_eq!(client.gets_close().await.0, 1011);
        client.send(CLOSE, bye(1011, "")).await;
        client.ends().await;
        drop(client);
        ended(&proxy, reason).await;
    }
}

#[tokio::test]
async fn nothing_of_the_clients_comes_back_when_the_upstream_dies_with_much_unread() {
    const EACH: usize = 1_000;
    const MUCH: usize = 3_000;
    let upstream = agreeing(|mut upstream| async move {
        let good = frame(FIN | BINARY, [b'g'; EACH], None);
        // So much that the kernel's buffers grow.
        for _ in 0..MUCH {
            upstream.write(&good).await;
        }
        upstream.gets("stopped").await;
        // The proxy is stopped by then.
        tokio::time::sleep(millis(300)).await;
        let _ =
            tokio::time::timeout(millis(200), upstream.stream.write_all(&good.repeat(400))).await;
        tokio::time::sleep(millis(200)).await;
        upstream.reset();
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = Ws::open(&proxy).await;
    for _ in 0..MUCH {
        client.frame().await;
    }
    client.send(TEXT, "stopped").await;
    until("the upstream has it", || async {
        proxy.sum(&["websocket_frames_total{", "\"in\"", "\"text\""]).await == 1.0
    })
    .await;
    proxy.signal("STOP");
    tokio::time::sleep(millis(1000)).await;
    // More than what is buffered on the way.
    client.send(TEXT, "lost".repeat(5_000)).await;
    proxy.signal("CONT");
    // How much of it can still be read after the reset is the kernel's affair.
    let mut got = std::mem::take(&mut client.inbox);
    let _ = soon("the end", client.stream.read_to_end(&mut got)).await;
    let good = frame(FIN | BINARY, [b'g'; EACH], None).repeat(400);
    let same = got.iter().zip(&good).take_while(|(got, good)| got == good).count();
    let rest = &got[same..got.len().min(same + 16)];
    let told = same % (EACH + 4) == 0 && rest.first() == Some(&(FIN | CLOSE));
    assert!(rest.is_empty() || told, "after {same} bytes: {rest:02X?}");
}

/// The client leaves; gives how long it took until the upstream knew.
async fn leaves(leave: impl AsyncFnOnce(Ws)) -> (Duration, Proxy) {
    let (closes, mut closed) = mpsc::unbounded_channel();
    let upstream = agreeing(move |upstream| {
        let closes = closes.clone();
        async move {
            upstream.hold().await;
            closes.send(Instant::now()).unwrap();
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = Ws::open(&proxy).await;
    client.send(TEXT, "hello").await;
    taken(&client.stream).await;
    let left = Instant::now();
    leave(client).await;
    let known = soon("the upstream's end", closed.recv()).await.unwrap();
    (known - left, proxy)
}

#[tokio::test]
async fn a_client_that_dies_is_known_upstream_at_once() {
    let (took, proxy) = leaves(async |client: Ws| client.reset()).await;
    assert!(took < millis(500), "{took:?}");
    ended(&proxy, "client_closed").await;
    assert_eq!(proxy.sum(&["longwire_cancelled_upstream_total{"]).await, 1.0);
}

#[tokio::test]
async fn a_client_that_hangs_up_without_a_close_frame_is_client_closed() {
    let (took, proxy) = leaves(async |client: Ws| drop(client)).await;
    assert!(took < millis(500), "{took:?}");
    ended(&proxy, "client_closed").await;
}

// === Backpressure ===

#[tokio::test]
async fn a_client_that_reads_nothing_is_bounded_and_ended_as_slow() {
    let poured = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&poured);
    let upstream = agreeing(move |mut upstream| {
        let counter = Arc::clone(&counter);
        async move {
            let bytes = frame(FIN | BINARY, [7; 32 * 1024], None);
            while upstream.stream.write_all(&bytes).await.is_ok() {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let route = "stream.slow_client_timeout = \"700ms\"";
    let websocket = rules("ping = \"100ms\"\npong_timeout = \"300ms\"");
    let proxy = Proxy::to(upstream.address).route(route).tables(&websocket).start().await;
    // Pages of the admin address have a thread of their own.
    proxy.admin("/metrics").await;
    let before = proxy.resident_kib();
    let _client = Ws::ask(Client::connect_narrow(proxy.address).await, ASK).await;
    ended(&proxy, "slow_client").await;
    let grown = proxy.resident_kib().saturating_sub(before);
    assert!(grown < 2_000, "memory grew by {grown} KiB");
    let mib = poured.load(Ordering::SeqCst) / 32;
    assert!(mib < 64, "{mib} MiB were taken from the upstream for nobody");
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_everything() {
    const FRAMES: u32 = 1_500;
    let upstream = agreeing(|mut upstream| async move {
        for number in 0..FRAMES {
            let payload = number.to_be_bytes().repeat(1 + (number as usize * 7) % 5_000);
            upstream.send(BINARY, payload).await;
        }
        upstream.send(CLOSE, bye(1000, "all")).await;
        assert_eq!(upstream.frame_after_pings().await.unwrap().close().0, 1000);
    })
    .await;
    let websocket = rules("ping = \"50ms\"\npong_timeout = \"5s\"");
    let proxy = Proxy::to(upstream.address).tables(&websocket).start().await;
    let mut client = Ws::ask(Client::connect_narrow(proxy.address).await, ASK).await;
    for number in 0..FRAMES {
        if number % 150 == 0 {
            tokio::time::sleep(millis(150)).await;
        }
        let frame = client.frame_after_pings().await.unwrap();
        assert_eq!(frame.first, FIN | BINARY, "{number}");
        let expected = number.to_be_bytes().repeat(1 + (number as usize * 7) % 5_000);
        assert!(frame.payload == expected, "frame {number} is intact");
    }
    let close = client.frame_after_pings().await.unwrap();
    assert_eq!(close.close(), (1000, "all"));
    client.send(CLOSE, bye(1000, "")).await;
    client.ends().await;
    drop(client);
    ended(&proxy, "completed").await;
}

// === Many ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_sigterm_500_websockets_are_told_over_the_spread() {
    let upstream = agreeing(Ws::echo).await;
    let server = "workers = 2\ndrain = { grace = \"30s\", spread = \"2s\" }";
    let mut proxy = Proxy::to(upstream.address).server(server).start().await;
    let mut clients = Vec::new();
    for _ in 0..500 {
        clients.push(Ws::open(&proxy).await);
    }
    proxy.metric_becomes(&["streams_active{", "kind=\"websocket\""], 500.0).await;
    let asked = Instant::now();
    proxy.signal("TERM");
    let mut told = JoinSet::new();
    for mut client in clients {
        told.spawn(async move {
            let close = client.gets_close().await;
            let after = asked.elapsed();
            assert_eq!(close, (1001, "restarting".to_owned()));
            client.send(CLOSE, bye(close.0, "")).await;
            client.ends().await;
            after
        });
    }
    let told = told.join_all().await;
    let took = *told.iter().max().unwrap();
    assert!(took < Duration::from_secs(3), "the last was told after {took:?}");
    let by = |ms| told.iter().filter(|&&after| after < millis(ms)).count();
    assert!((1..=250).contains(&by(500)), "{} in the first 500 ms", by(500));
    assert!(by(1500) - by(500) >= 150, "{} in the second after", by(1500) - by(500));
    assert_eq!(proxy.exit_code().await, Some(0));
    let exited = asked.elapsed();
    assert!(exited < took + millis(1500), "{exited:?}, all closed at {took:?}");
    let ends = proxy.logged("end", 500).await;
    assert!(ends.iter().all(|end| end["reason"] == "drained"), "{:?}", ends[0]);
    assert!(ends.iter().all(|end| end["closed_by"] == "proxy"), "{:?}", ends[0]);
    assert!(ends.iter().all(|end| end["close_code"] == 1001), "{:?}", ends[0]);
}

#[tokio::test]
async fn at_sigterm_a_client_that_does_not_answer_holds_the_process_no_longer_than_grace() {
    let upstream = agreeing(Ws::hold).await;
    let server = "workers = 2\ndrain = { grace = \"1s\", spread = \"200ms\" }";
    let mut proxy = Proxy::to(upstream.address).server(server).start().await;
    let mut client = Ws::open(&proxy).await;
    let asked = Instant::now();
    proxy.signal("TERM");
    assert_eq!(client.gets_close().await.0, 1001);
    assert!(asked.elapsed() < millis(700), "{:?}", asked.elapsed());
    assert_eq!(proxy.exit_code().await, Some(0));
    let took = asked.elapsed();
    assert!(took < millis(2000), "grace was 1 s, it took {took:?}");
}

#[tokio::test]
async fn at_grace_those_not_told_yet_are_told() {
    let upstream = agreeing(Ws::echo).await;
    let server = "workers = 2\ndrain = { grace = \"500ms\", spread = \"5m\" }";
    let mut proxy = Proxy::to(upstream.address).server(server).start().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Ws::open(&proxy).await);
    }
    let asked = Instant::now();
    proxy.signal("TERM");
    for client in &mut clients {
        assert_eq!(client.gets_close().await, (1001, "restarting".to_owned()));
        client.send(CLOSE, bye(1001, "")).await;
    }
    drop(clients);
    assert_eq!(proxy.exit_code().await, Some(0));
    assert!(asked.elapsed() < millis(1500), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn without_notice_a_websocket_is_cut_at_grace_without_a_word() {
    let upstream = agreeing(Ws::echo).await;
    let server = "workers = 2\ndrain = { grace = \"600ms\", spread = \"0s\", notify = false }";
    let mut proxy = Proxy::to(upstream.address).server(server).start().await;
    let mut client = Ws::open(&proxy).await;
    let asked = Instant::now();
    proxy.signal("TERM");
    client.ends().await;
    let after = asked.elapsed();
    assert!(after >= millis(590), "{after:?}");
    assert_eq!(proxy.exit_code().await, Some(0));
    assert_eq!(proxy.reason().await, "drained");
}

async fn handshakes(workers: u32) {
    const TASKS: usize = 64;
    const ALL: usize = 10_000;
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.request().await;
        upstream.write([AGREE.as_bytes(), &frame(FIN | TEXT, "greeting", None)].concat()).await;
        Ws::of(upstream).echo().await;
    })
    .await;
    let server = format!("workers = {workers}");
    let proxy = Proxy::to(upstream.address).server(&server).start().await;
    let proxy = Arc::new(proxy);
    let left = Arc::new(AtomicUsize::new(ALL));
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (proxy, left) = (Arc::clone(&proxy), Arc::clone(&left));
        tasks.spawn(async move {
            let take =
                || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            while let Ok(number) = take() {
                let mut client = Ws::open(&proxy).await;
                client.gets("greeting").await;
                let text = format!("echo {number}");
                client.send(TEXT, &text).await;
                client.gets(&text).await;
                client.send(CLOSE, bye(1000, "")).await;
                assert_eq!(client.gets_close().await.0, 1000);
                client.ends().await;
            }
        });
    }
    tasks.join_all().await;
    let all = ALL as f64;
    proxy
        .metric_becomes(
            &["streams_closed_total{", "kind=\"websocket\"", "reason=\"completed\""],
            all,
        )
        .await;
    assert_eq!(proxy.sum(&["streams_opened_total{"]).await, all);
    assert_eq!(proxy.sum(&["streams_closed_total{"]).await, all, "not one ended otherwise");
    assert_eq!(proxy.sum(&["streams_active{"]).await, 0.0);
    let frames = async |direction: &str, opcode: &str| {
        let direction = format!("direction=\"{direction}\"");
        proxy.sum(&["websocket_frames_total{", &direction, opcode]).await
    };
    assert_eq!(frames("in", "\"text\"").await, all);
    assert_eq!(frames("out", "\"text\"").await, 2.0 * all);
    assert_eq!(upstream.connections(), ALL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tunnel_is_lost_to_an_instant_101_with_one_worker() {
    handshakes(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tunnel_is_lost_to_an_instant_101_with_two_workers() {
    handshakes(2).await;
}
