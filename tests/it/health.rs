//! Endpoints that go down and come back, by question (active) and by experience (passive).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Peer, Proxy, Response, Upstream, until};

/// Questions several times a second.
const ACTIVE: &str = "health.active = { path = \"/health\", interval = \"100ms\", \
                      timeout = \"300ms\", healthy_after = 2, unhealthy_after = 2 }";

/// An upstream of which everything can be told.
struct Model {
    upstream: Upstream,
    health: Arc<AtomicU16>,
    answer: Arc<AtomicU16>,
    /// Health questions are read and not answered.
    silent: Arc<AtomicBool>,
}

impl Model {
    async fn start() -> Self {
        let (health, answer) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicU16::new(200)));
        let silent = Arc::new(AtomicBool::new(false));
        let (for_health, for_chat) = (Arc::clone(&health), Arc::clone(&answer));
        let says_nothing = Arc::clone(&silent);
        let upstream = Upstream::serve(move |mut upstream| {
            let (health, answer) = (Arc::clone(&for_health), Arc::clone(&for_chat));
            let silent = Arc::clone(&says_nothing);
            async move {
                while let Some(request) = upstream.try_request().await {
                    let asks_health = request.starts_with("GET /health ");
                    let which = if asks_health { &health } else { &answer };
                    if asks_health && silent.load(Ordering::SeqCst) {
                        return upstream.hold().await;
                    }
                    let status = which.load(Ordering::SeqCst);
                    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok");
                    upstream.write(answer).await;
                }
            }
        })
        .await;
        Self { upstream, health, answer, silent }
    }

    fn name(&self) -> String {
        self.upstream.address.to_string()
    }

    /// Requests that were not questions about its health.
    fn requests(&self) -> usize {
        self.upstream.requests().iter().filter(|one| !one.starts_with("GET /health ")).count()
    }

    fn questions(&self) -> usize {
        self.upstream.requests().len() - self.requests()
    }
}

async fn two() -> (Model, Model) {
    (Model::start().await, Model::start().await)
}

fn proxy(models: &[&Model], health: &str) -> crate::harness::ProxyBuilder {
    let addresses: Vec<_> = models.iter().map(|model| model.upstream.address).collect();
    Proxy::to_all(&addresses).upstream(health).route("retry.attempts = 0")
}

async fn get(proxy: &Proxy) -> Response {
    let mut client = proxy.client().await;
    client.get("/").await;
    client.response().await
}

async fn up(proxy: &Proxy, model: &Model) -> f64 {
    let endpoint = format!("endpoint=\"{}\"", model.name());
    proxy.metric(&["longwire_upstream_endpoint_up{", &endpoint]).await
}

async fn becomes(proxy: &Proxy, model: &Model, value: f64) {
    until(&format!("up is {value}"), || async { up(proxy, model).await == value }).await;
}

/// The log lines with that message about that endpoint.
fn lines(proxy: &Proxy, message: &str, model: &Model) -> Vec<Value> {
    let name = model.name();
    proxy.log(message).into_iter().filter(|line| line["endpoint"] == *name).collect()
}

#[tokio::test]
async fn an_endpoint_that_says_it_is_ill_gets_nothing_until_it_is_well() {
    let (a, b) = two().await;
    let proxy = proxy(&[&a, &b], ACTIVE).start().await;
    until("both were asked", || async { a.questions() > 1 && b.questions() > 1 }).await;
    assert_eq!((up(&proxy, &a).await, up(&proxy, &b).await), (1.0, 1.0));
    for round in 1..=2 {
        a.health.store(503, Ordering::SeqCst);
        becomes(&proxy, &a, 0.0).await;
        let (before, others) = (a.requests(), b.requests());
        for _ in 0..10 {
            assert_eq!(get(&proxy).await.status, 200);
        }
        assert_eq!((a.requests() - before, b.requests() - others), (0, 10), "round {round}");
        assert_eq!(lines(&proxy, "endpoint is down", &a).len(), round, "logged once");
        a.health.store(200, Ordering::SeqCst);
        becomes(&proxy, &a, 1.0).await;
        assert_eq!(lines(&proxy, "endpoint is up", &a).len(), round, "logged once");
        until("it gets requests again", || async {
            get(&proxy).await;
            a.requests() > before
        })
        .await;
    }
    assert_eq!(lines(&proxy, "endpoint is down", &b), [] as [Value; 0], "the other was well");
    let questions = "longwire_upstream_health_checks_total{";
    let (all, asked) = (proxy.sum(&[questions]).await, (a.questions() + b.questions()) as f64);
    assert!(all > 0.0 && (all - asked).abs() <= 4.0, "{all} counted, {asked} came");
}

