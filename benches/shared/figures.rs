//! Medians and spreads of what the rounds of a benchmark found.

/// The middle of these values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    f64::midpoint(low, high)
}

/// Half of the range of these values, as percent of their median.
pub(crate) fn noise(values: &[f64]) -> f64 {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    (high - low) / 2.0 / median(values.to_vec()) * 100.0
}

/// The median of the rounds' own ratios.
pub(crate) fn ratio(values: &[f64], reference: &[f64]) -> f64 {
    let ratios = values.iter().zip(reference);
    median(ratios.map(|(value, reference)| value / reference).collect())
}
