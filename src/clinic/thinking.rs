//! What the Doctor of the corpus thinks: for each stated fact the right answer and what the note says, always true.
//! Must not know the verdict, which is drawn by chance elsewhere.

use super::{
    story::Story,
    tables::{Answer, Fact},
};
use crate::task::ErrorKind;

/// One clause a stated fact, the diagnosis first and the others in note order, then the sum of them. The sum stands right
/// before the verdict: a model this small does not learn in a few hundred examples to look back over the whole thinking from
/// there (tried: `experiments/LOG.md`).
pub(super) fn recall(story: &Story, wrong: bool) -> String {
    let mut facts: Vec<&'static Fact> = story.facts().collect();
    facts.sort_by_key(|fact| fact.kind != ErrorKind::Diagnosis);
    let mut clauses: Vec<String> = facts.iter().map(|fact| clause(fact, story.said(fact, wrong))).collect();
    let differing = facts.iter().find(|fact| fact.right.text != story.said(fact, wrong).text);
    clauses.push(differing.map_or("In sum: all agrees.".to_owned(), |fact| format!("In sum: {} differs.", word(fact.kind))));
    clauses.join(" ")
}

fn word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Diagnosis => "diagnosis",
        ErrorKind::CausalOrganism => "organism",
        ErrorKind::Pharmacotherapy => "drug",
        ErrorKind::Treatment => "treatment",
        ErrorKind::Management => "next step",
    }
}

fn clause(fact: &Fact, said: &Answer) -> String {
    let lead = match fact.kind {
        ErrorKind::Diagnosis => "Findings fit",
        ErrorKind::CausalOrganism => "Organism should be",
        ErrorKind::Pharmacotherapy => "Drug should be",
        ErrorKind::Treatment => "Treatment should be",
        ErrorKind::Management => "Next step should be",
    };
    let (right, said) = (&fact.right.text, &said.text);
    let sum = if right == said { "agrees" } else { "differs" };
    format!("{lead} {right}; note says {said}: {sum}.")
}
