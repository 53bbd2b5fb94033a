//! The card of a run that failed: why, what was said last, and the way to go on.

use ratatui::text::Line;

use super::{Sheet, close, is_any};
use crate::{
    attach::protocol::Level,
    tui::{
        action::Action,
        app::{App, Effect},
        keymap::Chord,
        theme::Token,
        widget::{cut, wrap},
    },
};

/// Lines of the log on the card.
const LOG_LINES: usize = 5;

pub(super) fn key(app: &mut App, chord: Chord) -> Option<Effect> {
    if is_any(chord, &["esc", "enter"]) {
        close(app);
    } else if is_any(chord, &["q", "ctrl-c"]) {
        return Some(Effect::Quit);
    } else if is_any(chord, &["ctrl-r"]) {
        close(app);
        return app.carry_out(Action::Restart);
    }
    None
}

pub(super) fn sheet(app: &App, columns: usize) -> Sheet {
    let columns = columns.min(72);
    let message = app.live.ended.as_ref().map(|message| cut::clean(message.as_str())).unwrap_or_default();
    let mut head = wrap::plain(&message, app.theme.style(Token::Fail), columns);
    let step = app.live.reports.back().map_or(0, |report| report.step);
    head.push(Line::styled(format!("last committed step {step} of {}", app.live.steps_total), app.theme.style(Token::Text)));
    head.push(Line::default());
    let skipped = app.live.log.len().saturating_sub(LOG_LINES);
    head.extend(app.live.log.iter().skip(skipped).map(|(level, line)| {
        let token = if *level == Level::Info { Token::Dim } else { Token::Warn };
        Line::styled(cut::fit(&cut::clean(line.as_str()), columns), app.theme.style(token))
    }));
    let resume = ("Ctrl-R", "resume from the last checkpoint");
    let keys = if app.read_only {
        vec![("Esc", "look around"), ("q", "leave"), ("1-6", "another screen")]
    } else {
        vec![resume, ("Esc", "look around"), ("q", "leave"), ("1-6", "another screen")]
    };
    Sheet { title: "✗ FAILED".to_owned(), keys, columns, head, ..Sheet::default() }
}
