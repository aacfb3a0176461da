//! Which endpoint takes the next exchange. Pure.

/// The index of the smallest count of open streams among those not left out.
///
/// Equals take turns: the search begins at `turn`, modulo their number.
pub fn least_streams(
    streams: impl ExactSizeIterator<Item = usize>,
    turn: usize,
    left_out: impl Fn(usize) -> bool,
) -> Option<usize> {
    let count = streams.len();
    let distance = |index: usize| (index + count - turn % count) % count;
    streams
        .enumerate()
        .filter(|(index, _)| !left_out(*index))
        .min_by_key(|(index, open)| (*open, distance(*index)))
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewest_wins_and_equals_take_turns() {
        let pick = |streams: &[usize], turn, out: &[usize]| {
            least_streams(streams.iter().copied(), turn, |index| out.contains(&index))
        };
        assert_eq!(pick(&[3, 1, 2], 0, &[]), Some(1));
        assert_eq!(pick(&[3, 1, 2], 0, &[1]), Some(2));
        assert_eq!(pick(&[3, 1, 2], 0, &[0, 1, 2]), None);
        assert_eq!(pick(&[], 0, &[]), None);
        let turns: Vec<_> = (0..6).map(|turn| pick(&[1, 1, 1], turn, &[]).unwrap()).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
        assert_eq!(pick(&[1, 0, 0], 2, &[]), Some(2));
        assert_eq!(pick(&[1, 0, 0], usize::MAX, &[]), Some(1));
    }
}
