//! What the keys of the Label screen do, and the one table that help and hints are made from.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{Effect, Field, LabelApp, Mode, Task, card::reason_key, note, queue::ORDERS};
use crate::{
    task::{Decision, ErrorKind, Judged, hand_label::Picked},
    tui::{
        keymap::Chord,
        overlay::{
            Menu,
            keylist::{self, Entry, Reply},
        },
        screen,
    },
};

/// When a row of the table applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Always,
    /// The claim is on show.
    Open,
    /// The claim is hidden.
    Hidden,
}

/// One row of the table. `shown` is how the keys are printed, `press` what Enter in the help presses, spelled as [`Chord::parse`] reads
/// it (empty: several keys, of which the reader must choose); `hint` is the word on the hint line (empty: none).
pub struct KeyRow {
    pub shown: &'static str,
    pub press: &'static str,
    pub hint: &'static str,
    pub doc: &'static str,
    pub when: When,
}

const fn row((shown, press): (&'static str, &'static str), hint: &'static str, doc: &'static str, when: When) -> KeyRow {
    KeyRow { shown, press, hint, doc, when }
}

/// Every key; hints leave from the right.
pub const KEYS: &[KeyRow] = &[
    row(("a", "a"), "accept", "The claim is right, with sentence or correction if chosen", When::Open),
    row(("x", "x"), "reject", "Leave the sample out of training; asks why", When::Open),
    row(("0", "0"), "no error", "The note has no error", When::Hidden),
    row(("1-5", ""), "type", "The error's type; with the claim in view: right but for that", When::Always),
    row(("Space", "space"), "cannot tell", "No decision either way", When::Always),
    row(("u", "u"), "undo", "Take the last decision back, as often as you like", When::Always),
    row(("q", "q"), "leave", "Leave; every decision is on disk already", When::Always),
    row(("? :", "?"), "help", "Show or hide this list", When::Always),
    row(("T", "T"), "task", "Review the claim, or judge the note blind", When::Always),
    row(("Q", "Q"), "queue", "Another order: newest, by quadrant, disputed, second opinion", When::Always),
    row(("[ ]", "]"), "sentence", "Point at another sentence for the next decision", When::Always),
    row(("e", "e"), "correction", "Write what the sentence should say", When::Open),
    row(("c", "c"), "comment", "A remark that goes with the next decision", When::Always),
    row(("R", "R"), "Doctor", "Show what the Doctor's completions say (recorded)", When::Open),
    row(("d", "d"), "changes", "Show or hide the changes", When::Open),
    row(("o", "o"), "original", "Show or hide the original note", When::Open),
    row(("→ n", "right"), "later", "Leave this sample for later", When::Always),
    row(("← b", "left"), "", "Back to the sample before it in the queue", When::Always),
    row(("↓ ↑ j k", "down"), "scroll", "Scroll the note; PgDn and PgUp by half a page", When::Always),
    row(("U", "U"), "", "Give a decision again that was taken back", When::Always),
];

const JUDGE_FIRST: &str = "judge first: 0 no error, 1-5 the error's type, Space cannot tell";
const CLAIM_SHOWN: &str = "a accepts a clean claim; x rejects a claimed error";

impl LabelApp {
    /// Takes a key.
    pub fn key(&mut self, key: KeyEvent) -> Option<Effect> {
        Chord::of(key)?;
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && key.code == KeyCode::Char('c') {
            return Some(Effect::Leave);
        }
        self.dirty = true;
        self.flash = None;
        // Until the last decision is on disk there is nothing to decide on.
        if self.keeping {
            return None;
        }
        match self.mode.clone() {
            Mode::Card => self.card_key(key.code, control),
            Mode::Reasons => self.reason_key(key.code),
            Mode::Typing { what, text } => self.typing_key(key.code, control, what, text),
            Mode::Help(mut menu) => {
                self.mode = Mode::Card;
                match keylist::key(&mut menu, &self.entries(), key) {
                    Reply::Close => None,
                    Reply::Press(key) => self.key(key),
                    Reply::Stay => {
                        self.mode = Mode::Help(menu);
                        None
                    }
                }
            }
        }
    }

