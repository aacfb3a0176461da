//! Panics in the log: where, and as much of what as is surely no secret.

use std::panic::{self, PanicHookInfo};

/// Longest part of a message that is logged, in bytes.
const MESSAGE_MAX_BYTES: usize = 200;

/// Has every panic of the process logged, instead of printed. Nobody but the log may have it:
/// whoever starts us may show standard error to anybody.
pub fn log_all() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or_default();
        tracing::error!(place, what = what(info), thread, "panic");
    }));
}

fn what<'i>(info: &'i PanicHookInfo<'_>) -> &'i str {
    match (info.payload().downcast_ref::<&'static str>(), info.payload().downcast_ref::<String>()) {
        (Some(literal), _) => cut(literal, literal.len()),
        (None, Some(formatted)) => cut(formatted, fixed(formatted)),
        (None, None) => "",
    }
}

/// How much of a message that was put together at run time is its own words. What it tells of the
/// values that it met (the text that was sliced, the error that was unwrapped) can be a client's,
/// and it stands behind a colon or in quotes.
fn fixed(message: &str) -> usize {
    message.find([':', '`', '"', '\'', '\n']).unwrap_or(message.len())
}

fn cut(message: &str, length: usize) -> &str {
    let mut end = length.min(MESSAGE_MAX_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message[..end].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_tells_of_its_values_is_left_out() {
        for (message, expected) in [
            ("range end index 5 out of range for slice of length 3", None),
            ("index out of bounds: the len is 3 but the index is 7", Some("index out of bounds")),
            ("called `Result::unwrap()` on an `Err` value: \"sk-secret\"", Some("called")),
            ("it has just answered: FromUtf8Error { bytes: [115] }", Some("it has just answered")),
            (
                "byte index 3 is out of bounds of `sk-secret`",
                Some("byte index 3 is out of bounds of"),
            ),
            ("assertion failed\n  left: sk-secret", Some("assertion failed")),
        ] {
            assert_eq!(cut(message, fixed(message)), expected.unwrap_or(message));
        }
        let long = "ä".repeat(300);
        assert_eq!(cut(&long, long.len()), "ä".repeat(MESSAGE_MAX_BYTES / 2));
    }
}
