//! A run in the middle of the Doctor's phase, as the notices a trainer would send.

use std::{path::Path, sync::Arc};

use medserl::{
    attach::{
        Live, Machine, Notice, RunState,
        protocol::{Alert, Attached, Gpu, Level, Steering},
    },
    config::RewardConfig,
    store::{RunMeta, Store},
    task::{
        Answer, Completion, ErrorKind, GateResult, Injection, Knob, Knobs, Label, LabelGate, Note, Phase, Provenance, Quadrant,
        Rollout, Sample, Sentence, StepReport, StopReason, Text, Trace, Truth,
        report::PhaseTiming,
        reward,
        trace::{Alternative, Fate},
        verdict,
    },
    tui::{
        App, Effect, Event,
        history::{History, Mark, MarkKind},
        loader, query,
        screen::Screen,
    },
};
use rand_chacha::{ChaCha8Rng, rand_core::RngCore};

const NOTE: [&str; 6] = [
    "A 58-year-old woman with type 2 diabetes and hypertension is seen in follow-up.",
    "HbA1c is 8.1% and eGFR is 71 mL/min.",
    "She takes lisinopril 10 mg daily and atorvastatin 40 mg nightly.",
    "Metformin 1000 mg twice daily is started.",
    "She is counselled on gastrointestinal effects.",
    "Return in 3 months with repeat HbA1c and renal panel.",
];

pub const RIGHT: &str = "<thinking>The patient is a 58-year-old woman with type 2 diabetes. Let me check each medication. \
    Lisinopril 10 mg daily: plausible. Atorvastatin 40 mg nightly: plausible. Metformin is listed at 5000 mg twice daily, \
    i.e. 10 g per day. The usual maximum is about 2550 mg per day, so this exceeds it roughly fourfold. Renal function is \
    adequate, which does not justify the dose.</thinking><verdict>Error: Pharmacotherapy; Sentence: 3; Correction: Metformin \
    1000 mg twice daily is started.</verdict>";
pub const CLEAN: &str = "<thinking>Nothing in this note looks wrong to me at all.</thinking><verdict>No Clinical Error</verdict>";
pub const BROKEN: &str = "I think the dose is too high \u{1b}[31m\u{202e}and that is that";

fn note(texts: &[&str]) -> Note {
    let sentences =
        texts.iter().enumerate().map(|(i, t)| Sentence { id: u32::try_from(i).unwrap(), text: (*t).to_owned() }).collect();
    Note { id: "ms-412".to_owned(), group: "ms-412".to_owned(), sentences }
}

pub fn sample(quadrant: Quadrant, step: u32, index: u32) -> Sample {
    let source = note(&NOTE);
    let mut texts = NOTE;
    texts[3] =
        if quadrant.holds_error() { "Metformin 5000 mg twice daily is started." } else { "Metformin 1000 mg BID is started." };
    let label = if quadrant.holds_error() {
        Label::Error { kind: ErrorKind::Pharmacotherapy, sentence: 3, correction: NOTE[3].to_owned() }
    } else {
        Label::Clean
    };
    let injection = Injection {
        sentence: 3,
        old: "1000".to_owned(),
        new: "5000".to_owned(),
        kind: ErrorKind::Pharmacotherapy,
        why: "the daily dose exceeds the maximum of 2550 mg fourfold".to_owned(),
    };
    Sample {
        id: Sample::make_id(quadrant, step, index),
        step,
        index,
        quadrant,
        note: note(&texts),
        label,
        source,
        provenance: Provenance {
            attempts: if quadrant == Quadrant::SyntheticDecoy { 3 } else { 1 },
            fallback: quadrant == Quadrant::SyntheticDecoy,
            injection: (quadrant == Quadrant::SyntheticInjection).then_some(injection),
            rejections: if quadrant == Quadrant::SyntheticDecoy { vec!["length".to_owned(); 3] } else { Vec::new() },
            ..Provenance::default()
        },
        gates: vec![
            GateResult { gate: "splice".to_owned(), passed: true, detail: String::new() },
            GateResult { gate: "novelty".to_owned(), passed: false, detail: "0.12 below 0.20".to_owned() },
            GateResult { gate: "length".to_owned(), passed: true, detail: String::new() },
        ],
    }
}

