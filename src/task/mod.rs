//! The game: what a note is, what a verdict is, what it earns.
//! Pure words and rules. No I/O, no clock, no tensors, no random state; imports nothing of ours.

pub mod breakpoint;
pub mod decision;
pub mod gain;
pub mod hand_label;
pub mod knob;
pub mod label;
pub mod note;
pub mod prompt;
pub mod quadrant;
pub mod report;
pub mod reward;
pub mod rollout;
pub mod sample;
pub mod standing;
pub mod text;
pub mod trace;
pub mod verdict;
pub mod vote;

pub use breakpoint::{Breakpoint, Breakpoints};
pub use decision::{Decision, Exclusion, Judged, RejectReason};
pub use hand_label::{Entry, HandLabel, LabelGate};
pub use knob::{Knob, Knobs};
pub use label::{ErrorKind, Label, LabelledNote};
pub use note::{Note, Sentence};
pub use prompt::{Chat, PromptStyle, Role, Turn};
pub use quadrant::Quadrant;
pub use report::{Phase, QuadrantStats, StepReport};
pub use reward::{Answer, Reward, Rules, Scheme, Truth};
pub use rollout::{Completion, Generate, GenerateRequest, Rollout, Sampling, StopReason};
pub use sample::{Again, GateResult, Injection, Provenance, Sample};
pub use standing::Standing;
pub use text::{Text, without_secrets};
pub use trace::Trace;
pub use verdict::{Malformation, Verdict};
