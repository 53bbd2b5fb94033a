//! Supervised warm-up examples: the Doctor's prompt and a completion templated from the label.
//! MEDEC has no rationales, so the thinking says what the label knows: the sentence, what it states and what it should state.

use std::collections::{HashMap, HashSet};

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::stream::{below, shuffle, stream};
use crate::config::SftConfig;
use crate::task::{Chat, ErrorKind, Label, LabelledNote, PromptStyle, Sentence, Verdict, prompt, verdict};

/// One supervised example; the completion ends where the end-of-turn token follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SftExample {
    pub chat: Chat,
    pub completion: String,
}

/// Wordings of the thinking. Openings are the same for error and clean notes, so that the verdict is never decided before the
/// sentence has been read.
struct Wordings {
    openings: [&'static str; 3],
    wrong: [&'static str; 3],
    fits: [&'static str; 3],
}

const BRIEF: Wordings = Wordings {
    openings: ["Sentence {n} says: {old}", "The key sentence is {n}: {old}", "Look at sentence {n}: {old}"],
    wrong: [
        "The {subject} does not fit: {wrong} should be {right}.",
        "This does not fit. The {subject} should be {right}, not {wrong}.",
        "The findings speak against {wrong} and for {right}.",
    ],
    fits: ["This fits the findings.", "This and the other statements fit together.", "The findings support this."],
};

const FULL: Wordings = Wordings {
    openings: [
        "I compare each sentence with the history, the examination and the results. The one to weigh is sentence {n}: \"{old}\"",
        "The key statement of this note is sentence {n}: \"{old}\"",
        "I look for a statement that the rest of the note does not support. Sentence {n} says: \"{old}\"",
    ],
    wrong: [
        "The {subject} stated there does not fit this patient: \"{wrong}\" should be \"{right}\".",
        "This does not agree with the other sentences. The {subject} should be \"{right}\", not \"{wrong}\".",
        "With the findings given, \"{wrong}\" is wrong and \"{right}\" is right; this concerns the {subject}.",
    ],
    fits: [
        "It agrees with the findings, and no other statement contradicts them.",
        "It fits this patient, and the other statements fit together as well.",
        "The findings support it, and no other statement is clinically wrong.",
    ],
};

/// Makes up to `config.notes` examples, `clean_fraction` of them clean (siblings of the chosen error notes first), in an order
/// drawn from `seed`. Where one side runs short the share is kept and fewer come out. A note whose completion could not be
/// parsed back to its label (its text holds the grammar's own tags) is left out.
pub fn examples(notes: &[LabelledNote], config: &SftConfig, style: PromptStyle, seed: u64) -> Vec<SftExample> {
    let corrections = corrections(notes);
    let mut made: Vec<(&LabelledNote, String)> = Vec::new();
    for (at, note) in notes.iter().enumerate() {
        let mut rng = stream(seed, "sft-word", 0, at as u64);
        made.extend(completion(note, &corrections, style, &mut rng).map(|text| (note, text)));
    }
    let (mut errors, mut cleans): (Vec<_>, Vec<_>) = made.into_iter().partition(|(note, _)| note.label.is_error());
    shuffle(&mut stream(seed, "sft-err", 0, 0), &mut errors);
    shuffle(&mut stream(seed, "sft-cln", 0, 0), &mut cleans);
    let (n_errors, n_cleans) = shares(config, errors.len(), cleans.len());
    errors.truncate(n_errors);
    let chosen: HashSet<&str> = errors.iter().map(|(note, _)| note.note.group.as_str()).collect();
    cleans.sort_by_key(|(note, _)| !chosen.contains(note.note.group.as_str()));
    cleans.truncate(n_cleans);
    let mut all: Vec<_> = errors.into_iter().chain(cleans).collect();
    shuffle(&mut stream(seed, "sft-mix", 0, 0), &mut all);
    all.into_iter().map(|(note, completion)| SftExample { chat: prompt::doctor(style, &note.note), completion }).collect()
}

/// The verdict that a label asks for, in the Doctor's grammar, tags included.
pub fn verdict_text(label: &Label) -> String {
    match label {
        Label::Clean => "<verdict>No Clinical Error</verdict>".to_owned(),
        Label::Error { kind, sentence, correction } => {
            format!("<verdict>Error: {}; Sentence: {sentence}; Correction: {correction}</verdict>", kind.title())
        }
    }
}

/// How many error and clean examples: the configured share, bounded by what there is.
fn shares(config: &SftConfig, errors: usize, cleans: usize) -> (usize, usize) {
    let clean_share = config.clean_fraction;
    let fits =
        |available: usize, share: f64| if share > 0.0 { (available as f64 / share + 1e-9).floor() as usize } else { usize::MAX };
    let total = config.notes.min(fits(errors, 1.0 - clean_share)).min(fits(cleans, clean_share));
    let n_cleans = ((total as f64 * clean_share).round() as usize).min(cleans);
    ((total - n_cleans).min(errors), n_cleans)
}

/// Group → corrected sentences of its error notes.
fn corrections(notes: &[LabelledNote]) -> HashMap<&str, Vec<&str>> {
    let mut corrections: HashMap<&str, Vec<&str>> = HashMap::new();
    for note in notes {
        if let Label::Error { correction, .. } = &note.label {
            corrections.entry(&note.note.group).or_default().push(correction);
        }
    }
    corrections
}

/// Thinking and verdict of one note; `None` where they would not parse back to the label.
fn completion(
    note: &LabelledNote,
    corrections: &HashMap<&str, Vec<&str>>,
    style: PromptStyle,
    rng: &mut ChaCha8Rng,
) -> Option<String> {
    let words = match style {
        PromptStyle::Brief => &BRIEF,
        PromptStyle::Full => &FULL,
    };
    let sentence = key_sentence(note, corrections)?;
    let (wrong, right, subject, ends) = match &note.label {
        Label::Clean => (String::new(), String::new(), "", &words.fits),
        Label::Error { kind, correction, .. } => {
            let (wrong, right) = edit(&sentence.text, correction);
            (wrong, right, subject(*kind), &words.wrong)
        }
    };
    let number = sentence.id.to_string();
    let old = sentence.text.trim();
    let values = [("n", number.as_str()), ("old", old), ("wrong", &wrong), ("right", &right), ("subject", subject)];
    let opening = fill(words.openings[below(rng, words.openings.len())], &values);
    let end = fill(ends[below(rng, ends.len())], &values);
    let text = format!("<thinking>{opening} {end}</thinking>\n{}", verdict_text(&note.label));
    says(&text, &note.label).then_some(text)
}

fn says(completion: &str, label: &Label) -> bool {
    match (verdict::parse(completion), label) {
        (Verdict::Clean, Label::Clean) => true,
        (Verdict::Error { kind: k, sentence: s, correction: c }, Label::Error { kind, sentence, correction }) => {
            k == *kind && s == Some(*sentence) && c.as_ref() == Some(correction)
        }
        _ => false,
    }
}

/// The sentence to quote: the error sentence; of a clean note the one its sibling has wrong, else the last one of some length.
fn key_sentence<'a>(note: &'a LabelledNote, corrections: &HashMap<&str, Vec<&str>>) -> Option<&'a Sentence> {
    if let Label::Error { sentence, .. } = note.label {
        return note.note.sentence(sentence);
    }
    let sentences = &note.note.sentences;
    let known = corrections.get(note.note.group.as_str());
    let deciding = sentences.iter().find(|s| known.is_some_and(|known| known.contains(&s.text.as_str())));
    deciding.or_else(|| sentences.iter().rev().find(|s| s.text.split_whitespace().count() >= 4)).or(sentences.last())
}

fn subject(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Diagnosis => "diagnosis",
        ErrorKind::Management => "next step in management",
        ErrorKind::Treatment => "treatment",
        ErrorKind::Pharmacotherapy => "drug",
        ErrorKind::CausalOrganism => "organism",
    }
}

