use std::time::Duration;

use super::*;
use crate::http1::head::parse_request;

fn rules(origins: &[CorsOrigin]) -> Cors {
    Cors {
        origins: origins.to_vec(),
        methods: vec!["GET".to_owned(), "POST".to_owned()],
        headers: None,
        expose: Vec::new(),
        credentials: false,
        max_age: Duration::from_secs(600),
    }
}

fn listed() -> Cors {
    rules(&[
        CorsOrigin::Exact("https://app.example.com".to_owned()),
        CorsOrigin::Below { scheme: "https://".to_owned(), domain: ".example.org".to_owned() },
    ])
}

fn head(fields: &str) -> RequestHead {
    let text = format!("OPTIONS / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    parse_request(text.as_bytes()).unwrap().unwrap().0
}

fn lines(fields: Vec<Field>) -> Vec<String> {
    let line = |(name, value): Field| format!("{name}: {}", String::from_utf8_lossy(&value));
    fields.into_iter().map(line).collect()
}

#[test]
fn which_origins_are_listed() {
    for (origin, expected) in [
        ("https://app.example.com", true),
        ("HTTPS://App.Example.com", true),
        ("http://app.example.com", false),
        ("https://app.example.com:8443", false),
        ("https://app.example.com.evil.test", false),
        ("https://evil-app.example.com", false),
        ("https://a.example.org", true),
        ("https://a.b.example.org", true),
        ("https://example.org", false),
        ("https://.example.org", false),
        ("https://evilexample.org", false),
        ("http://a.example.org", false),
        ("https://a.example.org:444", false),
        ("https://evil.test/.example.org", false),
        ("https://evil.test#.example.org", false),
        ("https://evil@a.example.org", false),
        ("null", false),
        ("", false),
    ] {
        let fields = lines(of_answer(&listed(), &head(&format!("Origin: {origin}\r\n"))));
        let allow = format!("Access-Control-Allow-Origin: {origin}");
        assert_eq!(fields.contains(&allow), expected, "{origin}: {fields:?}");
        assert!(fields.contains(&"Vary: Origin".to_owned()), "{origin}: {fields:?}");
    }
}

#[test]
fn what_answers_get() {
    assert_eq!(lines(of_answer(&listed(), &head(""))), ["Vary: Origin"]);
    let twice = "Origin: https://app.example.com\r\nOrigin: https://app.example.com\r\n";
    assert_eq!(lines(of_answer(&listed(), &head(twice))), ["Vary: Origin"]);
    let more = Cors { credentials: true, expose: vec!["X-A".into(), "X-B".into()], ..listed() };
    assert_eq!(
        lines(of_answer(&more, &head("Origin: https://app.example.com\r\n"))),
        [
            "Vary: Origin",
            "Access-Control-Allow-Origin: https://app.example.com",
            "Access-Control-Allow-Credentials: true",
            "Access-Control-Expose-Headers: X-A, X-B",
        ]
    );
    let any = rules(&[CorsOrigin::Any]);
    for fields in ["", "Origin: null\r\n", "Origin: https://x.test\r\n"] {
        assert_eq!(lines(of_answer(&any, &head(fields))), ["Access-Control-Allow-Origin: *"]);
    }
}

#[test]
fn what_preflights_get() {
    let asks = "Origin: https://app.example.com\r\nAccess-Control-Request-Method: POST\r\n\
                Access-Control-Request-Headers: authorization, x-a\r\n\
                Access-Control-Request-Headers: b(ad, ,x-c\r\n";
    assert_eq!(
        lines(of_preflight(&listed(), &head(asks)).unwrap()),
        [
            "Access-Control-Allow-Methods: POST",
            "Access-Control-Allow-Headers: authorization, x-a, x-c",
            "Access-Control-Max-Age: 600",
        ]
    );
    let named = Cors { headers: Some(vec!["X-A".into()]), ..listed() };
    let fields = lines(of_preflight(&named, &head(asks)).unwrap());
    assert!(fields.contains(&"Access-Control-Allow-Headers: X-A".to_owned()), "{fields:?}");
    let none = Cors { headers: Some(Vec::new()), ..listed() };
    assert_eq!(of_preflight(&none, &head(asks)).unwrap().len(), 2);
    let refused = |fields: &str| of_preflight(&listed(), &head(fields)).unwrap_err();
    let evil = asks.replace("https://app", "https://evil");
    assert_eq!(refused(&evil), Refused::Origin);
    for method in ["PUT", "HEAD", "post", "*"] {
        assert_eq!(refused(&asks.replace("POST", method)), Refused::Method, "{method}");
    }
}

#[test]
fn what_is_a_preflight() {
    let method = "Access-Control-Request-Method: PUT\r\n";
    assert_eq!(asked_method(&head(&format!("Origin: x\r\n{method}"))), Some("PUT"));
    assert_eq!(asked_method(&head("Origin: x\r\n")), None, "an OPTIONS of somebody else's");
    assert_eq!(asked_method(&head(method)), None);
    let mut get = head(&format!("Origin: x\r\n{method}"));
    get.method = "GET".into();
    assert_eq!(asked_method(&get), None);
}

#[test]
fn the_upstreams_word_is_removed() {
    let mut fields = Fields::default();
    for name in ["access-control-allow-origin", "Access-Control-Max-Age", "Access", "Vary"] {
        fields.append(name, "x");
    }
    strip(&mut fields);
    let left: Vec<_> = fields.iter().map(|field| field.name).collect();
    assert_eq!(left, [&b"Access"[..], b"Vary"]);
}
