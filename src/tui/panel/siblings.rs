//! All completions of one sample on one line: `1● [2▌] 3… 4▼`.

use ratatui::text::{Line, Span};

use crate::{
    attach::live::Stream,
    store::Cell,
    tui::{
        app::App,
        panel::doctor,
        theme::Token,
        widget::{cut, number},
    },
};

const LABEL: &str = "siblings  ";

/// The strip, with rewards where they fit. The watched one is in brackets and never leaves.
pub fn line(app: &App, columns: usize) -> Line<'static> {
    let siblings = app.follow.siblings(&app.live);
    let watched = app.follow.watched().map_or(0, |key| key.sibling as usize);
    let build = |rewards: bool, from: usize| {
        let mut parts = vec![cut::part(LABEL, app.theme.style(Token::Dim))];
        if from > 0 {
            parts[0].push(Span::raw("…  "));
        }
        let each = siblings.iter().enumerate().skip(from).map(|(i, s)| sibling(app, i, *s, i == watched, rewards));
        parts[0].extend(each.clone().next().into_iter().flatten());
        parts.extend(each.skip(1));
        parts
    };
    let width = |parts: &[Vec<Span>]| parts.iter().flatten().map(|s| cut::width(&s.content)).sum::<usize>() + 2 * parts.len();
    let rewards = build(true, 0);
    if width(&rewards) <= columns + 2 {
        return cut::segments(rewards, "  ", columns);
    }
    let bare = build(false, 0);
    let from = if width(&bare) <= columns + 2 { 0 } else { watched.saturating_sub(2) };
    cut::segments(build(false, from), "  ", columns)
}

fn sibling(app: &App, index: usize, stream: Option<&Stream>, watched: bool, rewards: bool) -> Vec<Span<'static>> {
    let (glyph, token, reward) = match stream {
        Some(Stream { rollout: Some(rollout), .. }) => {
            let cell = Cell::of(rollout);
            (cell.glyph(), cell.token(), number::signed(Some(f64::from(rollout.reward.total()))))
        }
        Some(_) if doctor::writing(app) => ("▌", Token::Run, String::new()),
        _ => ("…", Token::Dim, String::new()),
    };
    let (open, close) = if watched { ("[", "]") } else { ("", "") };
    let frame = app.theme.style(if watched { Token::Title } else { Token::Dim });
    let reward = if rewards && !reward.is_empty() { format!(" {reward}") } else { String::new() };
    vec![
        Span::styled(format!("{open}{}", index + 1), frame),
        Span::styled(format!("{glyph}{reward}"), app.theme.style(token)),
        Span::styled(close, frame),
    ]
}
