use std::any::Any;
use std::collections::BTreeSet;
use std::time::Duration;

use longwire::live::reason::CloseReason;
use tokio::io::AsyncWriteExt;

use crate::crash;
use crate::harness::{Client, Conversation, Proxy, SSE_HEAD, Upstream};
use crate::websocket::{ASK, Ws, agreeing, rules};

/// A proxy with one exchange that has ended, or is about to, and what must not go before that.
struct Scene {
    proxy: Proxy,
    _peers: Vec<Box<dyn Any>>,
}

/// Every reason has a scene of its name in `scene`, and becomes a test.
macro_rules! reasons {
    ($($reason:ident)*) => {
        const SCENES: &[&str] = &[$(stringify!($reason)),*];

        $(
            #[tokio::test]
            async fn $reason() {
                shows(stringify!($reason), scene::$reason().await).await;
            }
        )*
    };
}

reasons! {
    completed
    client_closed
    upstream_closed
    truncated
    upstream_reset
    late_failure
    first_byte_timeout
    first_event_timeout
    idle_timeout
    send_timeout
    max_duration
    slow_client
    pong_timeout
    drained
    killed
    limit
    protocol_error
    proxy_error
}

#[test]
fn every_reason_of_the_table_has_a_scene() {
    let table: BTreeSet<_> = CloseReason::ALL.iter().map(|reason| reason.row().label).collect();
    assert_eq!(SCENES.iter().copied().collect::<BTreeSet<_>>(), table);
}

/// One line in the log and one in the metrics, with the same reason, kind and route.
async fn shows(reason: &str, scene: Scene) {
    let proxy = scene.proxy;
    let end = proxy.logged("end", 1).await.remove(0);
    assert_eq!(end["reason"], reason, "{end}");
    let row = CloseReason::ALL.iter().map(|one| one.row()).find(|row| row.label == reason).unwrap();
    assert_eq!(end["error"], row.is_error, "{end}");
    let [route, kind] = ["route", "kind"].map(|label| {
        let value = end[label].as_str().unwrap();
        format!("{label}=\"{value}\"")
    });
    let label = format!("reason=\"{reason}\"");
    let closed = "longwire_streams_closed_total{";
    assert_eq!(proxy.metric(&[closed, &route, &kind, &label]).await, 1.0, "{end}");
    assert_eq!(proxy.sum(&[closed]).await, 1.0, "it is counted once");
    let opened = proxy.sum(&["longwire_streams_opened_total{"]).await;
    let active = proxy.sum(&["longwire_streams_active{"]).await;
    assert_eq!(opened, 1.0 + active, "opened is closed and active");
    assert_eq!(proxy.log("end").len(), 1);
    if reason == "completed" {
        // The table of those that have ended keeps no short response that went well.
        return;
    }
    let (_, ended) = proxy.admin("/api/streams/ended").await;
    let ended: serde_json::Value = serde_json::from_str(&ended).unwrap();
    assert_eq!(ended["streams"][0]["ended"]["reason"], reason, "{ended}");
}

/// How each comes about.
mod scene {
    use super::*;

