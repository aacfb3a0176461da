//! Durations, sizes, networks and addresses as they are written in the file.
//!
//! Each parser says on failure what it expected and perhaps what was meant. It never repeats the
//! text itself, because that may come from the environment; the reader shows what was written.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::error::quoted;
use super::model::{Bind, Network};
use super::suggest::did_you_mean;

/// Why a text is not what it should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid {
    /// Goes after "expected".
    pub expected: String,
    /// What was probably meant. It may repeat the text, so it is not for secrets.
    pub suggestion: Option<String>,
    /// Whether the text is fine by itself and does not fit to what stands elsewhere.
    pub is_misplaced: bool,
}

impl Invalid {
    pub(super) fn new(expected: impl Into<String>) -> Self {
        Self { expected: expected.into(), suggestion: None, is_misplaced: false }
    }

    pub(super) fn suggest(self, suggestion: impl Into<String>) -> Self {
        Self { suggestion: Some(suggestion.into()), ..self }
    }

    /// The whole message, with the text itself.
    pub(super) fn found(&self, text: &str) -> String {
        let hint = did_you_mean(self.suggestion.as_deref());
        format!("expected {}, found {}{hint}", self.expected, quoted(text))
    }
}

/// What is expected where a duration is.
pub(super) const A_DURATION: &str = "a duration such as \"250ms\", \"15s\", \"5m\" or \"1h30m\"";
/// What is expected where a size is.
pub(super) const A_SIZE: &str = "a size such as \"512B\", \"32KiB\" or \"1MiB\"";
/// What is expected where a network is.
pub(super) const A_NETWORK: &str = "a network such as \"10.0.0.0/8\" or an address such as \"::1\"";

/// From the largest to the smallest, the order in which the parts of a duration stand.
const DURATION_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
const SIZE_UNITS: [(&str, u64); 4] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// `250ms`, `15s`, `1h30m`. Each unit at most once, larger ones first, whole numbers only.
pub(super) fn duration(text: &str) -> Result<Duration, Invalid> {
    let invalid = || Invalid::new(A_DURATION);
    let mut units = DURATION_UNITS.iter();
    let mut total_ms = 0_u64;
    let mut rest = text;
    while !rest.is_empty() || text.is_empty() {
        let (number, after) = leading_number(rest).ok_or_else(invalid)?;
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        if unit.is_empty() {
            return Err(if rest == text {
                invalid().suggest(format!("{text}s"))
            } else {
                invalid()
            });
        }
        let (_, unit_ms) = units.find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        total_ms = number
            .checked_mul(*unit_ms)
            .and_then(|ms| total_ms.checked_add(ms))
            .ok_or_else(invalid)?;
        rest = after;
    }
    Ok(Duration::from_millis(total_ms))
}

/// `512B`, `32KiB`, `1MiB`, in bytes.
pub(super) fn size(text: &str) -> Result<u64, Invalid> {
    let invalid = || Invalid::new(A_SIZE);
    let (number, unit) = leading_number(text).ok_or_else(invalid)?;
    if let Some((_, bytes)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) {
        return number.checked_mul(*bytes).ok_or_else(invalid);
    }
    Err(match unit.to_ascii_lowercase().as_str() {
        "" => invalid().suggest(written_size(number)),
        "b" => invalid().suggest(format!("{number}B")),
        "k" | "kb" | "kib" => invalid().suggest(format!("{number}KiB")),
        "m" | "mb" | "mib" => invalid().suggest(format!("{number}MiB")),
        "g" | "gb" | "gib" => invalid().suggest(format!("{number}GiB")),
        _ => invalid(),
    })
}

/// A number of bytes in the largest unit that needs no fraction.
pub(super) fn written_size(bytes: u64) -> String {
    let fits = |unit: u64| bytes >= unit && bytes.is_multiple_of(unit);
    let (name, unit) =
        SIZE_UNITS.iter().rev().find(|(_, unit)| fits(*unit)).unwrap_or(&SIZE_UNITS[0]);
    format!("{}{name}", bytes / unit)
}

