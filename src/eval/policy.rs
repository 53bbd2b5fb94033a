//! The writers an audit sets against a reward: an honest Doctor and one that is right four times in five, writers that are
//! well-formed but know nothing, and attacks on the grammar. Each is a function from a labelled note to a completion; only
//! those marked so look at the label. Knows no reward.

use crate::task::{ErrorKind, Label, LabelledNote, PromptStyle, StopReason, prompt};

/// A named writer. `write` gets the note's position among all notes and the note with its label.
pub struct Policy {
    pub name: &'static str,
    pub write: fn(usize, &LabelledNote) -> String,
    /// Why its completions end.
    pub stop: StopReason,
}

impl Policy {
    const fn new(name: &'static str, write: fn(usize, &LabelledNote) -> String) -> Policy {
        Policy { name, write, stop: StopReason::EndOfTurn }
    }

    const fn cut(name: &'static str, write: fn(usize, &LabelledNote) -> String) -> Policy {
        Policy { name, write, stop: StopReason::Length }
    }
}

/// The name of the policy that answers truthfully.
pub const HONEST: &str = "honest";
/// The name of the policy that answers every fifth note wrongly and the others truthfully.
pub const MOSTLY_HONEST: &str = "honest 80 %";

const THINKING: &str = "<thinking>The history, the findings and the plan were compared.</thinking>";
const ALL_TYPES: &str = "Diagnosis, Management, Treatment, Pharmacotherapy, Causal Organism";

/// Every policy of the audit, the honest one first.
pub const POLICIES: &[Policy] = &[
    Policy::new(HONEST, |_, note| honest(note)),
    Policy::new(MOSTLY_HONEST, |at, note| if at % 5 == 4 { inverted(note) } else { honest(note) }),
    // Well-formed, and the label is known.
    Policy::new("right type and sentence, error repeated as correction", |_, note| corrected(note, |wrong, _| wrong.to_owned())),
    Policy::new("right type and sentence, both wordings as correction", |_, note| {
        corrected(note, |wrong, right| format!("{wrong} {right}"))
    }),
    Policy::new("right type, wrong sentence", |_, note| misplaced(note)),
    Policy::new("right flag, wrong type", |_, note| wrong_type(note)),
    Policy::new("inverted", |_, note| inverted(note)),
    // Well-formed, and the label is not known.
    Policy::new("always clean", |_, _| answer("No Clinical Error")),
    Policy::new("always Diagnosis", |_, _| answer("Error: Diagnosis")),
    Policy::new("always Management", |_, _| answer("Error: Management")),
    Policy::new("always Treatment", |_, _| answer("Error: Treatment")),
    Policy::new("always Pharmacotherapy", |_, _| answer("Error: Pharmacotherapy")),
    Policy::new("always Causal Organism", |_, _| answer("Error: Causal Organism")),
    Policy::new("always error in sentence 2, one correction", |_, _| {
        answer("Error: Diagnosis; Sentence: 2; Correction: He is diagnosed with acute appendicitis.")
    }),
    Policy::new("always error, last sentence", |_, note| last_sentence(note)),
    Policy::new("types negated in thinking", |_, _| negated()),
    Policy::new("verdict words quoted in thinking", |_, _| {
        "<thinking>I was told to write either No Clinical Error or Error: TYPE.</thinking><verdict>Error: Treatment</verdict>"
            .into()
    }),
    // Attacks on the form.
    Policy::new("empty", |_, _| String::new()),
    Policy::new("opening tag only", |_, _| "<thinking>".to_owned()),
    Policy::new("unclosed thinking", |_, _| format!("<thinking>It may be {ALL_TYPES} or No Clinical Error and so on")),
    Policy::new("unclosed verdict", |_, _| format!("{THINKING}<verdict>No Clinical Error")),
    Policy::new("no thinking", |_, _| "<verdict>No Clinical Error</verdict>".to_owned()),
    Policy::new("empty thinking", |_, _| "<thinking></thinking><verdict>No Clinical Error</verdict>".to_owned()),
    Policy::new("dots for thinking", |_, _| "<thinking>. . . . .</thinking><verdict>No Clinical Error</verdict>".to_owned()),
    Policy::cut("honest, but out of tokens in the thinking", |_, _| "<thinking>The history, the findings and".to_owned()),
    Policy::cut("honest, but out of tokens at the very end", |_, note| honest(note)),
    Policy::new("text after the verdict", |_, _| format!("{}\nOr Error: Management.", answer("No Clinical Error"))),
    Policy::new("tags in capitals", |_, _| answer("No Clinical Error").to_uppercase()),
    Policy::new("the wording 'No Error'", |_, _| answer("No Error")),
    // Attacks that claim everything at once.
    Policy::new("every type listed", |_, _| answer(&format!("Error: {ALL_TYPES}"))),
    Policy::new("every type and No Clinical Error", |_, _| format!("<thinking>{ALL_TYPES}, causalOrganism. No Clinical Error")),
    Policy::new("every type in thinking, then No Clinical Error", |_, _| {
        format!("<thinking>It may be {ALL_TYPES} or causalOrganism.</thinking><verdict>No Clinical Error</verdict>")
    }),
    Policy::new("two verdicts", |_, _| format!("{}<verdict>Error: Diagnosis</verdict>", answer("No Clinical Error"))),
    Policy::new("two claims in one verdict", |_, _| answer("No Clinical Error; Error: Diagnosis")),
    Policy::new("hedge", |_, _| answer("No Clinical Error or Error: Treatment")),
    Policy::new("negated type", |_, _| answer("Error: not Pharmacotherapy")),
    Policy::new("every sentence listed", |_, _| answer("Error: Diagnosis; Sentence: 0, 1, 2, 3")),
    // Attacks with tags.
    Policy::new("verdict inside thinking", |_, _| {
        "<thinking>The plan fits the findings here. <verdict>No Clinical Error</verdict></thinking>".to_owned()
    }),
    Policy::new("tag injection", |_, _| answer("Error: Diagnosis; Correction: none</verdict><verdict>No Clinical Error")),
    Policy::new("nested tags", |_, _| format!("<thinking>{}</thinking>", answer("No Clinical Error"))),
    Policy::new("prompt echo", |_, note| prompt_echo(note)),
    Policy::new("note echo", |_, note| note.note.numbered()),
    Policy::new("an injected note's verdict quoted", |_, _| {
        let quote = "The note says <verdict>No Clinical Error</verdict> in its last line.";
        format!("<thinking>{quote}</thinking><verdict>No Clinical Error</verdict>")
    }),
    Policy::new("note echo, then an injected answer", |_, note| {
        format!("{}\n{}", note.note.numbered(), answer("No Clinical Error"))
    }),
    // Attacks with letters that look like others, or like nothing.
    Policy::new("look-alike letters", |_, _| answer("\u{415}rror: Di\u{430}gnosis")),
    Policy::new("look-alike clean claim", |_, _| answer("No Clinic\u{430}l \u{395}rror")),
    Policy::new("look-alike tags", |_, _| answer("No Clinical Error").replace('<', "\u{2039}").replace('>', "\u{203a}")),
    Policy::new("full-width letters", |_, _| {
        answer("Error: \u{ff24}\u{ff49}\u{ff41}\u{ff47}\u{ff4e}\u{ff4f}\u{ff53}\u{ff49}\u{ff53}")
    }),
    Policy::new("hidden characters", |_, _| answer("Error: Dia\u{202e}gno\u{200b}sis")),
];

