//! The token layer of one completion: a bar a token, by index. A token's text would need the tokenizer, which the client
//! does not carry, and guessing where a token ends would put a bar under the wrong word; so the bars are counted, not aligned.

use ratatui::text::{Line, Span};

use crate::{
    task::Rollout,
    tui::{
        app::App,
        inspect::Layer,
        theme::Token,
        widget::{
            cut, number,
            wrap::{self, Run},
        },
    },
};

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Lower ends of the bars above the first, in nats: fixed, so that two completions can be compared by eye.
const NATS: [f64; 7] = [0.02, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0];
const INDEX_COLUMNS: usize = 6;
/// Least likely tokens that are named.
const NAMED: usize = 5;

/// The layer as lines, the fixed facts first; none where it is off.
pub fn lines(app: &App, rollout: &Rollout, columns: usize) -> Vec<Line<'static>> {
    let logprobs = &rollout.completion.rollout_logprobs;
    let n_tokens = rollout.completion.tokens.len();
    if logprobs.len() != n_tokens || n_tokens == 0 {
        return wrap::plain("no log-probs are kept for this completion", app.theme.style(Token::Dim), columns);
    }
    let values = values(app.inspect.layer, rollout);
    let mut lines = summary(app, rollout, columns);
    lines.extend(cursor(app, rollout, &values, columns));
    lines.extend(strip(app, rollout, &values, columns));
    lines
}

/// What is drawn of each token: nats of surprise, or its part of the largest pull.
fn values(layer: Layer, rollout: &Rollout) -> Vec<f64> {
    let logprobs = rollout.completion.rollout_logprobs.iter().map(|p| f64::from(*p));
    if layer == Layer::Surprise {
        return logprobs.map(|p| -p).collect();
    }
    let advantage = rollout.advantage.map_or(0.0, f64::from).abs();
    let pulls: Vec<f64> = logprobs.map(|p| advantage * (1.0 - p.exp())).collect();
    let most = pulls.iter().copied().filter(|v| v.is_finite()).fold(0.0, f64::max);
    pulls.into_iter().map(|pull| if most > 0.0 { pull / most } else { pull }).collect()
}

fn bar(layer: Layer, value: f64) -> (char, usize) {
    if !value.is_finite() {
        return ('×', BARS.len());
    }
    let level = match layer {
        Layer::Surprise => NATS.iter().filter(|low| value >= **low).count(),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        _ => (value.clamp(0.0, 1.0) * 7.99) as usize,
    };
    (BARS[level.min(7)], level)
}

fn token_of(layer: Layer, level: usize, advantage: Option<f32>) -> Token {
    match (layer, level) {
        (_, 8..) => Token::Fail,
        (Layer::Surprise, 6..) => Token::FalsePositive,
        (Layer::Surprise, _) => Token::Bar,
        (_, 0) => Token::Dim,
        _ if advantage.is_some_and(|a| a < 0.0) => Token::FalseNegative,
        _ => Token::Correct,
    }
}

/// Rows of bars in tens, each row led by the number of its first token (from 1).
fn strip(app: &App, rollout: &Rollout, values: &[f64], columns: usize) -> Vec<Line<'static>> {
    let room = columns.saturating_sub(INDEX_COLUMNS + 1).max(1);
    let tens = (room + 1) / 11;
    let each = if tens == 0 { room } else { tens * 10 };
    let row = |(n, chunk): (usize, &[f64])| {
        let first = n * each;
        let mut line = Line::styled(cut::pad_left(&(first + 1).to_string(), INDEX_COLUMNS) + " ", app.theme.style(Token::Dim));
        for (i, value) in chunk.iter().enumerate() {
            let (bar, level) = bar(app.inspect.layer, *value);
            let token = token_of(app.inspect.layer, level, rollout.advantage);
            let chosen = first + i == app.inspect.token;
            let style = if chosen { app.theme.style(Token::Chosen) } else { app.theme.style(token) };
            let gap = if i > 0 && i % 10 == 0 { " " } else { "" };
            match line.spans.last_mut() {
                Some(last) if last.style == style && i > 0 && !chosen => {
                    last.content.to_mut().extend(gap.chars().chain([bar]));
                }
                _ => {
                    line.push_span(Span::raw(gap));
                    line.push_span(Span::styled(bar.to_string(), style));
                }
            }
        }
        line
    };
    values.chunks(each).enumerate().map(row).collect()
}

#[expect(clippy::cast_precision_loss)]
fn summary(app: &App, rollout: &Rollout, columns: usize) -> Vec<Line<'static>> {
    let logprobs = &rollout.completion.rollout_logprobs;
    let sum: f64 = logprobs.iter().map(|p| f64::from(*p)).sum();
    let mean = -sum / logprobs.len() as f64;
    let dim = app.theme.style(Token::Dim);
    let scale = match app.inspect.layer {
        Layer::Share => "bar  |advantage| × (1 − p) of the token, against the largest here".to_owned(),
        _ => format!("bar  −log p in nats: ▁ below {}  ▄ {}  ▆ {}  █ {} and above", NATS[0], NATS[2], NATS[4], NATS[6]),
    };
    let mut order: Vec<usize> = (0..logprobs.len()).collect();
    order.sort_by(|a, b| logprobs[*a].total_cmp(&logprobs[*b]));
    let named: Vec<String> = order.iter().take(NAMED).map(|i| format!("#{} {:.2}", i + 1, logprobs[*i])).collect();
    let runs = |label: &str, text: String| -> [Run; 2] { [(cut::pad(label, 10), dim), (text, app.theme.style(Token::Text))] };
    let facts = format!(
        "{} a token ({} in all), perplexity {}",
        number::plain(Some(mean)),
        number::plain(Some(-sum)),
        number::plain(Some(mean.exp()))
    );
    let mut lines = wrap::wrap(&runs("−log p", facts), columns, 10);
    lines.extend(wrap::wrap(&runs("least", named.join("  ")), columns, 10));
    lines.extend(wrap::plain(&scale, dim, columns));
    lines
}

/// The token under the cursor in numbers.
fn cursor(app: &App, rollout: &Rollout, values: &[f64], columns: usize) -> Vec<Line<'static>> {
    let at = app.inspect.token.min(values.len() - 1);
    let p = f64::from(rollout.completion.rollout_logprobs[at]);
    let mut text =
        format!("#{} of {}, id {}, log p {p:.3}, p {:.3}", at + 1, values.len(), rollout.completion.tokens[at], p.exp());
    if let Some(advantage) = rollout.advantage {
        let pull = f64::from(advantage).abs() * (1.0 - p.exp());
        text += ", |A|(1−p) ";
        text += &number::plain(Some(pull));
    }
    let runs = [(cut::pad("[ ] token", 10), app.theme.style(Token::Key)), (text, app.theme.style(Token::Title))];
    wrap::wrap(&runs, columns, 10)
}
