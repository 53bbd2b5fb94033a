//! The token layer of one completion: a bar under each token of the text, where the store knows how its tokens read and together
//! they are the text; else a bar a token by index, since guessing where a token ends would put a bar under the wrong word.

use ratatui::text::{Line, Span};

use crate::{
    task::{Rollout, StopReason, Text},
    tui::{
        app::App,
        inspect::Layer,
        layer,
        theme::Token,
        widget::{
            cut, number,
            wrap::{self, Run},
        },
    },
};

const BARS: [char; 9] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█', '×'];
const INDEX_COLUMNS: usize = 6;
const LABEL_COLUMNS: usize = 10;
/// Least likely tokens that are named.
const NAMED: usize = 5;

/// The layer as lines.
pub struct Tokens {
    pub lines: Vec<Line<'static>>,
    /// The line of the token under the cursor.
    pub cursor_at: Option<usize>,
    /// The completion's text is among the lines.
    pub has_text: bool,
}

/// The layer laid out; nothing where it is off.
pub fn lay_out(app: &App, rollout: &Rollout, columns: usize) -> Tokens {
    let n_tokens = rollout.completion.tokens.len();
    let levels = layer::levels(app.inspect.layer, rollout);
    let dim = app.theme.style(Token::Dim);
    if n_tokens == 0 || levels.len() != n_tokens {
        let why = if rollout.completion.rollout_logprobs.len() == n_tokens && n_tokens > 0 {
            "this run keeps no such values of this step (doctor.token_steps says how many steps do; T goes back)"
        } else {
            "no log-probs are kept for this completion"
        };
        return Tokens { lines: wrap::plain(why, dim, columns), cursor_at: None, has_text: false };
    }
    let mut lines = summary(app, rollout, columns);
    let before = lines.len();
    let pieces = pieces(app, rollout);
    let has_text = pieces.is_some();
    let (rows, cursor) = match pieces {
        Some(pieces) => under_text(app, rollout, &pieces, &levels, columns),
        None => strip(app, rollout, &levels, columns),
    };
    lines.extend(rows);
    Tokens { lines, cursor_at: Some(before + cursor), has_text }
}

/// How each token reads, where together they are the text of the completion, but for the token that ended the turn.
fn pieces(app: &App, rollout: &Rollout) -> Option<Vec<String>> {
    let completion = &rollout.completion;
    let spelt = completion.tokens.iter().map(|token| app.inspect.spellings.get(token).cloned());
    let pieces = spelt.collect::<Option<Vec<String>>>()?;
    let n = pieces.len() - usize::from(completion.stop == StopReason::EndOfTurn);
    (pieces[..n].concat() == completion.text).then_some(pieces)
}

fn token_of(app: &App, rollout: &Rollout, at: usize, level: usize) -> Token {
    match (app.inspect.layer, level) {
        (_, layer::ODD) => Token::Fail,
        (Layer::Mask, 0) => Token::Warn,
        (Layer::Mask, _) => Token::Bar,
        (Layer::Share, 0) => Token::Dim,
        (Layer::Share, _) if layer::advantage(rollout, at).is_some_and(|a| a < 0.0) => Token::FalseNegative,
        (Layer::Share, _) => Token::Correct,
        (_, layer::HIGH..) => Token::FalsePositive,
        _ => Token::Bar,
    }
}

/// Text in lines, a line of bars below each; and the line of the cursor.
fn under_text(app: &App, rollout: &Rollout, pieces: &[String], levels: &[usize], columns: usize) -> (Vec<Line<'static>>, usize) {
    let columns = columns.max(1);
    let mut page = Page { rows: vec![Vec::new()], used: 0, columns };
    let mut word: Vec<(usize, String)> = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let clean = Text::new(piece).as_str().to_owned();
        for (i, part) in clean.split('\n').enumerate() {
            if i > 0 {
                page.push(&mut word);
                page.break_line();
            }
            if part.starts_with(' ') {
                page.push(&mut word);
            }
            // A token that is a line feed alone still has its bar.
            let shown = if part.is_empty() && clean == "\n" && i == 0 { "⏎" } else { part };
            if !shown.is_empty() {
                word.push((at, shown.to_owned()));
            }
        }
    }
    page.push(&mut word);
    let row_of = |row: &Vec<(usize, String)>| row.iter().any(|(at, _)| *at == app.inspect.token);
    let cursor = page.rows.iter().position(row_of).unwrap_or(0) * 2;
    let lines = page.rows.iter().flat_map(|row| {
        let (mut text, mut bars) = (Line::default(), Line::default());
        for (at, part) in row {
            let style = app.theme.style(token_of(app, rollout, *at, levels[*at]));
            let chosen = *at == app.inspect.token;
            let lead = part.len() - part.trim_start_matches(' ').len();
            let width = cut::width(part).saturating_sub(lead);
            let of_text = if chosen { app.theme.style(Token::Chosen) } else { app.theme.style(Token::Text) };
            text.push_span(Span::raw(" ".repeat(lead)));
            text.push_span(Span::styled(part[lead..].to_owned(), of_text));
            bars.push_span(Span::raw(" ".repeat(lead)));
            bars.push_span(Span::styled(BARS[levels[*at].min(layer::ODD)].to_string().repeat(width), style));
        }
        [text, bars]
    });
    (lines.collect(), cursor)
}

