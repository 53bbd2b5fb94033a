//! Which completion the reader is shown. Following, it is the newest one that moves; frozen, it stays for good, even when the
//! run goes on to the next step and forgets it.

use std::{collections::BTreeMap, sync::Arc};

use super::panel::machine;
use crate::{
    attach::{Live, Notice, live::Stream},
    task::{Phase, Rollout, Sample},
};

/// A finished completion stays until another one has written this much.
const NEW_CHARS: usize = 40;
/// A completion that stands still is left when the others have written this much.
const STALLED_CHARS: usize = 600;

/// Names one completion.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamKey {
    pub sample_id: String,
    pub sibling: u32,
}

impl StreamKey {
    fn of(stream: &Stream) -> StreamKey {
        StreamKey { sample_id: stream.sample_id.clone(), sibling: stream.sibling }
    }
}

/// What was on show when the run moved on.
#[derive(Clone, Debug, Default)]
struct Held {
    sample: Option<Arc<Sample>>,
    streams: Vec<Stream>,
}

/// The reader's place among the completions.
#[derive(Clone, Debug, Default)]
pub struct Follow {
    watched: Option<StreamKey>,
    pub frozen: bool,
    held: Held,
    /// Characters others wrote since the watched completion last moved.
    gains: BTreeMap<StreamKey, usize>,
    /// Completions a sample gets, as far as seen.
    group_size: u32,
}

impl Follow {
    /// Looks at a notice before the picture takes it in. Returns whether the watched completion will look different.
    pub fn before(&mut self, live: &Live, notice: &Notice) -> bool {
        match notice {
            Notice::Token { sample_id, sibling, delta } => {
                let known = self.group_size > *sibling;
                let key = StreamKey { sample_id: sample_id.clone(), sibling: *sibling };
                self.moved(live, key, delta.as_str().chars().count()) || !known
            }
            Notice::Rollout { rollout } => {
                self.seen(rollout.sibling);
                true
            }
            Notice::Phase { phase: Phase::Scribe, .. } | Notice::Snapshot { .. } => {
                self.hold(live);
                true
            }
            Notice::Phase { phase: Phase::Doctor, total, .. } => {
                let n_samples = u32::try_from(live.samples.len()).unwrap_or(u32::MAX);
                if n_samples > 0 && total.is_multiple_of(n_samples) {
                    self.group_size = self.group_size.max(total / n_samples);
                }
                true
            }
            // Once a second, also while nothing happens.
            Notice::Machine { machine } => !machine::alike(&live.machine, machine),
            _ => true,
        }
    }

    /// Looks at the picture of a newcomer, who saw no notice yet.
    pub fn start(&mut self, live: &Live) {
        live.streams.iter().for_each(|s| self.seen(s.sibling));
        let newest = live.streams.iter().rev().find(|s| s.rollout.is_none()).or(live.streams.last());
        if !self.frozen && self.stream(live).is_none() {
            self.watched = newest.map(StreamKey::of);
        }
    }

    fn seen(&mut self, sibling: u32) {
        self.group_size = self.group_size.max(sibling.saturating_add(1));
    }

    fn moved(&mut self, live: &Live, key: StreamKey, n_chars: usize) -> bool {
        self.seen(key.sibling);
        if self.watched.as_ref() == Some(&key) {
            self.gains.clear();
            return true;
        }
        if self.frozen {
            return false;
        }
        let Some(watched) = self.stream(live) else {
            self.watch(key);
            return true;
        };
        let finished = watched.rollout.is_some() || watched.text.as_str().trim_end().ends_with("</verdict>");
        let gained = self.gains.entry(key.clone()).or_default();
        *gained += n_chars;
        let enough = if finished { *gained >= NEW_CHARS } else { self.gains.values().sum::<usize>() >= STALLED_CHARS };
        if enough {
            self.watch(key);
        }
        enough
    }

    fn watch(&mut self, key: StreamKey) {
        self.watched = Some(key);
        self.gains.clear();
    }

