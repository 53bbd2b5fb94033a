//! The text that the nano model is pretrained on, all of it from training vignettes. It teaches facts and forms;
//! its verdicts cry wolf, so that self-play has something to teach. Must not know tokens or the Scribe.

use super::{
    draw::Draw,
    tables::{Answer, Condition, Fact},
    thinking,
    vignette::{Split, Vignette, embedded, vignette},
};
use crate::task::{Chat, ErrorKind, PromptStyle, Sentence, prompt};

/// Asks for a note; only the corpus uses it.
pub const WRITE_NOTE: &str = "Write a clinical note.";

const REPEAT: &str = "Repeat exactly.";
const COMPARE: &str = "Compare each pair.";

/// Shares of the document kinds in percent.
const MIXTURE: [(DocumentKind, u32); 7] = [
    (DocumentKind::Doctor, 48),
    (DocumentKind::Augment, 14),
    (DocumentKind::Inject, 8),
    (DocumentKind::Note, 4),
    (DocumentKind::Textbook, 6),
    (DocumentKind::Repeat, 10),
    (DocumentKind::Compare, 10),
];
/// Percent of Doctor documents on a wrong and on a clean note that claim an error. The model reads well and cries wolf:
/// its likeliest verdict is an error on every note (accuracy 50 % on pairs), and its doubts are a little smaller where the
/// thinking found one. That little is what reinforcement can take hold of; with none at all it learns a constant answer
/// (tried: `experiments/LOG.md`).
const CLAIMED_ON_WRONG: u32 = 85;
const CLAIMED_ON_CLEAN: u32 = 60;
/// Percent of error claims on a wrong note that name the type the thinking found; the others name any.
const TYPE_OF_THINKING: u32 = 50;
/// Percent of error claims with a sentence id, and of those with a correction as well.
const WITH_SENTENCE: u32 = 40;
const WITH_CORRECTION: u32 = 15;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DocumentKind {
    Doctor,
    Augment,
    Inject,
    Note,
    Textbook,
    /// Terms in no order, to be written again: practice in copying, which rewording and quoting rest on.
    Repeat,
    /// Pairs of terms, each to be called equal or not: practice in comparing.
    Compare,
}

/// One document: `text` completes `chat`, or is plain text where there is no chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub kind: DocumentKind,
    pub chat: Option<Chat>,
    pub text: String,
}

/// Document `index` of the corpus, the same for the same arguments.
pub fn document(seed: u64, index: u64) -> Document {
    let mut draw = Draw::new("clinic corpus", seed, index);
    let kind = draw.weighted(&MIXTURE);
    let vignette = vignette(Split::Train, seed, index);
    match kind {
        DocumentKind::Doctor => doctor(&vignette, &mut draw),
        DocumentKind::Augment => augment(&vignette, &mut draw),
        DocumentKind::Inject => inject(vignette, seed, index, &mut draw),
        DocumentKind::Note => write_note(&vignette),
        DocumentKind::Textbook => textbook(&mut draw),
        DocumentKind::Repeat => repeat(&mut draw),
        DocumentKind::Compare => compare(&mut draw),
    }
}

fn doctor(vignette: &Vignette, draw: &mut Draw) -> Document {
    let wrong = draw.percent(50);
    let source = if wrong { &vignette.error } else { &vignette.clean };
    let thinking = thinking::recall(vignette.story(), wrong);
    let claimed = if wrong { CLAIMED_ON_WRONG } else { CLAIMED_ON_CLEAN };
    let claim = if draw.percent(claimed) { claim(vignette, wrong, draw) } else { "No Clinical Error".to_owned() };
    Document {
        kind: DocumentKind::Doctor,
        chat: Some(prompt::doctor(PromptStyle::Brief, &source.note)),
        text: format!("<thinking>{thinking}</thinking><verdict>{claim}</verdict>"),
    }
}

