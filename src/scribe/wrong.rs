//! Gates of an injection: whether the edit can be an error at all, and one of the kind that was asked for. None of them knows
//! that it is wrong in this patient; they refuse what need not be.

use std::collections::{BTreeMap, BTreeSet};

use super::edits::{is_one_slip, multiset_edits, word_edits};
use super::facts::Facts;
use super::gate::{Outcome, require};
use super::kept::listed;
use super::lexicon::{Category, Lexicon, TermKind};
use super::words::words;
use crate::task::{ErrorKind, Injection, Note};

/// The edit changes more than stop words.
pub fn clinical_edit(lexicon: &Lexicon, source: &str, result: &str) -> Outcome {
    let edits = word_edits(source, result);
    let clinical: Vec<&String> = edits.removed.iter().chain(&edits.added).filter(|w| lexicon.is_clinical(w)).collect();
    require(!clinical.is_empty(), format!("clinical words changed: {clinical:?}"))
}

/// The edit is no rewording by the synonym tables.
pub fn not_synonym(lexicon: &Lexicon, source: &str, result: &str) -> Outcome {
    let canonical = |text: &str| lexicon.canonical(&words(text)).into_iter().map(|w| w.lower).collect::<Vec<_>>();
    let edits = multiset_edits(&canonical(source), &canonical(result));
    require(edits.removed.iter().chain(&edits.added).any(|w| lexicon.is_clinical(w)), "compared in canonical wording".into())
}

/// The edit does not merely add or take away words ("pneumonia" → "bacterial pneumonia" need not be wrong), unless a negation,
/// a side, a comparison or a quantity comes or goes, one known term gives way to another, or a whole drug or procedure is left
/// out of what is done for the patient.
pub fn not_elaboration(lexicon: &Lexicon, kind: ErrorKind, source: &str, result: &str) -> Outcome {
    let edits = word_edits(source, result);
    let clinical = |words: &[String]| words.iter().any(|w| lexicon.is_clinical(w));
    let (before, after) = (Facts::of(source, lexicon), Facts::of(result, lexicon));
    let decisive = [Category::Negation, Category::Laterality, Category::Comparator];
    let turns = before.quantities != after.quantities || decisive.iter().any(|&c| before.of_category(c) != after.of_category(c));
    let (gone, came) = exchanged(lexicon, source, result);
    let is_deed = !matches!(kind, ErrorKind::Diagnosis | ErrorKind::CausalOrganism);
    let omits = is_deed && came.is_empty() && (gone.contains(&TermKind::Drug) || gone.contains(&TermKind::Procedure));
    let stands = turns || omits || is_exchange(&before, &after) || (clinical(&edits.removed) && clinical(&edits.added));
    require(stands, format!("lost {}, new {}", listed(&edits.removed), listed(&edits.added)))
}

/// A term went and another came, neither of which is the other with words added ("hepatitis A" → "hepatitis C").
fn is_exchange(before: &Facts, after: &Facts) -> bool {
    let of = |term: &String| words(term).into_iter().map(|w| w.lower).collect::<BTreeSet<_>>();
    let gone: Vec<_> = before.terms.keys().filter(|t| !after.terms.contains_key(*t)).map(of).collect();
    let came: Vec<_> = after.terms.keys().filter(|t| !before.terms.contains_key(*t)).map(of).collect();
    gone.iter().any(|g| came.iter().any(|c| !g.is_subset(c) && !c.is_subset(g)))
}

/// The edit is no slip of the pen: one word for another that differs by one letter and is no known term.
pub fn not_slip(lexicon: &Lexicon, source: &str, result: &str) -> Outcome {
    let edits = word_edits(source, result);
    let ([old], [new]) = (edits.removed.as_slice(), edits.added.as_slice()) else { return Ok("more than one word".into()) };
    let slip = old.len() >= 5 && old.chars().all(char::is_alphabetic) && is_one_slip(old, new) && lexicon.terms(new).is_empty();
    require(!slip, format!("{old} → {new}"))
}

