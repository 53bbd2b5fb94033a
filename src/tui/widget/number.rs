//! Numbers as people read them.

/// `+0.54`; `–` where there is none.
pub fn signed(value: Option<f64>) -> String {
    let finite = |v: f64| if v.abs() < 0.005 { "+0.00".to_owned() } else { format!("{v:+.2}") };
    value.map_or_else(|| "–".to_owned(), |v| if v.is_finite() { finite(v) } else { "NaN".to_owned() })
}

/// `1 step`, `2 steps`.
pub fn many(n: usize, word: &str) -> String {
    if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") }
}

/// With so many decimals, and never `-0.000`.
pub fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let is_zero = text.bytes().all(|b| matches!(b, b'-' | b'0' | b'.'));
    if is_zero { text.trim_start_matches('-').to_owned() } else { text }
}

/// The same with its sign; what rounds to zero has none.
pub fn fixed_signed(value: f64, decimals: usize) -> String {
    let text = fixed(value, decimals);
    let is_zero = text.bytes().all(|b| matches!(b, b'0' | b'.'));
    if is_zero || text.starts_with('-') || value.is_nan() { text } else { format!("+{text}") }
}

/// `0.034`, with fewer digits as it grows, `2e-5` where three decimals would say nothing; `–` where there is none.
pub fn plain(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(v) if !v.is_finite() => "NaN".to_owned(),
        Some(v) if v.abs() >= 100.0 => format!("{v:.0}"),
        Some(v) if v.abs() >= 10.0 => format!("{v:.1}"),
        Some(v) if v != 0.0 && v.abs() < 0.0005 => format!("{v:.0e}"),
        Some(v) => fixed(v, 3),
    }
}

/// Any size in few columns: `0.034`, `12.5`, `352`, `48 k`, `2.0e-5`; `NaN` and `inf` as they are.
pub fn compact(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "NaN".to_owned(),
        _ if value.is_infinite() => if value > 0.0 { "inf" } else { "-inf" }.to_owned(),
        0.0 => "0".to_owned(),
        1e6.. => format!("{value:.1e}"),
        1e4.. => format!("{:.0} k", value / 1e3),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        0.001.. => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

/// `12%` of a share 0..=1; `–` where there is none.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |s| if s.is_finite() { format!("{:.0}%", s * 100.0) } else { "NaN".to_owned() })
}

/// `8.9 s`, `2 m 05 s`, `7 h 35 m`.
pub fn seconds(value: f64) -> String {
    if !value.is_finite() || value < 0.0 {
        return "–".to_owned();
    }
    if value < 99.95 {
        return format!("{value:.1} s");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = value.round() as u64;
    let (minutes, hours) = (whole / 60, whole / 3600);
    match hours {
        0 => format!("{minutes} m {:02} s", whole % 60),
        1..=99 => format!("{hours} h {:02} m", minutes % 60),
        _ => format!("{} d {:02} h", hours / 24, hours % 24),
    }
}

/// `11-26 04:14:07`, UTC.
pub fn clock(unix_s: i64) -> String {
    let (days, second) = (unix_s.div_euclid(86_400), unix_s.rem_euclid(86_400));
    // Howard Hinnant, chrono-compatible low-level date algorithms: civil_from_days.
    let era_day = (days + 719_468).rem_euclid(146_097);
    let year = (era_day - era_day / 1460 + era_day / 36_524 - era_day / 146_096) / 365;
    let year_day = era_day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * year_day + 2) / 153;
    let (day, month) = (year_day - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    format!("{month:02}-{day:02} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// `61.0 GiB`, `312 MiB`.
#[expect(clippy::cast_precision_loss)]
pub fn bytes(value: u64) -> String {
    let mebi = value as f64 / f64::from(1 << 20);
    if mebi >= 1024.0 { format!("{:.1} GiB", mebi / 1024.0) } else { format!("{mebi:.0} MiB") }
}

/// `61.0/139.0 GiB`: both in the unit of the larger.
#[expect(clippy::cast_precision_loss)]
pub fn bytes_of(used: u64, total: u64) -> String {
    let gibi = f64::from(1 << 30);
    if total >= 1 << 30 {
        format!("{:.1}/{:.1} GiB", used as f64 / gibi, total as f64 / gibi)
    } else {
        format!("{}/{} MiB", used >> 20, total >> 20)
    }
}

/// `142`, `9.6 k`, `1.2 M`.
pub fn count(value: f64) -> String {
    match value {
        v if !v.is_finite() => "–".to_owned(),
        v if v < 1000.0 => format!("{v:.0}"),
        v if v < 1e6 => format!("{:.1} k", v / 1e3),
        v => format!("{:.1} M", v / 1e6),
    }
}