    /// A GET of `/`, under these lines of the route, from an upstream that does that.
    async fn asked<S, F>(route: &str, script: S) -> (Proxy, Client, Upstream)
    where
        S: Fn(Conversation) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let upstream = Upstream::serve(script).await;
        let proxy = Proxy::to(upstream.address).route(route).start().await;
        let mut client = proxy.client().await;
        client.get("/").await;
        (proxy, client, upstream)
    }

    /// The same from an upstream that says only this, and hangs up if `then` says so.
    async fn told(route: &str, text: &'static str, then: Then) -> Scene {
        let script = move |mut upstream: Conversation| async move {
            upstream.request().await;
            upstream.write(text).await;
            match then {
                Then::Hold => upstream.hold().await,
                Then::Close => drop(upstream),
                Then::Reset => upstream.reset(),
            }
        };
        let (proxy, client, upstream) = asked(route, script).await;
        scene(proxy, vec![Box::new(client), Box::new(upstream)])
    }

    #[derive(Clone, Copy)]
    enum Then {
        Hold,
        Close,
        Reset,
    }

    fn scene(proxy: Proxy, peers: Vec<Box<dyn Any>>) -> Scene {
        Scene { proxy, _peers: peers }
    }

    const EVENT: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                         Transfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n";

    pub async fn completed() -> Scene {
        told("", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Then::Hold).await
    }

    pub async fn client_closed() -> Scene {
        let script = |mut upstream: Conversation| async move {
            upstream.request().await;
            upstream.write(EVENT).await;
            upstream.closed().await;
        };
        let (proxy, mut client, upstream) = asked("", script).await;
        client.head().await;
        drop(client);
        scene(proxy, vec![Box::new(upstream)])
    }

    pub async fn upstream_closed() -> Scene {
        told("", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", Then::Close).await
    }

    pub async fn truncated() -> Scene {
        told("", EVENT, Then::Close).await
    }

    pub async fn upstream_reset() -> Scene {
        told("", EVENT, Then::Reset).await
    }

    pub async fn late_failure() -> Scene {
        let script = |mut upstream: Conversation| async move {
            upstream.request().await;
            // Until the answer has begun without it.
            tokio::time::sleep(Duration::from_millis(500)).await;
            let busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";
            upstream.write(busy).await;
            upstream.hold().await;
        };
        let upstream = Upstream::serve(script).await;
        let early = "sse = { heartbeat = \"50ms\", commit_after = \"100ms\" }\nretry.on = []";
        let proxy = Proxy::to(upstream.address).route(early).start().await;
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n").await;
        client.response().await;
        scene(proxy, vec![Box::new(client), Box::new(upstream)])
    }

    pub async fn first_byte_timeout() -> Scene {
        told("timeouts.first_byte = \"100ms\"", "", Then::Hold).await
    }

    pub async fn first_event_timeout() -> Scene {
        told("timeouts.first_event = \"100ms\"", SSE_HEAD, Then::Hold).await
    }

    pub async fn idle_timeout() -> Scene {
        told("timeouts.idle = \"100ms\"", EVENT, Then::Hold).await
    }

    pub async fn send_timeout() -> Scene {
        // Not one read: the kernel's buffers fill.
        let upstream = Upstream::serve(|upstream| async move {
            std::future::pending::<()>().await;
            drop(upstream);
        })
        .await;
        let route = "timeouts.send = \"300ms\"\nlimits.max_request_body = \"off\"";
        let proxy = Proxy::to(upstream.address).route(route).start().await;
        let mut client = proxy.client().await;
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000000\r\n\r\n").await;
        let block = vec![b'x'; 64 * 1024];
        let writing =
            tokio::spawn(async move { while client.stream.write_all(&block).await.is_ok() {} });
        scene(proxy, vec![Box::new(writing), Box::new(upstream)])
    }

    pub async fn max_duration() -> Scene {
        told("timeouts.max_duration = \"200ms\"", EVENT, Then::Hold).await
    }

    pub async fn slow_client() -> Scene {
        let script = |mut upstream: Conversation| async move {
            upstream.request().await;
            upstream.write(SSE_HEAD).await;
            let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
            while upstream.stream.write_all(chunk.as_bytes()).await.is_ok() {}
        };
        let route = "stream.slow_client_timeout = \"300ms\"";
        let (proxy, client, upstream) = asked(route, script).await;
        scene(proxy, vec![Box::new(client), Box::new(upstream)])
    }

    pub async fn pong_timeout() -> Scene {
        let upstream = agreeing(Ws::hold).await;
        let websocket = rules("ping = \"100ms\"\npong_timeout = \"200ms\"");
        let proxy = Proxy::to(upstream.address).tables(&websocket).start().await;
        let mut client = Ws::open(&proxy).await;
        // It reads what it gets and answers nothing.
        while client.try_frame().await.is_some() {}
        scene(proxy, vec![Box::new(upstream)])
    }

    pub async fn killed() -> Scene {
        let (proxy, mut client, upstream) = asked("", |mut upstream| async move {
            upstream.request().await;
            upstream.write(SSE_HEAD).await;
            upstream.chunk("data: a\n\n").await;
            upstream.hold().await;
        })
        .await;
        client.head().await;
        client.text().await;
        let (_, streams) = proxy.admin("/api/streams").await;
        let streams: serde_json::Value = serde_json::from_str(&streams).unwrap();
        let id = streams["streams"][0]["id"].as_str().unwrap();
        assert_eq!(proxy.ask_admin("DELETE", &format!("/api/streams/{id}")).await.0, 202);
        scene(proxy, vec![Box::new(client), Box::new(upstream)])
    }

    /// A WebSocket is told to go at once; a stream in the middle of an event keeps the process.
    pub async fn drained() -> Scene {
        let upstream = Upstream::serve(|mut upstream| async move {
            if upstream.request().await.contains("Upgrade: websocket") {
                upstream.write(crate::websocket::AGREE).await;
                return Ws::of(upstream).echo().await;
            }
            upstream.write(SSE_HEAD).await;
            upstream.chunk("data: unfinished").await;
            upstream.hold().await;
        })
        .await;
        let drain = "workers = 2\ndrain = { grace = \"1m\", min_wait = \"0s\", spread = \"0s\" }";
        let proxy = Proxy::to(upstream.address).server(drain).start().await;
        let mut stays = proxy.client().await;
        stays.get("/").await;
        stays.head().await;
        stays.text().await;
        let mut client = Ws::ask(proxy.client().await, ASK).await;
        proxy.signal("TERM");
        client.gets_close().await;
        scene(proxy, vec![Box::new(client), Box::new(stays), Box::new(upstream)])
    }

    pub async fn limit() -> Scene {
        let upstream = Upstream::serve(|mut upstream| async move { upstream.hold().await }).await;
        let route = "limits.max_request_body = \"1KiB\"";
        let proxy = Proxy::to(upstream.address).route(route).start().await;
        let mut client = proxy.client().await;
        client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        client.send(format!("401\r\n{}\r\n", "x".repeat(1025))).await;
        assert_eq!(client.response().await.status, 413);
        scene(proxy, vec![Box::new(client), Box::new(upstream)])
    }

    pub async fn protocol_error() -> Scene {
        told("", "this is not HTTP\r\n\r\n", Then::Hold).await
    }

    pub async fn proxy_error() -> Scene {
        let upstream = crash::upstream(SSE_HEAD).await;
        let proxy = crash::panicking(&upstream, "").start().await;
        let mut client = proxy.client().await;
        client.get("/").await;
        assert!(!client.response().await.complete);
        scene(proxy, vec![Box::new(client), Box::new(upstream)])
    }
}
