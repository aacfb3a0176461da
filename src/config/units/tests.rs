//! What is accepted, what is refused, and what is suggested instead.

use super::*;

fn suggestion<T: std::fmt::Debug>(result: Result<T, Invalid>) -> Option<String> {
    result.unwrap_err().suggestion
}

#[test]
fn durations() {
    let ms = |text: &str| duration(text).map(|duration| duration.as_millis()).ok();
    assert_eq!(ms("250ms"), Some(250));
    assert_eq!(ms("15s"), Some(15_000));
    assert_eq!(ms("5m"), Some(300_000));
    assert_eq!(ms("1h30m"), Some(5_400_000));
    assert_eq!(ms("1h2m3s4ms"), Some(3_723_004));
    assert_eq!(ms("0s"), Some(0));
    let bad = [
        "",
        " ",
        "s",
        "15 s",
        "15S",
        "-1s",
        "1.5s",
        "30m1h",
        "1s1s",
        "15s3",
        "1d",
        "off",
        "１s",
        "99999999999999999999s",
        "18446744073709551615h",
        "18446744073709551615ms1h",
    ];
    for text in bad {
        assert!(duration(text).is_err(), "{text:?} is no duration");
    }
    assert_eq!(suggestion(duration("15")).as_deref(), Some("15s"));
    assert_eq!(suggestion(duration("1m30")), None, "a part without unit is not guessed");
}

#[test]
fn durations_and_sizes_are_written_as_they_are_read() {
    for text in ["250ms", "15s", "5m", "1h30m", "1h2m3s4ms", "0s"] {
        assert_eq!(written_duration(duration(text).unwrap()), text);
    }
    for text in ["512B", "32KiB", "1MiB", "3GiB", "1025B", "0B"] {
        assert_eq!(written_size(size(text).unwrap()), text);
    }
}

#[test]
fn sizes() {
    assert_eq!(size("512B").unwrap(), 512);
    assert_eq!(size("32KiB").unwrap(), 32 * 1024);
    assert_eq!(size("1MiB").unwrap(), 1024 * 1024);
    for text in ["", "KiB", "1.5KiB", "-1B", "1TiB", "99999999999999GiB", "1 KiB"] {
        assert!(size(text).is_err(), "{text:?} is no size");
    }
    assert_eq!(suggestion(size("32768")).as_deref(), Some("32KiB"));
    assert_eq!(suggestion(size("1000")).as_deref(), Some("1000B"));
    assert_eq!(suggestion(size("32k")).as_deref(), Some("32KiB"));
    assert_eq!(suggestion(size("1MB")).as_deref(), Some("1MiB"));
}

#[test]
fn networks() {
    let read =
        |text: &str| network(text).map(|network| (network.address.to_string(), network.prefix));
    assert_eq!(read("10.0.0.0/8"), Ok(("10.0.0.0".to_owned(), 8)));
    assert_eq!(read("0.0.0.0/0"), Ok(("0.0.0.0".to_owned(), 0)));
    assert_eq!(read("192.0.2.7"), Ok(("192.0.2.7".to_owned(), 32)));
    assert_eq!(read("::1"), Ok(("::1".to_owned(), 128)));
    assert_eq!(read("2001:db8::/32"), Ok(("2001:db8::".to_owned(), 32)));
    assert_eq!(read("::/0"), Ok(("::".to_owned(), 0)));
    assert_eq!(read("::ffff:127.0.0.1"), Ok(("127.0.0.1".to_owned(), 32)));
    assert_eq!(read("::ffff:10.0.0.0/104"), Ok(("10.0.0.0".to_owned(), 8)));
    assert_eq!(read("::ffff:0:0/96"), Ok(("0.0.0.0".to_owned(), 0)));
    for text in ["", "10.0.0/8", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/8x", "1.2.3.4/300"]
    {
        assert!(network(text).is_err(), "{text:?} is no network");
    }
    assert_eq!(suggestion(network("10.1.2.3/8")).as_deref(), Some("10.0.0.0/8"));
    assert_eq!(suggestion(network("2001:db8::1/32")).as_deref(), Some("2001:db8::/32"));
}

#[test]
fn addresses_to_bind() {
    assert_eq!(bind("[::]:8080").unwrap().to_string(), "[::]:8080");
    assert_eq!(bind("0.0.0.0:0"), Ok(Bind::Tcp(([0, 0, 0, 0], 0).into())));
    let suggested = |text: &str| suggestion(bind(text));
    assert_eq!(suggested(":8080").as_deref(), Some("0.0.0.0:8080"));
    assert_eq!(suggested("8080").as_deref(), Some("0.0.0.0:8080"));
    assert_eq!(suggested("*:8080").as_deref(), Some("0.0.0.0:8080"));
    assert_eq!(suggested("localhost:8080").as_deref(), Some("127.0.0.1:8080"));
    assert_eq!(suggested("10.0.0.1").as_deref(), Some("10.0.0.1:8080"));
    assert_eq!(suggested("::1").as_deref(), Some("[::1]:8080"));
    assert_eq!(suggested("10.0.0.1:99999"), None);
    assert_eq!(suggested("/run/x").as_deref(), Some("unix:/run/x"));
    assert_eq!(bind("unix:/run/x"), Ok(Bind::Unix("/run/x".into())));
    for bad in ["unix:", "unix:run/x", "unix:/run/\0"] {
        assert!(bind(bad).unwrap_err().expected.contains("absolute path"), "{bad}");
    }
}
