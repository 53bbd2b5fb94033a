//! One source on its way to a sample: what to ask, what an answer is worth, how it ends.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::gate::Gates;
use super::judge::{Claim, Opinion};
use super::lexicon::Lexicon;
use super::pool::Pool;
use super::{augment, decoy, injection};
use crate::config::ScribeConfig;
use crate::task::{
    Chat, Completion, ErrorKind, GenerateRequest, Injection, Label, LabelledNote, Note, PromptStyle, Provenance, Quadrant,
    Sample, StopReason, prompt,
};

/// Tags keep the Scribe's counter streams apart from one another and from other users of the same keys.
const KINDS: u64 = 0x5C_01;
const NOISE: u64 = 0x5C_02;
const WRITING: u64 = 0x5C;
const EXAMPLES: u64 = 0x5C_03;

const FEW_SHOT: &str = include_str!("../../assets/scribe/few_shot.md");
const FEW_SHOT_BRIEF: &str = include_str!("../../assets/scribe/few_shot_brief.md");

/// What one attempt made; usable only where every gate passed.
#[derive(Default)]
pub struct Attempt {
    gates: Gates,
    made: Option<(Note, Label)>,
    injection: Option<Injection>,
    text: String,
}

impl Attempt {
    /// The first gate that refused; an attempt that made nothing is refused too.
    pub fn failure(&self) -> Option<&str> {
        self.gates.failure().or(if self.made.is_none() { Some("nothing-made") } else { None })
    }

    /// Adds what the judges said.
    pub fn hear(&mut self, opinions: Vec<Opinion>) {
        opinions.into_iter().for_each(|(gate, outcome)| self.gates.record(gate, outcome));
    }
}

/// One source, its quadrant, and what became of earlier attempts.
pub struct Job<'a> {
    pub quadrant: Quadrant,
    index: u32,
    step: u32,
    seed: u64,
    source: &'a LabelledNote,
    /// The order in which kinds of error are asked for.
    kinds: Vec<ErrorKind>,
    rejections: Vec<String>,
    last: Attempt,
}

/// Counter-based: the same keys give the same draws, whatever ran before.
fn stream(seed: u64, purpose: u64, step: u32, index: u32, attempt: u32) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    let words = [seed, purpose, u64::from(step) << 32 | u64::from(index), u64::from(attempt)];
    key.chunks_exact_mut(8).zip(words).for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_le_bytes()));
    ChaCha8Rng::from_seed(key)
}

