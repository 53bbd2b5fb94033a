//! The state of the Log screen: the trainer's log file, which of its lines are on show, and what is searched. Pure, like `app`.

use ratatui::crossterm::event::KeyEvent;

use super::{
    action::Action,
    app::Effect,
    inspect::Reply,
    prompt::{Prompt, Typed},
    query::Query,
};
use crate::{
    attach::{Live, protocol::Level},
    task::{Phase, Text},
};

/// Lines kept; older ones are in the file.
const MOST_LINES: usize = 50_000;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Unix seconds; `None` for what the live picture alone tells.
    pub unix_s: Option<i64>,
    pub level: Level,
    /// The phase the run was in; empty where it was in none.
    pub source: &'static str,
    pub text: Text,
}

/// Phases that can be a source, in the order in which the key walks them.
pub const SOURCES: [Phase; 8] =
    [Phase::Warmup, Phase::Scribe, Phase::Gate, Phase::Doctor, Phase::Reward, Phase::Update, Phase::Commit, Phase::Eval];

impl Entry {
    /// Reads a line of the file: `1790000000 WARN  [commit] text`. Lines of other programs are kept as they are.
    pub fn parse(line: &str) -> Entry {
        let strange = || Entry { unix_s: None, level: Level::Info, source: "", text: Text::new(line) };
        let Some((seconds, rest)) = line.split_once(' ') else { return strange() };
        let (Ok(seconds), Some((level, rest))) = (seconds.parse(), rest.split_once(' ')) else { return strange() };
        let level = match level {
            "INFO" => Level::Info,
            "WARN" => Level::Warn,
            "ERROR" => Level::Error,
            _ => return strange(),
        };
        let rest = rest.trim_start();
        let tagged = rest.strip_prefix('[').and_then(|rest| rest.split_once("] "));
        let known = tagged.and_then(|(tag, text)| Some((SOURCES.into_iter().find(|phase| phase.name() == tag)?, text)));
        let (source, text) = known.map_or(("", rest), |(phase, text)| (phase.name(), text));
        Entry { unix_s: Some(seconds), level, source, text: Text::new(text) }
    }
}

/// The Log screen.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    /// From the file.
    pub entries: Vec<Entry>,
    /// Bytes of the file that were read.
    pub offset: u64,
    loading: bool,
    /// The least level on show: 0 all, 1 warnings and errors, 2 errors.
    pub least: usize,
    pub source: Option<&'static str>,
    pub search: String,
    pub prompt: Option<Prompt>,
    /// The chosen line among those on show; `None` follows the newest.
    pub chosen: Option<usize>,
}

fn say(message: impl Into<String>) -> Reply {
    (None, Some(message.into()))
}

fn rank(level: Level) -> usize {
    match level {
        Level::Info => 0,
        Level::Warn => 1,
        Level::Error => 2,
    }
}

impl Logs {
    /// Asks for what the file has got since it was last read.
    pub fn refresh(&mut self) -> Option<Effect> {
        let from = self.offset;
        (!std::mem::replace(&mut self.loading, true)).then_some(Effect::Load(Query::Log { from }))
    }

    /// Takes lines of the file in.
    pub fn loaded(&mut self, from: u64, to: u64, lines: Vec<Entry>) {
        self.loading = false;
        if from != self.offset {
            return;
        }
        self.offset = to;
        self.entries.extend(lines);
        let n_old = self.entries.len().saturating_sub(MOST_LINES);
        if n_old > 0 {
            self.entries.drain(..n_old);
            self.chosen = None;
        }
    }

    pub fn not_loaded(&mut self) {
        self.loading = false;
    }

    /// Whether keys go to the line being written.
    pub fn takes_keys(&self) -> bool {
        self.prompt.is_some()
    }

    /// The lines that pass, oldest first; without a file, those of the live picture.
    pub fn shown<'a>(&'a self, live: &'a Live) -> Vec<(&'a Level, &'static str, Option<i64>, &'a Text)> {
        let passes = |level: Level, source: &str| rank(level) >= self.least && self.source.is_none_or(|wanted| wanted == source);
        if self.entries.is_empty() {
            let lines = live.log.iter().map(|(level, text)| (level, "", None, text));
            return lines.filter(|(level, source, ..)| passes(**level, source)).collect();
        }
        let lines = self.entries.iter().filter(|entry| passes(entry.level, entry.source));
        lines.map(|entry| (&entry.level, entry.source, entry.unix_s, &entry.text)).collect()
    }

    /// Takes a key while the search is written.
    pub fn typed(&mut self, key: KeyEvent, live: &Live) -> Reply {
        let Some(prompt) = &mut self.prompt else { return (None, None) };
        match prompt.key(key) {
            Typed::Done => {
                self.search = prompt.text().trim().to_lowercase();
                self.prompt = None;
                // The newest match first: that is what one looks for in a log.
                return if self.search.is_empty() { (None, None) } else { self.find(live, None, false) };
            }
            Typed::Cancelled => self.prompt = None,
            Typed::Changed | Typed::Nothing => {}
        }
        (None, None)
    }

    /// Carries out an action of this screen; `page` is how many lines it shows.
    pub fn act(&mut self, action: Action, live: &Live, page: usize) -> Reply {
        let n = self.shown(live).len();
        let last = n.saturating_sub(1);
        let here = self.chosen.unwrap_or(last).min(last);
        let half = (page / 2).max(1);
        let to = match action {
            Action::Search => {
                self.prompt = Some(Prompt::new(&self.search));
                return (None, None);
            }
            Action::NextMatch | Action::PreviousMatch => return self.find(live, Some(here), action == Action::NextMatch),
            Action::Level => {
                (self.least, self.chosen) = ((self.least + 1) % 3, None);
                return (None, None);
            }
            Action::Source => {
                self.next_source();
                return (None, None);
            }
            Action::Close if !self.search.is_empty() => {
                self.search.clear();
                return say("search cleared");
            }
            Action::Close => {
                (self.least, self.source, self.chosen) = (0, None, None);
                return (None, None);
            }
            Action::Up => here.saturating_sub(1),
            Action::Down => here + 1,
            Action::PageUp => here.saturating_sub(half),
            Action::PageDown => here + half,
            Action::Top => 0,
            _ => last,
        };
        // At its end the log follows.
        self.chosen = (to < last).then_some(to);
        (None, None)
    }

    fn next_source(&mut self) {
        let at = SOURCES.iter().position(|phase| Some(phase.name()) == self.source);
        let has = |phase: &&Phase| self.entries.iter().any(|entry| entry.source == phase.name());
        let first = at.map_or(0, |at| at + 1);
        self.source = SOURCES[first..].iter().find(has).map(|phase| phase.name());
        self.chosen = None;
    }

    fn find(&mut self, live: &Live, from: Option<usize>, forward: bool) -> Reply {
        if self.search.is_empty() {
            return say("/ searches");
        }
        let shown = self.shown(live);
        let matches = |at: &usize| shown[*at].3.as_str().to_lowercase().contains(&self.search);
        let found = match (from, forward) {
            (None, _) => (0..shown.len()).rev().find(matches),
            (Some(here), true) => (here + 1..shown.len()).find(matches),
            (Some(here), false) => (0..here.min(shown.len())).rev().find(matches),
        };
        match found {
            Some(at) => {
                self.chosen = Some(at);
                (None, None)
            }
            None => say(match (from, forward) {
                (None, _) => format!("'{}' is in no line on show", self.search),
                (_, true) => "no match after this line".to_owned(),
                (_, false) => "no match before this line".to_owned(),
            }),
        }
    }
}
