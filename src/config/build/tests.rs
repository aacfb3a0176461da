//! What is written is what reaches the model, each value in its own field.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::model::{
    Access, ActiveHealth, Address, Algorithm, Auth, Balance, Bind, CertificateFiles, ClientAuth,
    Config, Cors, CorsOrigin, Dialect, Drain, Endpoint, ForwardAuth, HashKey, Health, JwtAuth,
    KeySource, Limits, Listener, ListenerTls, Network, PassiveHealth, Pool, Protocols, Proxy,
    ProxyProtocol, Queue, RateKey, RateLimit, Retry, RetryOn, SlowClient, Sse, Stream, Target,
    TcpKeepalive, TlsVersion, Upstream, UpstreamTls,
};
use crate::config::{SystemEnv, parse};

const EVERYTHING: &str = include_str!("../../../tests/fixtures/config/good/everything_set.toml");
const UPSTREAMS: &str = include_str!("../../../tests/fixtures/config/good/upstreams.toml");

fn read(source: &str) -> Config {
    parse(source, "longwire.toml", &SystemEnv).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Reads a file that has these lines for its only upstream, and others for its only route.
fn small(upstream: &str, route: &str) -> (Upstream, Box<Proxy>) {
    let mut config = read(&format!(
        "[listeners.web]\nbind = [\"127.0.0.1:0\"]\n\
         [upstreams.up]\nendpoints = [\"http://a\"]\n{upstream}\n\
         [routes.all]\nupstream = \"up\"\n{route}\n"
    ));
    let Target::Proxy(proxy) = config.routes.remove(0).target else {
        panic!("the route has an upstream");
    };
    (config.upstreams.remove(0), proxy)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp { host: host.to_owned(), port }
}

#[test]
fn every_key_of_an_upstream_is_read() {
    let upstream = read(EVERYTHING).upstreams.remove(0);
    let endpoint = |name: &str, host: &str| Endpoint {
        name: name.to_owned(),
        address: tcp(host, 8000),
        https: true,
        weight: 1,
        max_streams: None,
        backup: false,
        resolve: seconds(10),
    };
    let first = endpoint("gpu-a", "models.internal");
    let first = Endpoint { weight: 2, max_streams: Some(64), resolve: seconds(30), ..first };
    let second = Endpoint { backup: true, ..endpoint("gpu-b", "10.0.0.12") };
    let expected = Upstream {
        name: "chat".to_owned(),
        endpoints: vec![first, second],
        balance: Balance::Hash(HashKey::Header("x-session-id".to_owned())),
        slow_start: Some(seconds(30)),
        tls: UpstreamTls {
            sni: Some("models.internal".to_owned()),
            ca: Some(PathBuf::from("/etc/longwire/ca.pem")),
            verify: false,
        },
        pool: Pool {
            max_idle: 8,
            idle_timeout: Some(seconds(20)),
            learn: false,
            max_lifetime: Some(seconds(3600)),
            max_connections: Some(100),
            warm: 2,
            http2: true,
            streams_per_connection: 8,
            h2_stream_window: 1024 * 1024,
            tcp_keepalive: TcpKeepalive {
                idle: seconds(15),
                interval: seconds(5),
                count: 4,
                user_timeout: Duration::ZERO,
            },
        },
        health: Health {
            active: Some(ActiveHealth {
                path: "/health?deep=1".to_owned(),
                interval: seconds(10),
                timeout: seconds(1),
                expect_status: vec![(200, 200), (300, 399)],
                healthy_after: 1,
                unhealthy_after: 5,
            }),
            passive: PassiveHealth {
                failures: 3,
                eject_for: seconds(20),
                max_eject_for: seconds(600),
                max_ejected_percent: 100,
            },
        },
    };
    assert_eq!(upstream, expected);
}

#[test]
fn every_key_of_the_drain_is_read() {
    let expected = Drain {
        grace: seconds(5400),
        min_wait: Duration::from_millis(250),
        notify: false,
        spread: seconds(7),
    };
    assert_eq!(read(EVERYTHING).server.drain, expected);
}

#[test]
fn every_key_of_a_listener_is_read() {
    let config = read(EVERYTHING);
    assert_eq!(config.server.max_connections, Some(5000));
    let socket = PathBuf::from("/run/longwire/upgrade.sock");
    assert_eq!(config.server.upgrade_socket, Some(socket));
    let pair = |name: &str| CertificateFiles {
        cert: format!("/etc/tls/{name}.crt").into(),
        key: format!("/etc/tls/{name}.key").into(),
    };
    let expected = Listener {
        name: "web".to_owned(),
        bind: vec![
            Bind::Tcp("0.0.0.0:8080".parse().unwrap()),
            Bind::Tcp("[::]:8080".parse().unwrap()),
            Bind::Unix("/run/web.sock".into()),
        ],
        protocols: Protocols { http1: false, http2: true },
        proxy_protocol: ProxyProtocol::Required,
        header_timeout: seconds(3),
        keepalive_timeout: seconds(120),
        max_header_size: 1024 * 1024,
        tcp_keepalive: TcpKeepalive {
            idle: seconds(20),
            interval: seconds(5),
            count: 4,
            user_timeout: seconds(25),
        },
        tls: Some(ListenerTls {
            certificates: vec![pair("a"), pair("b")],
            reload: Some(seconds(3600)),
            min_version: TlsVersion::V13,
            client_auth: ClientAuth::Require("/etc/tls/clients.pem".into()),
        }),
    };
    assert_eq!(config.listeners, [expected]);
    let Target::Proxy(proxy) = &config.routes[0].target else {
        panic!("the route has an upstream");
    };
    let stream = Stream {
        slow_client: SlowClient::Disconnect,
        slow_client_timeout: Some(seconds(45)),
        min_request_rate: Some(1024),
    };
    assert_eq!(proxy.stream, stream);
}

#[test]
fn every_key_of_a_route_that_concerns_failure_is_read() {
    let Target::Proxy(proxy) = read(EVERYTHING).routes.remove(0).target else {
        panic!("the route has an upstream");
    };
    assert_eq!(proxy.dialect, Dialect::OpenAiChat);
    let retry = Retry {
        attempts: 5,
        on: vec![
            RetryOn::Reset,
            RetryOn::FirstByteTimeout,
            RetryOn::Status(429),
            RetryOn::Status(504),
        ],
        idempotent_only: false,
        budget_percent: 50,
        replay_body: 8 * 1024 * 1024,
    };
    assert_eq!(proxy.retry, retry);
    let limits = Limits {
        streams: Some(5000),
        streams_per_client: Some(8),
        requests_per_second: Some(RateLimit {
            interval: seconds(2),
            burst: NonZeroU32::new(40).unwrap(),
            key: RateKey::Header("x-tenant".to_owned()),
        }),
        max_request_body: Some(1 << 30),
        queue: Queue { size: 10, timeout: seconds(30) },
    };
    assert_eq!(proxy.limits, limits);
    let sse = Sse {
        heartbeat: Some(seconds(5)),
        heartbeat_text: ": still here".to_owned(),
        commit_after: Some(seconds(10)),
        error_event: false,
        retry: Duration::from_millis(1500),
    };
    assert_eq!(proxy.sse, sse);
}

#[test]
fn every_word_has_its_meaning() {
    let balances = [
        ("least_streams", Balance::LeastStreams),
        ("round_robin", Balance::RoundRobin),
        ("p2c", Balance::P2c),
        ("random", Balance::Random),
    ];
    for (word, balance) in balances {
        assert_eq!(small(&format!("balance = \"{word}\""), "").0.balance, balance);
    }
    let dialects = [
        ("auto", Dialect::Auto),
        ("openai-chat", Dialect::OpenAiChat),
        ("openai-responses", Dialect::OpenAiResponses),
        ("anthropic", Dialect::Anthropic),
        ("plain", Dialect::Plain),
    ];
    for (word, dialect) in dialects {
        assert_eq!(small("", &format!("dialect = \"{word}\"")).1.dialect, dialect);
    }
    let (_, proxy) =
        small("", "retry.on = [\"503\", \"connect_error\", \"not_delivered\", \"503\"]");
    let causes = [RetryOn::Status(503), RetryOn::ConnectError, RetryOn::NotDelivered];
    assert_eq!(proxy.retry.on, causes, "each once");
}

#[test]
fn zero_and_off_are_no_limit_and_none() {
    let lines = "slow_start = \"off\"\n\
                 pool = { max_connections = 0, max_lifetime = \"off\", idle_timeout = \"off\" }";
    let (upstream, proxy) = small(
        lines,
        "sse.commit_after = \"off\"\nretry.on = []\n\
                 limits = { streams = 0, streams_per_client = 0, max_request_body = \"off\" }",
    );
    assert_eq!(upstream.slow_start, None);
    assert_eq!(upstream.pool.max_connections, None);
    assert_eq!(upstream.pool.max_lifetime, None);
    assert_eq!(upstream.pool.idle_timeout, None);
    assert_eq!(proxy.sse.commit_after, None);
    assert_eq!(proxy.retry.on, []);
    assert_eq!((proxy.limits.streams, proxy.limits.streams_per_client), (None, None));
    assert_eq!(proxy.limits.max_request_body, None);
}

#[test]
fn a_longer_ejection_raises_the_longest() {
    let passive = |lines: &str| small(lines, "").0.health.passive;
    assert_eq!(passive("health.passive.eject_for = \"10m\"").max_eject_for, seconds(600));
    assert_eq!(passive("health.passive.eject_for = \"1m\"").max_eject_for, seconds(300));
    let equal = passive("health.passive = { eject_for = \"10m\", max_eject_for = \"10m\" }");
    assert_eq!(equal.max_eject_for, seconds(600));
}

#[test]
fn servers_that_differ_are_upstreams_that_differ() {
    let config = read(UPSTREAMS);
    let anonymous = config.upstreams.iter().filter(|upstream| upstream.name.contains(':'));
    let anonymous: Vec<_> = anonymous.map(|upstream| upstream.name.as_str()).collect();
    let expected =
        ["a:443", "https://a:443", "https://a:8443", "unix:/run/a.sock", "unix:/run/A.sock"];
    assert_eq!(anonymous, expected);
    let target = |route: usize| match &config.routes[route].target {
        Target::Proxy(proxy) => proxy.upstream.as_str(),
        Target::Respond(_) => panic!("the route has an upstream"),
    };
    assert_eq!([target(0), target(1), target(2)], [expected[0], expected[1], expected[1]]);
}

#[test]
fn an_endpoint_is_named_after_its_address() {
    let config = read(UPSTREAMS);
    let endpoints = &config.upstreams[0].endpoints;
    let names: Vec<_> = endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    assert_eq!(names, ["a:443", "models.internal:443", "by-address", "/run/vLLM.sock", "b"]);
    let schemes: Vec<_> = endpoints.iter().map(|endpoint| endpoint.https).collect();
    assert_eq!(schemes, [false, true, true, false, false]);
    assert_eq!(endpoints[1].address, tcp("models.internal", 443));
    assert_eq!(endpoints[3].address, Address::Unix(PathBuf::from("/run/vLLM.sock")));
    let tls = |index: usize| config.upstreams[index].tls.clone();
    assert_eq!(tls(1), UpstreamTls { sni: Some(String::new()), ca: None, verify: false });
    assert_eq!(tls(2).sni.as_deref(), Some("2001:db8::1"));
}

#[test]
fn every_key_of_who_may_come_in_is_read() {
    let auth = |lines: &str| small("", &format!("[routes.all.auth]\n{lines}")).1.auth;
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let keys = format!("type = \"api_key\"\nkeys = [{{ name = \"web\", sha256 = \"{hash}\" }}]\n");
    let Auth::ApiKey(read) = auth(&format!("{keys}header = \"X-Api-Key\"\npass = true")) else {
        panic!("it is api_key");
    };
    assert_eq!((read.header.as_str(), read.pass), ("x-api-key", true));
    assert_eq!(
        (read.keys[0].name.as_str(), read.keys[0].sha256[..2].to_vec()),
        ("web", vec![0x9f, 0x86])
    );
    let debug = format!("{read:?}");
    assert!(debug.contains("web: ***") && !debug.contains("159"), "{debug}");
    let hidden = auth(&keys);
    assert!(hidden.hides(b"Authorization") && !hidden.hides(b"Cookie"));

    let jwt = JwtAuth {
        algorithms: vec![Algorithm::Es256, Algorithm::EdDsa],
        keys: KeySource::Jwks(PathBuf::from("/keys.json")),
        issuer: Some("i".to_owned()),
        audience: Some("a".to_owned()),
        leeway: Duration::ZERO,
        principal_claim: "email".to_owned(),
        pass: false,
    };
    let lines = "type = \"jwt\"\nalgorithms = [\"ES256\", \"EdDSA\"]\njwks_file = \"/keys.json\"\n\
                 issuer = \"i\"\naudience = \"a\"\nleeway = \"0s\"\nprincipal_claim = \"email\"\n\
                 pass = false";
    assert_eq!(auth(lines), Auth::Jwt(jwt));
    assert!(auth(lines).hides(b"AUTHORIZATION"));

    let lines = "type = \"forward\"\nurl = \"https://login.example.com/check?x\"\ntimeout = \"1s\"\n\
                 cache = \"off\"\nheaders = [\"X-Key\"]\nprincipal_header = \"X-User\"";
    let forward = ForwardAuth {
        upstream: "https://login.example.com:443".to_owned(),
        target: "/check?x".to_owned(),
        timeout: seconds(1),
        cache: None,
        headers: vec!["x-key".to_owned()],
        principal_header: "x-user".to_owned(),
        pass: true,
    };
    assert_eq!(auth(lines), Auth::Forward(forward));
    let hides = |field: &str| auth(lines).hides(field.as_bytes());
    assert!(hides("X-USER"), "only the server says who it is");
    assert!(!hides("x-key") && !hides("x-users") && !hides("xuser"));
    assert!(!auth(lines).hides(b"X-Key"), "it is passed on");
}

#[test]
fn every_key_of_access_and_cors_is_read() {
    let lines = "access = { allow = [\"10.0.0.0/8\"], deny = [\"10.0.0.7\", \"::1\"] }\n\
                 [routes.all.cors]\norigins = [\"https://A.example\", \"https://*.b.example\"]\n\
                 methods = [\"GET\"]\nheaders = [\"X-A\"]\nexpose = [\"X-B\"]\n\
                 credentials = true\nmax_age = \"1h\"";
    let proxy = small("", lines).1;
    let network = |address: &str, prefix| Network { address: address.parse().unwrap(), prefix };
    let access = Access {
        allow: vec![network("10.0.0.0", 8)],
        deny: vec![network("10.0.0.7", 32), network("::1", 128)],
    };
    assert_eq!(proxy.access, access);
    let below = CorsOrigin::Below { scheme: "https://".into(), domain: ".b.example".into() };
    let cors = Cors {
        origins: vec![CorsOrigin::Exact("https://a.example".to_owned()), below],
        methods: vec!["GET".to_owned()],
        headers: Some(vec!["X-A".to_owned()]),
        expose: vec!["X-B".to_owned()],
        credentials: true,
        max_age: seconds(3600),
    };
    assert_eq!(proxy.cors, Some(cors));
    assert_eq!(small("", "").1.cors, None);
}

#[test]
fn a_rate_says_what_it_leaves_out() {
    let rate = |text: &str| {
        let lines = format!("limits.requests_per_second = {text}");
        let rate = small("", &lines).1.limits.requests_per_second.unwrap();
        (rate.interval, rate.burst.get(), rate.key)
    };
    assert_eq!(rate("{ rate = 20 }"), (Duration::from_millis(50), 20, RateKey::Auth));
    assert_eq!(rate("{ rate = 2.5 }"), (Duration::from_millis(400), 3, RateKey::Auth));
    assert_eq!(rate("{ rate = 0.1, key = \"ip\" }"), (seconds(10), 1, RateKey::Ip));
}
