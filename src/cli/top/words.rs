//! Numbers and names for people. Pure.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// A duration in at most 7 columns; `seconds` may be a fraction.
pub(super) fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match seconds {
        s if s < 0.9995 => format!("{:.0}ms", s.max(0.0) * 1000.0),
        s if s < 9.95 => format!("{s:.1}s"),
        s if s < 60.0 => format!("{whole}s"),
        s if s < 3600.0 => format!("{}m{:02}s", whole / 60, whole % 60),
        s if s < 86400.0 => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
        _ => format!("{}d{:02}h", whole / 86400, whole / 3600 % 24),
    }
}

/// A number of bytes in at most 8 columns.
pub(super) fn bytes(count: f64) -> String {
    let (mut value, mut unit) = (count, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "B" || value >= 100.0 {
        format!("{value:.0}{unit}")
    } else {
        format!("{value:.1}{unit}")
    }
}

/// A number of things per second.
pub(super) fn rate(value: f64) -> String {
    if value == 0.0 || value >= 99.95 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// Names come from outside: one with an escape in it must not command the terminal.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.width().is_some() { c } else { '\u{fffd}' }).collect()
}

/// The text in exactly so many columns, cut if it must be.
pub(super) fn fit(text: &str, columns: usize, to_the_right: bool) -> String {
    let width = text.width();
    if width <= columns {
        let space = " ".repeat(columns - width);
        return if to_the_right { space + text } else { text.to_owned() + &space };
    }
    let mut cut = String::new();
    let mut left = columns.saturating_sub(1);
    for c in text.chars() {
        let Some(rest) = left.checked_sub(c.width().unwrap_or(0)) else { break };
        left = rest;
        cut.push(c);
    }
    if columns > 0 {
        cut.push('…');
    }
    cut + &" ".repeat(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (seconds, expected) in [
            (0.0004, "0ms"),
            (0.84, "840ms"),
            (8.44, "8.4s"),
            (59.9, "59s"),
            (754.0, "12m34s"),
            (93784.0, "1d02h"),
        ] {
            assert_eq!(span(seconds), expected);
        }
        for (count, expected) in
            [(0.0, "0B"), (999.0, "999B"), (1e3, "1.0KiB"), (90211.0, "88.1KiB"), (3e9, "2.8GiB")]
        {
            assert_eq!(bytes(count), expected);
        }
        assert_eq!([rate(0.0), rate(24.94), rate(6448.2)], ["0", "24.9", "6448"]);
    }

    #[test]
    fn names_do_not_command_the_terminal() {
        assert_eq!(harmless("a\x1b[2J\u{9b}b\n"), "a\u{fffd}[2J\u{fffd}b\u{fffd}");
    }

    #[test]
    fn what_is_too_long_is_cut_by_columns() {
        for (text, columns, expected) in [
            ("alice", 5, "alice"),
            ("alice", 4, "ali…"),
            ("alice", 7, "alice  "),
            ("数据流", 5, "数据…"),
            ("数据流", 4, "数… "),
            ("x", 0, ""),
        ] {
            assert_eq!(fit(text, columns, false), expected, "{text} in {columns}");
        }
        assert_eq!(fit("9", 3, true), "  9");
    }
}
