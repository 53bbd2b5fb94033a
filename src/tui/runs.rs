//! The state of the Runs screen: the runs of this machine, which are marked, what is asked before something is done to one.
//! Pure, like `app`: what changes a run is an [`Order`] that the caller carries out.

mod keys;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

pub use keys::{KEYS, KeyRow, Wish};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    keymap::{self, Chord},
    overlay::{
        Menu,
        keylist::{self, Entry, Reply},
    },
    prompt::{Prompt, Typed},
    screen::Screen,
    theme::Theme,
};
use crate::store::RunSummary;

/// Runs that can be compared at once.
pub const MOST_COMPARED: usize = 4;

const UNREADABLE: &str = "this directory cannot be read as a run";
const NOTHING_CHOSEN: &str = "there is no run here";
const READ_ONLY: &str = "read-only: start without --read-only to change a run";

/// What the reader decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Show the run in this directory, on this screen.
    Open(PathBuf, Screen),
    /// Judge its samples.
    Label(PathBuf),
    /// To where the reader came from.
    Back,
    Quit,
}

/// What is to be done to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Start its trainer again; it goes on from its last checkpoint.
    Resume(PathBuf),
    /// `now` gives up the step in progress.
    Stop { dir: PathBuf, now: bool },
    /// Remove it and everything in it.
    Delete(PathBuf),
}

/// What lies over the list.
#[derive(Clone, Debug, PartialEq)]
pub enum Over {
    /// The keys: typing searches, Enter presses.
    Help(Menu),
    Compare,
    /// How to stop this run.
    Stop(PathBuf),
    /// Its id must be typed.
    Delete {
        dir: PathBuf,
        id: String,
        typed: Prompt,
    },
}

/// What the list is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    #[default]
    Started,
    LastSign,
    Reward,
    HeldOut,
    Name,
}

impl By {
    const ALL: [By; 5] = [By::Started, By::LastSign, By::Reward, By::HeldOut, By::Name];

    pub fn name(self) -> &'static str {
        match self {
            By::Started => "newest first",
            By::LastSign => "last sign first",
            By::Reward => "best reward first",
            By::HeldOut => "best held-out first",
            By::Name => "by name",
        }
    }
}

/// The Runs screen.
#[derive(Clone, Debug)]
pub struct RunsApp {
    pub runs: Vec<RunSummary>,
    /// Place among [`RunsApp::shown`].
    pub chosen: usize,
    /// Ids.
    pub marks: BTreeSet<String>,
    pub by: By,
    pub filter: String,
    pub prompt: Option<Prompt>,
    pub over: Option<Over>,
    /// Said until the next key.
    pub message: Option<String>,
    pub read_only: bool,
    /// The run the reader came from.
    pub back: Option<String>,
    /// Unix seconds of the last look, for "5 m ago".
    pub now: i64,
    pub theme: Theme,
    pub dirty: bool,
}

/// What a key led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Nothing,
    Choice(Choice),
    Order(Order),
}

impl RunsApp {
    pub fn new(theme: Theme) -> RunsApp {
        RunsApp {
            runs: Vec::new(),
            chosen: 0,
            marks: BTreeSet::new(),
            by: By::default(),
            filter: String::new(),
            prompt: None,
            over: None,
            message: None,
            read_only: false,
            back: None,
            now: 0,
            theme,
            dirty: true,
        }
    }

    /// Takes a fresh list; the same run stays chosen.
    pub fn refresh(&mut self, runs: Vec<RunSummary>, now: i64) {
        if runs == self.runs && now / 60 == self.now / 60 {
            return;
        }
        // The first list: the reader's own run is chosen.
        let id = self.run().map(|run| run.id.clone()).or_else(|| self.back.clone());
        self.marks.retain(|id| runs.iter().any(|run| run.id == *id));
        (self.runs, self.now, self.dirty) = (runs, now, true);
        self.stay_at(id);
    }