    /// The picture is about to forget this step: keep what is on show.
    fn hold(&mut self, live: &Live) {
        let Some(watched) = &self.watched else { return };
        if live.streams.iter().any(|s| s.sample_id == watched.sample_id) {
            let streams = live.streams.iter().filter(|s| s.sample_id == watched.sample_id).cloned().collect();
            self.held = Held { sample: sample_of(live, &watched.sample_id), streams };
        } else if let Some(sample) = sample_of(live, &watched.sample_id) {
            self.held = Held { sample: Some(sample), streams: Vec::new() };
        }
    }

    /// Freezes what is shown, or goes back to following.
    pub fn toggle(&mut self, live: &Live) {
        self.frozen = !self.frozen;
        if self.frozen && self.watched.is_none() {
            self.watched = self.sample(live).map(|s| StreamKey { sample_id: s.id.clone(), sibling: 0 });
        }
        if !self.frozen {
            let newest = live.streams.iter().rev().find(|s| s.rollout.is_none()).or(live.streams.last());
            if let Some(stream) = newest {
                self.watch(StreamKey::of(stream));
            }
        }
    }

    /// The completion on show.
    pub fn stream<'a>(&'a self, live: &'a Live) -> Option<&'a Stream> {
        let key = self.watched.as_ref()?;
        let mut all = live.streams.iter().chain(&self.held.streams);
        all.find(|s| s.sibling == key.sibling && s.sample_id == key.sample_id)
    }

    pub fn watched(&self) -> Option<&StreamKey> {
        self.watched.as_ref()
    }

    /// Every known completion of the sample on show, by sibling; `None` where it has not begun.
    pub fn siblings<'a>(&'a self, live: &'a Live) -> Vec<Option<&'a Stream>> {
        let Some(key) = &self.watched else { return Vec::new() };
        let from = |streams: &'a [Stream], sibling| streams.iter().find(|s| s.sibling == sibling && s.sample_id == key.sample_id);
        (0..self.group_size.max(key.sibling + 1))
            .map(|sibling| from(&live.streams, sibling).or_else(|| from(&self.held.streams, sibling)))
            .collect()
    }

    /// The sample on show: the watched completion's; before the Doctor begins, the newest one of the Scribe.
    pub fn sample(&self, live: &Live) -> Option<Arc<Sample>> {
        let scribing = matches!(live.phase, Some(Phase::Scribe | Phase::Gate)) && live.streams.is_empty();
        if let Some(newest) = live.samples.last().filter(|_| scribing && !self.frozen) {
            return Some(Arc::clone(newest));
        }
        let key = self.watched.as_ref();
        let watched = key.and_then(|key| {
            let of_rollout = |s: &Stream| s.rollout.as_ref().map(|r: &Rollout| Arc::clone(&r.sample));
            let held = self.held.sample.clone().filter(|s| s.id == key.sample_id);
            sample_of(live, &key.sample_id).or(held).or_else(|| self.stream(live).and_then(of_rollout))
        });
        if self.frozen { watched } else { watched.or_else(|| live.samples.last().cloned()) }
    }

    /// Freezes on the neighbouring sibling; returns whether there is one.
    pub fn step_sibling(&mut self, by: i64) -> bool {
        let Some(key) = &mut self.watched else { return false };
        let wanted = i64::from(key.sibling) + by;
        if !(0..i64::from(self.group_size)).contains(&wanted) {
            return false;
        }
        key.sibling = u32::try_from(wanted).unwrap_or(key.sibling);
        self.frozen = true;
        self.gains.clear();
        true
    }

    /// Freezes on the neighbouring sample of this step; returns whether there is one.
    pub fn step_sample(&mut self, live: &Live, by: i64) -> bool {
        let shown = self.sample(live);
        let at = shown.and_then(|shown| live.samples.iter().position(|s| s.id == shown.id));
        let wanted = match at {
            Some(at) => i64::try_from(at).unwrap_or(0) + by,
            None => 0,
        };
        let Some(sample) = usize::try_from(wanted).ok().and_then(|at| live.samples.get(at)) else { return false };
        self.frozen = true;
        self.watch(StreamKey { sample_id: sample.id.clone(), sibling: 0 });
        true
    }
}

fn sample_of(live: &Live, id: &str) -> Option<Arc<Sample>> {
    live.samples.iter().find(|s| s.id == id).cloned()
}
