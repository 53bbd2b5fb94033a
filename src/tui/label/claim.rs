//! What the Scribe claims about the note, and what it rests on.

use ratatui::{layout::Rect, text::Line};

use super::{LabelApp, card::Card, queue::Votes, session::describe};
use crate::{
    task::{Decision, Label},
    tui::{
        panel::{outcome, scribe},
        theme::Token,
        widget::{cut, wrap},
    },
};

/// The claim and what it rests on; nothing while it is hidden. At most half of the room.
pub fn lines(app: &LabelApp, card: &Card, room: Rect) -> Vec<Line<'static>> {
    let (columns, style) = (usize::from(room.width), |token| app.theme.style(token));
    let Some(sample) = card.sample.as_ref().filter(|_| !app.hidden()) else { return Vec::new() };
    let mut lines = Vec::new();
    if let Some(judged) = &card.judged {
        let saw = describe(&Decision::Judge(judged.clone()));
        lines.push(Line::styled(cut::fit(&format!("you saw  {saw}"), columns), style(Token::Warn)));
    }
    let token = if sample.label.is_error() { Token::ErrorMark } else { Token::Correct };
    let mut runs = vec![("claims  ".to_owned(), style(Token::Dim)), (outcome::truth(&sample.label), style(token))];
    if let Some(injection) = &sample.provenance.injection {
        let [old, new, why] = [&injection.old, &injection.new, &injection.why].map(|text| cut::clean(text));
        runs.push((format!("   \"{old}\" → \"{new}\": {why}"), style(Token::Text)));
    }
    let mut claimed = wrap::wrap(&runs, columns, 8);
    scribe::shorten(&mut claimed, 2, columns);
    lines.extend(claimed);
    if let Label::Error { correction, .. } = &sample.label {
        let right = format!("right   {}", cut::clean(correction));
        lines.push(Line::styled(cut::fit(&right, columns), style(Token::Dim)));
    }
    if sample.provenance.fallback {
        let n = sample.provenance.attempts;
        let text =
            format!("! static note: {} rejected", if n == 1 { "1 attempt was".to_owned() } else { format!("{n} attempts were") });
        lines.push(Line::styled(cut::fit(&text, columns), style(Token::Warn)));
    }
    if card.saw_doctor && card.votes.total() > 0 {
        lines.push(Line::styled(cut::fit(&doctor(card.votes), columns), style(Token::Text)));
    }
    let keep = usize::from(room.height) / 2;
    if lines.len() < keep {
        lines.insert(0, Line::default());
    }
    lines.truncate(keep);
    lines
}

/// What the Doctor says of the claim.
pub fn doctor(votes: Votes) -> String {
    let malformed = if votes.malformed > 0 { format!(", {} unreadable", votes.malformed) } else { String::new() };
    format!("Doctor  {} of {} agree with the claim{malformed}", votes.right, votes.total())
}
