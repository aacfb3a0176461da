use std::time::Duration;

use super::harness::{Client, Conversation, Peer, Proxy, Upstream, soon};

const SSE: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// One API of model servers: where it is, how a stream of it begins and how it ends.
pub struct Api {
    path: &'static str,
    pub begins: &'static str,
    ends: &'static str,
    /// Programs that read it with an SDK, and the base URL that they want behind the proxy's.
    pub sdks: &'static [&'static [&'static str]],
    pub base: &'static str,
}

const CHAT: Api = Api {
    path: "/v1/chat/completions",
    begins: "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
             \"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hel\"},\"finish_reason\":null}]}\n\n",
    ends: "data: [DONE]\n\n",
    sdks: &[
        &["python", "broken-stream/openai-python.py"],
        &["node", "broken-stream/openai-node.mjs"],
    ],
    base: "/v1",
};

const RESPONSES: Api = Api {
    path: "/v1/responses",
    begins: "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\
             \"item_id\":\"i\",\"output_index\":0,\"content_index\":0,\"sequence_number\":1,\
             \"logprobs\":[],\"delta\":\"Hel\"}\n\n",
    ends: "event: response.completed\ndata: {\"type\":\"response.completed\"}\n\n",
    sdks: &[
        &["python", "broken-stream/openai-python.py", "--api", "responses"],
        &["node", "broken-stream/openai-node.mjs", "--api", "responses"],
    ],
    base: "/v1",
};

const MESSAGES: Api = Api {
    path: "/v1/messages",
    begins: "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\
             \"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\
             \"stop_reason\":null,\"stop_sequence\":null,\
             \"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n\
             event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\
             \"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
             event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\
             \"delta\":{\"type\":\"text_delta\",\"text\":\"Hel\"}}\n\n",
    ends: "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    sdks: &[
        &["python", "broken-stream/anthropic-python.py"],
        &["node", "broken-stream/anthropic-node.mjs"],
        &["python", "broken-stream/anthropic-python.py", "--api", "stream"],
    ],
    base: "",
};

pub const APIS: [&Api; 3] = [&CHAT, &RESPONSES, &MESSAGES];

/// An upstream that writes `body`, framed, and hangs up.
async fn hanging_up(body: String) -> Upstream {
    Upstream::serve(move |mut upstream: Conversation| {
        let body = body.clone();
        async move {
            if upstream.try_request().await.is_some() {
                upstream.write([SSE, &body].concat()).await;
            }
        }
    })
    .await
}

/// Each SDK of the API raises, with all of `words` in its message and the text that had come.
async fn all_raise(api: &Api, proxy: &Proxy, words: &[&str], text: &str) {
    let base = format!("{}{}", proxy.url(), api.base);
    for sdk in api.sdks {
        let command = [&sdk[..2], &[&base], &sdk[2..]].concat();
        let said = Peer::run(&command).await;
        let message = said["message"].as_str().unwrap();
        assert!(words.iter().all(|word| message.contains(word)), "{sdk:?}: {said}");
        assert_eq!(said["text"], text, "{sdk:?}: {said}");
    }
}

async fn asked(proxy: &Proxy, path: &str) -> Client {
    let mut client = proxy.client().await;
    let body = "{\"stream\":true}";
    client
        .send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    client
}

#[tokio::test]
async fn sdks_raise_our_message_when_a_stream_breaks_between_events() {
    for api in APIS {
        let upstream = hanging_up(chunk(api.begins)).await;
        let proxy = Proxy::to(upstream.address).start().await;
        all_raise(api, &proxy, &["the upstream ended the response before its end"], "Hel").await;
        for end in proxy.log("end") {
            assert_eq!(end["reason"], "truncated", "{}: {end}", api.path);
        }
    }
}

#[tokio::test]
async fn sdks_raise_when_a_stream_breaks_in_an_event() {
    for api in APIS {
        let upstream = hanging_up(chunk(&format!("{}data: {{\"half", api.begins))).await;
        let proxy = Proxy::to(upstream.address).start().await;
        all_raise(api, &proxy, &[], "Hel").await;
        let ends = proxy.logged("end", api.sdks.len()).await;
        assert!(ends.iter().all(|end| end["reason"] == "truncated"), "{}: {ends:?}", api.path);
    }
}