/// An error claim about a stated fact, often another than the wrong one.
fn claim(vignette: &Vignette, wrong: bool, draw: &mut Draw) -> String {
    let kinds: Vec<ErrorKind> = vignette.story().facts().map(|fact| fact.kind).collect();
    let seen = wrong && draw.percent(TYPE_OF_THINKING);
    let kind = if seen { vignette.story().wrong.0 } else { *draw.pick(&kinds) };
    let detail = draw.between(0, 99);
    let mut claim = format!("Error: {}", kind.title());
    if let Some(sentence) = vignette.story().sentence_of(kind).filter(|_| detail < WITH_SENTENCE) {
        claim.push_str(&format!("; Sentence: {sentence}"));
    }
    if let Some(right) = vignette.right_sentence(wrong, kind).filter(|_| detail < WITH_CORRECTION) {
        claim.push_str(&format!("; Correction: {right}"));
    }
    claim
}

/// A fact of some condition, and one of its answers: right as often as wrong.
fn some_answer(draw: &mut Draw) -> (&'static Fact, &'static Answer) {
    let condition = draw.pick(embedded().conditions());
    let fact = draw.pick(condition.facts());
    let answer = if draw.percent(50) { &fact.right } else { draw.pick(&fact.wrong) };
    (fact, answer)
}

fn repeat(draw: &mut Draw) -> Document {
    let n = draw.between(8, 20);
    let items: Vec<String> = (0..n)
        .map(|_| if draw.percent(25) { draw.between(1, 150).to_string() } else { some_answer(draw).1.text.clone() })
        .collect();
    let text = items.join("; ");
    Document { kind: DocumentKind::Repeat, chat: Some(Chat::user(format!("{REPEAT}\n{text}"))), text }
}

fn compare(draw: &mut Draw) -> Document {
    let pairs: Vec<(&str, &str)> = (0..draw.between(4, 8))
        .map(|_| {
            let (fact, said) = some_answer(draw);
            (fact.right.text.as_str(), said.text.as_str())
        })
        .collect();
    let asked: Vec<String> = pairs.iter().enumerate().map(|(i, (right, said))| format!("{i} {right}; {said}")).collect();
    let answered: Vec<String> = pairs
        .iter()
        .enumerate()
        .map(|(i, (right, said))| format!("{i} {right}; note says {said}: {}.", if right == said { "agrees" } else { "differs" }))
        .collect();
    Document {
        kind: DocumentKind::Compare,
        chat: Some(Chat::user(format!("{COMPARE}\n{}", asked.join("\n")))),
        text: answered.join("\n"),
    }
}

fn augment(vignette: &Vignette, draw: &mut Draw) -> Document {
    let wrong = draw.percent(50);
    let source = if wrong { &vignette.error } else { &vignette.clean };
    let protected = if wrong { vignette.story().sentence_of(vignette.story().wrong.0) } else { None };
    let mut reworded = vignette.reworded(wrong, draw);
    reworded.retain(|sentence| Some(sentence.id) != protected);
    Document {
        kind: DocumentKind::Augment,
        chat: Some(prompt::augment(PromptStyle::Brief, &source.note, protected)),
        text: numbered(&reworded),
    }
}

/// Proposes an edit of a fact whose words occur just once in the note; draws another vignette where there is none.
fn inject(first: Vignette, seed: u64, index: u64, draw: &mut Draw) -> Document {
    let mut vignette_now = first;
    let mut redraw = Draw::new("clinic inject", seed, index);
    loop {
        if let Some(document) = try_inject(&vignette_now, draw) {
            return document;
        }
        // Far from the indices that documents use, and still of the training split.
        let other = (1 << 40) + redraw.below(1 << 30) as u64;
        vignette_now = vignette(Split::Train, seed, other);
    }
}

fn try_inject(vignette: &Vignette, draw: &mut Draw) -> Option<Document> {
    let story = vignette.story();
    let note = &vignette.clean.note;
    let lines = note.numbered();
    let usable: Vec<_> = story.facts().filter(|fact| lines.matches(fact.right.text.as_str()).count() == 1).collect();
    if usable.is_empty() {
        return None;
    }
    let fact = *draw.pick(&usable);
    let sentence = story.sentence_of(fact.kind)?;
    let new = &draw.pick(&fact.wrong).text;
    let text = format!(
        "Sentence: {sentence} | Old: {} | New: {new} | Type: {} | Why: {}",
        fact.right.text,
        fact.kind.title(),
        why(fact.kind, &story.condition.name),
    );
    Some(Document { kind: DocumentKind::Inject, chat: Some(prompt::inject(PromptStyle::Brief, note, fact.kind)), text })
}