/// Rows of (token, text) no wider than the columns; words stay whole where they fit a row.
struct Page {
    rows: Vec<Vec<(usize, String)>>,
    used: usize,
    columns: usize,
}

impl Page {
    fn break_line(&mut self) {
        self.rows.push(Vec::new());
        self.used = 0;
    }

    fn push(&mut self, word: &mut Vec<(usize, String)>) {
        let width: usize = word.iter().map(|(_, part)| cut::width(part)).sum();
        if self.used > 0 && self.used + width > self.columns {
            self.break_line();
        }
        for (at, part) in word.drain(..) {
            // A row begins with its word, not with the space before it; a token of spaces alone keeps one.
            let part = if self.used == 0 && !part.trim().is_empty() { part.trim_start_matches(' ').to_owned() } else { part };
            let mut rest = part.as_str();
            while !rest.is_empty() {
                let (mut head, mut tail) = cut::split_at_width(rest, self.columns.saturating_sub(self.used));
                if head.is_empty() {
                    if self.used > 0 {
                        self.break_line();
                        continue;
                    }
                    let first = rest.chars().next().map_or(rest.len(), char::len_utf8);
                    (head, tail) = rest.split_at(first);
                }
                self.used += cut::width(head);
                if let Some(row) = self.rows.last_mut() {
                    row.push((at, head.to_owned()));
                }
                rest = tail;
            }
        }
    }
}

/// Rows of bars in tens, each row led by the number of its first token (from 1); and the row of the cursor.
fn strip(app: &App, rollout: &Rollout, levels: &[usize], columns: usize) -> (Vec<Line<'static>>, usize) {
    let room = columns.saturating_sub(INDEX_COLUMNS + 1).max(1);
    let tens = (room + 1) / 11;
    let each = if tens == 0 { room } else { tens * 10 };
    let row = |(n, chunk): (usize, &[usize])| {
        let first = n * each;
        let mut line = Line::styled(cut::pad_left(&(first + 1).to_string(), INDEX_COLUMNS) + " ", app.theme.style(Token::Dim));
        for (i, level) in chunk.iter().enumerate() {
            let chosen = first + i == app.inspect.token;
            let token = if chosen { Token::Chosen } else { token_of(app, rollout, first + i, *level) };
            if i > 0 && i % 10 == 0 {
                line.push_span(Span::raw(" "));
            }
            line.push_span(Span::styled(BARS[(*level).min(layer::ODD)].to_string(), app.theme.style(token)));
        }
        line
    };
    (levels.chunks(each).enumerate().map(row).collect(), app.inspect.token / each)
}

#[expect(clippy::cast_precision_loss)]
fn summary(app: &App, rollout: &Rollout, columns: usize) -> Vec<Line<'static>> {
    let logprobs = &rollout.completion.rollout_logprobs;
    let sum: f64 = logprobs.iter().map(|p| f64::from(*p)).sum();
    let mean = -sum / logprobs.len() as f64;
    let dim = app.theme.style(Token::Dim);
    let mut order: Vec<usize> = (0..logprobs.len()).collect();
    order.sort_by(|a, b| logprobs[*a].total_cmp(&logprobs[*b]));
    let named: Vec<String> = order.iter().take(NAMED).map(|i| format!("#{} {:.2}", i + 1, logprobs[*i])).collect();
    let facts = format!(
        "{} a token ({} in all), perplexity {}",
        number::plain(Some(mean)),
        number::plain(Some(-sum)),
        number::plain(Some(mean.exp()))
    );
    let mut lines = labelled(app, "−log p", facts, columns);
    lines.extend(labelled(app, "least", named.join("  "), columns));
    lines.extend(wrap::plain(&layer::legend(app.inspect.layer), dim, columns));
    lines
}

