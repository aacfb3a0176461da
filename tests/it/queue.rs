//! Upstreams that are full: who waits, in which order, and who is sent away.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::harness::{Client, Proxy, Upstream, soon, until};

const WAITING: [&str; 2] = ["longwire_upstream_queue_length{", "upstream=\"up\""];

/// An upstream that streams to everybody until it may end.
struct Model {
    upstream: Upstream,
    /// Requests whose answer has not ended.
    open: Arc<AtomicUsize>,
    /// The most of them at once.
    peak: Arc<AtomicUsize>,
    /// `X-Number` of the requests in the order in which they came.
    order: Arc<Mutex<Vec<usize>>>,
    /// One answer ends for each permit.
    may_end: Arc<Semaphore>,
}

impl Model {
    async fn start() -> Self {
        Self::lasting(Duration::ZERO).await
    }

    /// Its answers last so long after their permit.
    async fn lasting(time: Duration) -> Self {
        let (open, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (order, may_end) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Semaphore::new(0)));
        let (now, most) = (Arc::clone(&open), Arc::clone(&peak));
        let (came, ending) = (Arc::clone(&order), Arc::clone(&may_end));
        let upstream = Upstream::serve(move |mut upstream| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            let (came, ending) = (Arc::clone(&came), Arc::clone(&ending));
            async move {
                while let Some(request) = upstream.try_request().await {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    came.lock().unwrap().push(number_in(&request));
                    upstream.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                    let ending = async {
                        ending.acquire().await.unwrap().forget();
                        tokio::time::sleep(time).await;
                    };
                    let ends = tokio::select! {
                        () = ending => true,
                        () = upstream.hold() => false,
                    };
                    // Before the last byte: whoever has read it finds the place free.
                    now.fetch_sub(1, Ordering::SeqCst);
                    if !ends {
                        return;
                    }
                    upstream.last_chunk().await;
                }
            }
        })
        .await;
        Self { upstream, open, peak, order, may_end }
    }

    fn order(&self) -> Vec<usize> {
        self.order.lock().unwrap().clone()
    }

    async fn has(&self, count: usize) {
        until(&format!("{count} are open at the model"), || async {
            self.open.load(Ordering::SeqCst) == count
        })
        .await;
    }
}

fn number_in(request: &str) -> usize {
    let line = request.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("x-number").then_some(value)
    });
    line.unwrap().parse().unwrap()
}

/// A proxy before that model, with so many places there and such a queue.
async fn proxy(model: &Model, places: usize, queue: &str) -> Proxy {
    let url = model.upstream.address;
    let endpoint = format!("{{ url = \"http://{url}\", max_streams = {places} }}");
    Proxy::to_endpoints(&endpoint).route(&format!("limits.queue = {queue}")).start().await
}

async fn ask(client: &mut Client, number: usize) {
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Number: {number}\r\n\r\n")).await;
}

/// The request of that number from 127.0.0.`last`, which has to wait as the `place`-th.
async fn waits(proxy: &Proxy, last: u8, number: usize, place: usize) -> Client {
    let mut client = Client::connect_from([127, 0, 0, last], proxy.address).await;
    ask(&mut client, number).await;
    proxy.metric_becomes(&WAITING, place as f64).await;
    client
}

/// Fills the only place with a request of number 0.
async fn fill(proxy: &Proxy, model: &Model) -> Client {
    let mut client = proxy.client().await;
    ask(&mut client, 0).await;
    client.head().await;
    model.has(1).await;
    client
}

/// The next `count` requests that get the place, each after the one before has ended.
async fn served(model: &Model, count: usize) -> Vec<usize> {
    let before = model.order().len();
    for number in 1..=count {
        model.may_end.add_permits(1);
        until("the next has come", || async { model.order().len() >= before + number }).await;
    }
    model.order().split_off(before)
}

