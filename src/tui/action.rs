//! The one table of actions: dispatch, key hints and the help overlay are all made from it.

use super::screen::{Elsewhere, Screen};

/// Everything a key can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Go(Screen),
    Visit(Elsewhere),
    PauseResume,
    Leave,
    Help,
    Palette,
    Alerts,
    Breakpoints,
    Knobs,
    Abort,
    Take,
    Restart,
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
    Filter,
    Sort,
    ReverseSort,
    Mark,
    ClearMarks,
    Open,
    DetailDown,
    DetailUp,
    Tokens,
    TokensBack,
    NextPeak,
    PreviousPeak,
    Beside,
    NextToken,
    PreviousToken,
    NoteView,
    NextWrong,
    PreviousWrong,
    Compare,
    Export,
    CopyCompletion,
    CopyNote,
    Reload,
    Search,
    NextMatch,
    PreviousMatch,
    Level,
    Source,
    Metrics,
    Smoother,
    Rougher,
    LogScale,
    Axis,
    ZoomIn,
    ZoomOut,
    Fit,
    PanLeft,
    PanRight,
    CursorLeft,
    CursorRight,
    NextMark,
    PreviousMark,
}

impl Action {
    /// Whether it moves within the rollout that is read and does nothing else.
    pub fn reads(self) -> bool {
        use Action::{DetailDown, DetailUp, NextPeak, NextToken, PreviousPeak, PreviousToken};
        matches!(self, DetailDown | DetailUp | NextToken | PreviousToken | NextPeak | PreviousPeak)
    }
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
    /// Where it works.
    pub screens: &'static [Screen],
}

impl ActionRow {
    pub fn works_on(&self, screen: Screen) -> bool {
        self.screens.contains(&screen)
    }
}

/// The rows that work on `screen`, in table order.
pub fn rows_of(screen: Screen) -> impl Iterator<Item = &'static ActionRow> {
    ACTIONS.iter().filter(move |row| row.works_on(screen))
}

const fn row(
    screens: &'static [Screen],
    (action, name): (Action, &'static str),
    keys: &'static [&'static str],
    hint: &'static str,
    doc: &'static str,
) -> ActionRow {
    let steers = matches!(
        action,
        Action::PauseResume
            | Action::StepPhase
            | Action::StepOnce
            | Action::Abort
            | Action::Restart
            | Action::Take
            | Action::Visit(Elsewhere::Label)
    );
    ActionRow { action, name, keys, doc, hint, steers, screens }
}

const ALL: &[Screen] = &Screen::ALL;
const LIVE: &[Screen] = &[Screen::Live];
const INSPECT: &[Screen] = &[Screen::Inspect];
const BOTH: &[Screen] = &[Screen::Live, Screen::Inspect];
const LOG: &[Screen] = &[Screen::Log];
const CHARTS: &[Screen] = &[Screen::Charts];
const PANELLED: &[Screen] = &[Screen::Live, Screen::Inspect, Screen::Charts];