pub fn rollout(sample: &Arc<Sample>, sibling: u32, text: &str) -> Notice {
    let verdict = verdict::parse(text);
    let n = text.split_whitespace().count();
    let answer = Answer { text, n_tokens: n, verdict: &verdict };
    let reward = reward::score(&RewardConfig::default().rules(512), Truth::from(sample.as_ref()), answer);
    let completion = Completion {
        tokens: vec![7; n],
        rollout_logprobs: vec![-0.1; n],
        text: text.to_owned(),
        stop: StopReason::EndOfTurn,
        alternatives: Vec::new(),
    };
    Notice::Rollout {
        rollout: Box::new(Rollout {
            sample: Arc::clone(sample),
            sibling,
            completion,
            verdict,
            reward,
            advantage: Some(0.62),
            trace: None,
        }),
    }
}

pub fn report(step: u32) -> StepReport {
    let mut report = StepReport { step, ..StepReport::default() };
    let progress = f64::from(step) / 318.0;
    for (i, q) in report.quadrants.iter_mut().enumerate() {
        q.n_rollouts = 16;
        let wrong = 4 - u32::try_from(i).unwrap();
        if i == 0 || i == 3 {
            (q.false_negatives, q.true_positives) = (wrong, 16 - wrong);
        } else {
            (q.false_positives, q.true_negatives) = (wrong, 16 - wrong);
        }
        q.reward_sum = 16.0 * (progress * 1.5 - 0.6) + f64::from((step * 7) % 5) * 0.3;
    }
    let values = [
        ("reward", progress - 0.46),
        ("accuracy", 0.5 + progress * 0.3),
        ("kl", 0.034 * progress),
        ("entropy", 2.1 - progress),
        ("false_positive_rate", 0.4 - 0.3 * progress),
        ("false_negative_rate", 0.5 - 0.35 * progress),
        ("completion_tokens", 200.0 + 150.0 * progress),
    ];
    report.metrics = values.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    if step.is_multiple_of(20) {
        report.metrics.insert("eval_accuracy".to_owned(), 0.6 + 0.2 * progress);
    }
    let seconds = [(Phase::Scribe, 8.9), (Phase::Gate, 0.2), (Phase::Doctor, 12.0), (Phase::Reward, 0.1), (Phase::Update, 11.2)];
    report.timings = seconds.into_iter().map(|(phase, seconds)| PhaseTiming { phase, seconds, tokens: 0 }).collect();
    report
}

pub fn gpu_machine() -> Machine {
    Machine {
        cpu_name: "AMD EPYC 9554 64-Core Processor".to_owned(),
        n_cpus: 16,
        cpu_used: Some(0.31),
        memory_total: Some(128 << 30),
        memory_used: Some(41 << 30),
        trainer_memory: Some(9 << 30),
        gpu: Some(Gpu {
            name: "NVIDIA H200".to_owned(),
            used: Some(0.97),
            memory_total: Some(139 << 30),
            memory_used: Some(61 << 30),
            watts: Some(612.0),
            celsius: Some(71),
            megahertz: Some(1785),
            memory_ours: Some(58_900_000_000),
            n_other_processes: Some(0),
        }),
    }
}

pub fn token(sample: &Sample, sibling: u32, delta: &str) -> Notice {
    Notice::Token { sample_id: sample.id.clone(), sibling, delta: Text::new(delta) }
}

