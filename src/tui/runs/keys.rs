//! The one table of keys of the Runs screen: dispatch, hints and help are made from it.

use crate::tui::screen::Screen;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Open,
    /// The same, on this screen of it.
    Show(Screen),
    Label,
    Mark,
    Compare,
    Resume,
    Stop,
    Delete,
    Filter,
    Sort,
    Quit,
    Help,
    Down,
    Up,
    Top,
    Bottom,
    Close,
}

impl Wish {
    /// Whether it can change a run.
    pub fn steers(self) -> bool {
        matches!(self, Wish::Label | Wish::Resume | Wish::Stop | Wish::Delete)
    }
}

/// One row: keys in the spelling of [`crate::tui::keymap::Chord::parse`], the word on the hint line (empty: none), what it does.
pub struct KeyRow {
    pub wish: Wish,
    pub keys: &'static [&'static str],
    pub hint: &'static str,
    pub doc: &'static str,
}

const fn row(wish: Wish, keys: &'static [&'static str], hint: &'static str, doc: &'static str) -> KeyRow {
    KeyRow { wish, keys, hint, doc }
}

/// Every key, in order of importance, since hints leave from the right.
pub const KEYS: &[KeyRow] = &[
    row(Wish::Open, &["enter", "a"], "open", "Attach to a run that is being trained; look back at any other"),
    row(Wish::Quit, &["q", "ctrl-c"], "quit", "Leave; runs go on"),
    row(Wish::Close, &["esc"], "back", "Take filter and marks away, then go back to where you came from"),
    row(Wish::Resume, &["r"], "resume", "Start the trainer again, from the last checkpoint"),
    row(Wish::Stop, &["X"], "stop", "Stop a run that is being trained (asks how)"),
    row(Wish::Mark, &["v", "space"], "mark", "Mark for a comparison, or take the mark away"),
    row(Wish::Compare, &["c"], "compare", "Figures of the marked runs, and where their experiments differ"),
    row(Wish::Filter, &["/"], "filter", "Show only runs whose id, name, model or state has these words"),
    row(Wish::Sort, &["s"], "sort", "Sort by start, last sign, reward, held-out accuracy or name"),
    row(Wish::Delete, &["D"], "delete", "Delete a run and everything in it (its id must be typed)"),
    row(Wish::Show(Screen::Live), &["1"], "", "The chosen run on its Live screen"),
    row(Wish::Show(Screen::Inspect), &["2"], "", "The rollouts of the chosen run"),
    row(Wish::Label, &["3"], "", "Judge the samples of the chosen run"),
    row(Wish::Show(Screen::Charts), &["4"], "", "The charts of the chosen run"),
    row(Wish::Show(Screen::Log), &["6"], "", "The log of the chosen run"),
    row(Wish::Down, &["down", "j"], "", "The next run"),
    row(Wish::Up, &["up", "k"], "", "The run before"),
    row(Wish::Top, &["home", "g"], "", "The first run"),
    row(Wish::Bottom, &["end", "G"], "", "The last run"),
    row(Wish::Help, &["?", ":"], "help", "Show or hide this list; typing searches, Enter presses the key"),
];
