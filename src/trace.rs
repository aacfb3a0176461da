//! Where an exchange stands in a distributed trace (W3C Trace Context, Level 2). Pure.
//!
//! What comes in is continued or begun anew; what goes on names the exchange's own span as the
//! parent. The vendor's list beside it, `tracestate`, is only passed on: nothing here writes in it.

use std::fmt;

use crate::http1::fields::Fields;

mod state;

/// The name of the field that says where a request stands.
const PARENT: &str = "traceparent";

/// The name of the field with what tracing systems want to know besides.
const STATE: &str = "tracestate";

/// Length of a version 00 value: `00-` and 32, 16 and 2 digits with `-` between.
const PARENT_BYTES: usize = 55;

/// Whoever sent this may have recorded it.
const SAMPLED: u8 = 1;

/// The last seven bytes of the trace's id are random.
const RANDOM: u8 = 2;

/// §3.2.2.5: the others are for the future, "vendors MUST set those to zero".
const KNOWN_FLAGS: u8 = SAMPLED | RANDOM;

/// All spans of one story. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(u128);

impl TraceId {
    /// As 16 bytes, the first digits first.
    pub fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Its last 64 bits: the lot by which whoever sees only this id decides as we do.
    pub fn low(self) -> u64 {
        self.0 as u64
    }
}

/// One piece of it. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(u64);

impl SpanId {
    /// As 8 bytes, the first digits first.
    pub fn bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// 16 hexadecimal digits.
impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The place of one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The trace.
    pub id: TraceId,
    /// The exchange's own span: the parent of what the upstream does.
    pub span: SpanId,
    /// Whose part it is, by the client's word; `None` where the trace begins here.
    pub parent: Option<SpanId>,
    flags: u8,
}

impl Trace {
    /// The place of a request with these fields; `random` gives numbers that nobody can guess.
    ///
    /// Without exactly one `traceparent` that can be read, a trace begins (§4.3), and `samples`
    /// says whether it is recorded; else that was decided where it began.
    pub fn of(
        fields: &Fields,
        mut random: impl FnMut() -> u64,
        samples: impl FnOnce(TraceId) -> bool,
    ) -> Self {
        let mut found = fields.all(PARENT);
        let parent = found.next().and_then(Parent::parse);
        let parent = parent.filter(|_| found.next().is_none());
        // Zero means that there is none. It comes up once in 2^64 times.
        let span = SpanId(random().max(1));
        match parent {
            Some(Parent { trace, span: parent, flags }) => {
                Self { id: trace, span, parent: Some(parent), flags }
            }
            None => {
                let (high, low) = (random(), random().max(1));
                let id = TraceId(u128::from(high) << 64 | u128::from(low));
                // §3.2.2.5.1: "It should be set to 0 as the default option when the trace is
                // initiated by this component."
                let sampled = if samples(id) { SAMPLED } else { 0 };
                Self { id, span, parent: None, flags: RANDOM | sampled }
            }
        }
    }

    /// Whether it may have been recorded, and is to be.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// §3.2.2.5: the flags that go on.
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// Writes it into the fields that it was made of, as they go on to the upstream.
    pub fn write(&self, fields: &mut Fields) {
        // §3.3: what belongs to a `traceparent` that is not there means nothing.
        if self.parent.is_none() || !state::is_valid(fields.all(STATE)) {
            fields.remove(STATE);
        }
        let mut value = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut value[3..35], &self.id.0.to_be_bytes());
        write_hex(&mut value[36..52], &self.span.0.to_be_bytes());
        write_hex(&mut value[53..], &[self.flags]);
        fields.set(PARENT, value);
    }
}

/// What a `traceparent` says.
#[derive(Debug, PartialEq, Eq)]
struct Parent {
    trace: TraceId,
    span: SpanId,
    flags: u8,
}

impl Parent {
    /// §3.2: `version "-" trace-id "-" parent-id "-" trace-flags`, in lower case. §3.2.4: of a
    /// version that is not known the part that is known is read, and the rest begins with `-`.
    fn parse(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_at_checked(PARENT_BYTES)?;
        let mut parts = known.split(|&byte| byte == b'-');
        let mut next = |digits| parts.next().filter(|part| part.len() == digits).and_then(hex);
        let (version, trace) = (next(2)?, next(32)?);
        let (span, flags) = (next(16)?, next(2)?);
        let is_known = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        let (span, flags) = (u64::try_from(span).ok()?, u8::try_from(flags).ok()?);
        (is_known && trace != 0 && span != 0).then_some(Self {
            trace: TraceId(trace),
            span: SpanId(span),
            flags: flags & KNOWN_FLAGS,
        })
    }
}

/// Two digits for each byte.
fn write_hex(text: &mut [u8], bytes: &[u8]) {
    let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
    for (digits, byte) in text.chunks_exact_mut(2).zip(bytes) {
        digits.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

/// At most 32 digits; capitals are none here.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests;
