//! Parsers and gates of injections and rewordings, by tables of cases.

use medserl::config::ScribeConfig;
use medserl::scribe::gate::Gates;
use medserl::scribe::{Lexicon, Pool, augment, gate, injection, wrong};
use medserl::task::{ErrorKind, Label, LabelledNote, Note};

use super::{clinic_note, note};

const GOOD: &str =
    "Sentence: 6 | Old: Ceftriaxone | New: Vancomycin | Type: Pharmacotherapy | Why: gonococci need a cephalosporin";

#[test]
fn proposals_are_read_or_refused_by_name() {
    let read = injection::parse(&format!("\n{GOOD}\n")).unwrap();
    assert_eq!(
        (read.sentence, read.old.as_str(), read.new.as_str(), read.kind),
        (6, "Ceftriaxone", "Vancomycin", ErrorKind::Pharmacotherapy)
    );
    let quoted = injection::parse("sentence: 6|OLD: \"a b\"|new: “c”|type: causalOrganism|why: x | y").unwrap();
    assert_eq!((quoted.old.as_str(), quoted.new.as_str(), quoted.why.as_str()), ("a b", "c", "x | y"));
    let cases = [
        ("", "parse-lines"),
        ("Here is one:\nSentence: 6 | Old: a | New: b | Type: Treatment | Why: w", "parse-lines"),
        ("I cannot do that.", "parse-fields"),
        ("Sentence: 6 | New: b | Old: a | Type: Treatment | Why: w", "parse-fields"),
        ("Sentence: 6 | Old: a | New: b | Type: Treatment", "parse-fields"),
        ("Sentence: 6 | Old: a|b | New: c | Type: Treatment | Why: w", "parse-fields"),
        ("Sentence: six | Old: a | New: b | Type: Treatment | Why: w", "parse-sentence"),
        ("Sentence: +6 | Old: a | New: b | Type: Treatment | Why: w", "parse-sentence"),
        ("Sentence: 99999999999 | Old: a | New: b | Type: Treatment | Why: w", "parse-sentence"),
        ("Sentence: 6 | Old: a | New: b | Type: Dosage | Why: w", "parse-type"),
        ("Sentence: 6 | Old: a | New: b | Type: Trеatment | Why: w", "parse-type"),
        ("Sentence: 6 | Old:  | New: b | Type: Treatment | Why: w", "parse-empty"),
        ("Sentence: 6 | Old: a | New: \"\" | Type: Treatment | Why: w", "parse-empty"),
        ("Sentence: 6 | Old: a | New: b\u{202e}c | Type: Treatment | Why: w", "safe-text"),
        ("Sentence: 6 | Old: a | New: b\u{1b}[2J | Type: Treatment | Why: w", "safe-text"),
    ];
    for (text, expected) in cases {
        assert_eq!(injection::parse(text).unwrap_err().gate(), expected, "{text}");
    }
}

fn spliced(sentence: u32, old: &str, new: &str, kind: ErrorKind) -> Result<Note, &'static str> {
    let line = format!("Sentence: {sentence} | Old: {old} | New: {new} | Type: {} | Why: w", kind.title());
    let proposal = injection::parse(&line).map_err(|e| e.gate())?;
    injection::splice(&clinic_note(), &proposal, kind).map_err(|e| e.gate())
}

#[test]
fn splices_are_located_or_refused_by_name() {
    let kind = ErrorKind::Treatment;
    assert_eq!(spliced(6, "Ceftriaxone", "Aspirin", kind).unwrap().sentence(6).unwrap().text, "Aspirin was prescribed.");
    let cases = [
        (1, "metformin", "insulin", "unknown-sentence"),
        (6, "metformin", "insulin", "old-missing"),
        (0, "pain", "swelling", "old-repeated"),
        (0, "n", "m", "old-repeated"),
        (2, "form", "gorm", "splits-word"),
        (2, "metformin", "Metformin,", "same-words"),
    ];
    for (sentence, old, new, expected) in cases {
        assert_eq!(spliced(sentence, old, new, kind).unwrap_err(), expected, "{old}");
    }
    let other = injection::parse(GOOD).unwrap();
    assert_eq!(injection::splice(&clinic_note(), &other, kind).unwrap_err().gate(), "other-type");
}

