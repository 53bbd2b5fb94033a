//! Measures the screens at 200x60 over a run of a hundred thousand rollouts, a note of 1 MiB and a series of a million points:
//! time to draw, time from an event to its frame, bytes to the terminal, memory. Nothing here is used by the client itself.

use std::{
    io::{self, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use ratatui::{
    Terminal, TerminalOptions, Viewport,
    backend::CrosstermBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    layout::Rect,
};

use super::{App, Effect, Event, Theme, history::History, loader, query::Loaded, replay, screen, theme::Depth};
use crate::{
    attach::Notice,
    store::{RunMeta, Store},
    task::{Completion, Label, Note, Phase, Quadrant, Reward, Rollout, Sample, Sentence, StepReport, StopReason, Text, Verdict},
};

const SIZE: (u16, u16) = (200, 60);
const FRAMES: usize = 400;
const SAMPLES_A_STEP: u32 = 125;
const SIBLINGS: u32 = 8;
const NOTE_BYTES: usize = 1 << 20;
const POINTS: u32 = 1_000_000;

/// What one screen cost.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Scene {
    pub name: &'static str,
    pub frames: usize,
    /// Milliseconds to draw one frame and write it to a terminal that takes everything.
    pub draw_p50_ms: f64,
    pub draw_p99_ms: f64,
    /// Milliseconds from the event to the end of its frame, the store's answers included.
    pub event_p99_ms: f64,
    /// Mean bytes a frame.
    pub bytes: u64,
}

/// All of it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Measured {
    pub scenes: Vec<Scene>,
    pub n_rollouts: u64,
    /// Milliseconds from nothing to the first whole frame over this run.
    pub first_frame_ms: f64,
    /// Resident bytes of a client that has read the whole list of rollouts; `None` where the system does not tell.
    pub resident: Option<u64>,
}

/// Fills a new run in `dir` with about `n_rollouts`; the first sample's note has 1 MiB.
pub fn fill(dir: &Path, n_rollouts: u32) -> anyhow::Result<()> {
    let mut store = Store::create(dir)?;
    store.begin_run(&RunMeta {
        id: "measured".to_owned(),
        name: "measured".to_owned(),
        model: "none".to_owned(),
        seed: 1,
        steps_total: 1000,
        config_toml: String::new(),
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        started_unix_s: 0,
    })?;
    for step in 1..=n_rollouts.div_ceil(SAMPLES_A_STEP * SIBLINGS) {
        let samples: Vec<Sample> = (0..SAMPLES_A_STEP).map(|index| sample(step, index)).collect();
        let shared = samples.iter().cloned().map(Arc::new);
        let rollouts: Vec<Rollout> = shared.flat_map(|s| (0..SIBLINGS).map(move |sibling| rollout(&s, sibling))).collect();
        let mut report = StepReport { step, ..StepReport::default() };
        report.count(&rollouts);
        report.metrics.insert("reward".to_owned(), f64::from(step % 7));
        store.commit_step(&report, &samples, &rollouts)?;
    }
    // A run that seems to have died would be met with a card over its screens.
    Ok(store.set_state("finished", "")?)
}

fn sample(step: u32, index: u32) -> Sample {
    let quadrant = Quadrant::ALL[index as usize % 4];
    let long = "The patient was seen again and nothing had changed since the last visit of the spring. ";
    let n_long = if (step, index) == (1, 0) { NOTE_BYTES / long.len() } else { 4 };
    let text = |old: &str| long.repeat(n_long) + old;
    let note = |old: &str| Note {
        id: format!("n-{index}"),
        group: format!("n-{index}"),
        sentences: vec![
            Sentence { id: 0, text: "A 58-year-old woman is seen in follow-up.".to_owned() },
            Sentence { id: 1, text: text(old) },
        ],
    };
    Sample {
        id: Sample::make_id(quadrant, step, index),
        step,
        index,
        quadrant,
        note: note("She takes 5000 mg."),
        label: Label::Clean,
        source: note("She takes 500 mg."),
        provenance: crate::task::Provenance::default(),
        gates: Vec::new(),
    }
}

fn rollout(sample: &Arc<Sample>, sibling: u32) -> Rollout {
    let text = "<thinking>".to_owned() + &"Each drug is plausible at its dose and for its use. ".repeat(6) + "</thinking>";
    let n = 80;
    Rollout {
        sample: Arc::clone(sample),
        sibling,
        completion: Completion {
            tokens: vec![7; n],
            rollout_logprobs: (0..n).map(|i| -0.01 * i as f32).collect(),
            text,
            stop: StopReason::EndOfTurn,
            alternatives: Vec::new(),
        },
        verdict: Verdict::Clean,
        reward: Reward { format: 0.1, outcome: if sibling.is_multiple_of(2) { 1.0 } else { -1.5 }, ..Reward::default() },
        advantage: Some(0.3),
        trace: None,
    }
}

/// A terminal that takes everything and counts it.
struct Sink(Arc<AtomicU64>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client over a run, and what it has cost.
struct Bench<'a> {
    app: App,
    dir: &'a Path,
    store: Option<Store>,
    terminal: Terminal<CrosstermBackend<Sink>>,
    bytes: Arc<AtomicU64>,
}

