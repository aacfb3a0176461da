use std::time::Duration;

use super::*;
use crate::config::model::ForwardAuth;
use crate::http1::head::{parse_request, parse_response};

const MARKS: Marks<'static> = Marks { request_id: "id-1", trace: None };

fn request(text: &str) -> RequestHead {
    parse_request(text.as_bytes()).unwrap().unwrap().0
}

fn up(text: &str, trusted: &[Network]) -> Fields {
    let sender = Sender { peer: Some("192.0.2.7:999".parse().unwrap()), trusted, scheme: "http" };
    let headers = Headers::default();
    to_upstream(&request(text), Framing::None, sender, MARKS, rules(&headers, &Auth::None))
}

fn rules<'a>(headers: &'a Headers, auth: &'a Auth) -> Rules<'a> {
    Rules { host: &HostHeader::Preserve, headers, auth, authority: "10.0.0.1:8000" }
}

/// What goes on of a request to a route with these rules.
fn through(text: &str, headers: &Headers, auth: &Auth) -> Fields {
    let sender = Sender { peer: None, trusted: &[], scheme: "http" };
    to_upstream(&request(text), Framing::None, sender, MARKS, rules(headers, auth))
}

fn asked(pass: bool) -> Auth {
    Auth::Forward(ForwardAuth {
        upstream: String::new(),
        target: "/".to_owned(),
        timeout: Duration::from_secs(1),
        cache: None,
        headers: vec!["x-api-key".to_owned(), "x_team".to_owned()],
        principal_header: "x-auth-user".to_owned(),
        pass,
    })
}

fn value<'a>(fields: &'a Fields, name: &'static str) -> &'a str {
    let values: Vec<_> = fields.all(name).collect();
    assert!(values.len() <= 1, "{name} is there {} times", values.len());
    values.first().map_or("-", |value| std::str::from_utf8(value).unwrap())
}

#[test]
fn hop_by_hop_fields_stay_on_their_hop() {
    let fields = up(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Hop, Host\r\nKeep-Alive: 5\r\nX-Hop: 1\r\n\
         TE: trailers\r\nUpgrade: h2c\r\nX-Stays: 2\r\n\r\n",
        &[],
    );
    for gone in ["connection", "keep-alive", "x-hop", "te", "upgrade"] {
        assert!(!fields.contains(gone), "{gone} went upstream");
    }
    assert_eq!(value(&fields, "host"), "a", "Connection cannot take Host away");
    assert_eq!(value(&fields, "x-stays"), "2");
    assert_eq!(value(&fields, "via"), "1.1 longwire");
}

#[test]
fn a_stranger_cannot_say_whom_he_forwards_for() {
    let text = "GET / HTTP/1.0\r\nHost: a:81\r\nX-Forwarded-For: 1.1.1.1\r\n\
                X-Forwarded-Proto: https\r\nForwarded: for=1.1.1.1\r\nVia: 1.1 front\r\n\r\n";
    let fields = up(text, &[]);
    assert_eq!(value(&fields, "x-forwarded-for"), "192.0.2.7");
    assert_eq!(value(&fields, "x-forwarded-proto"), "http");
    assert_eq!(value(&fields, "x-forwarded-host"), "a:81");
    assert_eq!(value(&fields, "forwarded"), "for=192.0.2.7;proto=http;host=\"a:81\"");
    assert_eq!(value(&fields, "via"), "1.1 front, 1.0 longwire");

    let trusted = [Network { address: "192.0.2.0".parse().unwrap(), prefix: 24 }];
    let fields = up(text, &trusted);
    assert_eq!(value(&fields, "x-forwarded-for"), "1.1.1.1, 192.0.2.7");
    assert_eq!(value(&fields, "x-forwarded-proto"), "https");
    assert_eq!(value(&fields, "forwarded"), "for=1.1.1.1, for=192.0.2.7;proto=http;host=\"a:81\"");
}

#[test]
fn networks_contain_what_their_prefix_says() {
    for (address, prefix, candidate, expected) in [
        ("10.0.0.0", 8, "10.255.0.1", true),
        ("10.0.0.0", 8, "11.0.0.1", false),
        ("0.0.0.0", 0, "203.0.113.9", true),
        ("127.0.0.1", 32, "127.0.0.1", true),
        ("127.0.0.1", 32, "127.0.0.2", false),
        ("::1", 128, "::1", true),
        ("2001:db8::", 32, "2001:db8:9::1", true),
        ("::", 0, "10.0.0.1", false),
    ] {
        let network = Network { address: address.parse().unwrap(), prefix };
        let candidate = candidate.parse().unwrap();
        assert_eq!(
            Network::is_among(&[network], candidate),
            expected,
            "{candidate} in {address}/{prefix}"
        );
    }
}