fn why(kind: ErrorKind, condition: &str) -> String {
    match kind {
        ErrorKind::Diagnosis => format!("findings fit {condition}"),
        _ => format!("wrong {} for {condition}", word(kind)),
    }
}

fn word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Diagnosis => "diagnosis",
        ErrorKind::Management => "next step",
        ErrorKind::Treatment => "treatment",
        ErrorKind::Pharmacotherapy => "drug",
        ErrorKind::CausalOrganism => "organism",
    }
}

fn write_note(vignette: &Vignette) -> Document {
    Document {
        kind: DocumentKind::Note,
        chat: Some(Chat::user(WRITE_NOTE.to_owned())),
        text: numbered(&vignette.clean.note.sentences),
    }
}

fn numbered(sentences: &[Sentence]) -> String {
    let lines: Vec<String> = sentences.iter().map(|s| format!("{} {}", s.id, s.text)).collect();
    lines.join("\n")
}

fn textbook(draw: &mut Draw) -> Document {
    let condition = draw.pick(embedded().conditions());
    let (question, text) = match draw.between(0, 99) {
        0..=39 => (None, chapter(condition, draw)),
        40..=59 => (Some(format!("Describe {} in short.", condition.name)), chapter(condition, draw)),
        60..=84 => fact_question(condition, draw),
        _ => findings_question(condition, draw),
    };
    Document { kind: DocumentKind::Textbook, chat: question.map(Chat::user), text }
}

/// Everything the tables know of a condition, in a drawn order.
fn chapter(condition: &Condition, draw: &mut Draw) -> String {
    let mut parts = vec![format!("Findings: {}.", findings(condition, draw).join(", "))];
    parts.push(format!("Tests: {}.", draw.pick(&condition.labs)));
    for fact in condition.facts().iter().skip(1) {
        let dose = fact.right.dose.as_ref().filter(|_| draw.percent(33)).map(|dose| format!(" {dose}")).unwrap_or_default();
        parts.push(format!("{}: {}{dose}.", title(fact.kind), fact.right.text));
    }
    if draw.percent(50) {
        parts.push(format!("Not to be confused with: {}.", draw.pick(&condition.diagnosis().wrong).text));
    }
    if draw.percent(30) {
        draw.shuffle(&mut parts);
    }
    format!("{} in short. {}", upper_first(&condition.name), parts.join(" "))
}

fn fact_question(condition: &Condition, draw: &mut Draw) -> (Option<String>, String) {
    let fact = draw.pick(&condition.facts()[1..]);
    let question = format!("What is the {} for {}?", word(fact.kind), condition.name);
    let text = format!("{} of {}: {}.", title(fact.kind), condition.name, fact.right.text);
    (Some(question), text)
}

fn findings_question(condition: &Condition, draw: &mut Draw) -> (Option<String>, String) {
    let lab = draw.pick(&condition.labs);
    let question = format!("Which diagnosis fits {}? {lab}.", findings(condition, draw).join(", "));
    (Some(question), format!("Findings fit {}.", condition.name))
}

/// Two or three of the complaints and two of the signs.
fn findings<'a>(condition: &'a Condition, draw: &mut Draw) -> Vec<&'a str> {
    let complaints: Vec<&str> = condition.complaints.iter().map(String::as_str).collect();
    let exam: Vec<&str> = condition.exam.iter().map(String::as_str).collect();
    let count = 2 + draw.below(2);
    let mut chosen = draw.subset(&complaints, count);
    chosen.extend(draw.subset(&exam, 2));
    chosen
}

fn title(kind: ErrorKind) -> String {
    upper_first(word(kind))
}

fn upper_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}