    fn stay_at(&mut self, id: Option<String>) {
        let shown = self.shown();
        let at = id.and_then(|id| shown.iter().position(|run| run.id == id));
        self.chosen = at.unwrap_or(self.chosen.min(shown.len().saturating_sub(1)));
    }

    /// The runs that pass the filter, sorted; unreadable ones last.
    pub fn shown(&self) -> Vec<&RunSummary> {
        let words: Vec<&str> = self.filter.split_whitespace().collect();
        let passes = |run: &&RunSummary| {
            let text = format!("{} {} {} {}", run.id, run.name, run.model, state_word(run)).to_lowercase();
            words.iter().all(|word| text.contains(word))
        };
        let mut shown: Vec<&RunSummary> = self.runs.iter().filter(passes).collect();
        let best = |a: Option<f64>, b: Option<f64>| b.unwrap_or(f64::NEG_INFINITY).total_cmp(&a.unwrap_or(f64::NEG_INFINITY));
        shown.sort_by(|a, b| {
            a.broken.is_some().cmp(&b.broken.is_some()).then_with(|| match self.by {
                By::Started => b.started.cmp(&a.started),
                By::LastSign => b.updated.cmp(&a.updated),
                By::Reward => best(a.reward, b.reward),
                By::HeldOut => best(a.eval_accuracy, b.eval_accuracy),
                By::Name => a.id.cmp(&b.id),
            })
        });
        shown
    }

    /// The chosen run.
    pub fn run(&self) -> Option<&RunSummary> {
        self.shown().get(self.chosen).copied()
    }

    /// The marked runs, or the chosen one; in the order of the list.
    pub fn compared(&self) -> Vec<&RunSummary> {
        let mut shown = self.shown();
        shown.retain(|run| self.marks.contains(&run.id));
        shown
    }

    pub fn say(&mut self, message: impl Into<String>) {
        (self.message, self.dirty) = (Some(message.into()), true);
    }

    /// Takes a key.
    pub fn key(&mut self, key: KeyEvent) -> Outcome {
        let Some(chord) = Chord::of(key) else { return Outcome::Nothing };
        (self.dirty, self.message) = (true, None);
        if self.prompt.is_some() {
            self.typed(key);
            return Outcome::Nothing;
        }
        if self.over.is_some() {
            return self.answer(key);
        }
        let wish = KEYS.iter().find(|row| row.keys.iter().any(|name| Chord::parse(name) == Some(chord))).map(|row| row.wish);
        let Some(wish) = wish else { return Outcome::Nothing };
        if self.read_only && wish.steers() {
            self.say(READ_ONLY);
            return Outcome::Nothing;
        }
        self.carry_out(wish)
    }

    fn typed(&mut self, key: KeyEvent) {
        let Some(prompt) = &mut self.prompt else { return };
        match prompt.key(key) {
            Typed::Done => {
                let id = self.run().map(|run| run.id.clone());
                self.filter = self.prompt.take().map(|prompt| prompt.text().trim().to_lowercase()).unwrap_or_default();
                self.stay_at(id);
            }
            Typed::Cancelled => self.prompt = None,
            Typed::Changed | Typed::Nothing => {}
        }
    }