/// A duration as it is written in the file.
pub(super) fn written_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, unit_ms) in DURATION_UNITS {
        if rest >= unit_ms {
            text.push_str(&format!("{}{name}", rest / unit_ms));
            rest %= unit_ms;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// The digits in front, and what follows them.
fn leading_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

/// `10.0.0.0/8`, `::1`. Host bits must be zero: if one is set, the prefix is probably wrong.
pub(super) fn network(text: &str) -> Result<Network, Invalid> {
    let invalid = || Invalid::new(A_NETWORK);
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| invalid())?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => bits,
        Some(prefix) => {
            let (number, rest) = leading_number(prefix).ok_or_else(invalid)?;
            let number = u8::try_from(number).ok().filter(|prefix| *prefix <= bits);
            number.filter(|_| rest.is_empty()).ok_or_else(|| {
                Invalid::new(format!("a prefix of 0 to {bits} bits after the address"))
            })?
        }
    };
    let network = without_host_bits(address, prefix);
    if network != address {
        return Err(Invalid::new("a network with only zero bits after its prefix")
            .suggest(format!("{network}/{prefix}")));
    }
    Ok(canonical(address, prefix))
}

/// IPv4 written as IPv6 (RFC 4291, 2.5.5.2) is IPv4, as the addresses of clients are.
fn canonical(address: IpAddr, prefix: u8) -> Network {
    match (address.to_canonical(), prefix.checked_sub(IPV4_MAPPED_BITS)) {
        (IpAddr::V4(v4), Some(prefix)) if address.is_ipv6() => {
            Network { address: IpAddr::V4(v4), prefix }
        }
        _ => Network { address, prefix },
    }
}

/// Of `::ffff:0:0/96`.
const IPV4_MAPPED_BITS: u8 = 96;

fn without_host_bits(address: IpAddr, prefix: u8) -> IpAddr {
    let shift = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - shift.min(32)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - shift.min(128)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

/// Reads a path in the file system; whether something is there is asked when it is read.
pub(super) fn file(expected: &str) -> impl Fn(&str) -> Result<PathBuf, Invalid> {
    move |text| {
        if text.is_empty() || text.contains('\0') {
            return Err(Invalid::new(expected));
        }
        Ok(PathBuf::from(text))
    }
}

/// What [`bind`] reads.
pub(super) const A_BIND: &str =
    "an address such as \"127.0.0.1:8080\" or \"unix:/run/longwire.sock\"";

/// `127.0.0.1:8080`, `[::]:8080`, `unix:/run/longwire.sock`.
pub(super) fn bind(text: &str) -> Result<Bind, Invalid> {
    match text.strip_prefix("unix:") {
        Some(path) => socket_path(path).map(Bind::Unix),
        None => socket_address(text).map(Bind::Tcp),
    }
}

/// `sockaddr_un` has room for 108 bytes, one of which is the end.
const SOCKET_PATH_MAX_BYTES: usize = 107;

fn socket_path(path: &str) -> Result<PathBuf, Invalid> {
    if !path.starts_with('/') || path.contains('\0') || path.len() > SOCKET_PATH_MAX_BYTES {
        let expected =
            format!("\"unix:\" and an absolute path of at most {SOCKET_PATH_MAX_BYTES} bytes");
        return Err(Invalid::new(expected));
    }
    Ok(path.into())
}

fn socket_address(text: &str) -> Result<SocketAddr, Invalid> {
    text.parse().map_err(|_| {
        let invalid = Invalid::new(A_BIND);
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let port: Result<u16, _> = port.parse();
        match (host, port, text.parse()) {
            ("" | "*", Ok(port), _) => invalid.suggest(format!("0.0.0.0:{port}")),
            ("localhost", Ok(port), _) => invalid.suggest(format!("127.0.0.1:{port}")),
            (_, _, Ok(address @ IpAddr::V4(_))) => invalid.suggest(format!("{address}:8080")),
            (_, _, Ok(address @ IpAddr::V6(_))) => invalid.suggest(format!("[{address}]:8080")),
            _ if text.starts_with('/') => invalid.suggest(format!("unix:{text}")),
            _ => invalid,
        }
    })
}

#[cfg(test)]
mod tests;