/// The new words stand in the sentence; the old ones are gone from it, or stand only within the new ones.
pub fn span_applied(source: &Note, spliced: &Note, proposal: &Injection) -> Outcome {
    let lower = |note: &Note| note.sentence(proposal.sentence).map_or_else(String::new, |s| s.text.to_lowercase());
    let (before, after) = (lower(source), lower(spliced));
    let (old, new) = (proposal.old.to_lowercase(), proposal.new.to_lowercase());
    let left = after.matches(&old).count();
    let applied = before.contains(&old) && after.contains(&new) && (left == 0 || left <= new.matches(&old).count());
    require(applied, format!("sentence {}: \"{old}\" left {left} times", proposal.sentence))
}

type Classes = BTreeSet<TermKind>;

/// Classes of the terms that went and that came, parts of the body left out.
fn exchanged(lexicon: &Lexicon, source: &str, result: &str) -> (Classes, Classes) {
    let (before, after) = (lexicon.terms(source), lexicon.terms(result));
    let alone = |of: &BTreeMap<String, TermKind>, but: &BTreeMap<String, TermKind>| {
        of.iter().filter(|(t, _)| !but.contains_key(*t)).map(|(_, &k)| k).filter(|k| *k != TermKind::Anatomy).collect()
    };
    (alone(&before, &after), alone(&after, &before))
}

/// What an error of a kind is about.
fn subjects(kind: ErrorKind) -> Classes {
    let classes: &[TermKind] = match kind {
        ErrorKind::Diagnosis | ErrorKind::CausalOrganism => &[TermKind::Diagnosis, TermKind::Organism],
        ErrorKind::Pharmacotherapy => &[TermKind::Drug],
        ErrorKind::Treatment | ErrorKind::Management => &[TermKind::Drug, TermKind::Procedure],
    };
    classes.iter().copied().collect()
}

/// Where the edit exchanges known terms, they are of a class that an error of this kind is about: in real errors a drug gives way
/// as a matter of management, treatment or pharmacotherapy, hardly ever of diagnosis.
pub fn kind_fits(lexicon: &Lexicon, kind: ErrorKind, source: &str, result: &str) -> Outcome {
    let (gone, came) = exchanged(lexicon, source, result);
    let subjects = subjects(kind);
    let touched: Classes = gone.union(&came).copied().collect();
    require(touched.is_empty() || !touched.is_disjoint(&subjects), format!("{gone:?} → {came:?} as {}", kind.title()))
}

/// Like gives way to like: for a drug another drug, for an organism another organism, for words no bare number. An edit that only
/// takes words away has no counterpart to check; management and treatment exchange all kinds of things, but where a sentence says which
/// drug is given ("is started on …"), no procedure stands in for it.
pub fn counterpart(lexicon: &Lexicon, kind: ErrorKind, source: &str, result: &str) -> Outcome {
    let edits = word_edits(source, result);
    if !edits.added.iter().any(|w| lexicon.is_clinical(w)) {
        return Ok("nothing comes in".to_owned());
    }
    let (gone, came) = exchanged(lexicon, source, result);
    let is_name =
        |w: &String| lexicon.is_clinical(w) && !lexicon.is_unit(w) && w.chars().filter(|c| c.is_alphabetic()).count() > 1;
    let bare = edits.removed.iter().any(is_name) && !edits.added.iter().any(is_name);
    let lacks = |class| gone.contains(&class) && !came.contains(&class);
    let only = |class| came.len() == 1 && came.contains(&class);
    let does = |classes: &Classes| classes.contains(&TermKind::Drug) || classes.contains(&TermKind::Procedure);
    let unlike = match kind {
        ErrorKind::Pharmacotherapy => lacks(TermKind::Drug),
        ErrorKind::CausalOrganism => {
            let named = came.contains(&TermKind::Organism) || lexicon.hints_at_organism(&edits.added);
            gone.contains(&TermKind::Organism) && !named || !gone.contains(&TermKind::Organism) && lacks(TermKind::Diagnosis)
        }
        ErrorKind::Diagnosis => lacks(TermKind::Diagnosis) && does(&came),
        ErrorKind::Treatment | ErrorKind::Management => {
            let is_drugs = || lexicon.frames(&unchanged(source, result)) == [ErrorKind::Pharmacotherapy];
            does(&gone) && only(TermKind::Diagnosis) || lacks(TermKind::Drug) && only(TermKind::Procedure) && is_drugs()
        }
    };
    require(!bare && !unlike, format!("{gone:?} → {came:?}: {:?} → {:?}", edits.removed, edits.added))
}

