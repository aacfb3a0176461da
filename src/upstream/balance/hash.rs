//! The same endpoint for the same key, unless it has far more than its share.
//!
//! This is rendezvous hashing: each endpoint gets a score from its id and the key, and the highest
//! wins (Thaler and Ravishankar, IEEE/ACM ToN 6:1, 1998; by weight with the "logarithmic method" of
//! Schindelhauer and Schomaker, SPAA 2005). It is not a ring, because
//!
//! - weights are exact, and may change with every pick (slow start): a ring approximates them by
//!   hundreds of points per endpoint and is built anew for each change;
//! - when one leaves, its keys go to all the others by weight, not to its neighbour on the ring;
//! - there is nothing to keep, and replicas agree without a word.
//!
//! It costs a hash and a logarithm per endpoint and pick, which for a few dozen is nothing next to
//! a stream.
//!
//! A popular key must not drown its endpoint, so loads are bounded as in "Consistent Hashing with
//! Bounded Loads" (Mirrokni, Thorup, Zadimoghaddam, 2016): who has his bound is passed over for
//! the next by score, which is the same one each time.

use super::Candidate;
use super::random::{mix, unit};

/// An endpoint takes at most this many times its fair share. The paper's trade-off: nearer to 1 is
/// more even, further up moves fewer keys.
const BOUND: f64 = 1.25;

/// FNV-1a, 64 bits: the same in every process, version and replica. For keys and for ids of
/// endpoints. It is not secret: who wants to can find many keys for one endpoint, and meets its
/// bound.
pub fn hash_key(bytes: &[u8]) -> u64 {
    // Offset basis and prime of RFC 9923.
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The highest score for the key among those below their bound.
pub(super) fn pick(candidates: &[Candidate], key: u64) -> Option<usize> {
    let streams: usize = candidates.iter().map(|candidate| candidate.streams).sum();
    let weights: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
    // The new exchange counts. The bounds add up to more than there are exchanges then, so that
    // somebody is always below his.
    let share_per_weight = (streams + 1) as f64 / weights;
    let has_room = |candidate: &Candidate| {
        (candidate.streams as f64) < (BOUND * share_per_weight * candidate.weight).ceil()
    };
    let open = candidates.iter().enumerate().filter(|(_, candidate)| has_room(candidate));
    open.max_by(|(_, one), (_, other)| score(one, key).total_cmp(&score(other, key)))
        .map(|(index, _)| index)
}

/// The candidate's score: the chance of the highest one is its weight's share.
fn score(candidate: &Candidate, key: u64) -> f64 {
    // Ids are mixed first: else keys and ids that differ in the same bits would trade places. The
    // lowest bit keeps the logarithm finite.
    let point = unit(mix(key ^ mix(candidate.id)) | 1 << 11);
    candidate.weight / -point.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_the_standard_says() {
        // Test vectors that RFC 9923's code comes with.
        for (text, hash) in [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            assert_eq!(hash_key(text.as_bytes()), hash, "{text:?}");
        }
    }

    #[test]
    fn no_score_is_out_of_order() {
        let one = |id| Candidate { id, streams: 0, weight: 1.0 };
        let scores: Vec<_> = (0..10_000).map(|id| score(&one(id), id.wrapping_mul(7))).collect();
        assert!(scores.iter().all(|score| score.is_finite() && *score > 0.0));
    }
}
