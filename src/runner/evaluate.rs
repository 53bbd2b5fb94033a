//! Reading held-out notes greedily and grading what comes back.

use anyhow::Result;

use crate::{
    eval::Graded,
    task::{Generate, GenerateRequest, LabelledNote, PromptStyle, Sampling, prompt},
};

/// Notes read in one call.
const CHUNK: usize = 64;

/// What an evaluation tells while it runs.
pub enum Reading<'a> {
    /// New text about the first note of a call: enough to watch, and no flood.
    Token { note: &'a LabelledNote, delta: &'a str },
    /// Notes graded so far.
    Done(usize),
}

/// Grades every note. `watch` returns false to give up, which yields `None`.
pub fn evaluate(
    notes: &[LabelledNote],
    style: PromptStyle,
    max_tokens: usize,
    reader: &mut dyn Generate,
    watch: &mut dyn FnMut(Reading) -> bool,
) -> Result<Option<Vec<Graded>>> {
    let mut graded = Vec::with_capacity(notes.len());
    for chunk in notes.chunks(CHUNK) {
        let requests: Vec<GenerateRequest> =
            chunk.iter().map(|n| GenerateRequest { chat: prompt::doctor(style, &n.note), n_completions: 1, stream: 0 }).collect();
        let mut go_on = true;
        let mut on_token = |request: usize, _: usize, delta: &str| {
            if request == 0 && !delta.is_empty() {
                go_on = watch(Reading::Token { note: &chunk[0], delta });
            }
            go_on
        };
        let completions = reader.generate(&requests, Sampling { temperature: 0.0, max_tokens }, &mut on_token)?;
        if !go_on {
            return Ok(None);
        }
        graded.extend(chunk.iter().zip(&completions).map(|(note, c)| Graded::of(note, &c[0])));
        if !watch(Reading::Done(graded.len())) {
            return Ok(None);
        }
    }
    Ok(Some(graded))
}
