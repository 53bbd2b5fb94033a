//! The embedded demo clinic: knowledge tables, a grammar of short vignettes, contrastive pairs and the pretraining corpus.
//! Must not know models, files on disk or the Scribe; every draw follows from a (seed, index) passed in.

pub mod corpus;
mod draw;
mod grammar;
mod story;
mod tables;
mod thinking;
mod vignette;

pub use corpus::{Document, DocumentKind, document};
pub use tables::{Answer, Condition, Fact, Setting, Sex, TableError, Tables, tables};
pub use vignette::{Split, Vignette, pairs, vignette};
