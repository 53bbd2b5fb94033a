//! What the Scribe made of a note: the rewriting as a word diff, the claim that goes with it, and what the gates said.

use std::{cell::RefCell, sync::Arc};

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use crate::{
    task::{Label, Note, Phase, Sample},
    tui::{
        app::App,
        panel::{self, Extent, Frame, Panel, outcome},
        theme::Token,
        widget::{
            cut,
            diff::{self, Change, Piece},
            number,
            wrap::{self, Run},
        },
    },
};

const NUMBER_COLUMNS: usize = 4;
/// Comparing longer sentences word by word could take seconds: they are shown without their changes.
const MAX_DIFF_BYTES: usize = 20_000;

pub fn draw(app: &App, area: Rect, buf: &mut Buffer) {
    let Some(sample) = app.follow.sample(&app.live) else { return draw_waiting(app, area, buf) };
    let (lines, extent) = body(app, panel::inner(area));
    let below = extent.total.saturating_sub(extent.top + extent.visible);
    let foot = match below {
        0 => "[-deleted-] +inserted+ ⟦error⟧".to_owned(),
        n if app.focus == Panel::Scribe => format!("+{}  PgDn", number::many(n, "line")),
        n => format!("+{}", number::many(n, "line")),
    };
    let at = app.live.samples.iter().position(|s| s.id == sample.id);
    let place = match at {
        Some(at) => format!("{} of {}", at + 1, app.live.samples.len()),
        None => format!("of step {}", sample.step),
    };
    let texts =
        Frame { left: format!("Scribe  {}  {place}", cut::clean(&sample.id)), right: sample.quadrant.title().to_owned(), foot };
    let room = panel::frame(app, Panel::Scribe, texts, area, buf);
    let footer = footer(app, &sample, room);
    panel::put(&visible(&lines.0, extent), room, buf);
    let at = room.height.saturating_sub(u16::try_from(footer.len()).unwrap_or(u16::MAX));
    panel::put(&footer, Rect { y: room.y + at, height: room.height - at, ..room }, buf);
}

