//! Optional second opinions on a made note, from a model that is not being trained: votes of blind readers, and the choice
//! between source and injection in both orders. Asks, reads the answers and gates; which model answers is the caller's business.

use anyhow::ensure;

use super::gate::{Outcome, require};
use crate::config::ScribeConfig;
use crate::task::{Chat, Completion, Generate, GenerateRequest, Label, Note, PromptStyle, Sampling, StopReason, prompt, verdict};

/// Streams of votes and of the two orders lie apart from all others.
const VOTES: u64 = 0x5D << 56;
const SOURCE_FIRST: u64 = 0x5E << 56;
const SOURCE_SECOND: u64 = 0x5F << 56;

/// Voters draw as the Doctor does; a greedy vote would be the same vote each time.
const VOTE_TEMPERATURE: f32 = 1.0;
/// Room for one word.
const CHOICE_TOKENS: usize = 16;

const PAIR: &str = include_str!("../../assets/scribe/pair_judge.md");

/// A made note that awaits the opinions; `key` are the low 56 bits of its streams.
pub struct Claim<'a> {
    pub key: u64,
    pub source: &'a Note,
    pub made: &'a Note,
    pub label: &'a Label,
    /// Whether the error was put in just now, so that the source is the same note without it.
    pub injected: bool,
}

/// What a gate's name and outcome are.
pub type Opinion = (&'static str, Outcome);

/// Asks what the experiment wants asked about every claim. `None` where the writer was told to stop.
pub fn opinions(
    claims: &[Claim],
    config: &ScribeConfig,
    style: PromptStyle,
    reference: &mut dyn Generate,
    tokens: &mut u64,
) -> anyhow::Result<Option<Vec<Vec<Opinion>>>> {
    let mut all: Vec<Vec<Opinion>> = claims.iter().map(|_| Vec::new()).collect();
    if config.votes > 0 && !claims.is_empty() {
        let ask = |c: &Claim| request(prompt::doctor(style, c.made), config.votes, VOTES | c.key);
        let sampling = Sampling { temperature: VOTE_TEMPERATURE, max_tokens: config.max_tokens };
        let Some(answers) = ask_all(claims.iter().map(ask).collect(), sampling, reference, tokens)? else { return Ok(None) };
        for ((opinions, claim), votes) in all.iter_mut().zip(claims).zip(answers) {
            opinions.push(("vote", vote(&votes, claim.label.is_error(), config.vote_share)));
        }
    }
    let injected: Vec<usize> = (0..claims.len()).filter(|&i| config.pair_judge && claims[i].injected).collect();
    if !injected.is_empty() {
        let both = |&i: &usize| {
            let c = &claims[i];
            let ask = |first, second, stream| request(Chat::user(pair(first, second)), 1, stream | c.key);
            [ask(c.source, c.made, SOURCE_FIRST), ask(c.made, c.source, SOURCE_SECOND)]
        };
        let sampling = Sampling { temperature: 0.0, max_tokens: CHOICE_TOKENS };
        let requests = injected.iter().flat_map(both).collect();
        let Some(answers) = ask_all(requests, sampling, reference, tokens)? else { return Ok(None) };
        for (&i, two) in injected.iter().zip(answers.chunks(2)) {
            let chosen = |n: usize| two.get(n).and_then(|a| choice(&a.first()?.text));
            all[i].push(("pair-judge", judged(chosen(0), chosen(1))));
        }
    }
    Ok(Some(all))
}

fn request(chat: Chat, n_completions: usize, stream: u64) -> GenerateRequest {
    GenerateRequest { chat, n_completions, stream }
}

fn ask_all(
    requests: Vec<GenerateRequest>,
    sampling: Sampling,
    reference: &mut dyn Generate,
    tokens: &mut u64,
) -> anyhow::Result<Option<Vec<Vec<Completion>>>> {
    let answers = reference.generate(&requests, sampling, &mut |_, _, _| true)?;
    ensure!(answers.len() == requests.len(), "the judge answered {} of {} requests", answers.len(), requests.len());
    *tokens += answers.iter().flatten().map(|c| c.tokens.len() as u64).sum::<u64>();
    let aborted = answers.iter().flatten().any(|c| c.stop == StopReason::Aborted);
    Ok((!aborted).then_some(answers))
}

/// The share of votes for the label; an answer that cannot be read votes for nothing.
#[allow(clippy::cast_precision_loss)] // a handful of votes
fn vote(votes: &[Completion], is_error: bool, least: f64) -> Outcome {
    let agree = votes.iter().filter(|v| verdict::of(v).flag() == Some(is_error)).count();
    let share = agree as f64 / votes.len().max(1) as f64;
    require(share >= least, format!("{agree} of {} votes for {}", votes.len(), if is_error { "an error" } else { "clean" }))
}

fn pair(first: &Note, second: &Note) -> String {
    PAIR.trim_end().replace("{first}", &first.numbered()).replace("{second}", &second.numbered())
}

/// `1` or `2`: the one number in the answer's first word.
fn choice(answer: &str) -> Option<u8> {
    match answer.split_whitespace().next()?.trim_matches(|c: char| !c.is_ascii_digit()) {
        "1" => Some(1),
        "2" => Some(2),
        _ => None,
    }
}

/// Source first, the injection is note 2; source second, it is note 1.
fn judged(source_first: Option<u8>, source_second: Option<u8>) -> Outcome {
    let told = |choice: Option<u8>| choice.map_or_else(|| "nothing".to_owned(), |c| format!("note {c}"));
    let right = source_first == Some(2) && source_second == Some(1);
    require(right, format!("chose {} with the source first, {} with the source second", told(source_first), told(source_second)))
}