/// All gates that refuse the injection.
fn refusals(sentence: u32, old: &str, new: &str, kind: ErrorKind) -> Vec<String> {
    let note = spliced(sentence, old, new, kind).unwrap();
    let line = format!("Sentence: {sentence} | Old: {old} | New: {new} | Type: {} | Why: w", kind.title());
    let mut gates = Gates::default();
    injection::check(
        &clinic_note(),
        &note,
        &injection::parse(&line).unwrap(),
        &Pool::default(),
        &ScribeConfig::default(),
        Lexicon::standard(),
        &mut gates,
    );
    gates.results.into_iter().filter(|r| !r.passed).map(|r| r.gate).collect()
}

#[test]
fn injection_gates_pass_real_errors() {
    use ErrorKind::*;
    let cases = [
        (6, "Ceftriaxone", "Vancomycin", Pharmacotherapy),
        (5, "Neisseria gonorrhoeae", "Staphylococcus aureus", CausalOrganism),
        (5, "septic arthritis", "gout", Diagnosis),
        (6, "Ceftriaxone was prescribed", "Knee surgery was scheduled", Management),
        (2, "500 mg", "5000 mg", Pharmacotherapy),
        (2, "denies", "reports", Diagnosis),
        (0, "left", "right", Diagnosis),
    ];
    for (sentence, old, new, kind) in cases {
        assert_eq!(refusals(sentence, old, new, kind), Vec::<String>::new(), "{old} → {new}");
    }
}

#[test]
fn injection_gates_refuse_what_is_no_error() {
    use ErrorKind::*;
    let cases = [
        (3, "Blood pressure", "BP", Diagnosis, "synonym"),
        (2, "metformin", "Glucophage", Pharmacotherapy, "synonym"),
        (0, "presents with", "comes in with", Diagnosis, "synonym"),
        (5, "septic arthritis", "acute septic arthritis", Diagnosis, "elaboration"),
        (2, "takes", "taakes", Treatment, "slip"),
        (0, "presents with", "comes in with", Diagnosis, "clinical-edit"),
        (6, "Ceftriaxone", "<b>Vancomycin</b>", Pharmacotherapy, "meta-marker"),
        (6, "Ceftriaxone", "Vancomycin (injected error)", Pharmacotherapy, "meta-marker"),
        (6, "Ceftriaxone", "Vancomycin", Diagnosis, "kind-fits"),
        (5, "Neisseria gonorrhoeae", "Escherichia coli", Treatment, "kind-fits"),
        (5, "septic arthritis", "gout", Pharmacotherapy, "kind-fits"),
        (
            6,
            "Ceftriaxone",
            "one two three four five six seven eight nine ten eleven twelve and some more",
            Treatment,
            "edit-budget",
        ),
        (6, "Ceftriaxone", "An extraordinarily long description of another medication", Treatment, "length-ratio"),
        (6, "Ceftriaxone", "8", Pharmacotherapy, "counterpart"),
        (6, "Ceftriaxone", "Knee arthroscopy", Pharmacotherapy, "counterpart"),
        (6, "Ceftriaxone", "Asthma", Treatment, "counterpart"),
        (5, "Neisseria gonorrhoeae", "blood", CausalOrganism, "counterpart"),
        (5, "septic arthritis", "Candida albicans", CausalOrganism, "counterpart"),
        (5, "septic arthritis", "ceftriaxone", Diagnosis, "counterpart"),
        (6, "Ceftriaxone", "Cefotaxime", Pharmacotherapy, "alternative"),
        (6, "Ceftriaxone", "Asthma", Management, "counterpart"),
        (5, "septic arthritis", "gout", Management, "kind-fits"),
        // The note says that he takes it.
        (6, "Ceftriaxone", "Metformin", Pharmacotherapy, "stated"),
    ];
    for (sentence, old, new, kind, expected) in cases {
        let found = refusals(sentence, old, new, kind);
        assert!(found.iter().any(|g| g == expected), "{old} → {new}: {found:?}");
    }
}

/// All gates of wrongness that refuse an edit of a sentence in a note that says nothing else.
fn refused_edits(before: &str, after: &str, kind: ErrorKind) -> Vec<&'static str> {
    let lexicon = Lexicon::standard();
    let outcomes = [
        ("elaboration", wrong::not_elaboration(lexicon, kind, before, after)),
        ("kind-fits", wrong::kind_fits(lexicon, kind, before, after)),
        ("counterpart", wrong::counterpart(lexicon, kind, before, after)),
        ("frame", wrong::frame_fits(lexicon, kind, before, after)),
        ("alternative", wrong::not_alternative(lexicon, before, before, after)),
    ];
    outcomes.into_iter().filter(|(_, outcome)| outcome.is_err()).map(|(gate, _)| gate).collect()
}

