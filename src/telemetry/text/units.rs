//! Numbers as people read them: three digits or so, and a unit.

/// `850us`, `210ms`, `12.3s`, `4m05s`, `2h03m`.
pub(super) fn seconds(seconds: f64) -> String {
    let micros = (seconds * 1e6).round() as u64;
    let (millis, whole) = (micros / 1000, micros / 1_000_000);
    match whole {
        0 if millis == 0 => format!("{micros}us"),
        0 => format!("{millis}ms"),
        1..60 => format!("{whole}.{}s", millis % 1000 / 100),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        _ => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
    }
}

/// `512B`, `1.2KiB`, `34.5MiB`.
pub(super) fn size(bytes: u64) -> String {
    let mut unit = 1 << 10;
    for name in ["KiB", "MiB", "GiB", "TiB"] {
        if bytes < unit {
            break;
        }
        if bytes >> 10 < unit || name == "TiB" {
            return format!("{}.{}{name}", bytes / unit, bytes % unit * 10 / unit);
        }
        unit <<= 10;
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (number, expected) in [
            (0.0, "0us"),
            (0.000_85, "850us"),
            (0.001, "1ms"),
            (0.999_9, "999ms"),
            (1.0, "1.0s"),
            (59.99, "59.9s"),
            (60.0, "1m00s"),
            (245.0, "4m05s"),
            (7380.0, "2h03m"),
            (360_000.0, "100h00m"),
        ] {
            assert_eq!(seconds(number), expected);
        }
        for (number, expected) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0KiB"),
            (1_048_575, "1023.9KiB"),
            (36_175_872, "34.5MiB"),
            (5 << 40, "5.0TiB"),
            (5000 << 40, "5000.0TiB"),
        ] {
            assert_eq!(size(number), expected);
        }
    }
}