    fn carry_out(&mut self, wish: Wish) -> Outcome {
        let last = self.shown().len().saturating_sub(1);
        match wish {
            Wish::Quit => return Outcome::Choice(Choice::Quit),
            Wish::Close if self.filter.is_empty() && self.marks.is_empty() => {
                return Outcome::Choice(if self.back.is_some() { Choice::Back } else { Choice::Quit });
            }
            Wish::Close => {
                self.filter.clear();
                self.marks.clear();
            }
            Wish::Open => return self.open(|dir| Choice::Open(dir, Screen::Live)),
            Wish::Show(screen) => return self.open(|dir| Choice::Open(dir, screen)),
            Wish::Label => return self.open(Choice::Label),
            Wish::Down => self.chosen = (self.chosen + 1).min(last),
            Wish::Up => self.chosen = self.chosen.saturating_sub(1),
            Wish::Top => self.chosen = 0,
            Wish::Bottom => self.chosen = last,
            Wish::Filter => self.prompt = Some(Prompt::new(&self.filter)),
            Wish::Help => self.over = Some(Over::Help(Menu::searching())),
            Wish::Sort => {
                let at = By::ALL.iter().position(|by| *by == self.by).unwrap_or(0);
                let id = self.run().map(|run| run.id.clone());
                self.by = By::ALL[(at + 1) % By::ALL.len()];
                self.stay_at(id);
                self.say(format!("sorted {}", self.by.name()));
            }
            Wish::Mark => self.mark(),
            Wish::Compare if self.compared().len() < 2 => self.say("mark two to four runs with v"),
            Wish::Compare => self.over = Some(Over::Compare),
            Wish::Resume | Wish::Stop | Wish::Delete => return self.steer(wish),
        }
        Outcome::Nothing
    }

    fn open(&mut self, how: impl FnOnce(PathBuf) -> Choice) -> Outcome {
        match self.run() {
            Some(run) if run.broken.is_none() => Outcome::Choice(how(run.dir.clone())),
            chosen => {
                self.say(if chosen.is_some() { UNREADABLE } else { NOTHING_CHOSEN });
                Outcome::Nothing
            }
        }
    }

    /// Whether a key does something with the run that is chosen.
    pub fn offers(&self, wish: Wish) -> bool {
        let run = self.run();
        let is_run = run.is_some_and(|run| run.broken.is_none());
        let alive = run.is_some_and(|run| run.alive);
        match wish {
            _ if self.read_only && wish.steers() => false,
            Wish::Open | Wish::Show(_) | Wish::Label => is_run,
            Wish::Resume => is_run && !alive && run.is_some_and(|run| run.state != "finished"),
            Wish::Stop => alive,
            Wish::Delete => run.is_some() && !alive,
            Wish::Mark => is_run && self.runs.len() > 1,
            Wish::Compare | Wish::Sort | Wish::Up | Wish::Down | Wish::Top | Wish::Bottom => self.runs.len() > 1,
            Wish::Filter => !self.runs.is_empty(),
            Wish::Close => self.back.is_some(),
            Wish::Quit | Wish::Help => true,
        }
    }

    /// The table of keys as the help lists it.
    pub fn entries(&self) -> Vec<Entry> {
        let labels = |keys: &[&str]| keys.iter().map(|key| keymap::label(key)).collect::<Vec<_>>().join(" ");
        let why = |wish: Wish| (self.read_only && wish.steers()).then(|| READ_ONLY.to_owned());
        let entry =
            |row: &KeyRow| Entry { keys: labels(row.keys), doc: row.doc.to_owned(), press: row.keys[0], why_not: why(row.wish) };
        KEYS.iter().map(entry).collect()
    }

    fn mark(&mut self) {
        let Some(run) = self.run() else { return self.say(NOTHING_CHOSEN) };
        if run.broken.is_some() {
            return self.say(UNREADABLE);
        }
        let id = run.id.clone();
        if self.marks.remove(&id) {
            return;
        }
        if self.marks.len() >= MOST_COMPARED {
            return self.say(format!("{MOST_COMPARED} runs are marked already; Esc takes all marks away"));
        }
        self.marks.insert(id);
    }

    /// Nothing is done here: stopping and deleting are asked about first.
    fn steer(&mut self, wish: Wish) -> Outcome {
        let Some(run) = self.run().cloned() else {
            self.say(NOTHING_CHOSEN);
            return Outcome::Nothing;
        };
        match wish {
            Wish::Resume if run.alive => self.say("it is being trained; Enter attaches"),
            Wish::Resume if run.broken.is_some() => self.say(UNREADABLE),
            Wish::Resume if run.state == "finished" => {
                self.say("all its steps are made; `medserl run EXPERIMENT --steps N` gives it more");
            }
            Wish::Resume => return Outcome::Order(Order::Resume(run.dir)),
            Wish::Stop if !run.alive => self.say("nobody trains it"),
            Wish::Stop => self.over = Some(Over::Stop(run.dir)),
            Wish::Delete if run.alive => self.say("it is being trained; stop it first"),
            _ => self.over = Some(Over::Delete { dir: run.dir, id: run.id, typed: Prompt::default() }),
        }
        Outcome::Nothing
    }

