//! The one table of actions: dispatch, key hints and the help overlay are all made from it.

/// Everything a key can mean on the Live screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    PauseResume,
    Leave,
    Help,
    StepPhase,
    StepOnce,
    Follow,
    NextPanel,
    PreviousPanel,
    NextSibling,
    PreviousSibling,
    Down,
    Up,
    PageDown,
    PageUp,
    Top,
    Bottom,
    Zoom,
    Close,
}

/// One row of the table. `keys` are in the spelling of [`super::keymap::Chord::parse`]; `hint` is the word on the hint line
/// (empty: none), in order of importance, since hints leave from the right. `steers` marks what a read-only client may not do.
pub struct ActionRow {
    pub action: Action,
    pub name: &'static str,
    pub keys: &'static [&'static str],
    pub doc: &'static str,
    pub hint: &'static str,
    pub steers: bool,
}

const fn row(
    action: Action,
    name: &'static str,
    keys: &'static [&'static str],
    hint: &'static str,
    doc: &'static str,
) -> ActionRow {
    let steers = matches!(action, Action::PauseResume | Action::StepPhase | Action::StepOnce);
    ActionRow { action, name, keys, doc, hint, steers }
}

/// Every action with its default keys.
pub const ACTIONS: &[ActionRow] = &[
    row(Action::PauseResume, "pause-resume", &["space"], "pause", "Pause at the next phase boundary, or go on"),
    row(Action::Leave, "leave", &["q", "ctrl-c"], "leave", "Leave: detach, or stop the run (asks which)"),
    row(Action::Help, "help", &["?"], "help", "Show or hide this list"),
    row(Action::StepPhase, "step-phase", &["."], "phase", "Run to the end of this phase, then pause"),
    row(Action::StepOnce, "step-once", &[">"], "step", "Run to the end of this step, then pause"),
    row(Action::Follow, "follow", &["f"], "freeze", "Freeze what is shown, or follow the newest completion"),
    row(Action::NextPanel, "next-panel", &["tab"], "panel", "Go to the next panel"),
    row(Action::PreviousPanel, "previous-panel", &["shift-tab"], "", "Go to the previous panel"),
    row(Action::PreviousSibling, "previous-sibling", &["left", "h"], "", "Show the previous completion of the same sample"),
    row(Action::NextSibling, "next-sibling", &["right", "l"], "sibling", "Show the next completion of the same sample"),
    row(Action::Up, "up", &["up", "k"], "", "Scroll up; in the Scribe panel: the previous sample"),
    row(Action::Down, "down", &["down", "j"], "scroll", "Scroll down; in the Scribe panel: the next sample"),
    row(Action::PageUp, "page-up", &["pageup", "ctrl-u"], "", "Scroll up half a page"),
    row(Action::PageDown, "page-down", &["pagedown", "ctrl-d"], "", "Scroll down half a page"),
    row(Action::Top, "top", &["home", "g"], "", "Go to the beginning"),
    row(Action::Bottom, "bottom", &["end", "G"], "", "Go to the end and stay there"),
    row(Action::Zoom, "zoom", &["z"], "zoom", "Give the whole screen to this panel, or take it back"),
    row(Action::Close, "close", &["esc"], "", "Close what is on top"),
];
