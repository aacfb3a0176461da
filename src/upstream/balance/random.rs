//! Chance from a seed: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). Good enough to spread load,
//! not for secrets.

/// A sequence of numbers that its seed decides.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, from 0 up to but not 1.
    pub(super) fn unit(&mut self) -> f64 {
        // The golden ratio as a 64-bit fraction, rounded to an odd number: its multiples visit all
        // numbers.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        unit(mix(self.0))
    }
}

/// Spreads a change of any bit over all bits; no two numbers become the same one.
pub(super) fn mix(mut bits: u64) -> u64 {
    // The constants are those of SplitMix64's finalizer ("variant 13" of David Stafford's search).
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The bits as a number from 0 up to but not 1.
pub(super) fn unit(bits: u64) -> f64 {
    // An f64 holds 53 bits exactly.
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_as_the_reference_does() {
        // The first output of SplitMix64 for the seed 0 (prng.di.unimi.it/splitmix64.c).
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn stays_below_one() {
        assert_eq!(unit(0), 0.0);
        assert!(unit(u64::MAX) < 1.0);
    }
}