    /// The table of keys as the help lists it.
    pub fn entries(&self) -> Vec<Entry> {
        let why = |row: &KeyRow| match row.when {
            _ if row.press.is_empty() => {
                Some("press the digit: 1 diagnosis, 2 management, 3 treatment, 4 pharmacotherapy, 5 causal organism".to_owned())
            }
            When::Open if self.hidden() => Some(JUDGE_FIRST.to_owned()),
            When::Hidden if !self.hidden() => Some(CLAIM_SHOWN.to_owned()),
            _ => None,
        };
        let entry =
            |row: &KeyRow| Entry { keys: row.shown.to_owned(), doc: row.doc.to_owned(), press: row.press, why_not: why(row) };
        KEYS.iter().map(entry).collect()
    }

    fn card_key(&mut self, code: KeyCode, control: bool) -> Option<Effect> {
        match code {
            KeyCode::Char('d') if control => self.scroll(Scroll::PageDown),
            KeyCode::Char('u') if control => self.scroll(Scroll::PageUp),
            _ if control => {}
            KeyCode::Char('q') => return Some(Effect::Leave),
            KeyCode::Char('?' | ':') => self.mode = Mode::Help(Menu::searching()),
            KeyCode::Char('u') => return self.undo(),
            KeyCode::Char('U') => return self.redo(),
            KeyCode::Char('T') => self.change_task(),
            KeyCode::Char('Q') => self.change_order(),
            _ if self.card.as_ref().is_none_or(|card| card.sample.is_none()) => self.say("there is no sample on show"),
            KeyCode::Down | KeyCode::Char('j') => self.scroll(Scroll::Down),
            KeyCode::Up | KeyCode::Char('k') => self.scroll(Scroll::Up),
            KeyCode::PageDown => self.scroll(Scroll::PageDown),
            KeyCode::PageUp => self.scroll(Scroll::PageUp),
            KeyCode::Right | KeyCode::Char('n') => self.walk(1),
            KeyCode::Left | KeyCode::Char('b') => self.walk(-1),
            KeyCode::Char(']') => self.move_cursor(1),
            KeyCode::Char('[') => self.move_cursor(-1),
            KeyCode::Char('c') => {
                let text = self.card.as_ref().map(|card| card.remark.clone()).unwrap_or_default();
                self.mode = Mode::Typing { what: Field::Remark, text };
            }
            KeyCode::Char(' ') => return self.decide(Decision::Unsure),
            KeyCode::Char(digit @ '1'..='5') => return self.kind_key(ErrorKind::ALL[digit as usize - '1' as usize]),
            KeyCode::Char('0') if self.hidden() => return self.decide(Decision::Judge(Judged::Clean)),
            KeyCode::Char('0') => self.say(CLAIM_SHOWN),
            KeyCode::Char('a' | 'x' | 'e' | 'R' | 'd' | 'o') if self.hidden() => {
                self.say(JUDGE_FIRST);
            }
            KeyCode::Char(letter) => return self.open_key(letter),
            _ => {}
        }
        None
    }

    /// Keys that need the claim in view.
    fn open_key(&mut self, letter: char) -> Option<Effect> {
        let card = self.card.as_mut()?;
        match letter {
            'a' => {
                let decision = card.accept();
                return self.decide(decision);
            }
            'x' => self.mode = Mode::Reasons,
            'd' => self.show_diff = !self.show_diff,
            'o' => self.show_original = !self.show_original,
            'R' => {
                card.saw_doctor = true;
                if card.votes.total() == 0 {
                    self.say("the Doctor has not read this sample");
                }
            }
            'e' => match card.correction_draft() {
                Some(text) => self.mode = Mode::Typing { what: Field::Correction, text },
                None => self.say("point at the sentence first: [ ]"),
            },
            _ => {}
        }
        None
    }

    fn kind_key(&mut self, kind: ErrorKind) -> Option<Effect> {
        let card = self.card.as_ref()?;
        let decision =
            if self.hidden() { Decision::Judge(Judged::Error { kind, sentence: card.cursor }) } else { card.with_kind(kind) };
        self.decide(decision)
    }

    fn reason_key(&mut self, code: KeyCode) -> Option<Effect> {
        let reasons = self.card.as_ref().map(super::card::Card::reasons).unwrap_or_default();
        let chosen = reasons.into_iter().find(|reason| code == KeyCode::Char(reason_key(*reason)));
        match (chosen, code) {
            (Some(reason), _) => {
                self.mode = Mode::Card;
                return self.decide(Decision::Reject(reason));
            }
            (None, KeyCode::Esc | KeyCode::Char('x' | 'q')) => self.mode = Mode::Card,
            (None, _) => self.say("press the letter of a reason, or Esc"),
        }
        None
    }

