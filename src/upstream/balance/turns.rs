//! Whose turn it is. Both ledgers go by the endpoints' ids, so that a turn survives a change of
//! the list, and forget those that have left it.

use std::collections::HashMap;

use super::Candidate;

/// After so many picks without it an endpoint is forgotten. One that was merely full, ejected or
/// down for a while keeps its place.
const FORGET_AFTER: u64 = 1024;

/// Equals take turns: who was picked longest ago is next.
#[derive(Debug, Default)]
pub(super) struct RecentTurns {
    picks: u64,
    /// The number of the last pick, by id.
    last: HashMap<u64, u64>,
}

impl RecentTurns {
    /// The one with the least load; among equals, the one picked longest ago.
    pub(super) fn least(&mut self, candidates: &[Candidate]) -> Option<usize> {
        let last = |id| self.last.get(&id).copied().unwrap_or(0);
        let (index, least) = candidates.iter().enumerate().min_by(|(_, one), (_, other)| {
            one.load().total_cmp(&other.load()).then_with(|| last(one.id).cmp(&last(other.id)))
        })?;
        self.picks += 1;
        self.last.insert(least.id, self.picks);
        if self.picks.is_multiple_of(FORGET_AFTER) {
            // Whoever is still there is behind all others anyway, just as if it was new.
            let picks = self.picks;
            self.last.retain(|_, last| picks - *last < FORGET_AFTER);
        }
        Some(index)
    }
}

/// Smooth weighted round robin, as nginx has it (`ngx_http_upstream_get_peer`): with weights 5, 1
/// and 1 the turns are A A B A C A A, not A A A A A B C.
#[derive(Debug, Default)]
pub(super) struct SmoothTurns {
    picks: u64,
    credits: HashMap<u64, Credit>,
}

/// What an endpoint has saved up.
#[derive(Debug, Default)]
struct Credit {
    amount: f64,
    /// The number of the last pick that it was a candidate for.
    seen: u64,
}

impl SmoothTurns {
    /// Each gets its weight; who has most is next and pays for all.
    pub(super) fn pick(&mut self, candidates: &[Candidate]) -> Option<usize> {
        self.picks += 1;
        let mut total = 0.0;
        let mut richest: Option<(usize, f64)> = None;
        for (index, candidate) in candidates.iter().enumerate() {
            let credit = self.credits.entry(candidate.id).or_default();
            credit.amount += candidate.weight;
            credit.seen = self.picks;
            total += candidate.weight;
            if richest.is_none_or(|(_, most)| credit.amount > most) {
                richest = Some((index, credit.amount));
            }
        }
        let (index, _) = richest?;
        if let Some(credit) = self.credits.get_mut(&candidates[index].id) {
            credit.amount -= total;
        }
        if self.picks.is_multiple_of(FORGET_AFTER) {
            let picks = self.picks;
            self.credits.retain(|_, credit| picks - credit.seen < FORGET_AFTER);
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(id: u64) -> Candidate {
        Candidate { id, streams: 0, weight: 1.0 }
    }

    #[test]
    fn the_gone_are_forgotten() {
        let (mut recent, mut smooth) = (RecentTurns::default(), SmoothTurns::default());
        for id in 0..10_000 {
            recent.least(&[one(id)]);
            smooth.pick(&[one(id)]);
        }
        assert!(recent.last.len() <= 2 * FORGET_AFTER as usize, "{}", recent.last.len());
        assert!(smooth.credits.len() <= 2 * FORGET_AFTER as usize, "{}", smooth.credits.len());
    }
}