/// The words that differ between two sentences, as one stretch of each; both sentences whole where one side would be empty.
fn edit(old: &str, new: &str) -> (String, String) {
    let (a, b): (Vec<&str>, Vec<&str>) = (old.split_whitespace().collect(), new.split_whitespace().collect());
    let head = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let tail = a[head..].iter().rev().zip(b[head..].iter().rev()).take_while(|(x, y)| x == y).count();
    let (wrong, right) = without_verbs(&a[head..a.len() - tail], &b[head..b.len() - tail]);
    let bare = |words: &[&str]| words.join(" ").trim_end_matches(['.', ',', ';', ':']).to_owned();
    if wrong.is_empty() || right.is_empty() { (bare(&a), bare(&b)) } else { (bare(wrong), bare(right)) }
}

/// Drops the linking verb both stretches end in: of `studies are` for `colonoscopy is` the nouns are the edit.
fn without_verbs<'a, 'b>(a: &'a [&'b str], b: &'a [&'b str]) -> (&'a [&'b str], &'a [&'b str]) {
    match (a.split_last(), b.split_last()) {
        (Some((x, a)), Some((y, b))) if [x, y].iter().all(|verb| ["is", "are", "was", "were"].contains(verb)) => (a, b),
        _ => (a, b),
    }
}

/// Fills `{name}` marks in one pass, so that braces inside a note stay text.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut pieces = template.split('{');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once('}').unwrap_or(("", piece));
        out.push_str(values.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value));
        out.push_str(rest);
    }
    out
}
