//! What each persona is told. Templates live in `assets/prompts/<style>/`; `{name}` marks are filled here.
//!
//! Two styles exist because the embedded nano model has room for a line, and MedGemma wants the whole grammar explained.

use serde::{Deserialize, Serialize};

use super::note::Note;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptStyle {
    /// One line each: what the nano model was pretrained on.
    Brief,
    /// Full instructions for a general instruction-tuned model.
    #[default]
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Model,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    pub role: Role,
    pub content: String,
}

/// A conversation. Rendering into the model's own turn tokens is the tokenizer's business.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat {
    pub turns: Vec<Turn>,
}

impl Chat {
    pub fn user(content: String) -> Chat {
        Chat { turns: vec![Turn { role: Role::User, content }] }
    }
}

macro_rules! template {
    ($name:literal, $style:expr) => {
        match $style {
            PromptStyle::Brief => include_str!(concat!("../../assets/prompts/brief/", $name)),
            PromptStyle::Full => include_str!(concat!("../../assets/prompts/full/", $name)),
        }
        .trim_end()
    };
}

/// Asks the Doctor to read a note blind.
pub fn doctor(style: PromptStyle, note: &Note) -> Chat {
    Chat::user(template!("doctor.md", style).replace("{note}", &note.numbered()))
}

/// Asks the Scribe to reword every sentence but `protected` (where there is one).
pub fn augment(style: PromptStyle, note: &Note, protected: Option<u32>) -> Chat {
    let template = match protected {
        Some(_) => template!("augment_protected.md", style),
        None => template!("augment.md", style),
    };
    let protected = protected.map(|id| id.to_string()).unwrap_or_default();
    Chat::user(template.replace("{protected}", &protected).replace("{note}", &note.numbered()))
}

/// Asks the Scribe to propose one small error of the given kind for a clean note.
pub fn inject(style: PromptStyle, note: &Note, kind: super::ErrorKind) -> Chat {
    Chat::user(template!("inject.md", style).replace("{kind}", kind.title()).replace("{note}", &note.numbered()))
}
