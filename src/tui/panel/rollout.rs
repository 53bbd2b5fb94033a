//! One rollout as its reader wants it: what it earned and why, its siblings, the note, thinking and verdict apart, the token
//! layer; and two rollouts side by side. Laid out into lines once, so that drawing only slices.

mod group;

use ratatui::text::{Line, Span};

use super::{outcome, scribe, tokens};
use crate::{
    store::Cell,
    task::{Note, Rollout, StopReason, Text, Verdict, verdict::split_for_display},
    tui::{
        app::App,
        inspect::{Layer, NoteView, Page},
        layer,
        theme::Token,
        widget::{
            cut,
            diff::{self, Change},
            number,
            wrap::{self, Run},
        },
    },
};

const LABEL_COLUMNS: usize = 10;
/// Beyond this two texts are shown without marking what differs.
const MAX_DIFF_BYTES: usize = 20_000;

/// Lays the rollout on show out: one column, or facts and note beside the completion.
pub fn page(app: &App, columns: usize, two: bool) -> Page {
    if let Some(pair) = &app.inspect.compared {
        return compared(app, pair, columns, two || columns >= 70);
    }
    let Some(rollout) = app.inspect.rollout() else { return Page::default() };
    let each = if two { columns.saturating_sub(3) / 2 } else { columns };
    if app.inspect.beside {
        return group::page(app, rollout, columns);
    }
    let mut left = facts(app, rollout, group_mean(app), each);
    left.extend(siblings(app, rollout, each));
    left.extend(note(app, rollout, each));
    let on = app.inspect.layer != Layer::Off;
    let (mut right, mut token_at, mut has_text) = (Vec::new(), None, false);
    if on {
        let tokens = tokens::lay_out(app, rollout, each);
        right.push(heading(app, &format!("tokens · {}", layer::name(app.inspect.layer)), each));
        (token_at, has_text) = (tokens.cursor_at.map(|at| at + 1), tokens.has_text);
        right.extend(tokens.lines);
    }
    // The layer that stands under its text says it already.
    if !has_text {
        right.extend(words(app, rollout, each));
    }
    let pinned = if on { tokens::cursor(app, rollout, columns) } else { Vec::new() };
    if two {
        return Page { columns: vec![left, right], tokens_at: on.then_some(0), token_at, pinned };
    }
    let tokens_at = on.then_some(left.len());
    let token_at = token_at.map(|at| at + left.len());
    left.extend(right);
    Page { columns: vec![left], tokens_at, token_at, pinned }
}

/// `─ note · changes to its source ───`.
fn heading(app: &App, title: &str, columns: usize) -> Line<'static> {
    let title = cut::fit(title, columns.saturating_sub(4));
    let rest = columns.saturating_sub(cut::width(&title) + 3);
    let rule = app.theme.style(Token::Border);
    Line::from(vec![
        Span::styled("─ ", rule),
        Span::styled(title, app.theme.style(Token::Title)),
        Span::styled(format!(" {}", "─".repeat(rest)), rule),
    ])
}

fn labelled(app: &App, label: &str, mut runs: Vec<Run>, columns: usize) -> Vec<Line<'static>> {
    runs.insert(0, (cut::pad(label, LABEL_COLUMNS), app.theme.style(Token::Dim)));
    wrap::wrap(&runs, columns, LABEL_COLUMNS)
}

fn signed(value: f32) -> String {
    number::signed(Some(f64::from(value)))
}