/// Every action with its default keys.
pub const ACTIONS: &[ActionRow] = &[
    row(INSPECT, (Action::Filter, "filter"), &["/"], "filter", "Write a filter: quad:SD,SI cell:FP r<0 len>400 step:300..318"),
    row(INSPECT, (Action::Open, "open"), &["enter"], "open", "Read the chosen rollout; Esc goes back to the list"),
    row(INSPECT, (Action::Sort, "sort"), &["s"], "sort", "Sort by step, reward, advantage, length in turn"),
    row(INSPECT, (Action::Mark, "mark"), &["v"], "mark", "Mark this rollout, or take the mark away"),
    row(INSPECT, (Action::Tokens, "tokens"), &["t"], "tokens", "Token layer: surprise, entropy, drift, KL, share, mask, none"),
    row(INSPECT, (Action::Beside, "beside"), &["b"], "group", "Lay every completion of the sample side by side"),
    row(INSPECT, (Action::Compare, "compare"), &["c"], "compare", "Compare two marked rollouts (or the marked and the chosen)"),
    row(INSPECT, (Action::NextWrong, "next-wrong"), &["n"], "next wrong", "Go to the next rollout that is wrong or unreadable"),
    row(INSPECT, (Action::NoteView, "note-view"), &["d"], "note", "Show the note as a diff, as the Doctor read it, as it was"),
    row(INSPECT, (Action::Export, "export"), &["E"], "export", "Write the marked rollouts to a JSONL file of the run"),
    row(INSPECT, (Action::CopyCompletion, "copy"), &["y"], "copy", "Copy the completion to the clipboard (OSC 52)"),
    row(INSPECT, (Action::Reload, "reload"), &["R"], "reload", "Read the store again: brings new steps in"),
    row(LOG, (Action::Search, "search"), &["/"], "search", "Search the lines on show; the newest match comes first"),
    row(LOG, (Action::Level, "level"), &["L"], "level", "Show all levels, warnings and errors, errors alone in turn"),
    row(LOG, (Action::Source, "source"), &["s"], "source", "Show the lines of one phase of the step, of the next, of all"),
    row(LOG, (Action::NextMatch, "next-match"), &["n"], "next match", "Go to the match after this line"),
    row(LOG, (Action::PreviousMatch, "previous-match"), &["N"], "", "Go to the match before this line"),
    row(
        CHARTS,
        (Action::Open, "open-step"),
        &["enter"],
        "rollouts",
        "Read the rollouts of the crosshair's step, or of the newest",
    ),
    row(CHARTS, (Action::CursorRight, "cursor-right"), &["right", "l"], "crosshair", "Move the crosshair to a later step"),
    row(
        CHARTS,
        (Action::ZoomIn, "zoom-in"),
        &["+", "="],
        "zoom in",
        "Show half as many steps, around the crosshair or the newest",
    ),
    row(CHARTS, (Action::Smoother, "smoother"), &["]"], "smoother", "A heavier moving average: 0, .6, .8, .9, .95, .98"),
    row(CHARTS, (Action::Compare, "compare-runs"), &["c"], "compare", "Lay other runs of this machine beside this one"),
    row(CHARTS, (Action::Filter, "filter-metrics"), &["/"], "filter", "Show only metrics whose name has a word: reward|kl|rate"),
    row(CHARTS, (Action::Metrics, "metrics"), &["m"], "metrics", "What each metric means and in which unit it is"),
    row(CHARTS, (Action::NextMark, "next-mark"), &["n"], "next mark", "Go to the next alarm, event or checkpoint"),
    row(CHARTS, (Action::Fit, "fit"), &["0"], "all steps", "Show every step again"),
    row(CHARTS, (Action::Follow, "follow-end"), &["f"], "", "Follow the newest step again"),
    row(CHARTS, (Action::CursorLeft, "cursor-left"), &["left", "h"], "", "Move the crosshair to an earlier step"),
    row(CHARTS, (Action::ZoomOut, "zoom-out"), &["-"], "", "Show twice as many steps"),
    row(CHARTS, (Action::PanLeft, "pan-left"), &["H"], "", "Move a quarter of the view towards the beginning"),
    row(CHARTS, (Action::PanRight, "pan-right"), &["L"], "", "Move a quarter of the view towards the end"),
    row(CHARTS, (Action::Rougher, "rougher"), &["["], "", "A lighter moving average; at 0 the raw values alone"),
    row(CHARTS, (Action::LogScale, "log-scale"), &["y"], "", "Logarithmic or linear values"),
    row(CHARTS, (Action::Axis, "axis"), &["x"], "", "Label the axis by step or by time since the beginning"),
    row(CHARTS, (Action::PreviousMark, "previous-mark"), &["N"], "", "Go to the alarm, event or checkpoint before"),
    row(CHARTS, (Action::Reload, "reload-charts"), &["R"], "", "Read every metric from the store again"),
    row(ALL, (Action::PauseResume, "pause-resume"), &["space"], "pause", "Pause at the next phase boundary, or go on"),
    row(ALL, (Action::Leave, "leave"), &["q", "ctrl-c"], "leave", "Leave: detach, or stop the run (asks which)"),
    row(ALL, (Action::Help, "help"), &["?"], "help", "Show or hide this list"),
    row(ALL, (Action::StepPhase, "step-phase"), &["."], "phase", "Run to the end of this phase, then pause"),
    row(ALL, (Action::StepOnce, "step-once"), &[">"], "step", "Run to the end of this step, then pause"),
    row(ALL, (Action::Palette, "palette"), &[":"], "commands", "Write a command, or search in this list"),
    row(PANELLED, (Action::NextPanel, "next-panel"), &["tab"], "panel", "Go to the next panel"),
    row(ALL, (Action::Breakpoints, "breakpoints"), &["B"], "breaks", "Breakpoints: where the run pauses by itself"),
    row(ALL, (Action::Knobs, "knobs"), &["P"], "knobs", "Temperature, learning rate, label gate, from the next step"),
    row(ALL, (Action::Alerts, "alerts"), &["a"], "alerts", "Alarms, breakpoints and steps given up"),
    row(ALL, (Action::Abort, "abort"), &["X"], "", "Give up what this step has written, pause before it (asks)"),
    row(ALL, (Action::Take, "take"), &["W"], "", "Steer this run instead of whoever does"),
    row(ALL, (Action::Restart, "restart"), &["ctrl-r"], "", "Train a run that stopped or died again, from its checkpoint"),
    row(ALL, (Action::Go(Screen::Live), "go-live"), &["1"], "", "Go to the Live screen"),
    row(ALL, (Action::Go(Screen::Inspect), "go-inspect"), &["2"], "", "Go to the Inspect screen"),
    row(ALL, (Action::Visit(Elsewhere::Label), "label"), &["3"], "", "Judge the Scribe's samples; leaving comes back here"),
    row(ALL, (Action::Go(Screen::Charts), "go-charts"), &["4"], "", "Go to the Charts screen"),
    row(ALL, (Action::Visit(Elsewhere::Runs), "runs"), &["5"], "", "Choose another run of this machine"),
    row(ALL, (Action::Go(Screen::Log), "go-log"), &["6"], "", "Go to the Log screen"),
    row(LIVE, (Action::Follow, "follow"), &["f"], "freeze", "Freeze what is shown, or follow the newest completion"),
    row(PANELLED, (Action::PreviousPanel, "previous-panel"), &["shift-tab"], "", "Go to the previous panel"),
    row(
        BOTH,
        (Action::PreviousSibling, "previous-sibling"),
        &["left", "h"],
        "",
        "Show the previous completion of the same sample",
    ),
    row(BOTH, (Action::NextSibling, "next-sibling"), &["right", "l"], "sibling", "Show the next completion of the same sample"),
    row(ALL, (Action::Up, "up"), &["up", "k"], "", "Scroll up; in lists and the Scribe panel: the one before"),
    row(ALL, (Action::Down, "down"), &["down", "j"], "scroll", "Scroll down; in lists and the Scribe panel: the next one"),
    row(ALL, (Action::PageUp, "page-up"), &["pageup", "ctrl-u"], "", "Scroll up half a page"),
    row(ALL, (Action::PageDown, "page-down"), &["pagedown", "ctrl-d"], "", "Scroll down half a page"),
    row(ALL, (Action::Top, "top"), &["home", "g"], "", "Go to the beginning"),
    row(ALL, (Action::Bottom, "bottom"), &["end", "G"], "", "Go to the end; where text comes in: and stay there"),
    row(INSPECT, (Action::DetailDown, "detail-down"), &["J"], "", "Scroll the rollout down, wherever you are"),
    row(INSPECT, (Action::DetailUp, "detail-up"), &["K"], "", "Scroll the rollout up, wherever you are"),
    row(INSPECT, (Action::PreviousToken, "previous-token"), &["["], "", "In the token layer: the token before"),
    row(INSPECT, (Action::NextToken, "next-token"), &["]"], "", "In the token layer: the next token"),
    row(INSPECT, (Action::NextPeak, "next-peak"), &["}"], "", "In the token layer: the next token with a high bar"),
    row(INSPECT, (Action::PreviousPeak, "previous-peak"), &["{"], "", "In the token layer: the token with a high bar before"),
    row(INSPECT, (Action::TokensBack, "tokens-back"), &["T"], "", "The token layer before this one"),
    row(INSPECT, (Action::PreviousWrong, "previous-wrong"), &["N"], "", "Go to the wrong or unreadable rollout before this one"),
    row(INSPECT, (Action::ReverseSort, "reverse-sort"), &["S"], "", "Turn the order round"),
    row(INSPECT, (Action::ClearMarks, "clear-marks"), &["V"], "", "Take all marks away"),
    row(INSPECT, (Action::CopyNote, "copy-note"), &["Y"], "", "Copy the note as the Doctor read it"),
    row(PANELLED, (Action::Zoom, "zoom"), &["z"], "zoom", "Give the whole screen to this panel, or take it back"),
    row(ALL, (Action::Close, "close"), &["esc"], "", "Close what is on top; in Inspect then: clear the filter"),
];