fn visible(lines: &[Line<'static>], extent: Extent) -> Vec<Line<'static>> {
    lines.iter().skip(extent.top).take(extent.visible).cloned().collect()
}

fn draw_waiting(app: &App, area: Rect, buf: &mut Buffer) {
    let room = panel::frame(app, Panel::Scribe, Frame { left: "Scribe".to_owned(), ..Frame::default() }, area, buf);
    let text = match app.live.phase {
        Some(Phase::Warmup) => "The Scribe starts after the warm-up.",
        Some(Phase::Scribe) => "The Scribe is writing; no sample is accepted yet.",
        _ => "No sample yet.",
    };
    panel::put(&wrap::plain(text, app.theme.style(Token::Dim), room.width.into()), room, buf);
}

/// The diff, and which part of it shows. Untouched, the view opens at the error, or at the first change.
pub fn body(app: &App, room: Rect) -> (Arc<Page>, Extent) {
    let Some(sample) = app.follow.sample(&app.live) else {
        return (Arc::default(), Extent { total: 0, visible: 0, top: 0 });
    };
    let footer = footer(app, &sample, room).len();
    let visible = usize::from(room.height).saturating_sub(footer).max(1);
    let page = remembered(app, &sample, room.width.into());
    let (lines, point) = (&page.0, page.1);
    let last = lines.len().saturating_sub(visible);
    let natural = point.saturating_sub(1);
    let top = app.scroll[Panel::Scribe.index()].unwrap_or(natural).min(last);
    let extent = Extent { total: lines.len(), visible, top };
    (page, extent)
}

/// What was laid out last, and for what: a long note must not be compared and wrapped anew for every frame.
#[derive(Clone, Debug, Default)]
pub struct Memo(RefCell<Option<(Key, Arc<Page>)>>);

/// For which sample, how many columns, which theme.
type Key = (Arc<Sample>, usize, String);

/// The lines of a note, and the one where the eye should land.
type Page = (Vec<Line<'static>>, usize);

fn remembered(app: &App, sample: &Arc<Sample>, columns: usize) -> Arc<Page> {
    if let Some(((of, width, theme), page)) = &*app.scribe_memo.0.borrow()
        && Arc::ptr_eq(of, sample)
        && (*width, theme.as_str()) == (columns, app.theme.name.as_str())
    {
        return Arc::clone(page);
    }
    let page = Arc::new(note_lines(app, sample, columns));
    let key = (Arc::clone(sample), columns, app.theme.name.clone());
    app.scribe_memo.0.replace(Some((key, Arc::clone(&page))));
    page
}

/// All sentences, numbered, and the line where the eye should land.
pub fn note_lines(app: &App, sample: &Sample, columns: usize) -> (Vec<Line<'static>>, usize) {
    let error = match &sample.label {
        Label::Error { sentence, .. } => Some(*sentence),
        Label::Clean => None,
    };
    let (mut lines, mut first_change, mut error_at) = (Vec::new(), None, None);
    for id in sentence_ids(sample) {
        let text_of = |note: &Note| note.sentence(id).map(|s| cut::clean(&s.text)).unwrap_or_default();
        let (old, new) = (text_of(&sample.source), text_of(&sample.note));
        if old != new {
            first_change.get_or_insert(lines.len());
        }
        if error == Some(id) {
            error_at = Some(lines.len());
        }
        let mut runs: Vec<Run> = vec![(cut::pad_left(&id.to_string(), NUMBER_COLUMNS - 1) + " ", app.theme.style(Token::Dim))];
        runs.extend(sentence_runs(app, &old, &new, error == Some(id)));
        lines.extend(wrap::wrap(&runs, columns, NUMBER_COLUMNS));
    }
    (lines, error_at.or(first_change).unwrap_or(0))
}

/// Sentence ids of both notes in reading order.
fn sentence_ids(sample: &Sample) -> Vec<u32> {
    let mut ids: Vec<u32> = sample.note.sentences.iter().chain(&sample.source.sentences).map(|s| s.id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn sentence_runs(app: &App, old: &str, new: &str, error: bool) -> Vec<Run> {
    let mark = app.theme.style(Token::ErrorMark);
    let kept = if old == new && !error { app.theme.style(Token::Thinking) } else { app.theme.style(Token::Text) };
    let mut runs: Vec<Run> = Vec::new();
    if error {
        runs.push(("⟦".to_owned(), mark));
    }
    for (i, piece) in pieces(old, new).into_iter().enumerate() {
        if i > 0 {
            runs.push((" ".to_owned(), Style::default()));
        }
        runs.push(match piece.change {
            Change::Kept => (piece.text, kept),
            Change::Deleted => (format!("[-{}-]", piece.text), app.theme.style(Token::Deletion)),
            Change::Inserted => (format!("+{}+", piece.text), app.theme.style(Token::Insertion)),
        });
    }
    if error {
        runs.push(("⟧".to_owned(), mark));
    }
    runs
}

fn pieces(old: &str, new: &str) -> Vec<Piece> {
    if old == new || old.len() + new.len() > MAX_DIFF_BYTES {
        return vec![Piece { change: Change::Kept, text: new.to_owned() }];
    }
    diff::words(old, new)
}

/// Claim, provenance and gates: always in view, at most half of the room.
fn footer(app: &App, sample: &Sample, room: Rect) -> Vec<Line<'static>> {
    let columns = usize::from(room.width);
    let mut lines = claim_lines(app, sample, columns);
    lines.extend(provenance_line(app, sample, columns));
    lines.extend(gate_line(app, sample, columns));
    let keep = usize::from(room.height) / 2;
    if lines.len() < keep {
        lines.insert(0, Line::default());
    }
    lines.truncate(keep);
    lines
}

pub fn claim_lines(app: &App, sample: &Sample, columns: usize) -> Vec<Line<'static>> {
    let token = if sample.label.is_error() { Token::ErrorMark } else { Token::Correct };
    let mut runs: Vec<Run> =
        vec![("claim  ".to_owned(), app.theme.style(Token::Dim)), (outcome::truth(&sample.label), app.theme.style(token))];
    let detail = match (&sample.provenance.injection, &sample.label) {
        (Some(i), _) => format!("   \"{}\" → \"{}\": {}", cut::clean(&i.old), cut::clean(&i.new), cut::clean(&i.why)),
        (None, Label::Error { correction, .. }) => format!("   right: {}", cut::clean(correction)),
        (None, Label::Clean) => String::new(),
    };
    runs.push((detail, app.theme.style(Token::Text)));
    let mut lines = wrap::wrap(&runs, columns, 7);
    shorten(&mut lines, 2, columns);
    lines
}

/// Keeps `n` lines; the last one says with `…` that there was more.
pub fn shorten(lines: &mut Vec<Line<'static>>, n: usize, columns: usize) {
    if lines.len() <= n {
        return;
    }
    lines.truncate(n);
    if let Some(last) = lines.last_mut() {
        while last.width() + 2 > columns && !last.spans.is_empty() {
            let Some(mut span) = last.spans.pop() else { break };
            let room = columns.saturating_sub(last.width() + 2);
            let kept = cut::split_at_width(&span.content, room).0;
            let kept = kept.rfind(' ').map_or("", |at| &kept[..at]).to_owned();
            if !kept.is_empty() {
                span.content = kept.into();
                last.spans.push(span);
                break;
            }
        }
        last.push_span(Span::raw(" …"));
    }
}

pub fn provenance_line(app: &App, sample: &Sample, columns: usize) -> Option<Line<'static>> {
    let from = &sample.provenance;
    let rejections: Vec<String> = from.rejections.iter().map(|r| cut::clean(r)).collect();
    if from.fallback {
        let attempts = number::many(from.attempts as usize, "attempt");
        let text = format!("! FALLBACK  static note, unchanged: {attempts} rejected ({})", rejections.join(", "));
        return Some(Line::styled(cut::fit(&text, columns), app.theme.style(Token::Warn)));
    }
    if rejections.is_empty() {
        return None;
    }
    let text = format!("tries  {}; rejected before by {}", from.attempts, rejections.join(", "));
    Some(Line::styled(cut::fit(&text, columns), app.theme.style(Token::Dim)))
}

pub fn gate_line(app: &App, sample: &Sample, columns: usize) -> Option<Line<'static>> {
    if sample.gates.is_empty() {
        return None;
    }
    let mut gates: Vec<_> = sample.gates.iter().collect();
    gates.sort_by_key(|g| g.passed);
    let mut parts = vec![cut::part("gates", app.theme.style(Token::Dim))];
    parts.extend(gates.into_iter().map(|gate| {
        let name = cut::clean(&gate.gate);
        if gate.passed {
            return cut::part(format!("✓ {name}"), app.theme.style(Token::Correct));
        }
        cut::part(format!("✗ {name}: {}", cut::fit(&cut::clean(&gate.detail), columns / 2)), app.theme.style(Token::Fail))
    }));
    Some(cut::segments(parts, "  ", columns))
}