impl<'a> Bench<'a> {
    fn new(dir: &'a Path) -> anyhow::Result<Bench<'a>> {
        let bytes = Arc::new(AtomicU64::new(0));
        let viewport = Viewport::Fixed(Rect::new(0, 0, SIZE.0, SIZE.1));
        let terminal = Terminal::with_options(CrosstermBackend::new(Sink(Arc::clone(&bytes))), TerminalOptions { viewport })?;
        Ok(Bench { app: App::new(Theme::built_in("dark", Depth::True)?, SIZE), dir, store: None, terminal, bytes })
    }

    /// Takes an event in, with every answer of the store that it leads to.
    fn event(&mut self, event: Event) -> anyhow::Result<()> {
        let mut next = self.app.update(event);
        while let Some(effect) = next.take().or_else(|| self.app.asides.pop()) {
            if let Effect::Load(query) = effect {
                let answer = loader::load(self.dir, &mut self.store, &query)?;
                next = self.app.update(Event::Loaded(Box::new(answer)));
            }
        }
        Ok(())
    }

    fn press(&mut self, code: KeyCode) -> anyhow::Result<()> {
        self.event(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    fn draw(&mut self) -> anyhow::Result<()> {
        let app = &self.app;
        self.terminal.draw(|frame| screen::draw(app, frame))?;
        Ok(())
    }

    /// Draws a frame after each of many events.
    fn scene(
        &mut self,
        name: &'static str,
        mut event: impl FnMut(&mut Self, usize) -> anyhow::Result<()>,
    ) -> anyhow::Result<Scene> {
        let (mut draws, mut events) = (Vec::new(), Vec::new());
        self.draw()?;
        let before = self.bytes.load(Ordering::Relaxed);
        for i in 0..FRAMES {
            let start = Instant::now();
            event(self, i)?;
            let middle = Instant::now();
            self.draw()?;
            draws.push(1e3 * middle.elapsed().as_secs_f64());
            events.push(1e3 * start.elapsed().as_secs_f64());
        }
        let bytes = (self.bytes.load(Ordering::Relaxed) - before) / FRAMES as u64;
        Ok(Scene {
            name,
            frames: FRAMES,
            draw_p50_ms: quantile(&mut draws, 0.5),
            draw_p99_ms: quantile(&mut draws, 0.99),
            event_p99_ms: quantile(&mut events, 0.99),
            bytes,
        })
    }
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let at = (values.len() as f64 * share).ceil() as usize;
    values[at.clamp(1, values.len()) - 1]
}

/// Measures the run that [`fill`] made in `dir`.
pub fn measure(dir: &Path) -> anyhow::Result<Measured> {
    let start = Instant::now();
    let mut bench = Bench::new(dir)?;
    let live = Box::new(replay::picture(dir)?);
    bench.event(Event::Notice(Box::new(Notice::Snapshot { live })))?;
    bench.draw()?;
    let first_frame_ms = 1e3 * start.elapsed().as_secs_f64();
    bench.press(KeyCode::Char('2'))?;
    bench.draw()?;
    let resident = resident();
    let n_rollouts = bench.app.inspect.n_all;
    let list = bench.scene("Inspect: walking the list of rollouts", |b, i| {
        b.press(if i % 50 == 49 { KeyCode::PageDown } else { KeyCode::Down })
    })?;
    bench.press(KeyCode::End)?;
    // The last rollouts in the order of the list are those of step 1; its first sample has the long note.
    bench.app.inspect.filter_text.clear();
    while bench.app.inspect.rollout().is_some_and(|r| r.sample.note.sentences[1].text.len() < NOTE_BYTES / 2) {
        bench.press(KeyCode::Up)?;
    }
    let note = bench.scene("Inspect: reading a note of 1 MiB", |b, i| {
        b.press(KeyCode::Char(if (i / 100).is_multiple_of(2) { 'J' } else { 'K' }))
    })?;
    let shown = bench.app.inspect.rollout().map(|r| Arc::clone(&r.sample));
    let live = live_scene(&mut bench, shown)?;
    let charts = charts_scene(&mut bench)?;
    Ok(Measured { scenes: vec![list, note, live, charts], n_rollouts, first_frame_ms, resident })
}

/// The long note in the Scribe's panel while a completion streams.
fn live_scene(bench: &mut Bench, sample: Option<Arc<Sample>>) -> anyhow::Result<Scene> {
    let sample = sample.ok_or_else(|| anyhow::anyhow!("the run has no rollout to show"))?;
    bench.press(KeyCode::Char('1'))?;
    let notice = |notice| Event::Notice(Box::new(notice));
    bench.event(notice(Notice::Phase { step: 2, phase: Phase::Scribe, total: 1 }))?;
    bench.event(notice(Notice::Sample { sample: Box::new((*sample).clone()) }))?;
    bench.event(notice(Notice::Phase { step: 2, phase: Phase::Doctor, total: 8 }))?;
    bench.scene("Live: a note of 1 MiB, a completion streaming", |b, _| {
        let delta = Text::new("plausible at this dose ");
        b.event(notice(Notice::Token { sample_id: sample.id.clone(), sibling: 0, delta }))
    })
}

/// One chart of a million points, the crosshair moving, the view zoomed and panned.
fn charts_scene(bench: &mut Bench) -> anyhow::Result<Scene> {
    bench.press(KeyCode::Char('4'))?;
    let points = (1..=POINTS).map(|step| (step, f64::from(step % 1013) + f64::from(step) / 1e4)).collect();
    let history = Box::new(History { series: vec![("reward".to_owned(), points)], ..History::default() });
    bench.event(Event::Loaded(Box::new(Loaded::History { run: None, history })))?;
    bench.press(KeyCode::Char('z'))?;
    let keys = [KeyCode::Left, KeyCode::Left, KeyCode::Char('+'), KeyCode::Char('H'), KeyCode::Left, KeyCode::Char('-')];
    bench.scene("Charts: a series of 1 M points", |b, i| b.press(keys[i % keys.len()]))
}

/// Resident bytes of this process.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
