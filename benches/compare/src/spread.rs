//! The median of some values, and how far they lie apart.

/// Median, least and greatest.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) greatest: f64,
}

impl Spread {
    /// None of no values.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, greatest) = (*sorted.first()?, *sorted.last()?);
        let upper = sorted[sorted.len() / 2];
        let lower = sorted[(sorted.len() - 1) / 2];
        Some(Self { median: lower.midpoint(upper), least, greatest })
    }

    /// As in a table, with so many digits behind the point.
    pub(crate) fn show(&self, digits: usize) -> String {
        let Self { median, least, greatest } = self;
        if least == greatest {
            return format!("{median:.digits$}");
        }
        format!("{median:.digits$} ({least:.digits$}–{greatest:.digits$})")
    }
}

/// The value below which this share of the values lies; 0 of no values.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let at = ((values.len() - 1) as f64 * share).round() as usize;
    *values.select_nth_unstable_by(at, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_lies_in_the_middle() {
        let of = |values: &[f64]| Spread::of(values).map(|spread| spread.show(1));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[2.0]).as_deref(), Some("2.0"));
        assert_eq!(of(&[3.0, 1.0, 2.0]).as_deref(), Some("2.0 (1.0–3.0)"));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]).as_deref(), Some("2.5 (1.0–4.0)"));
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let mut values: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&mut values, 0.5), 50.0);
        assert_eq!(quantile(&mut values, 0.99), 99.0);
        assert_eq!(quantile(&mut [], 0.5), 0.0);
    }
}