/// A run in the middle of the Doctor's phase of step 318.
pub fn notices() -> Vec<Notice> {
    let live = Live {
        run_id: "0142-lora-r16".to_owned(),
        model: "medgemma-4b-it".to_owned(),
        steps_total: 1000,
        state: RunState::Running,
        reports: (1..318).map(report).collect(),
        machine: gpu_machine(),
        ..Live::default()
    };
    let samples: Vec<Arc<Sample>> =
        (0..8).map(|i| Arc::new(sample(Quadrant::ALL[i % 4], 318, u32::try_from(i).unwrap()))).collect();
    let mut all = vec![Notice::Snapshot { live: Box::new(live) }, Notice::Phase { step: 318, phase: Phase::Scribe, total: 8 }];
    all.extend(samples.iter().map(|s| Notice::Sample { sample: Box::new((**s).clone()) }));
    all.push(Notice::Progress { done: 8, tokens: 5210, seconds: 8.9 });
    all.push(Notice::Phase { step: 318, phase: Phase::Gate, total: 8 });
    all.push(Notice::Progress { done: 8, tokens: 0, seconds: 0.2 });
    all.push(Notice::Phase { step: 318, phase: Phase::Doctor, total: 64 });
    for (i, text) in [CLEAN, RIGHT, BROKEN].into_iter().enumerate() {
        let sibling = u32::try_from(i).unwrap();
        all.push(token(&samples[3], sibling, &text[..20]));
        all.push(rollout(&samples[3], sibling, text));
    }
    all.push(rollout(&samples[1], 0, RIGHT));
    all.push(token(&samples[3], 3, RIGHT.split("</thinking>").next().unwrap()));
    all.push(Notice::Progress { done: 4, tokens: 1704, seconds: 11.9 });
    all.push(Notice::Log { level: Level::Warn, message: Text::new("SD false positives 0.25 above 0.20 for 3 steps") });
    all.push(Notice::Log { level: Level::Info, message: Text::new("checkpoint step-300 saved, 41 MiB") });
    all
}

/// A run that was steered: a knob turned, another one coming, two breakpoints, one of them hit.
pub fn steering() -> Steering {
    let experiment = Knobs { temperature: 1.0, learning_rate: 4e-4, label_gate: LabelGate::Off };
    Steering {
        knobs: Some(Knobs { temperature: 0.8, ..experiment }),
        experiment: Some(experiment),
        coming: vec![(319, Knob::LearningRate(1e-4))],
        breakpoints: vec!["kl > 0.05".parse().unwrap(), "nan".parse().unwrap()],
        paused_by: Some(Text::new("breakpoint kl > 0.05: kl = 0.0610 at step 317")),
    }
}

pub fn alert(step: u32, message: &str) -> Alert {
    Alert { step, unix_s: 1_000 + i64::from(step), kind: Text::new("break"), message: Text::new(message) }
}

/// Any notice at all, hostile text and impossible numbers included.
pub fn random_notice(rng: &mut ChaCha8Rng, step: u32) -> Notice {
    let n = rng.next_u32();
    let quadrant = Quadrant::ALL[(n >> 8) as usize % 4];
    let some = Arc::new(sample(quadrant, step, (n >> 12) % 5));
    match n % 16 {
        0 => Notice::Phase { step, phase: Phase::STEP[(n >> 4) as usize % 6], total: (n >> 16) % 70 },
        1 => Notice::Progress { done: (n >> 4) % 99, tokens: u64::from(n), seconds: f64::from(n >> 20) - 3.0 },
        2 => Notice::Sample { sample: Box::new((*some).clone()) },
        3 => rollout(&some, (n >> 20) % 9, [RIGHT, CLEAN, BROKEN, "", "<verdict>"][(n >> 4) as usize % 5]),
        4 => {
            let mut report = report(step);
            report.metrics.insert("kl".to_owned(), f64::NAN);
            Notice::Step { report: Box::new(report) }
        }
        5 => Notice::Machine { machine: Box::new(if n & 16 == 0 { gpu_machine() } else { Machine::default() }) },
        6 => Notice::Log { level: Level::Error, message: Text::new("宽字符\u{1b}[2J wide e\u{301} text 👩‍⚕️\nmore") },
        7 => Notice::State { state: [RunState::Starting, RunState::Paused, RunState::Stopping][(n >> 4) as usize % 3] },
        8 if n & 0xF00 == 0 => Notice::Snapshot { live: Box::default() },
        10 if n & 0xF0 == 0 => Notice::Steering { steering: Box::new(steering()) },
        10 if n & 0xF0 == 0x10 => {
            Notice::Clients { clients: vec![Attached { who: Text::new("me\u{1b}[2J"), steers: n & 0x100 == 0 }] }
        }
        10 if n & 0xF0 == 0x20 => Notice::Alert { alert: Box::new(alert(step, "kl = 0.06 at \u{202e}step")) },
        9 if n & 0xF000 == 0 => Notice::Ended { state: RunState::Finished, message: Text::new("over") },
        _ => token(
            &some,
            (n >> 20) % 9,
            [" and", "医生認為", "\u{9b}31m", "a\nb", "<verdict>", "averyveryveryverylongword"][(n >> 4) as usize % 6],
        ),
    }
}

