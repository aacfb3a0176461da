use std::collections::{BTreeMap, BTreeSet};

use tokio::io::AsyncWriteExt;

use crate::harness::{Authority, Page, Proxy, Upstream, until};
use crate::websocket::{AGREE, CLOSE, TEXT, Ws, agreeing, bye, rules};

const DOCUMENT: &str = include_str!("../../docs/metrics.md");

/// Labels whose values come from the configuration, the build or the answer, not from a list.
pub const FREE: [&str; 8] =
    ["listener", "route", "upstream", "endpoint", "name", "version", "revision", "code"];

/// The page of a proxy that has seen a bit of everything.
pub async fn page() -> Page {
    let upstream = Upstream::serve(|mut upstream| async move {
        while let Some(request) = upstream.try_request().await {
            if request.contains("Upgrade: websocket") {
                upstream.write(AGREE).await;
                return Ws::of(upstream).echo().await;
            }
            let kind = if request.starts_with("GET /sse") { "text/event-stream" } else { "a/b" };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n");
            if request.starts_with("GET /length") {
                upstream.write(format!("{head}Content-Length: 2\r\n\r\nok")).await;
                continue;
            }
            upstream.write(format!("{head}Transfer-Encoding: chunked\r\n\r\n")).await;
            upstream.chunk("data: a\n\n").await;
            upstream.chunk("data: b\n\n").await;
            upstream.last_chunk().await;
        }
    })
    .await;
    let authority = Authority::new();
    let certificate = authority.sign("a", &["a.example"]);
    let tables = format!(
        "[listeners.tls]\nbind = [\"127.0.0.1:0\"]\ntls.certificates = [{certificate}]\n\
         [routes.own]\npaths = [\"=/own\"]\nrespond = {{ status = 200, body = \"own\" }}\n\
         [routes.keys]\npaths = [\"/keys\"]\nupstream = \"up\"\nlimits.queue.size = 2\n\
         [routes.keys.auth]\ntype = \"api_key\"\nkeys = [{{ name = \"a\", sha256 = \"{}\" }}]",
        "0".repeat(64)
    );
    let proxy = Proxy::to(upstream.address).tables(&tables).start().await;
    let mut client = proxy.client().await;
    for (path, status) in [("/sse", 200), ("/stream", 200), ("/length", 200), ("/own", 200)] {
        client.get(path).await;
        let response = client.response().await;
        assert_eq!((response.status, response.complete), (status, true), "{path}");
    }
    client.get("/keys").await;
    assert_eq!(client.response().await.status, 401);
    let mut socket = Ws::open(&proxy).await;
    socket.send(TEXT, "hello").await;
    socket.gets("hello").await;
    socket.send(CLOSE, bye(1000, "")).await;
    assert_eq!(socket.gets_close().await.0, 1000);
    socket.stream.shutdown().await.unwrap();
    proxy.logged("end", 6).await;
    Page::parse(&proxy.admin("/metrics").await.1)
}

/// The rows of every table whose head begins with `first`, without back quotes.
fn rows(first: &str) -> Vec<Vec<String>> {
    let head = format!("| {first} |");
    let mut found = Vec::new();
    let mut inside = false;
    for line in DOCUMENT.lines() {
        if line.starts_with(&head) {
            inside = true;
        } else if !line.starts_with('|') {
            inside = false;
        } else if inside && !line.starts_with("|-") {
            let cells = line.trim_matches('|').split('|');
            found.push(cells.map(|cell| cell.trim().replace('`', "")).collect());
        }
    }
    assert!(!found.is_empty(), "no table begins with {first}");
    found
}

fn words(cell: &str) -> BTreeSet<&str> {
    cell.split(',').map(str::trim).filter(|word| !word.is_empty()).collect()
}

#[tokio::test]
async fn the_document_has_every_family_and_no_other() {
    let page = page().await;
    let buckets = rows("buckets").into_iter().map(|row| {
        let bounds = row[1].split(' ').map(|bound| bound.parse::<f64>().unwrap());
        (row[0].clone(), bounds.collect::<Vec<_>>())
    });
    let buckets: BTreeMap<_, _> = buckets.collect();
    let (mut named, mut used) = (BTreeSet::new(), BTreeSet::new());
    for row in rows("metric") {
        let [name, kind, labels, bounds, help] = &row[..] else { panic!("{row:?}") };
        let process = name.starts_with("process_");
        let full = if process { name.clone() } else { format!("longwire_{name}") };
        let family = page.families.get(&full).unwrap_or_else(|| panic!("there is no {full}"));
        assert_eq!((kind, help), (&family.kind, &family.help), "{full}");
        assert_eq!(words(labels), family.labels(), "labels of {full}");
        let documented = buckets.get(bounds).cloned().unwrap_or_default();
        assert_eq!(documented, family.bounds(), "buckets of {full}");
        used.insert(bounds.clone());
        assert!(named.insert(full), "{name} has two rows");
    }
    let missing: Vec<_> = page.families.keys().filter(|name| !named.contains(*name)).collect();
    assert!(missing.is_empty(), "docs/metrics.md says nothing of {missing:?}");
    assert!(buckets.keys().all(|name| used.contains(name)), "buckets that nobody has");
}