#[test]
fn edits_are_judged_by_what_they_exchange_and_where() {
    use ErrorKind::*;
    let cases: [(&str, &str, ErrorKind, &[&str]); 18] = [
        ("The next step is cystoscopy.", "The next step is splenectomy.", Management, &[]),
        ("The next step is cystoscopy.", "The next step is splenectomy.", Treatment, &["frame"]),
        ("The patient is diagnosed with malaria.", "The patient is diagnosed with dengue fever.", Diagnosis, &[]),
        ("The causal organism is Candida.", "The causal organism is Giardia.", CausalOrganism, &[]),
        ("The causal organism is Candida.", "The causal organism is G6PD testing.", CausalOrganism, &["counterpart"]),
        // Left out of what is done, a drug may be an error; an attribute of a disease need not be.
        ("Ceftriaxone and vancomycin are given.", "Ceftriaxone is given.", Management, &[]),
        ("She has bacterial pneumonia.", "She has pneumonia.", Diagnosis, &["elaboration"]),
        (
            "Doxycycline is given for a skin abscess.",
            "Vancomycin is given for a skin abscess.",
            Pharmacotherapy,
            &["alternative"],
        ),
        ("Doxycycline is given for rickettsial fever.", "Vancomycin is given for rickettsial fever.", Pharmacotherapy, &[]),
        ("Tylenol was given.", "Ibuprofen was given.", Pharmacotherapy, &[]),
        ("Prilosec was given.", "Pantoprazole was given.", Pharmacotherapy, &["alternative"]),
        // Two drugs exchanged, of which one stands for one of the old: still another answer.
        ("Omeprazole and amoxicillin.", "Pantoprazole and ranitidine.", Pharmacotherapy, &[]),
        ("He is given insulin.", "He is given 4 units.", Pharmacotherapy, &["counterpart"]),
        ("An MRI was ordered.", "A CT was ordered.", Management, &[]),
        ("The team arranges colonoscopy.", "The team arranges asthma.", Management, &["counterpart"]),
        // What is started is a drug; where anything can be done instead, anything can be wrong.
        ("The patient is started on lithium.", "The patient is started on lung biopsy.", Treatment, &["counterpart"]),
        ("The patient is started on lithium.", "The patient is started on insulin.", Treatment, &[]),
        ("Lithium is recommended.", "Lung biopsy is recommended.", Treatment, &[]),
    ];
    for (before, after, kind, expected) in cases {
        assert_eq!(refused_edits(before, after, kind), expected, "{before} → {after}");
    }
}

#[test]
fn rare_edits_are_named_not_refused() {
    let rare = |before: &str, after: &str| wrong::rare(Lexicon::standard(), before, after).unwrap();
    assert_eq!(rare("Ceftriaxone was given.", "Aspirin was given."), "-");
    assert_eq!(
        rare("He denies pain in the left arm for 2 days.", "He has pain in the right arm for 3 days."),
        "number, negation, laterality"
    );
    assert_eq!(rare("acute pain, mild", "chronic pain, severe"), "time, comparator");
}

#[test]
fn miscounted_sentences_are_found_by_their_words() {
    let located = |sentence: u32, old: &str| {
        let mut proposal = injection::parse(GOOD).unwrap();
        (proposal.sentence, proposal.old) = (sentence, old.to_owned());
        (injection::locate(&clinic_note(), &mut proposal), proposal.sentence)
    };
    assert_eq!(located(6, "Ceftriaxone"), (None, 6));
    assert_eq!(located(4, "Ceftriaxone"), (Some(4), 6));
    assert_eq!(located(6, "metformin 500 mg"), (Some(6), 2));
    // Nowhere, or in several sentences: what the writer named is left as it is, for the splice to refuse.
    assert_eq!(located(6, "insulin"), (None, 6));
    assert_eq!(located(6, "pain"), (None, 6));
}

