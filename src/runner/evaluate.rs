//! Reading held-out notes greedily and grading what comes back.

use anyhow::Result;

use crate::{
    eval::Graded,
    task::{Generate, GenerateRequest, LabelledNote, PromptStyle, Sampling, prompt},
};

/// Notes read in one call.
const CHUNK: usize = 64;

/// Grades every note. `progress(notes done)` returns false to give up, which yields `None`.
pub fn evaluate(
    notes: &[LabelledNote],
    style: PromptStyle,
    max_tokens: usize,
    reader: &mut dyn Generate,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<Vec<Graded>>> {
    let mut graded = Vec::with_capacity(notes.len());
    for chunk in notes.chunks(CHUNK) {
        let requests: Vec<GenerateRequest> =
            chunk.iter().map(|n| GenerateRequest { chat: prompt::doctor(style, &n.note), n_completions: 1, stream: 0 }).collect();
        let completions = reader.generate(&requests, Sampling { temperature: 0.0, max_tokens }, &mut |_, _, _| true)?;
        graded.extend(chunk.iter().zip(&completions).map(|(note, c)| Graded::new(note, &c[0].text)));
        if !progress(graded.len()) {
            return Ok(None);
        }
    }
    Ok(Some(graded))
}