fn labelled(app: &App, label: &str, text: String, columns: usize) -> Vec<Line<'static>> {
    let runs: [Run; 2] = [(cut::pad(label, LABEL_COLUMNS), app.theme.style(Token::Dim)), (text, app.theme.style(Token::Text))];
    wrap::wrap(&runs, columns, LABEL_COLUMNS)
}

/// Everything that is known of the token under the cursor.
pub fn cursor(app: &App, rollout: &Rollout, columns: usize) -> Vec<Line<'static>> {
    let completion = &rollout.completion;
    let n = completion.tokens.len();
    if n == 0 || completion.rollout_logprobs.len() != n {
        return Vec::new();
    }
    let at = app.inspect.token.min(n - 1);
    let token = completion.tokens[at];
    let p = f64::from(completion.rollout_logprobs[at]);
    let name = spelling(app, token).map_or_else(String::new, |name| format!(" “{name}”"));
    let head = format!("#{} of {n}{name}, id {token}, log p {}, p {:.3}", at + 1, number::fixed(p, 3), p.exp());
    let runs = [(cut::pad("[ ] token", LABEL_COLUMNS), app.theme.style(Token::Key)), (head, app.theme.style(Token::Title))];
    let mut lines = wrap::wrap(&runs, columns, LABEL_COLUMNS);
    let Some(trace) = &rollout.trace else {
        let pull = number::plain(Some(layer::pull(rollout, at)));
        lines.extend(labelled(app, "update", format!("|A|(1−p) {pull}; nothing else is kept of this step's tokens"), columns));
        return lines;
    };
    let value = |row: &[f32]| row.get(at).map_or(f64::NAN, |v| f64::from(*v));
    let (policy, reference) = (value(&trace.policy_logprobs), value(&trace.reference_logprobs));
    let text = format!(
        "policy {} (drift {}, ratio {:.3})  reference {} (KL {})  entropy {:.3}",
        number::fixed(policy, 3),
        number::fixed_signed(policy - p, 4),
        (policy - p).exp(),
        number::fixed(reference, 3),
        number::fixed_signed(p - reference, 3),
        value(&trace.entropies)
    );
    lines.extend(labelled(app, "log p", text, columns));
    let fate = trace.fates.get(at).map_or("not seen by the update", |fate| fate.name());
    let text = format!("A {:+.3}  |A|(1−p) {}  {fate}", value(&trace.advantages), number::plain(Some(layer::pull(rollout, at))));
    lines.extend(labelled(app, "update", text, columns));
    let others = trace.alternatives_at(at);
    if !others.is_empty() {
        lines.extend(alternatives(app, token, others, columns));
    }
    lines
}

/// The likeliest tokens, the one that was drawn marked.
fn alternatives(app: &App, drawn: u32, others: &[crate::task::trace::Alternative], columns: usize) -> Vec<Line<'static>> {
    let [dim, text, strong] = [Token::Dim, Token::Text, Token::Title].map(|token| app.theme.style(token));
    let mut runs: Vec<Run> = vec![(cut::pad("likeliest", LABEL_COLUMNS), dim)];
    for other in others.iter().filter(|other| other.logprob.is_finite()) {
        let name = spelling(app, other.token).unwrap_or_else(|| format!("id {}", other.token));
        let (mark, style) = if other.token == drawn { ("▸", strong) } else { ("", text) };
        // No-break space within one alternative.
        runs.push((format!("{mark}“{name}” {:.3}", other.logprob.exp()).replace(' ', "\u{a0}"), style));
        runs.push(("  ".to_owned(), text));
    }
    if others.iter().all(|other| other.token != drawn) {
        runs.push(("the drawn one was not among them".to_owned(), dim));
    }
    wrap::wrap(&runs, columns, LABEL_COLUMNS)
}

/// A token on one line, its blanks visible.
fn spelling(app: &App, token: u32) -> Option<String> {
    let text = app.inspect.spellings.get(&token)?;
    Some(Text::new(text).as_str().replace('\n', "⏎"))
}
