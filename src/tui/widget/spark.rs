//! Sparklines. A missing value is a gap, a value that is no number is `×`; neither is ever drawn as zero.

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One row, newest value at the right edge; `None` is a gap. More values than columns are averaged in equal buckets.
pub fn row(values: &[Option<f64>], columns: usize) -> String {
    rows(values, columns, 1).pop().unwrap_or_default()
}

/// The same over `height` rows, top row first.
pub fn rows(values: &[Option<f64>], columns: usize, height: usize) -> Vec<String> {
    let buckets = bucket(values, columns);
    let finite = || buckets.iter().flatten().copied().filter(|v| v.is_finite());
    let low = finite().fold(f64::INFINITY, f64::min);
    let high = finite().fold(f64::NEG_INFINITY, f64::max);
    let lead = " ".repeat(columns.saturating_sub(buckets.len()));
    (0..height)
        .rev()
        .map(|level| lead.clone() + &buckets.iter().map(|v| cell(*v, low, high, level, height)).collect::<String>())
        .collect()
}

/// The character of one value on row `level` (0 is the bottom). A flat series sits in the middle.
fn cell(value: Option<f64>, low: f64, high: f64, level: usize, height: usize) -> char {
    let Some(value) = value else { return ' ' };
    if !value.is_finite() {
        return if level == 0 { '×' } else { ' ' };
    }
    let share = if high > low { (value - low) / (high - low) } else { 0.5 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let filled = 1 + (share * (height * 8 - 1) as f64).round() as usize;
    match filled.saturating_sub(level * 8) {
        0 => ' ',
        n => LEVELS[n.min(8) - 1],
    }
}

/// Averages into at most `columns` buckets; one value that is no number makes its bucket no number.
fn bucket(values: &[Option<f64>], columns: usize) -> Vec<Option<f64>> {
    if values.len() <= columns {
        return values.to_vec();
    }
    (0..columns)
        .map(|i| {
            let chunk = &values[i * values.len() / columns..(i + 1) * values.len() / columns];
            let known: Vec<f64> = chunk.iter().flatten().copied().collect();
            #[expect(clippy::cast_precision_loss)]
            let mean = known.iter().sum::<f64>() / known.len() as f64;
            (!known.is_empty()).then_some(mean)
        })
        .collect()
}