#[tokio::test]
async fn the_document_has_every_value_of_a_label_and_all_exist_from_the_start() {
    let page = page().await;
    let mut documented = BTreeMap::new();
    for row in rows("label") {
        let [label, families, values] = &row[..] else { panic!("{row:?}") };
        for family in words(families) {
            let values: BTreeSet<_> = words(values).into_iter().map(str::to_owned).collect();
            let key = (format!("longwire_{family}"), label.clone());
            assert!(documented.insert(key, values).is_none(), "{family} has {label} twice");
        }
    }
    for (name, family) in &page.families {
        for label in family.labels() {
            if FREE.contains(&label) {
                continue;
            }
            let found: BTreeSet<_> = family.values(label).into_iter().map(str::to_owned).collect();
            let said = documented.remove(&(name.clone(), label.to_owned()));
            if label == "reason" && name.ends_with("streams_closed_total") {
                // The README has that table; a test of its own compares it with the code.
                assert!(said.is_none() && found.contains("completed"));
                continue;
            }
            assert_eq!(said.as_ref(), Some(&found), "{label} of {name}");
        }
    }
    assert!(documented.is_empty(), "nobody has these: {documented:?}");
}

#[tokio::test]
async fn pings_and_pongs_of_ours_are_no_delay_of_ours() {
    let upstream =
        agreeing(
            |mut upstream| async move { while upstream.frame_after_pings().await.is_some() {} },
        )
        .await;
    let websocket = rules("ping = \"100ms\"\npong_timeout = \"5s\"");
    let proxy = Proxy::to(upstream.address).tables(&websocket).start().await;
    let mut client = Ws::open(&proxy).await;
    let answering = tokio::spawn(async move { client.frame_after_pings().await });
    until("there were some pings", || async {
        proxy.sum(&["heartbeats_sent_total{", "kind=\"websocket\""]).await >= 8.0
    })
    .await;
    let page = Page::parse(&proxy.admin("/metrics").await.1);
    let delay = page.sum("longwire_forward_delay_seconds_sum", &[("kind", "websocket")]);
    assert!(delay < 0.05, "nothing was passed on, and yet it took {delay} s");
    answering.abort();
}

#[tokio::test]
async fn the_wait_that_ends_a_stream_is_counted() {
    let upstream = Upstream::sse(|mut upstream| async move {
        let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
        while upstream.stream.write_all(chunk.as_bytes()).await.is_ok() {}
    })
    .await;
    let websockets = agreeing(|mut upstream| async move {
        let message = crate::websocket::frame(0x82, "x".repeat(0x8000), None);
        while upstream.stream.write_all(&message).await.is_ok() {}
    })
    .await;
    let rules = "stream.slow_client_timeout = \"300ms\"";
    for (upstream, kind) in [(&upstream, "sse"), (&websockets, "websocket")] {
        let proxy = Proxy::to(upstream.address).route(rules).start().await;
        let mut client = proxy.client().await;
        if kind == "sse" {
            client.get("/").await;
        } else {
            client.send(crate::websocket::ASK).await;
        }
        assert_eq!(proxy.reason().await, "slow_client");
        let page = Page::parse(&proxy.admin("/metrics").await.1);
        let stalled = page.sum("longwire_client_stall_seconds_sum", &[("kind", kind)]);
        assert!(stalled >= 0.3, "{kind}: {stalled}");
    }
}

#[tokio::test]
async fn answers_of_our_own_are_among_the_bytes() {
    let proxy = Proxy::to("127.0.0.1:1".parse().unwrap())
        .tables("[routes.own]\npaths = [\"=/own\"]\nrespond = { status = 200, body = \"own\" }")
        .start()
        .await;
    let mut client = proxy.client().await;
    client.get("/own").await;
    assert_eq!(client.response().await.text(), "own");
    client.send("HEAD /own HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.head().await;
    client.get("/refused").await;
    let refused = client.response().await.body.len();
    let bytes = |route: &'static str| {
        ["longwire_bytes_total{", "direction=\"out\"", "kind=\"http\"", route]
    };
    proxy.metric_becomes(&bytes("route=\"own\""), 3.0).await;
    proxy.metric_becomes(&bytes("route=\"all\""), refused as f64).await;
    let ends = proxy.logged("end", 3).await;
    let logged: Vec<_> = ends.iter().map(|end| end["bytes_out"].as_u64().unwrap()).collect();
    assert_eq!(logged, [3, 0, refused as u64]);
}

#[tokio::test]
async fn a_close_frame_of_ours_is_among_the_bytes_that_the_client_gets() {
    let upstream = agreeing(|upstream| async move { drop(upstream) }).await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = Ws::open(&proxy).await;
    let (code, reason) = client.gets_close().await;
    client.ends().await;
    assert_eq!(code, 1011);
    let end = proxy.logged("end", 1).await.remove(0);
    assert_eq!(end["bytes_out"], 2 + 2 + reason.len(), "its head, code and reason: {end}");
}
