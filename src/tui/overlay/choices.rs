//! Dialogs with a key for each way out: leaving, and giving up a step.

use ratatui::text::{Line, Span};

use super::{Sheet, close, is_any};
use crate::{
    attach::Control,
    tui::{
        app::{App, Effect},
        keymap::{self, Chord},
        theme::Token,
        widget::cut,
    },
};

/// One way out: keys, words, and what it does.
pub struct Choice {
    keys: &'static [&'static str],
    words: &'static str,
    does: Does,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    Detach,
    Stop { now: bool },
    GiveUp,
}

/// A question and its answers; Esc always stays.
pub struct Question {
    title: fn(&App) -> String,
    choices: &'static [Choice],
}

pub const LEAVE: &Question = &Question {
    title: |app| {
        if app.live.run_id.is_empty() { "Leave?".to_owned() } else { format!("Leave {}?", cut::clean(&app.live.run_id)) }
    },
    choices: &[
        Choice { keys: &["enter", "d", "ctrl-c"], words: "detach: the run goes on without you", does: Does::Detach },
        Choice { keys: &["c"], words: "save a checkpoint, then stop the run", does: Does::Stop { now: false } },
        Choice { keys: &["s"], words: "stop now: this step is lost", does: Does::Stop { now: true } },
    ],
};

pub const ABORT: &Question = &Question {
    title: |app| format!("Give up step {}?", app.live.step),
    choices: &[Choice {
        keys: &["g"],
        words: "give it up; the run pauses before it, and resume makes it again",
        does: Does::GiveUp,
    }],
};

pub(super) fn key(app: &mut App, question: &Question, chord: Chord) -> Option<Effect> {
    if is_any(chord, &["esc"]) {
        close(app);
        return None;
    }
    let choice = question.choices.iter().find(|c| is_any(chord, c.keys))?;
    close(app);
    if choice.does == Does::Detach {
        return Some(Effect::Detach);
    }
    if let Some(why) = app.why_not_steer() {
        app.say(&why);
        return None;
    }
    match choice.does {
        Does::Detach => None,
        Does::Stop { now } => {
            app.stopping = true;
            app.say(if now { "stopping now" } else { "stopping after a checkpoint; q again to leave without waiting" });
            Some(Effect::Send(Control::Stop { now }))
        }
        Does::GiveUp => {
            app.say("the step is being given up");
            Some(Effect::Send(Control::Abort))
        }
    }
}

pub(super) fn sheet(app: &App, question: &Question, columns: usize) -> Sheet {
    let steers = app.why_not_steer().is_none();
    let choices = question.choices.iter().filter(|c| steers || c.does == Does::Detach);
    let widest = question.choices.iter().map(|c| cut::width(c.words)).max().unwrap_or(0) + 11;
    let columns = columns.min(widest.max(46));
    let mut head: Vec<Line> = choices
        .enumerate()
        .map(|(i, choice)| {
            let keys: Vec<String> = choice.keys.iter().take(2).map(|k| keymap::label(k)).collect();
            let safe = i == 0 && choice.does == Does::Detach;
            let style = app.theme.style(if safe { Token::Title } else { Token::Text });
            line(app, if safe { "▸ " } else { "  " }, &keys.join(" "), &cut::fit(choice.words, columns.saturating_sub(11)), style)
        })
        .collect();
    head.push(line(app, "  ", "Esc", "stay here", app.theme.style(Token::Text)));
    Sheet { title: (question.title)(app), columns, head, ..Sheet::default() }
}

fn line(app: &App, mark: &str, keys: &str, words: &str, style: ratatui::style::Style) -> Line<'static> {
    let keys = Span::styled(cut::pad(keys, 9), app.theme.style(Token::Key));
    Line::from(vec![Span::styled(mark.to_owned(), style), keys, Span::styled(words.to_owned(), style)])
}