/// 317 steps with marks, and the times of their commits, which no clock of today may decide.
pub fn history() -> History {
    let reports: Vec<_> = (1..318).map(report).collect();
    let mut keys: Vec<&String> = reports.iter().flat_map(|report| report.metrics.keys()).collect();
    keys.sort();
    keys.dedup();
    let points = |key: &str| reports.iter().filter_map(|r| Some((r.step, *r.metrics.get(key)?))).collect();
    let mark = |step, kind, text: &str| Mark { step, kind, text: text.to_owned() };
    History {
        id: "0142-lora-r16".to_owned(),
        dir: "/runs/0142".into(),
        series: keys.into_iter().map(|key| (key.clone(), points(key))).collect(),
        marks: vec![mark(120, MarkKind::Alarm, "alarm: kl 0.31 above 0.20"), mark(300, MarkKind::Checkpoint, "checkpoint")],
        times: (1..318).map(|step| (step, 1_790_000_000 + 33 * i64::from(step))).collect(),
    }
}

/// A client with the store of its run: what it asks for is answered at once.
pub struct Reader {
    pub app: App,
    pub dir: Arc<tempfile::TempDir>,
    store: Option<Store>,
    /// Where its run is, if not in `dir`.
    at: Option<std::path::PathBuf>,
    /// Effects that are no question to the store.
    pub effects: Vec<Effect>,
}

/// Texts the rollouts of [`Reader`] cycle through.
pub const TEXTS: [&str; 4] = [RIGHT, CLEAN, BROKEN, RIGHT];

/// How the tokens of the texts read: a word with the blank before it.
pub fn spellings() -> Vec<(u32, String)> {
    let mut pieces: Vec<String> = TEXTS.iter().flat_map(|text| split(text)).collect();
    pieces.sort();
    pieces.dedup();
    let mut all: Vec<(u32, String)> = (1000_u32..).zip(pieces).collect();
    all.push((106, "<end_of_turn>".to_owned()));
    all
}

fn split(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for letter in text.chars() {
        match pieces.last_mut() {
            Some(last) if !letter.is_whitespace() => last.push(letter),
            _ => pieces.push(letter.to_string()),
        }
    }
    pieces
}

/// Gives a rollout the tokens its text is made of, and the one that ended the turn.
fn tokenize(rollout: &mut Rollout) {
    let known = spellings();
    let id = |piece: &String| known.iter().find(|(_, text)| text == piece).unwrap().0;
    let completion = &mut rollout.completion;
    completion.tokens = split(&completion.text).iter().map(id).chain([106]).collect();
    completion.rollout_logprobs = (0..completion.tokens.len()).map(|i| -0.06 * (i % 40) as f32).collect();
}

/// A trace in which every row can be told from the others; token 5 was clipped.
fn trace(rollout: &Rollout) -> Trace {
    let sampled = &rollout.completion.rollout_logprobs;
    let likeliest = |(i, token): (usize, u32)| {
        (0..5).map(move |rank| Alternative {
            token: if rank == i % 5 { token } else { 1000 + rank as u32 },
            logprob: -0.5 - rank as f32,
        })
    };
    Trace {
        policy_logprobs: sampled.iter().map(|p| p - 0.01).collect(),
        reference_logprobs: sampled.iter().enumerate().map(|(i, p)| p - 0.3 * (i % 3) as f32).collect(),
        entropies: (0..sampled.len()).map(|i| 0.25 * (i % 12) as f32).collect(),
        advantages: vec![rollout.advantage.unwrap(); sampled.len()],
        fates: (0..sampled.len()).map(|i| if i == 5 { Fate::Clipped } else { Fate::Trained }).collect(),
        alternatives: rollout.completion.tokens.iter().copied().enumerate().flat_map(likeliest).collect(),
    }
}