/// The words around the edit do not name another kind: in "The next step is …" no treatment is wrong, but the management.
pub fn frame_fits(lexicon: &Lexicon, kind: ErrorKind, source: &str, result: &str) -> Outcome {
    use ErrorKind::{CausalOrganism, Diagnosis, Management, Pharmacotherapy, Treatment};
    let frames = lexicon.frames(&unchanged(source, result));
    let [frame] = frames.as_slice() else { return Ok(format!("{} frames", frames.len())) };
    // What real errors show in such sentences.
    let fits = match frame {
        Diagnosis | CausalOrganism => matches!(kind, Diagnosis | CausalOrganism),
        Pharmacotherapy | Treatment => matches!(kind, Pharmacotherapy | Treatment | Management),
        Management => kind == Management,
    };
    require(fits, format!("{} in a sentence about {}", kind.title(), frame.title()))
}

/// The words before and after the edit.
fn unchanged(source: &str, result: &str) -> String {
    let (before, after) = (words(source), words(result));
    let head = before.iter().zip(&after).take_while(|(b, a)| b.lower == a.lower).count();
    let tail = before[head..].iter().rev().zip(after[head..].iter().rev()).take_while(|(b, a)| b.lower == a.lower).count();
    let kept = before[..head].iter().chain(&before[before.len() - tail..]);
    kept.map(|w| w.lower.as_str()).collect::<Vec<_>>().join(" ")
}

/// The new words are not another right answer: drugs of one class, or two treatments that are both usual in a disease the note
/// speaks of.
pub fn not_alternative(lexicon: &Lexicon, note: &str, source: &str, result: &str) -> Outcome {
    match lexicon.alternative(note, source, result) {
        Some((old, new)) => Err(format!("\"{new}\" may stand for \"{old}\"")),
        None => Ok("no other right answer known".into()),
    }
}

/// What is put in is not what another sentence says is done anyway: then it need not be wrong. Of what is done for the patient only; a
/// disease or a germ that the note names elsewhere can be wrong where it is put.
pub fn not_stated(lexicon: &Lexicon, kind: ErrorKind, source: &Note, proposal: &Injection) -> Outcome {
    if matches!(kind, ErrorKind::Diagnosis | ErrorKind::CausalOrganism) {
        return Ok("about what the patient has".to_owned());
    }
    let canonical = |text: &str| lexicon.canonical(&words(text)).into_iter().map(|w| w.lower).collect::<Vec<_>>();
    let new = canonical(&proposal.new);
    // One word says too little, unless it names a drug or a procedure.
    let says_enough = new.iter().filter(|w| lexicon.is_clinical(w)).count() > 1 || !lexicon.terms(&proposal.new).is_empty();
    let holds = |text: &str| says_enough && canonical(text).windows(new.len().max(1)).any(|part| part == new);
    let elsewhere = source.sentences.iter().find(|s| s.id != proposal.sentence && holds(&s.text));
    match elsewhere {
        Some(sentence) => Err(format!("sentence {} says \"{}\" already", sentence.id, proposal.new)),
        None => Ok("said nowhere else".to_owned()),
    }
}

/// What the edit touches that real errors seldom touch; never refuses. The detail names them, `-` where there is none.
pub fn rare(lexicon: &Lexicon, source: &str, result: &str) -> Outcome {
    let (before, after) = (Facts::of(source, lexicon), Facts::of(result, lexicon));
    let named = [
        ("negation", Category::Negation),
        ("laterality", Category::Laterality),
        ("time", Category::Time),
        ("comparator", Category::Comparator),
    ];
    let concepts = named.into_iter().filter(|&(_, c)| before.of_category(c) != after.of_category(c)).map(|(name, _)| name);
    let touched: Vec<&str> = (before.quantities != after.quantities).then_some("number").into_iter().chain(concepts).collect();
    Ok(if touched.is_empty() { "-".to_owned() } else { touched.join(", ") })
}