#[tokio::test]
async fn a_thousand_clients_share_thirty_two_places_in_the_order_in_which_they_came() {
    const CLIENTS: usize = 1000;
    const PLACES: usize = 8;
    // Requests that come at the same time are read in any order; waves come one after the other.
    const WAVE: usize = 20;
    let mut models = Vec::new();
    for _ in 0..4 {
        models.push(Model::lasting(Duration::from_millis(20)).await);
    }
    let endpoints: Vec<_> = models
        .iter()
        .map(|m| format!("{{ url = \"http://{}\", max_streams = {PLACES} }}", m.upstream.address))
        .collect();
    let proxy = Proxy::to_endpoints(&endpoints.join(", "))
        .route("limits.queue = { size = 2000, timeout = \"30s\" }")
        .start()
        .await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(proxy.client().await);
    }
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut running = JoinSet::new();
    for (number, mut client) in clients.into_iter().enumerate() {
        ask(&mut client, number).await;
        if number % WAVE == WAVE - 1 {
            let waiting = (number + 1).saturating_sub(4 * PLACES);
            proxy.metric_becomes(&WAITING, waiting as f64).await;
        }
        let served = Arc::clone(&served);
        running.spawn(async move {
            let since = Instant::now();
            let head = tokio::time::timeout(Duration::from_secs(40), client.head()).await;
            let head = head.expect("nobody starves");
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            let waited = since.elapsed();
            served.lock().unwrap().push(number);
            assert_eq!(client.text().await, "", "the last chunk");
            waited
        });
    }
    proxy.metric_becomes(&WAITING, (CLIENTS - 4 * PLACES) as f64).await;
    for model in &models {
        model.has(PLACES).await;
    }
    let began = Instant::now();
    let mut longest = Duration::ZERO;
    for model in &models {
        model.may_end.add_permits(CLIENTS);
    }
    while let Some(waited) = soon("all of them", running.join_next()).await {
        longest = longest.max(waited.unwrap());
    }
    let peaks: Vec<_> = models.iter().map(|m| m.peak.load(Ordering::SeqCst)).collect();
    assert_eq!(peaks, [PLACES; 4], "the most at once, by each model's own count");
    let arrived: usize = models.iter().map(|model| model.order().len()).sum();
    assert_eq!(arrived, CLIENTS, "each came once");
    // What each model was given is in order, up to what came in one wave.
    let displaced = models.iter().flat_map(|model| inversions(&model.order())).max().unwrap();
    println!(
        "order displaced by {displaced} at most, waits up to {longest:?}, {:?}",
        began.elapsed()
    );
    assert!(displaced <= WAVE, "a place was given {displaced} places out of turn");
    proxy.metric_becomes(&WAITING, 0.0).await;
    let waits = ["longwire_upstream_queue_wait_seconds_count{", "upstream=\"up\""];
    let counted = proxy.metric(&waits).await;
    assert!(counted >= (CLIENTS - 4 * PLACES) as f64, "{counted} waits were measured");
}

/// For each request, by how many places it was overtaken or overtook at most.
fn inversions(order: &[usize]) -> Vec<usize> {
    let mut sorted: Vec<_> = order.to_vec();
    sorted.sort_unstable();
    let place: BTreeMap<_, _> = sorted.iter().enumerate().map(|(at, n)| (*n, at)).collect();
    order.iter().enumerate().map(|(at, number)| at.abs_diff(place[number])).collect()
}

