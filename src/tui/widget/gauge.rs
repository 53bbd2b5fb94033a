//! A bar in eighths of a column.

const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// Draws `share` (0..=1; anything else is clamped, NaN is empty) as a bar of exactly `columns` columns.
pub fn bar(share: f64, columns: usize) -> String {
    let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let eighths = (share * columns as f64 * 8.0).round() as usize;
    let (full, rest) = (eighths / 8, eighths % 8);
    let used = full + usize::from(rest > 0);
    "█".repeat(full) + EIGHTHS[rest] + &"░".repeat(columns.saturating_sub(used))
}
