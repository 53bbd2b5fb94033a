//! Second opinions: votes of blind readers and the pair judge, with a scripted reference.

use std::collections::BTreeSet;

use medserl::config::ScribeConfig;
use medserl::scribe::{Draw, Pool, Scribe, ScribeError};
use medserl::task::{
    Completion, Generate, GenerateRequest, Label, LabelledNote, PromptStyle, Quadrant, Sample, Sampling, StopReason,
};

use super::clinic_note;

const INJECTED: &str = "Vancomycin was prescribed.";

fn completion(text: &str, stop: StopReason) -> Completion {
    Completion { tokens: vec![7, 8], rollout_logprobs: vec![-0.5; 2], text: text.to_owned(), stop, alternatives: Vec::new() }
}

/// Proposes the drug error whatever it is asked.
struct Writer;

impl Generate for Writer {
    fn generate(
        &mut self,
        requests: &[GenerateRequest],
        _: Sampling,
        _: &mut dyn FnMut(usize, usize, &str) -> bool,
    ) -> anyhow::Result<Vec<Vec<Completion>>> {
        let line = "Sentence: 6 | Old: Ceftriaxone | New: Vancomycin | Type: Pharmacotherapy | Why: w";
        Ok(requests.iter().map(|_| vec![completion(line, StopReason::EndOfTurn)]).collect())
    }
}

/// A reference that sees errors or not, and chooses rightly, always the first note, or says nothing useful.
struct Reference {
    /// Of three votes on an injected note, how many say error; clean notes are called clean.
    sees: usize,
    choice: fn(&str) -> String,
    stop: StopReason,
    streams: BTreeSet<u64>,
    calls: usize,
}

fn reference(sees: usize, choice: fn(&str) -> String) -> Reference {
    Reference { sees, choice, stop: StopReason::EndOfTurn, streams: BTreeSet::new(), calls: 0 }
}

impl Generate for Reference {
    fn generate(
        &mut self,
        requests: &[GenerateRequest],
        sampling: Sampling,
        _: &mut dyn FnMut(usize, usize, &str) -> bool,
    ) -> anyhow::Result<Vec<Vec<Completion>>> {
        self.calls += 1;
        let answer = |request: &GenerateRequest| -> Vec<Completion> {
            let prompt = &request.chat.turns[0].content;
            if prompt.starts_with("Two clinical notes") {
                assert!(sampling.temperature.abs() < 1e-6);
                return vec![completion(&(self.choice)(prompt), self.stop)];
            }
            assert!(!prompt.contains("Pharmacotherapy error"), "the label is hidden from voters");
            let says = |n: usize| {
                let error = prompt.contains(INJECTED) && n < self.sees;
                let verdict = if error { "Error: Pharmacotherapy" } else { "No Clinical Error" };
                completion(&format!("<thinking>I have read all of it.</thinking><verdict>{verdict}</verdict>"), self.stop)
            };
            (0..request.n_completions).map(says).collect()
        };
        let answers = requests.iter().map(answer).collect();
        assert!(requests.iter().all(|r| self.streams.insert(r.stream)), "two requests draw from one stream");
        Ok(answers)
    }
}

/// `1` or `2`, whichever note holds the injected sentence.
fn rightly(prompt: &str) -> String {
    let (_, second) = prompt.split_once("Note 2:").unwrap();
    if second.contains(INJECTED) { "2".into() } else { "1.".into() }
}

fn first_always(_: &str) -> String {
    "1".into()
}

fn chatter(_: &str) -> String {
    "Both look fine to me.".into()
}

fn drawn(config: &ScribeConfig, judge: Option<&mut dyn Generate>) -> anyhow::Result<Draw> {
    let clean = |quadrant| (quadrant, LabelledNote { note: clinic_note(), label: Label::Clean });
    let sources = [clean(Quadrant::SyntheticInjection), clean(Quadrant::SyntheticDecoy)];
    let scribe = Scribe { config, style: PromptStyle::Brief, seed: 5, pool: &Pool::default(), first: 0 };
    scribe.draw(&sources, 1, &mut Writer, judge, &mut |_| true)
}

fn config(votes: usize, pair_judge: bool) -> ScribeConfig {
    ScribeConfig { max_attempts: 5, votes, pair_judge, ..ScribeConfig::default() }
}

fn gate<'a>(sample: &'a Sample, name: &str) -> Option<(bool, &'a str)> {
    sample.gates.iter().find(|g| g.gate == name).map(|g| (g.passed, g.detail.as_str()))
}

#[test]
fn votes_agree_with_the_label_or_the_sample_goes() {
    let mut seeing = reference(2, rightly);
    let samples = drawn(&config(3, false), Some(&mut seeing)).unwrap().samples;
    assert_eq!(gate(&samples[0], "vote"), Some((true, "2 of 3 votes for an error")));
    assert_eq!(gate(&samples[1], "vote"), Some((true, "3 of 3 votes for clean")));
    assert!(samples.iter().all(|s| !s.provenance.fallback) && seeing.streams.len() == 2);
    let mut blind = reference(1, rightly);
    let draw = drawn(&config(3, false), Some(&mut blind)).unwrap();
    assert!(draw.samples[0].provenance.fallback && !draw.samples[1].provenance.fallback);
    assert_eq!(draw.rejections.get("SI/vote"), Some(&1));
    assert_eq!(draw.rejections.get("SD/vote"), None);
}

#[test]
fn the_pair_judge_must_be_right_in_both_orders() {
    for (choice, passes) in [(rightly as fn(&str) -> String, true), (first_always, false), (chatter, false)] {
        let mut judge = reference(3, choice);
        let draw = drawn(&config(0, true), Some(&mut judge)).unwrap();
        assert_eq!(!draw.samples[0].provenance.fallback, passes);
        assert_eq!(draw.rejections.contains_key("SI/pair-judge"), !passes);
        // Only injections have a pair, and only those that passed every other gate are asked about.
        assert_eq!((judge.streams.len(), judge.calls, gate(&draw.samples[1], "pair-judge")), (2, 1, None));
    }
    let mut first = reference(3, first_always);
    let sample = drawn(&config(0, true), Some(&mut first)).unwrap().samples.swap_remove(0);
    // The gates of the last attempt are kept; the judge's refusal is in the list of all.
    assert!(sample.provenance.rejections.contains(&"pair-judge".to_owned()), "{:?}", sample.provenance.rejections);
}

#[test]
fn without_wish_or_judge_nothing_is_asked() {
    let mut judge = reference(0, first_always);
    let draw = drawn(&config(0, false), Some(&mut judge)).unwrap();
    assert!(judge.calls == 0 && draw.samples.iter().all(|s| !s.provenance.fallback));
    let unasked = drawn(&config(3, true), None).unwrap();
    assert!(unasked.samples.iter().all(|s| !s.provenance.fallback && gate(s, "vote").is_none()));
    // The judge's tokens are counted: three votes a sample of two tokens each, and two answers of the pair judge.
    let mut counted = reference(3, rightly);
    let judged = drawn(&config(3, true), Some(&mut counted)).unwrap();
    assert_eq!(judged.tokens - unasked.tokens, 2 * (2 * 3 + 2));
}

#[test]
fn a_stopped_judge_ends_the_drawing() {
    let mut stopped = Reference { stop: StopReason::Aborted, ..reference(3, rightly) };
    let error = drawn(&config(1, false), Some(&mut stopped)).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(ScribeError::Aborted)), "{error:#}");
}
