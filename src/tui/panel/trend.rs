//! What moves from step to step: one line a metric, or a small bar chart each where there is height.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    attach::Live,
    tui::{
        app::App,
        panel::{self, Frame, Panel},
        theme::Token,
        widget::{cut, number, spark, wrap},
    },
};

#[derive(Clone, Copy)]
enum Form {
    Signed,
    Plain,
    Percent,
}

impl Form {
    fn show(self, value: Option<f64>) -> String {
        match self {
            Form::Signed => number::signed(value),
            Form::Plain => number::plain(value),
            Form::Percent => number::percent(value),
        }
    }
}

/// Metric key, label, form; in order of importance, since the last leave first.
const SHOWN: &[(&str, &str, Form)] = &[
    ("reward", "reward", Form::Signed),
    ("accuracy", "accuracy", Form::Percent),
    ("kl", "KL", Form::Plain),
    ("entropy", "entropy", Form::Plain),
    ("false_positive_rate", "FP rate", Form::Percent),
    ("false_negative_rate", "FN rate", Form::Percent),
    ("completion_tokens", "length", Form::Plain),
    ("eval_accuracy", "held-out", Form::Percent),
    ("malformed_rate", "malformed", Form::Percent),
    ("grad_norm", "grad norm", Form::Plain),
];

/// Lines that are always there, with or without values.
const ALWAYS: usize = 7;
const LABEL_COLUMNS: usize = 9;
const VALUE_COLUMNS: usize = 6;

struct Series {
    label: &'static str,
    form: Form,
    value: String,
    points: Vec<Option<f64>>,
}

pub fn draw(app: &App, area: Rect, buf: &mut Buffer) {
    let n = app.live.reports.len();
    let right = match n {
        0 => String::new(),
        1 => "1 step".to_owned(),
        n => format!("last {n} steps"),
    };
    let room = panel::frame(app, Panel::Trend, Frame { left: "Trend".to_owned(), right, ..Frame::default() }, area, buf);
    if n == 0 {
        let lines = wrap::plain("Figures come with the first step.", app.theme.style(Token::Dim), room.width.into());
        return panel::put(&lines, room, buf);
    }
    let series = collect(&app.live);
    let (height, n_series) = (usize::from(room.height), series.len().max(1));
    if height >= n_series.min(ALWAYS) * 3 {
        return charts(app, &series, room, buf);
    }
    let columns = usize::from(room.width);
    let two = columns >= 88 && height < series.len();
    let each = if two { (columns - 3) / 2 } else { columns };
    let lines: Vec<Line> = if two {
        series.chunks(2).map(|pair| pair_line(app, pair, each)).collect()
    } else {
        series.iter().map(|s| Line::from(line(app, s, each))).collect()
    };
    panel::put(&lines, room, buf);
}

fn collect(live: &Live) -> Vec<Series> {
    let series = SHOWN.iter().enumerate().filter_map(|(i, (key, label, form))| {
        let all: Vec<Option<f64>> = live.reports.iter().map(|r| r.metrics.get(*key).copied()).collect();
        // Held-out scores come every n steps: only the steps that have one make their line.
        let points: Vec<Option<f64>> = if key.starts_with("eval_") { all.into_iter().flatten().map(Some).collect() } else { all };
        let newest = points.iter().rev().copied().flatten().next();
        let value = form.show(newest);
        (i < ALWAYS || newest.is_some()).then_some(Series { label, form: *form, value, points })
    });
    series.collect()
}

fn line(app: &App, series: &Series, columns: usize) -> Vec<Span<'static>> {
    let spark_columns = columns.saturating_sub(LABEL_COLUMNS + 1 + VALUE_COLUMNS + 1);
    vec![
        Span::styled(cut::pad(series.label, LABEL_COLUMNS), app.theme.style(Token::Dim)),
        Span::styled(format!(" {} ", cut::pad_left(&series.value, VALUE_COLUMNS)), app.theme.style(Token::Title)),
        Span::styled(spark::row(&series.points, spark_columns), app.theme.style(Token::Spark)),
    ]
}

fn pair_line(app: &App, pair: &[Series], columns: usize) -> Line<'static> {
    let spans = pair.iter().enumerate().flat_map(|(i, s)| {
        let gap = if i == 0 { "" } else { "   " };
        std::iter::once(Span::raw(gap)).chain(line(app, s, columns))
    });
    Line::from(spans.collect::<Vec<_>>())
}

fn charts(app: &App, series: &[Series], room: Rect, buf: &mut Buffer) {
    let count = series.len().min(usize::from(room.height) / 3).max(1);
    let (each, extra) = (usize::from(room.height) / count, usize::from(room.height) % count);
    let columns = usize::from(room.width);
    let mut lines: Vec<Line> = Vec::new();
    for (i, s) in series.iter().take(count).enumerate() {
        let known = || s.points.iter().flatten().copied().filter(|v| v.is_finite());
        let (low, high) = (known().fold(f64::INFINITY, f64::min), known().fold(f64::NEG_INFINITY, f64::max));
        let span =
            if low <= high { format!("{} … {}", s.form.show(Some(low)), s.form.show(Some(high))) } else { String::new() };
        let head = vec![
            cut::part(s.label, app.theme.style(Token::Dim)),
            cut::part(s.value.clone(), app.theme.style(Token::Title)),
            cut::part(span, app.theme.style(Token::Dim)),
        ];
        lines.push(cut::segments(head, "  ", columns));
        let height = (each + usize::from(i < extra)).saturating_sub(2).max(1);
        let rows = spark::rows(&s.points, columns, height);
        lines.extend(rows.into_iter().map(|row| Line::styled(row, app.theme.style(Token::Spark))));
        lines.push(Line::default());
    }
    panel::put(&lines, room, buf);
}
