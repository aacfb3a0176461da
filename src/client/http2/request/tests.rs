use http::HeaderValue;

use super::*;

/// A request with these pseudo-header fields, `uri` as h2 puts it together, and these fields.
fn request(method: &str, uri: &str, fields: &[(&'static str, &'static str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(uri).body(()).unwrap();
    for (name, value) in fields {
        request.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    request
}

fn run(request: &Request<()>, ended: bool) -> Result<Translated, Refusal> {
    translate(request, ended, || Some(Tunnel::with_key("the key")))
}

/// The head as text.
fn text(translated: &Translated) -> String {
    let head = &translated.head;
    assert_eq!(head.version, Version::Http2);
    let mut out = format!("{} {}\n", head.method, head.target);
    for field in head.fields.iter() {
        let (name, value) =
            (String::from_utf8_lossy(field.name), String::from_utf8_lossy(field.value));
        out.push_str(&format!("{name}: {value}\n"));
    }
    out
}

#[test]
fn rfc9113_8_3_1_pseudo_header_fields() {
    for (method, uri, fields, expected) in [
        ("GET", "https://a.b:81/v1?x=1", &[][..], "GET /v1?x=1\nhost: a.b:81\n"),
        ("GET", "https://a/", &[("x", "1"), ("host", "a")], "GET /\nhost: a\nx: 1\n"),
        ("GET", "https://A:443/", &[("host", "a")], "GET /\nhost: A:443\n"),
        ("GET", "http://a/", &[("host", "a:80")], "GET /\nhost: a\n"),
        ("GET", "/only-host", &[("host", "a")], "GET /only-host\nhost: a\n"),
        ("GET", "/nobody", &[], "GET /nobody\n"),
        ("OPTIONS", "*", &[("host", "a")], "OPTIONS *\nhost: a\n"),
        ("CONNECT", "a:80", &[], "CONNECT a:80\nhost: a:80\n"),
        (
            "BREW",
            "http://a/",
            &[("expect", "100-continue")],
            "BREW /\nhost: a\nexpect: 100-continue\n",
        ),
    ] {
        let found = run(&request(method, uri, fields), true).unwrap();
        assert_eq!(text(&found), expected, "{method} {uri}");
        assert_eq!(found.framing, Framing::None);
        assert!(found.tunnel.is_none());
    }
}

#[test]
fn bodies() {
    let length = &[("content-length", "7")][..];
    let zero = &[("content-length", "0")][..];
    for (method, fields, ended, framing, lines) in [
        ("POST", length, false, Framing::Length(7), "content-length: 7\n"),
        ("POST", zero, true, Framing::Length(0), "content-length: 0\n"),
        ("POST", &[], false, Framing::Chunked, "transfer-encoding: chunked\n"),
        ("GET", &[], false, Framing::Chunked, "transfer-encoding: chunked\n"),
        ("POST", &[], true, Framing::None, "content-length: 0\n"),
        ("DELETE", &[], true, Framing::None, ""),
    ] {
        let found = run(&request(method, "http://a/", fields), ended).unwrap();
        assert_eq!(found.framing, framing, "{method} {fields:?} {ended}");
        assert_eq!(text(&found), format!("{method} /\nhost: a\n{lines}"));
        let read = framing::of_request(&found.head).unwrap();
        let empty = matches!(framing, Framing::None | Framing::Length(0));
        assert!(read == framing || empty && matches!(read, Framing::None | Framing::Length(0)));
    }
}

#[test]
fn rfc9113_8_2_3_cookie_crumbs_are_one_field() {
    let fields = &[("cookie", "a=1"), ("x", "1"), ("cookie", "b=2; c=3"), ("x", "2")];
    let found = run(&request("GET", "http://a/", fields), true).unwrap();
    assert_eq!(text(&found), "GET /\nhost: a\ncookie: a=1; b=2; c=3\nx: 1\nx: 2\n");
}

#[test]
fn malformed_requests_are_refused() {
    for (method, uri, fields, ended) in [
        ("GET", "ftp://a/", &[][..], true),
        ("GET", "a", &[], true),
        ("GET", "*", &[], true),
        ("GET", "http://me@a/", &[], true),
        ("GET", "http://a/", &[("host", "b")], true),
        ("GET", "http://a/", &[("host", "a:81")], true),
        ("GET", "/", &[("host", "a"), ("host", "a")], true),
        ("GET", "/", &[("connection", "close")], true),
        ("GET", "/", &[("keep-alive", "5")], true),
        ("GET", "/", &[("proxy-connection", "x")], true),
        ("GET", "/", &[("upgrade", "websocket")], true),
        ("POST", "/", &[("transfer-encoding", "chunked")], false),
        ("GET", "/", &[("te", "gzip")], true),
        ("GET", "/", &[("te", "trailers"), ("te", "gzip")], true),
        ("POST", "/", &[("content-length", "5"), ("content-length", "5")], false),
        ("POST", "/", &[("content-length", "5, 5")], false),
        ("POST", "/", &[("content-length", "+5")], false),
        ("POST", "/", &[("content-length", "")], false),
        ("POST", "/", &[("content-length", "5")], true),
    ] {
        let found = run(&request(method, uri, fields), ended);
        assert!(matches!(found, Err(Malformed(_))), "{method} {uri} {fields:?}: {found:?}");
    }
    let trailers = run(&request("GET", "/", &[("te", "trailers")]), true).unwrap();
    assert_eq!(text(&trailers), "GET /\nte: trailers\n");
}

#[test]
fn too_many_fields_are_answered() {
    let mut many = request("GET", "http://a/", &[]);
    for _ in 0..crate::http1::head::MAX_FIELDS {
        many.headers_mut().append("x", HeaderValue::from_static("1"));
    }
    assert_eq!(run(&many, true).unwrap_err(), Status(431));
}

#[test]
fn rfc8441_5_a_websocket_becomes_a_handshake() {
    let asks = |protocol: &'static str| {
        let mut request = request(
            "CONNECT",
            "https://a/chat",
            &[
                ("sec-websocket-version", "13"),
                ("sec-websocket-protocol", "chat"),
                ("origin", "https://a"),
                ("sec-websocket-key", "theirs"),
                ("content-length", "5"),
            ],
        );
        request.extensions_mut().insert(Protocol::from_static(protocol));
        request
    };
    let found = run(&asks("websocket"), false).unwrap();
    assert_eq!(
        text(&found),
        "GET /chat\nhost: a\nsec-websocket-version: 13\nsec-websocket-protocol: chat\n\
         origin: https://a\nconnection: Upgrade\nupgrade: websocket\nsec-websocket-key: the key\n"
    );
    assert_eq!(found.framing, Framing::UntilClose);
    assert!(found.tunnel.is_some());
    assert_eq!(run(&asks("connect-udp"), false).unwrap_err(), Status(501));
    let no_randomness = translate(&asks("websocket"), false, || None);
    assert_eq!(no_randomness.unwrap_err(), Status(500));
}
