//! SHA-256, and comparing without telling by its time where the difference is.

use ring::digest::{SHA256, digest};
use subtle::{Choice, ConstantTimeEq as _};

/// A SHA-256. Purposefully not `Debug`: it may be that of a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(hash)
    }

    /// One that is known already.
    pub fn new(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is the same, in constant time.
    pub fn is(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

/// Whether two secrets are the same. Hashed first, so that not even their length shows.
pub fn same(given: &[u8], expected: &[u8]) -> bool {
    Digest::of(given).is(&Digest::of(expected)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_sha_256() {
        // FIPS 180-4's example "abc".
        let expected = [0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea];
        assert_eq!(Digest::of(b"abc").0[..8], expected);
    }

    #[test]
    fn only_the_same_is_the_same() {
        assert!(same(b"abc", b"abc") && same(b"", b""));
        for other in [&b"abd"[..], b"ab", b"abcd", b""] {
            assert!(!same(other, b"abc"), "{other:?}");
        }
    }
}
