//! Drawing text from a model and what comes back: requests, completions, finished rollouts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    prompt::Chat,
    reward::Reward,
    sample::Sample,
    trace::{Alternative, Trace},
    verdict::Verdict,
};

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model closed its turn.
    EndOfTurn,
    /// The token budget ran out.
    Length,
    /// The run was told to stop generating.
    Aborted,
}

/// What the policy generated for one prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// Token ids, the end-of-turn token included when it was drawn.
    pub tokens: Vec<u32>,
    /// Log-probability of each token under the sampler, in nats; same length as `tokens`.
    pub rollout_logprobs: Vec<f32>,
    /// The decoded text without the end-of-turn token.
    pub text: String,
    pub stop: StopReason,
    /// What else could have been drawn, as in [`Trace`], where it is moved once the update is done; never on the wire.
    #[serde(skip)]
    pub alternatives: Vec<Alternative>,
}

/// How tokens are drawn. Temperature 0 is greedy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    pub temperature: f32,
    pub max_tokens: usize,
}

/// One prompt and how many completions to draw for it. `stream` keys the random draws: completion `j` of a request
/// always uses the counter stream (run seed, stream, j), whatever else is in the batch.
#[derive(Clone, Debug)]
pub struct GenerateRequest {
    pub chat: Chat,
    pub n_completions: usize,
    pub stream: u64,
}

/// Something that continues prompts: the policy, the reference (adapter off), or a scripted writer in tests.
pub trait Generate {
    /// Returns, for every request, its completions in order. `on_token(request, completion, delta_text)` is called as
    /// text appears, and once without text when that completion has ended; returning `false` aborts the whole call (completions then end with [`StopReason::Aborted`]).
    fn generate(
        &mut self,
        requests: &[GenerateRequest],
        sampling: Sampling,
        on_token: &mut dyn FnMut(usize, usize, &str) -> bool,
    ) -> anyhow::Result<Vec<Vec<Completion>>>;
}

/// One finished episode: sample, completion, verdict, reward.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    pub sample: Arc<Sample>,
    /// Index among the k completions of its sample.
    pub sibling: u32,
    pub completion: Completion,
    pub verdict: Verdict,
    pub reward: Reward,
    /// Mean over tokens of the normalised advantage; set once the batch is complete.
    pub advantage: Option<f32>,
    /// Values of each token; set with the advantage. Old steps lose theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Box<Trace>>,
}
