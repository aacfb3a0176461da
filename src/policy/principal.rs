//! Whoever asks: by what name they stand in logs, and by what they are told from others.

use std::fmt;
use std::sync::Arc;

use super::digest::Digest;

/// Longest name kept, in bytes.
const MAX_BYTES: usize = 128;

/// Somebody who has proved who they are.
///
/// Two of them may have the same name in logs, where that does no harm. What they may have open and
/// how often they may ask goes by the whole of what they are called, so that nobody can use up what
/// is somebody else's.
#[derive(Clone, PartialEq, Eq)]
pub struct Principal {
    name: Arc<str>,
    digest: Digest,
}

impl Principal {
    /// By a name that comes from outside. For logs it is made harmless: what is not visible ASCII
    /// becomes `_`, and what is too long is cut. An empty one is none.
    pub fn new(name: &[u8]) -> Option<Self> {
        let harmless: String = String::from_utf8_lossy(name)
            .chars()
            .map(|letter| if letter.is_ascii_graphic() { letter } else { '_' })
            .take(MAX_BYTES)
            .collect();
        let digest = Digest::of(name);
        (!harmless.is_empty()).then(|| Self { name: harmless.into(), digest })
    }

    /// The name as it may stand in logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same, to be kept.
    pub fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// What tells them from everybody else.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Principal").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_visible() {
        for (name, expected) in [
            (&b"auth0|42"[..], Some("auth0|42")),
            (b"", None),
            (b"a b\r\n\x1b[31m", Some("a_b___[31m")),
            ("zoë".as_bytes(), Some("zo_")),
            (b"a\xff", Some("a_")),
        ] {
            assert_eq!(Principal::new(name).as_ref().map(Principal::name), expected);
        }
        assert_eq!(Principal::new(&[b'x'; 500]).unwrap().name().len(), 128);
    }

    #[test]
    fn those_who_look_alike_in_logs_are_not_the_same() {
        let long = |last: u8| [&[b'x'; 500][..], &[last]].concat();
        for (one, other) in [
            ("zoë".as_bytes().to_vec(), "zoé".as_bytes().to_vec()),
            (b"a b".to_vec(), b"a_b".to_vec()),
            (b"a\xfe".to_vec(), b"a\xff".to_vec()),
            (long(b'1'), long(b'2')),
        ] {
            let (one, other) = (Principal::new(&one).unwrap(), Principal::new(&other).unwrap());
            assert_eq!(one.name(), other.name());
            assert!(one.digest() != other.digest() && one != other, "{one:?}");
        }
    }
}