/// `mean`: what the siblings earned on average, where they are known.
fn facts(app: &App, rollout: &Rollout, mean: Option<f32>, columns: usize) -> Vec<Line<'static>> {
    let [text, strong, dim] = [Token::Text, Token::Verdict, Token::Dim].map(|token| app.theme.style(token));
    let cell = Cell::of(rollout);
    let of_cell = app.theme.style(cell.token());
    let reward = &rollout.reward;
    let mut lines = labelled(
        app,
        "outcome",
        vec![
            (format!("{} {} {}", cell.glyph(), cell.code(), cell.word()), of_cell),
            (format!("   {} of step {}", rollout.sample.quadrant.title(), rollout.sample.step), dim),
        ],
        columns,
    );
    lines.extend(labelled(
        app,
        "reward",
        vec![(signed(reward.total()), of_cell), (format!(" = {}", outcome::reward_parts(reward).join(", ")), text)],
        columns,
    ));
    let advantage = rollout.advantage.map_or_else(|| "not set".to_owned(), signed);
    let raw = raw_advantage(app, rollout).map(|raw| format!("  unnormalised {}", number::signed(Some(raw))));
    let above = mean.map(|mean| format!("   reward minus group mean {}", signed(reward.total() - mean)));
    let (raw, above) = (raw.unwrap_or_default(), above.unwrap_or_default());
    lines.extend(labelled(app, "advantage", vec![(advantage, strong), (raw, text), (above, dim)], columns));
    lines.extend(labelled(app, "truth", vec![(outcome::truth(&rollout.sample.label), strong)], columns));
    lines.extend(labelled(app, "verdict", vec![(outcome::claim(&rollout.verdict), strong)], columns));
    let stop = match rollout.completion.stop {
        StopReason::EndOfTurn => "closed its turn",
        StopReason::Length => "cut by the token budget",
        StopReason::Aborted => "aborted",
    };
    let n = rollout.completion.tokens.len();
    lines.extend(labelled(app, "length", vec![(format!("{n} tokens, {stop}"), text)], columns));
    lines
}

/// The mean return per token before it was normalised; `None` where the step did not note how.
fn raw_advantage(app: &App, rollout: &Rollout) -> Option<f64> {
    // A pair that is compared may come from two steps.
    let (shift, scale) = app.inspect.scaling.filter(|_| app.inspect.compared.is_none())?;
    rollout.advantage.map(|advantage| f64::from(advantage) * scale + shift)
}

#[expect(clippy::cast_precision_loss)]
fn group_mean(app: &App) -> Option<f32> {
    let group = &app.inspect.group;
    let sum: f32 = group.iter().map(|r| r.reward.total()).sum();
    (group.len() > 1).then(|| sum / group.len() as f32)
}

/// Every completion of the sample on a line of its own.
fn siblings(app: &App, shown: &Rollout, columns: usize) -> Vec<Line<'static>> {
    let group = &app.inspect.group;
    let n_right = group.iter().filter(|r| Cell::of(r).is_right()).count();
    let mut lines = vec![heading(app, &format!("siblings · {n_right} of {} right", group.len()), columns)];
    lines.extend(group.iter().map(|r| {
        let cell = Cell::of(r);
        let here = r.sibling == shown.sibling;
        let advantage = number::signed(r.advantage.map(f64::from));
        let numbers = format!("{:>6} {advantage:>6} {:>5}  ", signed(r.reward.total()), r.completion.tokens.len());
        let head = format!("{}{:>2} ", if here { "▸" } else { " " }, r.sibling + 1);
        let used = cut::width(&head) + 4 + cut::width(&numbers);
        let claim = cut::fit(&outcome::claim(&r.verdict), columns.saturating_sub(used));
        Line::from(vec![
            Span::styled(head, app.theme.style(if here { Token::Title } else { Token::Dim })),
            Span::styled(format!("{}{} ", cell.glyph(), cell.code()), app.theme.style(cell.token())),
            Span::raw(numbers),
            Span::styled(claim, app.theme.style(if here { Token::Text } else { Token::Thinking })),
        ])
    }));
    lines
}