/// A committed step: one sample of each quadrant, four completions each.
pub fn step(step: u32) -> (StepReport, Vec<Sample>, Vec<Rollout>) {
    let samples: Vec<Sample> = (0..4).map(|i| sample(Quadrant::ALL[i as usize], step, i)).collect();
    let mut rollouts = Vec::new();
    for sample in &samples {
        let sample = Arc::new(sample.clone());
        for (sibling, text) in (0_u32..).zip(TEXTS) {
            let Notice::Rollout { rollout } = rollout(&sample, sibling, text) else { unreachable!() };
            let mut rollout = *rollout;
            rollout.advantage = Some(rollout.reward.total() - 0.25);
            tokenize(&mut rollout);
            // The last sibling is as an old step has them: its values are gone.
            rollout.trace = (sibling < 3).then(|| Box::new(trace(&rollout)));
            rollouts.push(rollout);
        }
    }
    let mut report = report(step);
    report.metrics.extend([("advantage_shift".to_owned(), 0.1), ("advantage_scale".to_owned(), 0.5)]);
    (report, samples, rollouts)
}

/// Fills a run directory with `steps` committed steps.
pub fn fill(dir: &Path, steps: u32) -> Store {
    let mut store = Store::create(dir).unwrap();
    let meta = RunMeta {
        id: "0142-lora-r16".to_owned(),
        name: "lora".to_owned(),
        model: "medgemma-4b-it".to_owned(),
        seed: 1,
        steps_total: 1000,
        config_toml: String::new(),
        program_version: "0".to_owned(),
        started_unix_s: 0,
    };
    store.begin_run(&meta).unwrap();
    store.keep_spellings(&spellings()).unwrap();
    for n in 1..=steps {
        let (report, samples, rollouts) = step(n);
        store.commit_step(&report, &samples, &rollouts).unwrap();
    }
    store
}

impl Reader {
    pub fn new(steps: u32, size: (u16, u16)) -> Reader {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        drop(fill(dir.path(), steps));
        Reader { app: super::app(size), dir, store: None, at: None, effects: Vec::new() }
    }

    /// The same reader once more, over the same store.
    pub fn again(&self) -> Reader {
        Reader {
            app: self.app.clone(),
            dir: Arc::clone(&self.dir),
            store: None,
            at: self.at.clone(),
            effects: self.effects.clone(),
        }
    }

    /// Reads another directory from now on.
    pub fn answer_from(&mut self, dir: std::path::PathBuf) {
        (self.at, self.store) = (Some(dir), None);
    }

    /// On the Inspect screen, the list read.
    pub fn inspecting(steps: u32, size: (u16, u16)) -> Reader {
        let mut reader = Reader::new(steps, size);
        reader.press("2");
        assert_eq!(reader.app.screen, Screen::Inspect);
        assert!(reader.app.inspect.loaded, "the list is read on arrival");
        reader
    }

    pub fn event(&mut self, event: Event) {
        let mut next = self.app.update(event);
        loop {
            // Questions that were asked beside the one an event leads to.
            let at = self.app.asides.iter().position(|aside| matches!(aside, Effect::Load(_)));
            let Some(effect) = next.take().or_else(|| at.map(|at| self.app.asides.remove(at))) else { break };
            match effect {
                Effect::Load(query) => {
                    let dir = self.at.as_deref().unwrap_or(self.dir.path());
                    let answer = loader::load(dir, &mut self.store, &query);
                    let answer = answer.unwrap_or_else(|e| query::Loaded::Failed { query, why: format!("{e:#}") });
                    next = self.app.update(Event::Loaded(Box::new(answer)));
                }
                other => self.effects.push(other),
            }
        }
    }

    pub fn press(&mut self, key: &str) {
        self.event(Event::Key(super::key(key)));
    }

    /// Types a filter and applies it.
    pub fn filter(&mut self, text: &str) {
        self.press("/");
        self.event(Event::Key(super::key("ctrl-u")));
        text.chars().for_each(|c| self.event(Event::Key(super::key(&c.to_string()))));
        self.press("enter");
    }

    pub fn shown(&self) -> String {
        super::shown(&self.app)
    }
}