#[test]
fn the_new_words_replace_the_old() {
    let outcome = |new: &str, text: &str| {
        let mut proposal = injection::parse(GOOD).unwrap();
        proposal.new = new.to_owned();
        wrong::span_applied(&clinic_note(), &clinic_note().with_sentence(6, text).unwrap(), &proposal)
    };
    assert!(outcome("Aspirin", "Aspirin was prescribed.").is_ok());
    assert!(outcome("no ceftriaxone", "No ceftriaxone was prescribed.").is_ok());
    assert!(outcome("Aspirin", "Ceftriaxone was prescribed.").is_err());
    assert!(outcome("Aspirin", "Aspirin was prescribed, not ceftriaxone.").is_err());
}

#[test]
fn labels_are_built_from_what_changed() {
    let source = clinic_note();
    let result = source.with_sentence(6, "Aspirin was prescribed.").unwrap();
    let label = injection::label_of_edit(&source, &result, ErrorKind::Treatment);
    let correction = "Ceftriaxone was prescribed.".to_owned();
    assert_eq!(label, Some(Label::Error { kind: ErrorKind::Treatment, sentence: 6, correction }));
    assert_eq!(injection::label_of_edit(&source, &source, ErrorKind::Treatment), None);
    let two = result.with_sentence(0, "Changed too.").unwrap();
    assert_eq!(injection::label_of_edit(&source, &two, ErrorKind::Treatment), None);
    assert!(gate::one_sentence(&source, &two, 6).is_err() && gate::one_sentence(&source, &result, 0).is_err());
}

// ---- augmentation ----

#[test]
fn rewordings_are_read_or_refused_by_name() {
    let source = note(&[(0, "First one."), (2, "Second one."), (5, "Third one.")]);
    let read = augment::parse("5) c\n\n0 a\n 2. b ", &source, None).unwrap();
    assert_eq!(read.numbered(), "0 a\n2 b\n5 c");
    for text in ["0 a\n2 b", "0 a\n2 b\n5 hacked"] {
        assert_eq!(augment::parse(text, &source, Some(5)).unwrap().numbered(), "0 a\n2 b\n5 Third one.");
    }
    let cases = [
        ("", "missing-sentence"),
        ("0 a\n2 b", "missing-sentence"),
        ("0 a\n2 b\n2 c\n5 d", "repeated-sentence"),
        ("0 a\n1 x\n2 b\n5 c", "unknown-sentence"),
        ("Here is the note:\n0 a\n2 b\n5 c", "parse-lines"),
        ("0 a\n2 b\n5 c\nand more", "parse-lines"),
        ("0 a\n2\n5 c", "empty-sentence"),
        ("0 a\n2nd b\n5 c", "parse-lines"),
        ("99999999999 a", "parse-lines"),
    ];
    for (text, expected) in cases {
        assert_eq!(augment::parse(text, &source, None).unwrap_err().gate(), expected, "{text}");
    }
}

/// All gates that refuse the note with one sentence reworded.
fn refused_rewordings(label: &Label, id: u32, text: &str) -> Vec<String> {
    let source = LabelledNote { note: clinic_note(), label: label.clone() };
    let result = source.note.with_sentence(id, text).unwrap();
    let mut gates = Gates::default();
    augment::check(&source, &result, &ScribeConfig::default(), Lexicon::standard(), &mut gates);
    gates.results.into_iter().filter(|r| !r.passed).map(|r| r.gate).collect()
}

#[test]
fn augmentation_gates_pass_rewordings() {
    let cases = [
        (0, "For two days, a 53 year old male has had a fever together with pain in his left knee."),
        (0, "This man, aged 53, has suffered from fever and pain of the left knee for 2 days."),
        (2, "There are no reports of chest pain, and he is on Glucophage 500 milligrams two times daily."),
        (2, "The patient does not report chest pain; current therapy is metformin 500mg BID."),
        (3, "Measurements: BP 120/80 mmHg, temperature 38.5 degrees Celsius, that is 101.3°F."),
        (5, "From the joint, N. gonorrhoeae was cultured; the diagnosis of septic arthritis followed that result."),
        (6, "A prescription of Rocephin was written."),
    ];
    for (id, text) in cases {
        let found = refused_rewordings(&Label::Clean, id, text);
        assert_eq!(found, Vec::<String>::new(), "{text}");
    }
}