#[tokio::test]
async fn one_bad_answer_is_not_enough() {
    let a = Model::start().await;
    let rules = ACTIVE.replace("unhealthy_after = 2", "unhealthy_after = 1000");
    let proxy = proxy(&[&a], &rules).start().await;
    until("it was asked", || async { a.questions() > 0 }).await;
    a.health.store(500, Ordering::SeqCst);
    let before = a.questions();
    until("it was asked again", || async { a.questions() > before + 3 }).await;
    assert_eq!(up(&proxy, &a).await, 1.0);
    assert_eq!(get(&proxy).await.status, 200);
}

#[tokio::test]
async fn a_question_without_an_answer_is_a_bad_answer() {
    let (a, b) = two().await;
    a.silent.store(true, Ordering::SeqCst);
    let proxy = proxy(&[&a, &b], ACTIVE).start().await;
    becomes(&proxy, &a, 0.0).await;
    assert_eq!(up(&proxy, &b).await, 1.0);
    a.silent.store(false, Ordering::SeqCst);
    becomes(&proxy, &a, 1.0).await;
}

#[tokio::test]
async fn only_the_expected_statuses_are_well() {
    let (a, b) = two().await;
    a.health.store(301, Ordering::SeqCst);
    b.health.store(418, Ordering::SeqCst);
    let rules = ACTIVE.replace("interval", "expect_status = [\"200-204\", \"418\"], interval");
    let proxy = proxy(&[&a, &b], &rules).start().await;
    becomes(&proxy, &a, 0.0).await;
    until("the other was asked", || async { b.questions() > 2 }).await;
    assert_eq!(up(&proxy, &b).await, 1.0);
}

#[tokio::test]
async fn when_all_are_down_it_is_503_at_once_and_over_by_itself() {
    let (a, b) = two().await;
    for model in [&a, &b] {
        model.health.store(503, Ordering::SeqCst);
    }
    let route = "limits.queue = { size = 100, timeout = \"30s\" }";
    let proxy = proxy(&[&a, &b], ACTIVE).route(route).start().await;
    for model in [&a, &b] {
        becomes(&proxy, model, 0.0).await;
    }
    let asked = Instant::now();
    let response = get(&proxy).await;
    assert_eq!(response.error(), ("no_endpoint".into(), 503));
    assert!(response.field("retry-after").is_some(), "{}", response.head);
    assert!(asked.elapsed() < Duration::from_secs(2), "nobody waits for what is down");
    assert_eq!((a.requests(), b.requests()), (0, 0));
    b.health.store(200, Ordering::SeqCst);
    until("it is back", || async { get(&proxy).await.status == 200 }).await;
    assert_eq!(a.requests(), 0);
}

#[tokio::test]
async fn a_node_server_with_a_health_page_is_watched() {
    let mut server = Peer::serve(&["node", "model-server/server.mjs"]).await;
    let proxy = Proxy::to(server.address).upstream(ACTIVE).start().await;
    let is = |value| ["longwire_upstream_endpoint_up{".to_owned(), format!("}} {value}")];
    for (line, value) in [("health 503", 0), ("health 200", 1), ("refuse", 0), ("listen", 1)] {
        server.tell(line).await;
        until(&format!("{line} is noticed"), || async {
            let parts = is(value);
            proxy
                .admin("/metrics")
                .await
                .1
                .lines()
                .any(|sample| sample.starts_with(&parts[0]) && sample.ends_with(&parts[1]))
        })
        .await;
    }
    let states = |message: &str| proxy.log(message).len();
    assert_eq!((states("endpoint is down"), states("endpoint is up")), (2, 2), "logged once each");
}

