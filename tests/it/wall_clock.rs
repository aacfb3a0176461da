use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use crate::harness::{Client, Proxy, Response, Upstream, until};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const DAY: i64 = 24 * 60 * 60;

/// Runs the proxy with a wall clock that is off by what stands in the file.
const FAKE: [&str; 4] = [
    "env",
    // The dynamic linker knows what $LIB is on this machine.
    "LD_PRELOAD=/usr/$LIB/faketime/libfaketimeMT.so.1",
    "FAKETIME_NO_CACHE=1",
    "FAKETIME_DONT_FAKE_MONOTONIC=1",
];

/// Makes the clock jump: to that many seconds from the true time.
fn jump(file: &Path, seconds: i64) {
    // Never empty, not even for a moment.
    let next = file.with_extension("next");
    std::fs::write(&next, format!("{seconds:+}\n")).unwrap();
    std::fs::rename(next, file).unwrap();
}

/// A token that is good for an hour, from a minute ago on.
fn token() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = format!(r#"{{"sub":"eve","nbf":{},"exp":{}}}"#, now - 60, now + 3600);
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", part(r#"{"alg":"HS256","typ":"JWT"}"#), part(&claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// How far a response's `Date` is from the true time, in seconds.
fn off(response: &Response) -> i64 {
    let date = httpdate::parse_http_date(response.field("date").unwrap()).unwrap();
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    seconds(date) - seconds(SystemTime::now())
}

async fn ask(client: &mut Client, path: &str, fields: &str) -> Response {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n")).await;
    client.response().await
}

#[tokio::test]
async fn a_clock_that_jumps_moves_dates_and_tokens_and_nothing_else() {
    let upstream = Upstream::serve(|mut upstream| async move {
        while let Some(asked) = upstream.try_request().await {
            if asked.starts_with("GET /stream ") {
                upstream.write(crate::harness::SSE_HEAD).await;
                return upstream.hold().await;
            }
            upstream.write(OK).await;
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let offset = folder.path().join("offset");
    let secret = folder.path().join("secret");
    jump(&offset, 0);
    std::fs::write(&secret, SECRET).unwrap();
    let file = format!("FAKETIME_TIMESTAMP_FILE={}", offset.display());
    let guarded = format!(
        "[routes.guarded]\npaths = [\"/guarded\"]\nupstream = \"up\"\n\
         auth = {{ type = \"jwt\", algorithms = [\"HS256\"], key_file = {secret:?} }}\n\
         [routes.limited]\npaths = [\"/limited\"]\nupstream = \"up\"\n\
         limits.requests_per_second = {{ rate = 1, burst = 1000 }}\n"
    );
    let proxy = Proxy::to(upstream.address)
        .within(&[&FAKE[..], &[&file]].concat())
        .route("sse.heartbeat = \"100ms\"\ntimeouts = { idle = \"1h\", max_duration = \"2h\" }")
        .tables(&guarded)
        .start()
        .await;
    let mut stream = proxy.client().await;
    stream.get("/stream").await;
    stream.head().await;
    // Idle while the clock jumps, and for less than its timeout of 75 s.
    let mut client = proxy.client().await;
    let authorization = format!("Authorization: Bearer {}\r\n", token());
    for (to, status) in [(0, 200), (DAY, 401), (0, 200), (-DAY, 401), (-40 * 365 * DAY, 401)] {
        jump(&offset, to);
        let response = ask(&mut client, "/guarded", &authorization).await;
        assert_eq!(response.status, status, "at {to} s: {}", response.text());
        assert!((off(&response) - to).abs() <= 2, "{}", response.head);
        for _ in 0..5 {
            assert_eq!(ask(&mut client, "/limited", "").await.status, 200, "at {to} s");
        }
        // Heartbeats come at their pace: neither none nor a flood.
        let began = Instant::now();
        for _ in 0..5 {
            assert_eq!(stream.text().await, ": keep-alive\n");
        }
        let took = began.elapsed();
        let usual = Duration::from_millis(250)..Duration::from_millis(2500);
        assert!(usual.contains(&took), "5 heartbeats took {took:?} at {to} s");
    }
    jump(&offset, 0);
    // One for each client and the stream: what is idle was used again across all jumps.
    assert_eq!(upstream.connections(), 2, "the pool has lost nothing");
    drop(stream);
    until("all have ended", || async {
        proxy.log("end").iter().any(|end| end["path"] == "/stream")
    })
    .await;
    let ends = proxy.log("end");
    let mut ids: Vec<_> = ends.iter().map(|end| end["id"].to_string()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), ends.len(), "ids stay unique");
    let longest = ends.iter().map(|end| end["duration_seconds"].as_f64().unwrap());
    let longest = longest.fold(0.0, f64::max);
    assert!((1.0..60.0).contains(&longest), "durations are true: {longest}");
    let stamps: Vec<_> = ends.iter().map(|end| end["timestamp"].as_str().unwrap()).collect();
    let years: std::collections::BTreeSet<_> = stamps.iter().map(|stamp| &stamp[..4]).collect();
    assert!(years.len() >= 2, "stamps follow the wall clock: {years:?}");
}