#[test]
fn augmentation_gates_refuse_changed_facts() {
    let cases = [
        (0, "A 54-year-old man comes in with fever and pain of the left knee for 2 days.", "numbers"),
        (0, "A 53-year-old man comes in with fever and pain of the left knee for 2 weeks.", "numbers"),
        (0, "A 53-year-old man comes in with fever and pain of the right knee for 2 days.", "laterality"),
        (0, "A 53-year-old woman comes in with fever and pain of the left knee for 2 days.", "sex"),
        (0, "A 53-year-old patient comes in with fever and pain of the left knee for 2 days.", "sex"),
        (0, "A 53-year-old man comes in with fever and pain of the left knee after 2 days.", "time"),
        (0, "A 53-year-old man comes in with severe fever and pain of the left knee for 2 days.", "comparator"),
        (0, "A 53-year-old man and his wife come in with fever and left knee pain for 2 days.", "person"),
        (0, "A 53-year-old boy comes in with fever and pain of the left knee for 2 days.", "age"),
        (0, "A 53-year-old man comes in with fever and swelling of the left knee for 2 days.", "findings"),
        (0, "A 53-year-old man comes in with fever, rash and pain of the left knee for 2 days.", "findings"),
        (0, "A 53-year-old man comes in with fever and pain and pain of the left knee for 2 days.", "echo"),
        (5, "Joint cultures grew Neisseria gonorrhoeae and secondary septic arthritis was diagnosed.", "findings"),
        (5, "There were Neisseria gonorrhoeae and septic arthritis.", "telling-words"),
        (
            5,
            "Joint fluid sent off by courier to some distant institute beyond seven green hills grew what its staff called \
             Neisseria gonorrhoeae, so the wise clinicians concluded, and septic arthritis was diagnosed.",
            "telling-words",
        ),
        (2, "Chest pain is reported by him, and metformin 500 mg is taken twice daily.", "negation"),
        (2, "She denies having chest pain and is on metformin 500 mg twice daily.", "sex"),
        (2, "He denies having chest pain and is on metformin 500 mg once daily.", "time"),
        (2, "He denies having chest pain and is on insulin 500 mg twice daily.", "lexicon"),
        (2, "He denies having chest pain and is on a biguanide 500 mg twice daily.", "lexicon"),
        (5, "Joint cultures were positive for Neisseria gonorrhoeae: an arthritis.", "lexicon"),
        (6, "Ceftriaxone and cefixicillin were written down.", "lexicon"),
        (6, "Sure, ceftriaxone it is for him.", "meta-marker"),
        (6, "<b>Ceftriaxone</b> has been ordered here.", "meta-marker"),
        (6, "Ceftriaxone has been ordered, no error\u{200b}.", "safe-text"),
        (6, "Ceftriaxone was  prescribed.", "min-edits"),
        (6, "Ceftriaxone was prescribed.", "differs"),
        (6, "", "not-empty"),
        (
            6,
            "Ceftriaxone was prescribed in a very long-winded way, as one may well see from this endless \
             chain of words that goes on, \
             and on, and on, and on, until the very last reader of all has put the paper down and left.",
            "length-ratio",
        ),
    ];
    for (id, text, expected) in cases {
        let found = refused_rewordings(&Label::Clean, id, text);
        assert!(found.iter().any(|g| g == expected), "{text}: {found:?}");
    }
}

#[test]
fn error_sentence_and_correction_are_guarded() {
    let correction = "Joint cultures grew Staphylococcus aureus and septic arthritis was diagnosed.".to_owned();
    let label = Label::Error { kind: ErrorKind::CausalOrganism, sentence: 5, correction };
    let ok = "He was put on ceftriaxone for this.";
    assert_eq!(refused_rewordings(&label, 6, ok), Vec::<String>::new());
    assert_eq!(refused_rewordings(&label, 5, "The joint cultures: Neisseria gonorrhoeae; septic arthritis."), ["error-span"]);
    let leak = refused_rewordings(&label, 6, "Ceftriaxone covers staphylococcus too here.");
    assert!(leak.contains(&"correction-absent".to_owned()), "{leak:?}");
}

#[test]
fn markers_of_the_source_are_allowed() {
    let lexicon = Lexicon::standard();
    assert!(gate::no_markers(lexicon, "A medication error occurred; WBC <5.", "There was a medication error; WBC <5.").is_ok());
    assert!(gate::no_markers(lexicon, "A medication error occurred.", "An error, a medication error.").is_err());
    assert!(gate::no_markers(lexicon, "Given by injection.", "He got an injection.").is_ok());
}