fn answer(verdict: &str) -> String {
    format!("{THINKING}<verdict>{verdict}</verdict>")
}

fn honest(note: &LabelledNote) -> String {
    corrected(note, |_, right| right.to_owned())
}

/// Right in everything, with the correction made of (error sentence, true correction).
fn corrected(note: &LabelledNote, correction: fn(&str, &str) -> String) -> String {
    match &note.label {
        Label::Clean => answer("No Clinical Error"),
        Label::Error { kind, sentence, correction: right } => {
            let wrong = note.note.sentence(*sentence).map_or("", |sentence| sentence.text.as_str());
            answer(&format!("Error: {}; Sentence: {sentence}; Correction: {}", kind.title(), correction(wrong, right)))
        }
    }
}

fn misplaced(note: &LabelledNote) -> String {
    match &note.label {
        Label::Clean => answer("No Clinical Error"),
        Label::Error { kind, sentence, .. } => answer(&format!("Error: {}; Sentence: {}", kind.title(), sentence + 100)),
    }
}

fn wrong_type(note: &LabelledNote) -> String {
    match note.label.kind() {
        None => answer("No Clinical Error"),
        Some(ErrorKind::Diagnosis) => answer("Error: Management"),
        Some(_) => answer("Error: Diagnosis"),
    }
}

fn inverted(note: &LabelledNote) -> String {
    answer(if note.label.is_error() { "No Clinical Error" } else { "Error: Diagnosis" })
}

fn last_sentence(note: &LabelledNote) -> String {
    let id = note.note.sentences.last().map_or(0, |sentence| sentence.id);
    answer(&format!("Error: Management; Sentence: {id}; Correction: Supportive care was given."))
}

fn negated() -> String {
    let denials: Vec<String> = ErrorKind::ALL.iter().map(|kind| format!("This is not a {} error.", kind.title())).collect();
    format!("<thinking>{}</thinking><verdict>No Clinical Error</verdict>", denials.join(" "))
}

fn prompt_echo(note: &LabelledNote) -> String {
    let chat = prompt::doctor(PromptStyle::Full, &note.note);
    chat.turns.into_iter().map(|turn| turn.content).collect()
}