#[tokio::test]
async fn a_proper_end_without_the_mark_is_truncated_and_raised() {
    for api in APIS {
        let upstream = hanging_up(format!("{}0\r\n\r\n", chunk(api.begins))).await;
        let proxy = Proxy::to(upstream.address).start().await;
        all_raise(api, &proxy, &["the upstream ended the response before its end"], "Hel").await;
        assert!(proxy.log("end").iter().all(|end| end["reason"] == "truncated"));
    }
}

#[tokio::test]
async fn a_stream_that_says_its_end_is_completed() {
    for api in APIS {
        let body = [chunk(api.begins), chunk(api.ends), "0\r\n\r\n".into()].concat();
        let upstream = hanging_up(body).await;
        let proxy = Proxy::to(upstream.address).start().await;
        let mut client = asked(&proxy, api.path).await;
        let response = client.response().await;
        assert!(response.complete, "{}", api.path);
        assert_eq!(response.text(), [api.begins, api.ends].concat());
        assert_eq!(proxy.reason().await, "completed", "{}", api.path);
    }
}

#[tokio::test]
async fn sdks_read_a_whole_stream_full_of_heartbeats() {
    for api in APIS {
        let upstream = Upstream::serve(move |mut upstream: Conversation| async move {
            if upstream.try_request().await.is_none() {
                return;
            }
            upstream.write(SSE).await;
            // Once there was an id, a heartbeat with a blank line would be an event without data
            // to the SDKs for Python.
            tokio::time::sleep(Duration::from_millis(300)).await;
            upstream.chunk(["id: 1\n", api.begins].concat()).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            // In one write: some SDKs leave as soon as they have read the mark.
            upstream.write([&chunk(api.ends), "0\r\n\r\n"].concat()).await;
        })
        .await;
        let proxy = Proxy::to(upstream.address).route("sse.heartbeat = \"20ms\"").start().await;
        let base = format!("{}{}", proxy.url(), api.base);
        for sdk in api.sdks {
            let command = [&sdk[..2], &[&base, "--whole"], &sdk[2..]].concat();
            assert_eq!(Peer::run(&command).await["text"], "Hel", "{sdk:?}");
        }
        for end in proxy.logged("end", api.sdks.len()).await {
            assert_eq!(end["reason"], "completed", "{}: {end}", api.path);
            assert!(end["heartbeats"].as_u64().unwrap() > 5, "they were there: {end}");
        }
    }
}

const EARLY: &str = "sse = { commit_after = \"200ms\", heartbeat = \"100ms\" }\nretry.on = []";

