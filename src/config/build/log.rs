//! `[log]`: what is written of exchanges.

use crate::config::defaults;
use crate::config::model::{AccessLog, Level, Log, LogFormat, Share};
use crate::config::read::Table;
use crate::config::units::file;

const A_FILE: &str = "a path such as \"/var/log/longwire/longwire.log\"";

/// Reads `[log]`.
pub(super) fn log(mut table: Table<'_>) -> Log {
    let levels = [
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
        ("debug", Level::Debug),
        ("trace", Level::Trace),
    ];
    let level = table.choice("level", &levels).unwrap_or(defaults::LOG_LEVEL);
    let format = table.choice("format", &[("json", LogFormat::Json), ("text", LogFormat::Text)]);
    let path = table.take("file").and_then(|value| value.parse(A_FILE, file(A_FILE)));
    let mut access = table.table("access");
    let access_log = AccessLog {
        enabled: access.boolean("enabled", defaults::ACCESS_LOG),
        stream_start: access.boolean("stream_start", defaults::ACCESS_LOG_STREAM_START),
        sample: share(&mut access, "sample", defaults::ACCESS_LOG_SAMPLE),
    };
    access.finish();
    table.finish();
    Log { level, format, file: path.map(|path| path.value), access: access_log }
}

/// A number from 0 to 1.
pub(super) fn share(table: &mut Table<'_>, key: &'static str, default: Share) -> Share {
    let number = table.take(key).and_then(|value| value.number(0.0, 1.0));
    number.map_or(default, Share::new)
}
