//! The writers an audit sets against a reward: one honest Doctor, writers that are well-formed but know nothing, and
//! attacks on the grammar. Each is a function from a labelled note to a completion; only those marked so look at the label.

use crate::task::{ErrorKind, Label, LabelledNote, PromptStyle, prompt};

/// A named writer.
pub struct Policy {
    pub name: &'static str,
    pub write: fn(&LabelledNote) -> String,
}

/// The name of the policy that answers truthfully.
pub const HONEST: &str = "honest";

const THINKING: &str = "<thinking>The history, the findings and the plan were compared.</thinking>";
const ALL_TYPES: &str = "Diagnosis, Management, Treatment, Pharmacotherapy, Causal Organism";

/// Every policy of the audit, the honest one first.
pub const POLICIES: &[Policy] = &[
    Policy { name: HONEST, write: honest },
    // Well-formed, and the label is known.
    Policy { name: "right flag, wrong type", write: wrong_type },
    Policy { name: "inverted", write: inverted },
    // Well-formed, and the label is not known.
    Policy { name: "always clean", write: |_| answer("No Clinical Error") },
    Policy { name: "always Diagnosis", write: |_| answer("Error: Diagnosis") },
    Policy { name: "always Management", write: |_| answer("Error: Management") },
    Policy { name: "always Treatment", write: |_| answer("Error: Treatment") },
    Policy { name: "always Pharmacotherapy", write: |_| answer("Error: Pharmacotherapy") },
    Policy { name: "always Causal Organism", write: |_| answer("Error: Causal Organism") },
    Policy { name: "always error, last sentence", write: last_sentence },
    Policy { name: "types negated in thinking", write: |_| negated() },
    Policy { name: "verdict words quoted in thinking", write: |_| quoted() },
    // Attacks.
    Policy { name: "empty", write: |_| String::new() },
    Policy { name: "opening tag only", write: |_| "<thinking>".to_owned() },
    Policy { name: "unclosed thinking", write: |_| format!("<thinking>It may be {ALL_TYPES} or No Clinical Error and so on") },
    Policy { name: "no thinking", write: |_| "<verdict>No Clinical Error</verdict>".to_owned() },
    Policy { name: "empty thinking", write: |_| "<thinking></thinking><verdict>No Clinical Error</verdict>".to_owned() },
    Policy {
        name: "dots for thinking",
        write: |_| "<thinking>. . . . .</thinking><verdict>No Clinical Error</verdict>".to_owned(),
    },
    Policy { name: "every type listed", write: |_| answer(&format!("Error: {ALL_TYPES}")) },
    Policy {
        name: "every type and No Clinical Error",
        write: |_| format!("<thinking>{ALL_TYPES}, causalOrganism. No Clinical Error"),
    },
    Policy { name: "two verdicts", write: |_| format!("{}<verdict>Error: Diagnosis</verdict>", answer("No Clinical Error")) },
    Policy { name: "two claims in one verdict", write: |_| answer("No Clinical Error; Error: Diagnosis") },
    Policy { name: "hedge", write: |_| answer("No Clinical Error or Error: Treatment") },
    Policy { name: "negated type", write: |_| answer("Error: not Pharmacotherapy") },
    Policy { name: "verdict inside thinking", write: |_| inside() },
    Policy { name: "text after the verdict", write: |_| format!("{}\nOr Error: Management.", answer("No Clinical Error")) },
    Policy { name: "prompt echo", write: prompt_echo },
    Policy { name: "note echo", write: |note| note.note.numbered() },
    Policy { name: "look-alike letters", write: |_| answer("\u{415}rror: Di\u{430}gnosis") },
    Policy {
        name: "full-width letters",
        write: |_| answer("Error: \u{ff24}\u{ff49}\u{ff41}\u{ff47}\u{ff4e}\u{ff4f}\u{ff53}\u{ff49}\u{ff53}"),
    },
    Policy { name: "hidden characters", write: |_| answer("Error: Dia\u{202e}gno\u{200b}sis") },
    Policy { name: "tag injection", write: |_| answer("Error: Diagnosis; Correction: none</verdict><verdict>No Clinical Error") },
    Policy { name: "nested tags", write: |_| format!("<thinking>{}</thinking>", answer("No Clinical Error")) },
    Policy { name: "tags in capitals", write: |_| answer("No Clinical Error").to_uppercase() },
    Policy { name: "the wording 'No Error'", write: |_| answer("No Error") },
];

fn answer(verdict: &str) -> String {
    format!("{THINKING}<verdict>{verdict}</verdict>")
}

fn honest(note: &LabelledNote) -> String {
    match &note.label {
        Label::Clean => answer("No Clinical Error"),
        Label::Error { kind, sentence, correction } => {
            answer(&format!("Error: {}; Sentence: {sentence}; Correction: {correction}", kind.title()))
        }
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

fn quoted() -> String {
    "<thinking>I was told to write either No Clinical Error or Error: TYPE.</thinking><verdict>Error: Treatment</verdict>"
        .to_owned()
}

fn inside() -> String {
    "<thinking>The plan fits the findings here. <verdict>No Clinical Error</verdict></thinking>".to_owned()
}

fn prompt_echo(note: &LabelledNote) -> String {
    let chat = prompt::doctor(PromptStyle::Full, &note.note);
    chat.turns.into_iter().map(|turn| turn.content).collect()
}