/// An upstream that answers so, after a while.
async fn thinking(answer: String) -> Upstream {
    Upstream::serve(move |mut upstream: Conversation| {
        let answer = answer.clone();
        async move {
            while upstream.try_request().await.is_some() {
                tokio::time::sleep(Duration::from_millis(500)).await;
                upstream.write(&answer).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn sdks_raise_what_comes_after_an_early_start() {
    let busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";
    for api in APIS {
        let upstream = thinking(busy.into()).await;
        let proxy = Proxy::to(upstream.address).route(EARLY).start().await;
        all_raise(api, &proxy, &["the upstream answered with status 503"], "").await;
        for end in proxy.log("end") {
            assert_eq!((&end["reason"], &end["status"]), (&"late_failure".into(), &200.into()));
        }
    }
}

#[tokio::test]
async fn sdks_raise_when_an_answer_that_is_no_stream_comes_after_an_early_start() {
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    for api in APIS {
        let upstream = thinking(json.into()).await;
        let proxy = Proxy::to(upstream.address).route(EARLY).start().await;
        all_raise(api, &proxy, &["something else than a plain event stream"], "").await;
        let ends = proxy.logged("end", api.sdks.len()).await;
        assert!(ends.iter().all(|end| end["reason"] == "late_failure"), "{}: {ends:?}", api.path);
    }
}

#[tokio::test]
async fn who_did_not_ask_for_a_stream_gets_the_true_status() {
    let busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";
    let upstream = thinking(busy.into()).await;
    let proxy = Proxy::to(upstream.address).route(EARLY).start().await;
    let mut client = proxy.client().await;
    client.post(CHAT.path, b"{\"stream\":false}").await;
    assert_eq!(client.response().await.status, 503);
}

#[tokio::test]
async fn a_stream_that_begins_early_goes_on_as_any_other() {
    let body = [SSE, &chunk(CHAT.begins), &chunk(CHAT.ends), "0\r\n\r\n"].concat();
    let upstream = thinking(body).await;
    let proxy = Proxy::to(upstream.address).route(EARLY).start().await;
    let mut client = asked(&proxy, CHAT.path).await;
    let response = client.response().await;
    assert!(response.complete && response.status == 200);
    assert!(response.text().starts_with(": keep-alive\n"), "{}", response.text());
    let without = response.text().replace(": keep-alive\n", "");
    assert_eq!(without, [CHAT.begins, CHAT.ends].concat());
    assert_eq!(proxy.reason().await, "completed");
    let mut again = asked(&proxy, CHAT.path).await;
    assert!(soon("another", again.response()).await.complete);
    assert_eq!(upstream.connections(), 1, "the connection is clean and goes back to the pool");
}

#[tokio::test]
async fn while_only_heartbeats_were_sent_another_endpoint_is_tried() {
    let dying = Upstream::serve(|mut upstream: Conversation| async move {
        upstream.request().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    })
    .await;
    let body = [SSE, &chunk(CHAT.begins), &chunk(CHAT.ends), "0\r\n\r\n"].concat();
    let good = thinking(body).await;
    let endpoints = format!(
        "\"http://{}\", {{ url = \"http://{}\", backup = true }}",
        dying.address, good.address
    );
    let route = "sse = { commit_after = \"200ms\", heartbeat = \"100ms\" }\n\
                 retry = { on = [\"reset\"], idempotent_only = false }";
    let proxy = Proxy::to_endpoints(&endpoints).route(route).start().await;
    let response = asked(&proxy, CHAT.path).await.response().await;
    assert!(response.complete, "{}", response.text());
    assert_eq!(response.text().replace(": keep-alive\n", ""), [CHAT.begins, CHAT.ends].concat());
    assert_eq!(proxy.logged("end", 1).await[0]["attempts"], 2);
}

#[tokio::test]
async fn without_error_events_only_the_cut_tells() {
    let upstream = hanging_up(chunk("data: a\n\n")).await;
    let proxy = Proxy::to(upstream.address).route("sse.error_event = false").start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    let response = client.response().await;
    assert_eq!((response.text(), response.complete), ("data: a\n\n", false));
}

#[tokio::test]
async fn what_was_waited_for_in_vain_is_told() {
    for (answer, route, reason) in [
        (SSE, "timeouts.first_event = \"300ms\"", "first_event_timeout"),
        (&[SSE, "9\r\ndata: a\n\n\r\n"].concat(), "timeouts.idle = \"300ms\"", "idle_timeout"),
        (
            &[SSE, "9\r\ndata: a\n\n\r\n"].concat(),
            "timeouts.max_duration = \"300ms\"",
            "max_duration",
        ),
        ("", &format!("{EARLY}\ntimeouts.first_byte = \"400ms\""), "first_byte_timeout"),
    ] {
        let answer = answer.to_owned();
        let upstream = Upstream::serve(move |mut upstream: Conversation| {
            let answer = answer.clone();
            async move {
                upstream.request().await;
                upstream.write(answer).await;
                upstream.hold().await;
            }
        })
        .await;
        let proxy = Proxy::to(upstream.address).route(route).start().await;
        let response = asked(&proxy, CHAT.path).await.response().await;
        assert!(!response.complete, "{reason}");
        let told = format!("\"type\":\"{reason}\"");
        assert!(response.text().contains(&told), "{reason}: {:?}", response.text());
        assert_eq!(proxy.reason().await, reason);
    }
}

#[tokio::test]
async fn a_request_that_waits_in_the_queue_is_begun_early_by_its_body_alone() {
    let body = [SSE, &chunk(CHAT.begins), &chunk(CHAT.ends), "0\r\n\r\n"].concat();
    let upstream = thinking(body).await;
    let endpoint = format!("{{ url = \"http://{}\", max_streams = 1 }}", upstream.address);
    let route = "sse = { commit_after = \"200ms\", heartbeat = \"100ms\" }";
    let proxy = Proxy::to_endpoints(&endpoint).route(route).start().await;
    let mut first = asked(&proxy, CHAT.path).await;
    proxy.metric_becomes(&["longwire_upstream_endpoint_streams{"], 1.0).await;
    let mut second = asked(&proxy, CHAT.path).await;
    assert!(second.head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(second.text().await, ": keep-alive\n", "while the first has the only place");
    assert!(soon("the first", first.response()).await.complete);
    let mut text = String::new();
    while !text.ends_with(CHAT.ends) {
        text.push_str(&second.text().await);
    }
    assert!(text.contains(CHAT.begins));
    let requests = upstream.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[1].ends_with("{\"stream\":true}"), "its body was kept: {}", requests[1]);
}