#[tokio::test]
async fn failures_in_a_row_eject_an_endpoint_for_longer_each_time() {
    let (a, b) = two().await;
    let rules = "health.passive = { failures = 3, eject_for = \"300ms\", max_eject_for = \"1s\" }";
    let proxy = proxy(&[&a, &b], rules).start().await;
    a.answer.store(503, Ordering::SeqCst);
    let failed = AtomicUsize::new(0);
    until("it is ejected", || async {
        let status = get(&proxy).await.status;
        failed.fetch_add(usize::from(status == 503), Ordering::SeqCst);
        up(&proxy, &a).await == 0.0
    })
    .await;
    assert_eq!((failed.into_inner(), a.requests()), (3, 3), "failures that clients saw");
    let ejected = |count| {
        let (proxy, a) = (&proxy, &a);
        async move {
            until(&format!("ejection {count}"), || async {
                get(proxy).await;
                lines(proxy, "endpoint is ejected", a).len() >= count
            })
            .await;
            (a.requests(), Instant::now())
        }
    };
    let (requests, first) = ejected(1).await;
    let (second_requests, second) = ejected(2).await;
    let (third_requests, third) = ejected(3).await;
    let (_, fourth) = ejected(4).await;
    assert_eq!(second_requests - requests, 1, "one failure on trial is enough");
    assert_eq!(third_requests - second_requests, 1, "again");
    let gaps = [second - first, third - second, fourth - third].map(|gap| gap.as_millis());
    assert!((250..600).contains(&gaps[0]), "300 ms: {gaps:?}");
    assert!((550..950).contains(&gaps[1]), "600 ms: {gaps:?}");
    assert!((950..1500).contains(&gaps[2]), "no more than a second: {gaps:?}");
    let endpoint = format!("endpoint=\"{}\"", a.name());
    let count = proxy.metric(&["longwire_upstream_ejections_total{", &endpoint]).await;
    assert_eq!(count, 4.0);
    a.answer.store(200, Ordering::SeqCst);
    becomes(&proxy, &a, 1.0).await;
    until("it gets requests again", || async {
        get(&proxy).await;
        a.requests() > third_requests + 3
    })
    .await;
    assert_eq!(lines(&proxy, "endpoint is up", &a).len(), 1, "logged once");
}

#[tokio::test]
async fn no_more_than_the_allowed_share_is_ejected() {
    let mut models = Vec::new();
    for _ in 0..4 {
        models.push(Model::start().await);
    }
    let rules = "health.passive = { failures = 1, eject_for = \"1m\", max_ejected_percent = 50 }";
    let all: Vec<_> = models.iter().collect();
    let proxy = proxy(&all, rules).start().await;
    for model in &models {
        model.answer.store(503, Ordering::SeqCst);
    }
    for _ in 0..20 {
        assert_eq!(get(&proxy).await.status, 503, "the model's own answer");
    }
    assert_eq!(proxy.sum(&["longwire_upstream_endpoint_up{"]).await, 2.0, "of 4");
    assert_eq!(proxy.sum(&["longwire_upstream_ejections_total{"]).await, 2.0);
    let requests: usize = models.iter().map(Model::requests).sum();
    assert_eq!(requests, 20, "the others are still asked");
}

#[tokio::test]
async fn failures_that_are_not_in_a_row_eject_nobody() {
    let a = Model::start().await;
    let rules = "health.passive = { failures = 2, max_ejected_percent = 100 }";
    let proxy = proxy(&[&a], rules).start().await;
    for round in 0..5 {
        for status in [503, 200] {
            a.answer.store(status, Ordering::SeqCst);
            assert_eq!(get(&proxy).await.status, status, "round {round}");
        }
    }
    assert_eq!(proxy.sum(&["longwire_upstream_ejections_total{"]).await, 0.0);
}

#[tokio::test]
async fn clients_that_leave_say_nothing_about_the_endpoint() {
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.request().await;
        upstream.closed().await;
    })
    .await;
    let rules = "health.passive = { failures = 2, max_ejected_percent = 100 }";
    let proxy = Proxy::to(upstream.address).upstream(rules).start().await;
    for number in 1..=5 {
        let mut client = proxy.client().await;
        client.get("/").await;
        until("it has arrived", || async { upstream.requests().len() == number }).await;
        drop(client);
        proxy.logged("end", number).await;
    }
    assert_eq!(proxy.sum(&["longwire_upstream_endpoint_up{"]).await, 1.0);
}