    fn typing_key(&mut self, code: KeyCode, control: bool, what: Field, mut text: String) -> Option<Effect> {
        match code {
            KeyCode::Esc => {
                self.mode = Mode::Card;
                return None;
            }
            KeyCode::Enter => {
                self.mode = Mode::Card;
                return self.typed(what, text.trim());
            }
            KeyCode::Char('e') if control => self.editing = Some(text.clone()),
            KeyCode::Char('u') if control => text.clear(),
            KeyCode::Char('w') if control => {
                let kept = text.trim_end().rfind(' ').map_or(0, |at| at + 1);
                text.truncate(kept);
            }
            KeyCode::Char(c) if !control => text.push(c),
            KeyCode::Backspace => drop(text.pop()),
            _ => {}
        }
        self.mode = Mode::Typing { what, text };
        None
    }

    /// Takes what the editor brought back, or why it brought nothing.
    pub fn edited(&mut self, written: anyhow::Result<String>) {
        match (written, &mut self.mode) {
            (Ok(written), Mode::Typing { text, .. }) => *text = written,
            (Ok(_), _) => {}
            (Err(error), _) => self.say(&format!("{error:#}")),
        }
        self.dirty = true;
    }

    /// Pasted text goes into what is being written and nowhere else: it must not be taken for keys.
    pub fn paste(&mut self, pasted: &str) {
        match &mut self.mode {
            Mode::Typing { text, .. } => text.extend(pasted.chars().map(|c| if c.is_control() { ' ' } else { c })),
            Mode::Help(menu) => menu.prompt.get_or_insert_default().insert(pasted),
            _ => self.say("nothing is being written here: pasted text is left alone"),
        }
        self.dirty = true;
    }

    fn typed(&mut self, what: Field, text: &str) -> Option<Effect> {
        let card = self.card.as_mut()?;
        if what == Field::Remark {
            card.remark = text.to_owned();
            return None;
        }
        let unchanged = card.correction_draft().is_some_and(|draft| draft == text);
        if text.is_empty() || unchanged {
            self.say("the correction is left as it was");
            return None;
        }
        let claims_error = card.sample.as_ref().is_some_and(|sample| sample.label.is_error());
        let before = card.correction.replace(text.to_owned());
        if !claims_error {
            self.say("kept: now the error's type, 1-5");
            return None;
        }
        let decision = card.accept();
        let effect = self.decide(decision);
        if let (None, Some(card)) = (&effect, &mut self.card) {
            card.correction = before;
        }
        effect
    }

    fn move_cursor(&mut self, by: isize) {
        if let Some(card) = &mut self.card {
            card.move_cursor(by);
        }
    }

    fn change_task(&mut self) {
        self.setup.task = if self.setup.task == Task::Review { Task::Blind } else { Task::Review };
        // This order would tell the annotator that the Doctor and the claim differ.
        if self.setup.task == Task::Blind && self.setup.order == Picked::Disagreement {
            self.setup.order = Picked::Stratified;
        }
        self.card = None;
        self.rearrange();
    }

    fn change_order(&mut self) {
        let offered: Vec<Picked> = ORDERS
            .iter()
            .map(|(order, _)| *order)
            .filter(|order| self.setup.task == Task::Review || *order != Picked::Disagreement)
            .collect();
        let at = offered.iter().position(|order| *order == self.setup.order).unwrap_or(0);
        self.setup.order = offered[(at + 1) % offered.len()];
        self.card = None;
        self.rearrange();
    }

    fn scroll(&mut self, how: Scroll) {
        let (Some(room), Some(card)) = (screen::label::note_text_room(self), &self.card) else { return };
        let page = (room.1 / 2).max(1).cast_signed();
        let by = match how {
            Scroll::Down => 1,
            Scroll::Up => -1,
            Scroll::PageDown => page,
            Scroll::PageUp => -page,
        };
        let anchor = note::scrolled(self, card, room, by);
        if let Some(card) = &mut self.card {
            card.scroll = Some(anchor);
        }
    }
}

#[derive(Clone, Copy)]
enum Scroll {
    Down,
    Up,
    PageDown,
    PageUp,
}