/// All five kinds in seeded order, those with something to change in the note first.
fn kinds_in_order(note: &Note, lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Vec<ErrorKind> {
    let mut kinds = ErrorKind::ALL.to_vec();
    for last in (1..kinds.len()).rev() {
        let at = usize::try_from(rng.next_u64() % (last as u64 + 1)).unwrap_or(0);
        kinds.swap(at, last);
    }
    let text = note.text();
    kinds.sort_by_key(|&kind| !lexicon.is_plausible(kind, &text));
    kinds
}

impl<'a> Job<'a> {
    pub fn new(index: u32, quadrant: Quadrant, source: &'a LabelledNote, step: u32, seed: u64, lexicon: &Lexicon) -> Job<'a> {
        let kinds = kinds_in_order(&source.note, lexicon, &mut stream(seed, KINDS, step, index, 0));
        Job { quadrant, index, step, seed, source, kinds, rejections: Vec::new(), last: Attempt::default() }
    }

    pub fn needs_model(&self) -> bool {
        self.quadrant != Quadrant::SyntheticDecoy
    }

    /// What to ask the writer in this attempt; nothing for a decoy.
    pub fn request(&self, attempt: u32, config: &ScribeConfig, style: PromptStyle, pool: &Pool) -> Option<GenerateRequest> {
        let note = &self.source.note;
        let mut chat = match self.quadrant {
            Quadrant::SyntheticDecoy => return None,
            Quadrant::SyntheticInjection => prompt::inject(style, note, self.kind(attempt)),
            Quadrant::AugmentedError | Quadrant::AugmentedSafe => prompt::augment(style, note, self.protected()),
        };
        if self.quadrant == Quadrant::SyntheticInjection && config.few_shot > 0 {
            let since = if config.example_age == 0 { 0 } else { self.step.saturating_sub(config.example_age) };
            self.show_examples(attempt, (config.few_shot, since), style, pool, &mut chat);
        }
        Some(GenerateRequest { chat, n_completions: 1, stream: WRITING << 56 | self.key(attempt) })
    }

    /// 24 bits of step, 24 of index and 8 of attempt: what a stream holds beside 8 bits of purpose.
    fn key(&self, attempt: u32) -> u64 {
        let low24 = |n: u32| u64::from(n & 0xff_ffff);
        low24(self.step) << 32 | low24(self.index) << 8 | u64::from(attempt & 0xff)
    }

    /// Known errors of the kind: how many at most, and from which step on the run's own. Before what is asked; in the brief style within
    /// its first line, since a model that knows one line a task takes any other beginning for another task.
    fn show_examples(&self, attempt: u32, (n, since): (usize, u32), style: PromptStyle, pool: &Pool, chat: &mut Chat) {
        let kind = self.kind(attempt);
        let mut rng = stream(self.seed, EXAMPLES, self.step, self.index, attempt);
        let shown = pool.examples(kind, &self.source.note.group, n, since, &mut rng);
        let Some(turn) = chat.turns.last_mut().filter(|_| !shown.is_empty()) else { return };
        let all = |line: &dyn Fn(String, String) -> String, between| {
            shown.iter().map(|k| line(k.edit.old.join(" "), k.edit.new.join(" "))).collect::<Vec<_>>().join(between)
        };
        turn.content = match (style, turn.content.split_once('\n')) {
            (PromptStyle::Brief, Some((task, note))) => {
                let lines = all(&|old, new| format!("{old} to {new}"), "; ");
                format!("{task} {}\n{note}", FEW_SHOT_BRIEF.trim_end().replace("{examples}", &lines))
            }
            _ => {
                let lines = all(&|old, new| format!("Old: {old} | New: {new} | Type: {}", kind.title()), "\n");
                format!("{}\n\n{}", FEW_SHOT.trim_end().replace("{examples}", &lines), turn.content)
            }
        };
    }

    /// What the judges are asked about an attempt that passed every gate.
    pub fn claim<'s>(&'s self, made: &'s Attempt, attempt: u32) -> Option<Claim<'s>> {
        let (note, label) = made.made.as_ref()?;
        let injected = self.quadrant == Quadrant::SyntheticInjection;
        Some(Claim { key: self.key(attempt), source: &self.source.note, made: note, label, injected })
    }

    /// Makes a note from the answer (or by code) and runs the gates.
    pub fn attempt(
        &self,
        answer: Option<Completion>,
        attempt: u32,
        config: &ScribeConfig,
        pool: &Pool,
        lexicon: &Lexicon,
    ) -> Attempt {
        let mut made = Attempt::default();
        if let Some(answer) = answer {
            let ended = answer.stop == StopReason::EndOfTurn;
            made.gates.record("truncated", if ended { Ok("ended".into()) } else { Err("the token budget ran out".into()) });
            made.text = answer.text;
        }
        match self.quadrant {
            Quadrant::SyntheticDecoy => self.noise(attempt, config, lexicon, &mut made),
            Quadrant::SyntheticInjection => self.inject(attempt, config, pool, lexicon, &mut made),
            Quadrant::AugmentedError | Quadrant::AugmentedSafe => self.reword(config, lexicon, &mut made),
        }
        made
    }

    fn noise(&self, attempt: u32, config: &ScribeConfig, lexicon: &Lexicon, made: &mut Attempt) {
        let mut rng = stream(self.seed, NOISE, self.step, self.index, attempt);
        match decoy::make(&self.source.note, config, lexicon, &mut rng) {
            Ok(note) => {
                decoy::check(&self.source.note, &note, config, lexicon, &mut made.gates);
                made.made = Some((note, Label::Clean));
            }
            Err(why) => made.gates.record("no-room", Err(why)),
        }
    }

    fn reword(&self, config: &ScribeConfig, lexicon: &Lexicon, made: &mut Attempt) {
        match augment::parse(&made.text, &self.source.note, self.protected()) {
            Ok(note) => {
                augment::check(self.source, &note, config, lexicon, &mut made.gates);
                made.made = Some((note, self.source.label.clone()));
            }
            Err(why) => made.gates.record(why.gate(), Err(why.to_string())),
        }
    }

    fn inject(&self, attempt: u32, config: &ScribeConfig, pool: &Pool, lexicon: &Lexicon, made: &mut Attempt) {
        let source = &self.source.note;
        let proposal = injection::parse(&made.text).map(|mut proposal| {
            let named = injection::locate(source, &mut proposal);
            let told = |n| format!("the words stand in sentence {}, not in {n} as named", proposal.sentence);
            made.gates.record("place", Ok(named.map_or_else(|| "as named".to_owned(), told)));
            proposal
        });
        let spliced = proposal.and_then(|p| injection::splice(source, &p, self.kind(attempt)).map(|note| (p, note)));
        match spliced {
            Ok((proposal, note)) => {
                injection::check(source, &note, &proposal, pool, config, lexicon, &mut made.gates);
                made.made = injection::label_of_edit(source, &note, proposal.kind).map(|label| (note, label));
                made.injection = Some(proposal);
            }
            Err(why) => made.gates.record(why.gate(), Err(why.to_string())),
        }
    }

    pub fn reject(&mut self, attempt: Attempt) {
        self.rejections.extend(attempt.failure().map(str::to_owned));
        self.last = attempt;
    }

    /// The sample of an attempt that passed every gate.
    pub fn sample(self, attempt: Attempt, attempts: u32) -> Sample {
        let (note, label) = attempt.made.unwrap_or_else(|| (self.source.note.clone(), self.source.label.clone()));
        let provenance = Provenance {
            scribe_text: attempt.text,
            attempts,
            fallback: false,
            injection: attempt.injection,
            rejections: self.rejections,
            again: None,
        };
        Sample {
            id: Sample::make_id(self.quadrant, self.step, self.index),
            step: self.step,
            index: self.index,
            quadrant: self.quadrant,
            note,
            label,
            source: self.source.note.clone(),
            provenance,
            gates: attempt.gates.results,
        }
    }

    /// The static source with its own label, after the last attempt was rejected.
    pub fn fallback(mut self) -> Sample {
        let last = std::mem::take(&mut self.last);
        let attempts = u32::try_from(self.rejections.len()).unwrap_or(u32::MAX);
        let source = (self.source.note.clone(), self.source.label.clone());
        let mut sample = self.sample(Attempt { made: Some(source), injection: None, ..last }, attempts);
        sample.provenance.fallback = true;
        sample
    }

    fn kind(&self, attempt: u32) -> ErrorKind {
        self.kinds[(attempt.max(1) as usize - 1) % self.kinds.len()]
    }

    fn protected(&self) -> Option<u32> {
        match self.source.label {
            Label::Error { sentence, .. } => Some(sentence),
            Label::Clean => None,
        }
    }
}