#[test]
fn whose_address_a_client_has() {
    let trusted = [Network { address: "10.0.0.0".parse().unwrap(), prefix: 8 }];
    for (peer, fields, expected) in [
        ("192.0.2.7:9", "X-Forwarded-For: 198.51.100.1\r\n", Some("192.0.2.7")),
        ("10.0.0.1:9", "", Some("10.0.0.1")),
        ("10.0.0.1:9", "X-Forwarded-For: 198.51.100.1\r\n", Some("198.51.100.1")),
        (
            "10.0.0.1:9",
            "X-Forwarded-For: 1.1.1.1, 198.51.100.1, 10.0.0.2\r\n",
            Some("198.51.100.1"),
        ),
        ("10.0.0.1:9", "X-Forwarded-For: 198.51.100.1:4711\r\n", Some("198.51.100.1")),
        ("10.0.0.1:9", "X-Forwarded-For: ::ffff:198.51.100.1\r\n", Some("198.51.100.1")),
        ("10.0.0.1:9", "X-Forwarded-For: 2001:db8::1\r\n", Some("2001:db8::1")),
        ("10.0.0.1:9", "X-Forwarded-For: [2001:db8::1]\r\n", Some("2001:db8::1")),
        ("10.0.0.1:9", "X-Forwarded-For: [2001:db8::1]:4711\r\n", Some("2001:db8::1")),
        ("10.0.0.1:9", "X-Forwarded-For: junk, 198.51.100.1\r\n", Some("198.51.100.1")),
        ("10.0.0.1:9", "X-Forwarded-For: unknown\r\n", None),
        ("10.0.0.1:9", "X-Forwarded-For: unknown, 10.0.0.2\r\n", None),
        ("10.0.0.1:9", "X-Forwarded-For: 198.51.100.1:x\r\n", None),
        ("10.0.0.1:9", "X-Forwarded-For: [198.51.100.1]\r\n", None),
        ("10.0.0.1:9", "X-Forwarded-For: \u{e4}\r\n", None),
    ] {
        let head = request(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        let peer = Some(peer.parse().unwrap());
        let sender = Sender { peer, trusted: &trusted, scheme: "http" };
        let expected = expected.map(|text| text.parse().unwrap());
        assert_eq!(sender.client_address(&head), expected, "{peer:?} {fields}");
    }
}

#[test]
fn the_upstream_always_gets_a_host() {
    let fields = up("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", &[]);
    assert_eq!(value(&fields, "host"), "10.0.0.1:8000");
    assert!(!fields.contains("expect"));
}

#[test]
fn rules_and_framing_come_last() {
    let head = request(
        "POST / HTTP/1.1\r\nHost: a\r\nX-Debug: 1\r\nX-Proxy: theirs\r\nContent-Length: 5\r\n\r\n",
    );
    let rules = Headers {
        request_set: vec![("X-Proxy".into(), "ours".into())],
        request_remove: vec!["x-debug".into()],
        ..Headers::default()
    };
    let sender = Sender { peer: None, trusted: &[], scheme: "http" };
    let host = HostHeader::Literal("models.internal".into());
    let rules = Rules { host: &host, ..self::rules(&rules, &Auth::None) };
    let fields = to_upstream(&head, Framing::Length(5), sender, MARKS, rules);
    assert_eq!(value(&fields, "host"), "models.internal");
    assert_eq!(value(&fields, "x-proxy"), "ours");
    assert_eq!(value(&fields, "x-debug"), "-");
    assert_eq!(value(&fields, "content-length"), "5");
    assert_eq!(value(&fields, "x-forwarded-for"), "unknown");
}

#[test]
fn request_ids_are_taken_over_only_when_harmless() {
    let id = |value: &str| {
        let head = request(&format!("GET / HTTP/1.1\r\nX-Request-Id: {value}\r\n\r\n"));
        request_id(&head).map(str::to_owned)
    };
    assert_eq!(id("abc-1.2_3:4").as_deref(), Some("abc-1.2_3:4"));
    assert_eq!(id("...").as_deref(), Some("..."));
    assert_eq!(id("."), None);
    assert_eq!(id(".."), None, "/api/streams/.. is another page");
    assert_eq!(id("a b"), None);
    assert_eq!(id("\"}"), None);
    assert_eq!(id(&"a".repeat(129)), None);
    assert_eq!(id(""), None);
}

fn down(text: &str, framing: Framing, sse: bool, client: Version, close: bool) -> Fields {
    let mut head = parse_response(text.as_bytes()).unwrap().unwrap().0;
    let now = || SystemTime::UNIX_EPOCH;
    let delivery = Delivery { framing, close, client, sse, request_id: "id-1", now };
    to_client(&mut head, delivery, &Headers::default());
    head.fields
}

#[test]
fn an_event_stream_tells_the_proxies_in_front() {
    let text = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: keep-alive\r\n\
                Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
    let fields = down(text, Framing::Chunked, true, Version::Http11, false);
    assert_eq!(value(&fields, "cache-control"), "no-cache, no-transform");
    assert_eq!(value(&fields, "x-accel-buffering"), "no");
    assert_eq!(value(&fields, "transfer-encoding"), "chunked");
    assert_eq!(value(&fields, "connection"), "-");
    assert_eq!(
        (value(&fields, "date"), value(&fields, "x-request-id")),
        ("Thu, 01 Jan 1970 00:00:00 GMT", "id-1")
    );
}

#[test]
fn lengths_of_bodies_that_are_not_there() {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nDate: then\r\n\r\n";
    let fields = down(text, Framing::None, false, Version::Http10, false);
    assert_eq!(value(&fields, "content-length"), "7");
    assert_eq!(value(&fields, "connection"), "keep-alive");
    assert_eq!(value(&fields, "date"), "then");
    let text = "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n";
    let fields = down(text, Framing::None, false, Version::Http11, true);
    assert_eq!(value(&fields, "content-length"), "-");
    assert_eq!(value(&fields, "connection"), "close");
}

#[test]
fn own_fields_replace_but_vary_grows() {
    for (theirs, expected) in [
        (&[][..], "Origin"),
        (&["Accept"], "Accept, Origin"),
        (&["Accept-Encoding, accept", "X-A"], "Accept-Encoding, accept, X-A, Origin"),
        (&["accept, origin"], "accept, origin"),
        (&["*"], "*"),
    ] {
        let mut fields = Fields::default();
        fields.append("X-Own", "theirs");
        theirs.iter().for_each(|value| fields.append("vary", *value));
        add_own(&mut fields, &[("X-Own", "ours".into()), ("Vary", "Origin".into())]);
        assert_eq!(fields.all("x-own").collect::<Vec<_>>(), [b"ours"]);
        assert_eq!(fields.all("vary").collect::<Vec<_>>(), [expected.as_bytes()]);
    }
}

#[test]
fn nobody_speaks_for_us_with_underscores() {
    let fields = up(
        "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1.1.1.1\r\nX-Forwarded_Proto: https\r\n\
         x_request_id: 6\r\nContent_Length: 7\r\nTransfer_Encoding: chunked\r\nX_Other: 8\r\n\r\n",
        &[],
    );
    let left: Vec<_> = fields.iter().filter(|field| field.name.contains(&b'_')).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(value(&fields, "x_other"), "8", "others may have them");
    assert_eq!(value(&fields, "x-forwarded-for"), "192.0.2.7");
}

#[test]
fn connection_cannot_take_away_what_was_checked() {
    let fields = "Authorization: a\r\nCookie: b\r\nOrigin: c\r\nSec-WebSocket-Key: d\r\n\
                  X-Api-Key: e\r\nX_Team: f\r\nX-Hop: g\r\nHTTP2-Settings: h\r\n";
    let listed = "authorization, Cookie, ORIGIN, Sec-WebSocket-Key, x-api-key, X_TEAM, x-hop";
    let text = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {listed}\r\n{fields}\r\n");
    let found = through(&text, &Headers::default(), &asked(true));
    let values = ["authorization", "cookie", "origin", "sec-websocket-key", "x-api-key", "x_team"];
    assert_eq!(values.map(|name| value(&found, name)), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(["x-hop", "http2-settings"].map(|name| value(&found, name)), ["-", "-"]);
    let found = through(&text, &Headers::default(), &asked(false));
    assert_eq!(["x-api-key", "x_team"].map(|name| value(&found, name)), ["-", "-"], "as told");
}

#[test]
fn a_trusted_proxys_word_cannot_be_taken_away() {
    let trusted = [Network { address: "192.0.2.0".parse().unwrap(), prefix: 24 }];
    let text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Forwarded-For, Forwarded\r\n\
                X-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\n\r\n";
    let fields = up(text, &trusted);
    assert_eq!(value(&fields, "x-forwarded-for"), "1.1.1.1, 192.0.2.7");
    assert!(value(&fields, "forwarded").starts_with("for=1.1.1.1, "));
}

#[test]
fn what_has_a_meaning_here_has_no_twin() {
    let headers = Headers {
        request_set: vec![("X-Tenant".into(), "ours".into()), ("X_Zone".into(), "z".into())],
        request_remove: vec!["X-Debug".into()],
        ..Headers::default()
    };
    let text = "GET / HTTP/1.1\r\nHost: a\r\nX_Tenant: theirs\r\nX-Zone: theirs\r\nX_Debug: 1\r\n\
                X_Api_Key: 2\r\nX-Api-Key: k\r\nX-Team: 3\r\nX_Team: t\r\nX_Auth_User: eve\r\n\
                X-Other: 4\r\nX_Other: 5\r\n\r\n";
    let found = through(text, &headers, &asked(true));
    let values = ["x_tenant", "x-zone", "x_debug", "x_api_key", "x-team", "x_auth_user"];
    assert_eq!(values.map(|name| value(&found, name)), ["-"; 6]);
    let values = ["x-tenant", "x_zone", "x-api-key", "x_team", "x-other", "x_other"];
    assert_eq!(values.map(|name| value(&found, name)), ["ours", "z", "k", "t", "4", "5"]);
    let found = through(text, &Headers::default(), &Auth::None);
    assert_eq!(value(&found, "x_tenant"), "theirs", "that is nobody's business then");
}