    /// Takes a key while something lies over the list. Nothing that harms a run answers to Enter or to the key that asked.
    fn answer(&mut self, key: KeyEvent) -> Outcome {
        let Some(over) = self.over.take() else { return Outcome::Nothing };
        if let Over::Help(mut menu) = over {
            match keylist::key(&mut menu, &self.entries(), key) {
                Reply::Close => {}
                Reply::Press(key) => return self.key(key),
                Reply::Stay => self.over = Some(Over::Help(menu)),
            }
            return Outcome::Nothing;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let closes = matches!(key.code, KeyCode::Esc) || control && key.code == KeyCode::Char('c');
        match over {
            _ if closes => {}
            Over::Compare if matches!(key.code, KeyCode::Char('q' | 'c')) => {}
            Over::Stop(dir) if matches!(key.code, KeyCode::Char('c' | 's')) => {
                return Outcome::Order(Order::Stop { dir, now: key.code == KeyCode::Char('s') });
            }
            Over::Delete { dir, id, mut typed } => {
                if typed.key(key) != Typed::Done {
                    self.over = Some(Over::Delete { dir, id, typed });
                } else if typed.text().trim() == id {
                    return Outcome::Order(Order::Delete(dir));
                } else {
                    self.say(format!("'{}' is not {id}: nothing was deleted", typed.text().trim()));
                }
            }
            over => self.over = Some(over),
        }
        Outcome::Nothing
    }
}

/// How a run stands, in one word. One that is neither ended nor held by a trainer has died.
pub fn state_word(run: &RunSummary) -> &str {
    match (run.state.as_str(), run.alive) {
        _ if run.broken.is_some() => "unreadable",
        // A trainer has it again and has not said more yet.
        ("stopped" | "failed", true) => "starting",
        ("finished", _) => "done",
        ("failed", _) => "failed",
        (state, true) => state,
        ("stopped", false) => "stopped",
        (_, false) => "died",
    }
}

/// Every key of the resolved experiments on which these runs differ, with each run's value; and how many are the same.
pub fn differences(runs: &[&RunSummary]) -> (Vec<(String, Vec<String>)>, usize) {
    let flat: Vec<BTreeMap<String, String>> = runs.iter().map(|run| flatten(&run.config_toml)).collect();
    let keys: BTreeSet<&String> = flat.iter().flat_map(BTreeMap::keys).collect();
    let n = keys.len();
    let value = |map: &BTreeMap<String, String>, key: &str| map.get(key).cloned().unwrap_or_else(|| "–".to_owned());
    let rows = keys.into_iter().map(|key| (key.clone(), flat.iter().map(|map| value(map, key)).collect::<Vec<_>>()));
    let different: Vec<_> = rows.filter(|(_, values)| values.windows(2).any(|pair| pair[0] != pair[1])).collect();
    let n_same = n - different.len();
    (different, n_same)
}

fn flatten(text: &str) -> BTreeMap<String, String> {
    let mut flat = BTreeMap::new();
    // The trainer wrote it; one that cannot be read has no keys to compare.
    let table: toml::Table = crate::config::text::read(text).unwrap_or_default();
    let mut waiting: Vec<(String, toml::Value)> = table.into_iter().collect();
    while let Some((key, value)) = waiting.pop() {
        match value {
            toml::Value::Table(inner) => waiting.extend(inner.into_iter().map(|(name, value)| (format!("{key}.{name}"), value))),
            value => _ = flat.insert(key, value.to_string()),
        }
    }
    flat
}