#[tokio::test]
async fn waiting_is_first_come_first_served() {
    let model = Model::start().await;
    let proxy = proxy(&model, 1, "{ size = 100, timeout = \"30s\" }").await;
    let _first = fill(&proxy, &model).await;
    let mut clients = Vec::new();
    for number in 1..=20 {
        // Each from an address of its own, then all from one.
        let address = if number <= 10 { number as u8 + 1 } else { 99 };
        clients.push(waits(&proxy, address, number, number).await);
    }
    let order = served(&model, 20).await;
    let of = |from: usize, to: usize| -> Vec<usize> {
        order.iter().copied().filter(|number| (from..=to).contains(number)).collect()
    };
    assert_eq!(of(1, 10), (1..=10).collect::<Vec<_>>(), "one of each: plain order");
    assert_eq!(of(11, 20), (11..=20).collect::<Vec<_>>(), "of one alone: plain order");
    assert_eq!(model.peak.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_greedy_client_does_not_keep_the_others_waiting() {
    let model = Model::start().await;
    let proxy = proxy(&model, 1, "{ size = 100, timeout = \"30s\" }").await;
    let _first = fill(&proxy, &model).await;
    let mut clients = Vec::new();
    for number in 1..=30 {
        clients.push(waits(&proxy, 50, number, number).await);
    }
    clients.push(waits(&proxy, 51, 31, 31).await);
    clients.push(waits(&proxy, 52, 32, 32).await);
    let order = served(&model, 5).await;
    let place = |number| order.iter().position(|one| *one == number);
    assert!(place(31).is_some_and(|at| at <= 2), "one request before 30 of another: {order:?}");
    assert!(place(32).is_some_and(|at| at <= 3), "another one: {order:?}");
}

#[tokio::test]
async fn a_client_that_leaves_the_queue_frees_its_place_in_it() {
    let model = Model::start().await;
    let proxy = proxy(&model, 1, "{ size = 3, timeout = \"30s\" }").await;
    let _first = fill(&proxy, &model).await;
    let stays = waits(&proxy, 2, 1, 1).await;
    let leaves = waits(&proxy, 3, 2, 2).await;
    let also_stays = waits(&proxy, 4, 3, 3).await;
    drop(leaves);
    proxy.metric_becomes(&WAITING, 2.0).await;
    let end = &proxy.logged("end", 1).await[0];
    assert_eq!((&end["reason"], &end["status"]), (&"client_closed".into(), &499.into()), "{end}");
    let late = waits(&proxy, 5, 4, 3).await;
    assert_eq!(served(&model, 3).await, [1, 3, 4], "the model never saw the one that left");
    drop((stays, also_stays, late));
}

#[tokio::test]
async fn a_client_that_leaves_its_stream_frees_its_place_at_the_model() {
    let model = Model::start().await;
    let proxy = proxy(&model, 1, "{ size = 3, timeout = \"30s\" }").await;
    let first = fill(&proxy, &model).await;
    let mut next = waits(&proxy, 2, 1, 1).await;
    drop(first);
    assert!(next.head().await.starts_with("HTTP/1.1 200 "));
    proxy.metric_becomes(&WAITING, 0.0).await;
    model.has(1).await;
    assert_eq!(model.order(), [0, 1]);
}

#[tokio::test]
async fn a_full_queue_is_503_with_retry_after_and_the_connection_stays() {
    let model = Model::start().await;
    let proxy = proxy(&model, 1, "{ size = 1, timeout = \"30s\" }").await;
    let _first = fill(&proxy, &model).await;
    let _waiting = waits(&proxy, 2, 1, 1).await;
    let mut client = proxy.client().await;
    for number in 2..=3 {
        let asked = Instant::now();
        ask(&mut client, number).await;
        let response = client.response().await;
        assert_eq!(response.error(), ("queue_full".into(), 503));
        let seconds: u32 = response.field("retry-after").expect("Retry-After").parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
        assert!(asked.elapsed() < Duration::from_secs(2), "at once");
    }
    assert_eq!(served(&model, 1).await, [1], "the one that waited was not disturbed");
    assert_eq!(model.order(), [0, 1]);
}

#[tokio::test]
async fn who_waited_too_long_gets_503() {
    let model = Model::start().await;
    let proxy = proxy(&model, 1, "{ size = 10, timeout = \"300ms\" }").await;
    let _first = fill(&proxy, &model).await;
    let asked = Instant::now();
    let mut client = proxy.client().await;
    ask(&mut client, 1).await;
    let response = client.response().await;
    assert_eq!(response.error(), ("queue_timeout".into(), 503));
    assert!(response.field("retry-after").is_some(), "{}", response.head);
    let waited = asked.elapsed();
    assert!(waited >= Duration::from_millis(300), "{waited:?}");
    proxy.metric_becomes(&WAITING, 0.0).await;
    let sum = proxy.metric(&["longwire_upstream_queue_wait_seconds_sum{", "\"up\""]).await;
    assert!((0.3..2.0).contains(&sum), "it was measured: {sum}");
    ask(&mut client, 2).await;
    proxy.metric_becomes(&WAITING, 1.0).await;
    assert_eq!(served(&model, 1).await, [2]);
}

#[tokio::test]
async fn without_a_queue_a_full_upstream_is_503_at_once() {
    let model = Model::start().await;
    let proxy = proxy(&model, 2, "{ size = 0 }").await;
    let (_first, mut second) = (fill(&proxy, &model).await, proxy.client().await);
    ask(&mut second, 1).await;
    second.head().await;
    let mut third = proxy.client().await;
    ask(&mut third, 2).await;
    assert_eq!(third.response().await.error(), ("queue_full".into(), 503));
}

#[tokio::test]
async fn places_are_taken_by_failures_of_the_model_too_and_given_back() {
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.request().await;
        upstream.reset();
    })
    .await;
    let url = upstream.address;
    let proxy = Proxy::to_endpoints(&format!("{{ url = \"http://{url}\", max_streams = 1 }}"))
        .upstream("health.passive.failures = 0")
        .start()
        .await;
    for number in 1..=20 {
        let mut client = proxy.client().await;
        client.post("/", b"hi").await;
        assert_eq!(client.response().await.error(), ("upstream_reset".into(), 502), "{number}");
    }
    assert_eq!(proxy.sum(&["longwire_upstream_endpoint_streams{"]).await, 0.0);
}