fn note(app: &App, rollout: &Rollout, columns: usize) -> Vec<Line<'static>> {
    let sample = &rollout.sample;
    let id = cut::clean(&sample.source.id);
    let title = match app.inspect.note_view {
        NoteView::Diff => format!("note · [-deleted-] +inserted+ ⟦error⟧ against {id}"),
        NoteView::Posed => "note · as the Doctor read it".to_owned(),
        NoteView::Source => format!("note · the source, {id}"),
    };
    let mut lines = vec![heading(app, &title, columns)];
    match app.inspect.note_view {
        NoteView::Diff => lines.extend(scribe::note_lines(app, sample, columns).0),
        NoteView::Posed => lines.extend(plain_note(app, &sample.note, columns)),
        NoteView::Source => lines.extend(plain_note(app, &sample.source, columns)),
    }
    lines.extend(scribe::claim_lines(app, sample, columns));
    lines.extend(scribe::provenance_line(app, sample, columns));
    lines.extend(scribe::gate_line(app, sample, columns));
    lines
}

fn plain_note(app: &App, note: &Note, columns: usize) -> Vec<Line<'static>> {
    wrap::plain(Text::new(&note.numbered()).as_str(), app.theme.style(Token::Text), columns)
}

/// Thinking, then the verdict; what cannot be read is shown as it was written.
fn words(app: &App, rollout: &Rollout, columns: usize) -> Vec<Line<'static>> {
    let text = Text::new(&rollout.completion.text);
    let thinking = app.theme.style(Token::Thinking);
    if let Verdict::Malformed { why } = &rollout.verdict {
        let mut lines = vec![heading(app, &format!("completion · malformed: {}", why.describe()), columns)];
        lines.extend(wrap::plain(text.as_str().trim_end(), thinking, columns));
        return lines;
    }
    let (thought, verdict) = split_for_display(text.as_str());
    let mut lines = vec![heading(app, "thinking", columns)];
    lines.extend(wrap::plain(thought, thinking, columns));
    lines.push(heading(app, "verdict", columns));
    lines.extend(wrap::plain(verdict.unwrap_or_default(), app.theme.style(Token::Verdict), columns));
    lines
}

/// Two rollouts, beside each other or one below the other; what only one of them wrote is marked.
fn compared(app: &App, pair: &[Rollout; 2], columns: usize, beside: bool) -> Page {
    let each = if beside { columns.saturating_sub(3) / 2 } else { columns };
    let texts = [0, 1].map(|i| Text::new(&pair[i].completion.text));
    let small = texts.iter().all(|t| t.as_str().len() <= MAX_DIFF_BYTES);
    let pieces = small.then(|| diff::words(texts[0].as_str(), texts[1].as_str()));
    let sides = [(Change::Deleted, Token::Deletion), (Change::Inserted, Token::Insertion)];
    let column = |i: usize| {
        let rollout = &pair[i];
        let mut lines = vec![heading(app, &format!("{}/{}", cut::clean(&rollout.sample.id), rollout.sibling + 1), each)];
        lines.extend(facts(app, rollout, None, each));
        lines.push(heading(app, "completion · what only this one wrote is marked", each));
        let plain = app.theme.style(Token::Thinking);
        let runs: Vec<Run> = match &pieces {
            None => vec![(texts[i].as_str().to_owned(), plain)],
            Some(pieces) => {
                let (own, token) = sides[i];
                let mine = pieces.iter().filter(|p| p.change == Change::Kept || p.change == own);
                let run = |p: &diff::Piece| match p.change {
                    Change::Kept => (p.text.clone() + " ", plain),
                    Change::Deleted => (format!("[-{}-] ", p.text), app.theme.style(token)),
                    Change::Inserted => (format!("+{}+ ", p.text), app.theme.style(token)),
                };
                mine.map(run).collect()
            }
        };
        lines.extend(wrap::wrap(&runs, each, 0));
        lines.push(heading(app, "note", each));
        lines.extend(scribe::note_lines(app, &rollout.sample, each).0);
        lines
    };
    let (left, right) = (column(0), column(1));
    let columns = if beside { vec![left, right] } else { vec![[left, right].concat()] };
    Page { columns, ..Page::default() }
}
