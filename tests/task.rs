//! The words of the game by hand-written tables: verdicts, rewards, safe text, quadrants, types, notes, counts.

mod fuzz;
mod injected;
mod outputs;
mod reward;

use std::collections::BTreeSet;

use medserl::task::{
    ErrorKind::{self, CausalOrganism, Diagnosis, Management, Pharmacotherapy, Treatment},
    Label, LabelledNote,
    Malformation::{self, *},
    Note, PromptStyle, Quadrant, QuadrantStats, Sample, Sentence, StopReason, Text, Verdict, report, verdict, without_secrets,
};

// ---------------------------------------------------------------------------------------------------- verdict::parse

fn labelled(label: Label) -> LabelledNote {
    let sentence = |(id, text): (u32, &str)| Sentence { id, text: text.to_owned() };
    let sentences = [(0, "She has dysuria."), (1, "Amoxicillin is given. "), (4, "She goes home.")].map(sentence).to_vec();
    LabelledNote { note: Note { id: "n-1".to_owned(), group: "g-1".to_owned(), sentences }, label }
}

fn truth(kind: ErrorKind) -> Label {
    Label::Error { kind, sentence: 1, correction: "Nitrofurantoin is given.".to_owned() }
}

const THINKING: &str = "<thinking>The drug does not fit here.</thinking>";

fn error(kind: ErrorKind, sentence: Option<u32>, correction: Option<&str>) -> Verdict {
    Verdict::Error { kind, sentence, correction: correction.map(str::to_owned) }
}

/// The whole completion.
#[track_caller]
fn check_completion(completion: &str, expected: Verdict) {
    assert_eq!(verdict::parse(completion), expected, "completion: {completion:?}");
}

#[track_caller]
fn check_refused(completion: &str, why: Malformation) {
    check_completion(completion, Verdict::Malformed { why });
}

/// Only what stands in the verdict tags.
#[track_caller]
fn check_claim(claim: &str, expected: Verdict) {
    check_completion(&format!("{THINKING}<verdict>{claim}</verdict>"), expected);
}

#[track_caller]
fn check_claim_refused(claim: &str, why: Malformation) {
    check_claim(claim, Verdict::Malformed { why });
}

#[test]
fn the_demanded_form_is_read() {
    check_completion(&format!("{THINKING}\n<verdict>No Clinical Error</verdict>"), Verdict::Clean);
    check_completion(&format!("  \n{THINKING} \n\t <verdict>\nNo Clinical Error\n</verdict>\n\n"), Verdict::Clean);
    check_completion("<thinking>\none two three four five\n</thinking><verdict>No Clinical Error</verdict>", Verdict::Clean);
    check_completion("<thinking>a < b, so b > a: fine.</thinking><verdict>No Clinical Error</verdict>", Verdict::Clean);
    check_completion(
        "<thinking>Error: Diagnosis? No, all five fit.</thinking><verdict>No Clinical Error</verdict>",
        Verdict::Clean,
    );
    check_completion("<thinking>Fièvre à 38,6 °C depuis hier.</thinking><verdict>No Clinical Error</verdict>", Verdict::Clean);
}

#[test]
fn clean_claims() {
    check_claim("No Clinical Error", Verdict::Clean);
    check_claim("no clinical error", Verdict::Clean);
    check_claim("NO CLINICAL ERROR.", Verdict::Clean);
    check_claim("  No   Clinical\nError . ", Verdict::Clean);
    check_claim("No\u{a0}Clinical\u{a0}Error", Verdict::Clean);
    check_claim_refused("No Error", UnknownVerdict);
    check_claim_refused("Clean", UnknownVerdict);
    check_claim_refused("", UnknownVerdict);
    check_claim_refused(".", UnknownVerdict);
    check_claim_refused("No Clinical Errors found", UnknownVerdict);
    check_claim_refused("No Clinical Error found", UnknownVerdict);
    check_claim_refused("NoClinicalError", UnknownVerdict);
    check_claim_refused("Not No Clinical Error", UnknownVerdict);
    check_claim_refused("No Clinical Error..", UnknownVerdict);
    check_claim_refused("No Clinical Error; Error: Diagnosis", UnknownVerdict);
    check_claim_refused("No Clinical Error. Error: Diagnosis", UnknownVerdict);
    check_claim_refused("No Clinical \u{415}rror", UnknownVerdict); // Cyrillic Ie
    check_claim_refused("No Clin\u{200b}ical Error", UnknownVerdict); // zero-width space
    check_claim_refused("\u{202e}No Clinical Error", UnknownVerdict); // right-to-left override
    check_claim_refused("\u{feff}No Clinical Error", UnknownVerdict); // byte-order mark
}

#[test]
fn error_claims_name_one_type() {
    check_claim("Error: Diagnosis", error(Diagnosis, None, None));
    check_claim("Error: Management.", error(Management, None, None));
    check_claim("error: treatment", error(Treatment, None, None));
    check_claim("ERROR : PHARMACOTHERAPY", error(Pharmacotherapy, None, None));
    check_claim("Error:Causal Organism", error(CausalOrganism, None, None));
    check_claim("Error: causalOrganism", error(CausalOrganism, None, None));
    check_claim("Error: causal-organism", error(CausalOrganism, None, None));
    check_claim("Error: Causal\u{a0}Organism", error(CausalOrganism, None, None));
    check_claim_refused("Error:", UnknownType);
    check_claim_refused("Error", UnknownVerdict);
    check_claim_refused("Diagnosis", UnknownVerdict);
    check_claim_refused("Clinical Error: Diagnosis", UnknownVerdict);
    check_claim_refused("Error: No Clinical Error", UnknownType);
    check_claim_refused("Error: not Pharmacotherapy", UnknownType);
    check_claim_refused("Error: Dosage", UnknownType);
    check_claim_refused("Error: NA", UnknownType);
    check_claim_refused("Error: TYPE; Sentence: NUMBER; Correction: text", BadSentence);
    check_claim_refused("Error: Diagnosis, Management, Treatment, Pharmacotherapy, Causal Organism", UnknownType);
    check_claim_refused("Error: Diagnosis; Management", UnknownType);
    check_claim_refused("Error: Diagnosis / Treatment", UnknownType);
    check_claim_refused("Error: Diagnosis; Error: Treatment", UnknownType);
    check_claim_refused("Error: Diagnosis; Confidence: high", UnknownType);
    check_claim_refused("Error: Diagnosis Diagnosis", UnknownType);
}

#[test]
fn look_alike_and_hidden_letters_make_no_type() {
    check_claim_refused("\u{415}rror: Diagnosis", UnknownVerdict); // Cyrillic Ie
    check_claim_refused("Error\u{ff1a} Diagnosis", UnknownVerdict); // full-width colon
    check_claim_refused("Error: Di\u{430}gnosis", UnknownType); // Cyrillic a
    check_claim_refused("Error: \u{ff24}\u{ff49}agnosis", UnknownType); // full-width Di
    check_claim_refused("Error: \u{1d403}iagnosis", UnknownType); // mathematical bold D
    check_claim_refused("Error: Treat\u{202e}ment", UnknownType); // right-to-left override
    check_claim_refused("Error: Dia\u{200b}gnosis", UnknownType); // zero-width space
    check_claim_refused("Error: Dia\u{ad}gnosis", UnknownType); // soft hyphen
    check_claim_refused("Error: Dia\u{301}gnosis", UnknownType); // combining acute
    check_claim_refused("Error: Dia\u{7}gnosis", UnknownType); // bell
    check_claim_refused("Error: \u{1b}[31mDiagnosis", UnknownType); // terminal escape
    check_claim_refused("Error: Diagnosis \u{1f642}", UnknownType); // emoji
}

#[test]
fn sentences_are_plain_numbers() {
    check_claim("Error: Diagnosis; Sentence: 3", error(Diagnosis, Some(3), None));
    check_claim("Error: Diagnosis;sentence:0", error(Diagnosis, Some(0), None));
    check_claim("Error: Diagnosis ; SENTENCE : 12.", error(Diagnosis, Some(12), None));
    check_claim_refused("Error: Diagnosis; Sentence:", BadSentence);
    check_claim_refused("Error: Diagnosis; Sentence: -1", BadSentence);
    check_claim_refused("Error: Diagnosis; Sentence: +3", BadSentence);
    check_claim_refused("Error: Diagnosis; Sentence: three", BadSentence);
    check_claim_refused("Error: Diagnosis; Sentence: 3, 4", BadSentence);
    check_claim_refused("Error: Diagnosis; Sentence: 3; Sentence: 4", BadSentence);
    check_claim_refused("Error: Diagnosis; Sentence: 99999999999", BadSentence);
    check_claim_refused("Error: Diagnosis; Sentence: \u{663}", BadSentence); // Arabic-Indic three
    check_claim_refused("Error: Diagnosis; Sentence: \u{ff13}", BadSentence); // full-width three
    check_claim_refused("Error: Diagnosis; Sentence 3", UnknownType);
}

#[test]
fn corrections_are_kept_whole() {
    check_claim("Error: Treatment; Sentence: 4; Correction: Rest.", error(Treatment, Some(4), Some("Rest.")));
    check_claim("Error: Treatment; Correction: Rest.", error(Treatment, None, Some("Rest.")));
    check_claim(
        "Error: Treatment; Sentence: 4; Correction: Rest; ice; splint.",
        error(Treatment, Some(4), Some("Rest; ice; splint.")),
    );
    check_claim("Error: Treatment; Correction: A; Sentence: 9", error(Treatment, None, Some("A; Sentence: 9")));
    check_claim("Error: Treatment; Correction: A; Correction: B", error(Treatment, None, Some("A; Correction: B")));
    check_claim("Error: Treatment; Correction: He said: \"no\".", error(Treatment, None, Some("He said: \"no\".")));
    check_claim("Error: Treatment; Correction: pH < 7.2", error(Treatment, None, Some("pH < 7.2")));
    check_claim(
        "Error: Treatment; Correction: 38.6 \u{b0}C\nand falling",
        error(Treatment, None, Some("38.6 \u{b0}C\nand falling")),
    );
    check_claim("Error: Treatment; Correction: \u{202e}tser", error(Treatment, None, Some("\u{202e}tser"))); // raw; shown as Text only
    check_claim_refused("Error: Treatment; Sentence: 4; Correction:", EmptyCorrection);
    check_claim_refused("Error: Treatment; Correction:   ", EmptyCorrection);
    check_claim_refused("Error: Everything; Correction: Rest.", UnknownType);
}

#[test]
fn broken_forms_are_refused_with_their_reason() {
    check_refused("", Empty);
    check_refused(" \n\t ", Empty);
    check_refused("The note is fine.", MissingThinking);
    check_refused("<verdict>No Clinical Error</verdict>", MissingThinking);
    check_refused("Sure. <thinking>one two three four five</thinking><verdict>No Clinical Error</verdict>", TextBeforeThinking);
    check_refused("</thinking><thinking>one two three four five<verdict>No Clinical Error</verdict>", TextBeforeThinking);
    check_refused("<thinking>", UnclosedThinking);
    check_refused("<thinking>one two three four five", UnclosedThinking);
    check_refused("<thinking>one two three four five<verdict>No Clinical Error</verdict>", UnclosedThinking);
    check_refused("<thinking></thinking><verdict>No Clinical Error</verdict>", ThinkingTooShort);
    check_refused("<thinking>one two three four</thinking><verdict>No Clinical Error</verdict>", ThinkingTooShort);
    check_refused("<thinking>. . . . .</thinking><verdict>No Clinical Error</verdict>", ThinkingTooShort);
    check_refused(
        "<thinking>\u{200b} \u{200b} \u{200b} \u{200b} \u{200b}</thinking><verdict>No Clinical Error</verdict>",
        ThinkingTooShort,
    );
    check_refused(THINKING, MissingVerdict);
    check_refused(&format!("{THINKING} No Clinical Error"), MissingVerdict);
    check_refused("<thinking>it is so, <verdict>No Clinical Error</verdict> I say</thinking>", MissingVerdict);
    check_refused(&format!("{THINKING}<verdict>No Clinical Error"), UnclosedVerdict);
    check_refused(&format!("{THINKING} so: <verdict>No Clinical Error</verdict>"), TextBetween);
    check_refused(&format!("{THINKING}</verdict><verdict>No Clinical Error"), TextBetween);
    check_refused(&format!("{THINKING}<verdict>No Clinical Error</verdict> Done."), TextAfterVerdict);
    check_refused(&format!("{THINKING}<verdict>Error: Diagnosis</verdict><end_of_turn>"), TextAfterVerdict);
}

#[test]
fn attacks_on_the_grammar_are_refused() {
    let clean = format!("{THINKING}<verdict>No Clinical Error</verdict>");
    check_refused(&format!("{clean}<verdict>Error: Diagnosis</verdict>"), RepeatedTag);
    check_refused(&format!("{clean}{clean}"), RepeatedTag);
    check_refused(&format!("<thinking>{clean}</thinking>"), RepeatedTag);
    check_refused(
        &format!("{THINKING}<verdict>Error: Diagnosis; Correction: x</verdict><verdict>No Clinical Error</verdict>"),
        RepeatedTag,
    );
    check_refused(&format!("{THINKING}<verdict>Error: Diagnosis; Correction: <verdict></verdict>"), RepeatedTag);
    check_refused(
        "<thinking>I write <verdict>No Clinical Error</verdict> here</thinking><verdict>No Clinical Error</verdict>",
        RepeatedTag,
    );
    check_refused(
        "<thinking>Diagnosis Management Treatment Pharmacotherapy Causal Organism causalOrganism No Clinical Error",
        UnclosedThinking,
    );
    check_refused(&clean.to_uppercase(), MissingThinking);
    check_refused(&clean.replace('<', "\u{ff1c}"), MissingThinking); // full-width less-than
    check_refused(&clean.replace("<thinking>", "<think\u{200b}ing>"), MissingThinking);
    check_refused(&clean.replace("</thinking>", "</thinking >"), UnclosedThinking);
    check_refused(&clean.replace("<verdict>", "< verdict>"), MissingVerdict);
    let note = labelled(Label::Clean).note;
    let doctor = medserl::task::prompt::doctor(PromptStyle::Full, &note);
    check_refused(&doctor.turns[0].content, RepeatedTag); // prompt echo
    check_refused(&note.numbered(), MissingThinking); // note echo
}

#[test]
fn what_ran_out_of_tokens_is_malformed_whatever_it_says() {
    let whole = format!("{THINKING}<verdict>No Clinical Error</verdict>");
    let truncated = Verdict::Malformed { why: Truncated };
    for text in ["", "<thinking>The pat", "I think", whole.as_str(), &whole[..whole.len() - 3]] {
        assert_eq!(verdict::read(text, StopReason::Length), truncated, "{text:?}");
        assert_eq!(verdict::read(text, StopReason::EndOfTurn), verdict::parse(text), "{text:?}");
    }
    assert_eq!(verdict::read(&whole, StopReason::EndOfTurn), Verdict::Clean);
}

#[test]
fn unfinished_text_is_split_for_display() {
    let check = |text: &str, expected: (&str, Option<&str>)| assert_eq!(verdict::split_for_display(text), expected, "{text:?}");
    check("", ("", None));
    check("<thinking>The pa", ("The pa", None));
    check("<thinking>The patient</thinking>", ("The patient", None));
    check("<thinking>The patient</thinking>\n<verdict>Err", ("The patient", Some("Err")));
    check("<thinking>a b</thinking><verdict> No Clinical Error </verdict> more", ("a b", Some("No Clinical Error")));
    check("just words", ("just words", None));
    check("<think", ("", None));
    check("<thinking>below < 3</thin", ("below < 3", None));
    check("<thinking>a</thinking><verd", ("a", None));
    check("<thinking>a</thinking><verdict>No Clinical Error</v", ("a", Some("No Clinical Error")));
}

#[test]
fn flags_of_verdicts_and_reasons_in_words() {
    assert_eq!(Verdict::Clean.flag(), Some(false));
    assert_eq!(error(Diagnosis, None, None).flag(), Some(true));
    assert_eq!(Verdict::Malformed { why: Empty }.flag(), None);
    let all = [
        Empty,
        TextBeforeThinking,
        MissingThinking,
        UnclosedThinking,
        ThinkingTooShort,
        MissingVerdict,
        UnclosedVerdict,
        TextBetween,
        TextAfterVerdict,
        RepeatedTag,
        UnknownVerdict,
        UnknownType,
        BadSentence,
        EmptyCorrection,
        Truncated,
    ];
    let words: BTreeSet<&str> = all.iter().map(|why| why.describe()).collect();
    assert_eq!(words.len(), all.len(), "two reasons read the same: {words:?}");
}

// ------------------------------------------------------------------------------------- text, quadrants, types, notes

#[test]
fn hostile_text_is_made_safe() {
    let check = |raw: &str, safe: &str| assert_eq!(Text::new(raw).as_str(), safe, "{raw:?}");
    check("Temperature 38.6 \u{b0}C, µg ≥ ½ β", "Temperature 38.6 \u{b0}C, µg ≥ ½ β");
    check("one\ntwo\r\nthree", "one\ntwo\nthree");
    check("a\tb", "a b");
    check("a\rb", "a\u{fffd}b"); // would overwrite the line
    check("\u{1b}[2Jx", "\u{fffd}[2Jx");
    check("\u{9b}31mx", "\u{fffd}31mx"); // C1 control sequence introducer
    check("a\0b\u{7f}c\u{8}", "a\u{fffd}b\u{fffd}c\u{fffd}");
    check("\u{202e}rotcod", "\u{fffd}rotcod");
    check("\u{2066}a\u{2069}", "\u{fffd}a\u{fffd}");
    check("a\u{200b}b\u{200d}c\u{feff}", "a\u{fffd}b\u{fffd}c\u{fffd}");
    check("a\u{ad}b\u{34f}c\u{2028}", "a\u{fffd}b\u{fffd}c\u{fffd}");
    check("x\u{fe0f}\u{e0041}\u{e000}", "x\u{fffd}\u{fffd}\u{fffd}");
    check("a\u{17b4}\u{1d173}\u{1bca0}", "a\u{fffd}\u{fffd}\u{fffd}");
    check("", "");
    let twice = Text::new("\u{1b}x\r\r\n");
    assert_eq!(Text::new(twice.as_str()), twice);
    let smuggled: Text = serde_json::from_str("\"\\u001b[31m\"").unwrap();
    assert_eq!(smuggled.to_string(), "\u{fffd}[31m");
}

#[test]
fn quadrants() {
    let check = |q: Quadrant, code, index, holds, starts| {
        assert_eq!((q.code(), q.index(), q.holds_error(), q.starts_from_error()), (code, index, holds, starts));
        assert_eq!(Quadrant::ALL[index], q);
        assert_eq!(Quadrant::parse(code), Some(q));
        assert_eq!(serde_json::to_string(&q).unwrap(), format!("\"{code}\""));
    };
    check(Quadrant::AugmentedError, "AE", 0, true, true);
    check(Quadrant::AugmentedSafe, "AS", 1, false, false);
    check(Quadrant::SyntheticDecoy, "SD", 2, false, false);
    check(Quadrant::SyntheticInjection, "SI", 3, true, false);
    assert_eq!(Quadrant::parse(" si "), Some(Quadrant::SyntheticInjection));
    assert_eq!(Quadrant::parse("SX"), None);
    assert_eq!(Quadrant::parse(""), None);
    assert_eq!(Sample::make_id(Quadrant::SyntheticInjection, 318, 7), "SI-0318-07");
}

#[test]
fn error_types_compare_by_letters() {
    let check = |name: &str, expected| assert_eq!(ErrorKind::parse(name), expected, "{name:?}");
    for kind in ErrorKind::ALL {
        check(kind.title(), Some(kind));
        check(kind.medec_name(), Some(kind));
        check(&kind.title().to_uppercase(), Some(kind));
    }
    check(" causal_organism ", Some(CausalOrganism));
    check("causal\torganism", Some(CausalOrganism));
    check("[Treatment]", Some(Treatment));
    for unknown in
        ["", "NA", "Diagnoses", "Diag", "DiagnosisTreatment", "Diagn\u{f3}sis", "Diagnosis\u{200b}", "Diagnosis\u{0}", "é"]
    {
        check(unknown, None);
    }
}

#[test]
fn notes_look_sentences_up_by_id() {
    let labelled = labelled(truth(Pharmacotherapy));
    assert_eq!(labelled.note.text(), "She has dysuria. Amoxicillin is given. She goes home.");
    assert_eq!(labelled.note.numbered(), "0 She has dysuria.\n1 Amoxicillin is given.\n4 She goes home.");
    assert_eq!(labelled.note.sentence(4).map(|s| s.text.as_str()), Some("She goes home."));
    assert_eq!(labelled.note.sentence(2), None);
    assert_eq!(labelled.note.with_sentence(2, "x"), None);
    let corrected = labelled.corrected().unwrap();
    assert_eq!(corrected.text(), "She has dysuria. Nitrofurantoin is given. She goes home.");
    let clean = LabelledNote { label: Label::Clean, ..labelled };
    assert_eq!(clean.corrected(), Some(clean.note));
}

#[test]
fn quadrant_counts_and_the_registry_of_metrics() {
    let mut stats = QuadrantStats::default();
    assert_eq!((stats.accuracy(), stats.reward_mean()), (0.0, 0.0));
    stats.add(&truth(Treatment), &error(Treatment, None, None), 1.0);
    stats.add(&truth(Treatment), &error(Diagnosis, None, None), 0.5);
    stats.add(&truth(Treatment), &Verdict::Clean, -1.0);
    stats.add(&Label::Clean, &Verdict::Clean, 1.0);
    stats.add(&Label::Clean, &error(Diagnosis, None, None), -1.5);
    stats.add(&Label::Clean, &Verdict::Malformed { why: Empty }, -1.5);
    let counts = (
        stats.true_positives,
        stats.false_negatives,
        stats.true_negatives,
        stats.false_positives,
        stats.malformed,
        stats.right_type,
    );
    assert_eq!(counts, (2, 1, 1, 1, 1, 1));
    let mut doubled = stats;
    doubled.merge(&stats);
    assert_eq!((doubled.n_rollouts, doubled.accuracy(), doubled.reward_mean()), (12, 0.5, -0.25));
    let keys: BTreeSet<&str> = report::METRICS.iter().map(|metric| metric.key).collect();
    assert_eq!(keys.len(), report::METRICS.len(), "a metric is registered twice");
    assert!(report::METRICS.iter().all(|metric| !metric.meaning.is_empty()));
}

#[test]
fn secrets_are_taken_out_and_nothing_else() {
    let check = |text: &str, clean: &str| {
        assert_eq!(without_secrets(text), clean);
        assert_eq!(without_secrets(clean), clean, "taking out twice changes nothing");
    };
    check("hf_ab is short, half_life is a word, 5 mg?", "hf_ab is short, half_life is a word, 5 mg?");
    check("token hf_0123456789abcdef.", "token [redacted].");
    check("Authorization: Bearer a.b-c d", "Authorization: Bearer [redacted] d");
    check("https://cdn.example/x?sig=1&e=2 (403)", "https://cdn.example/x?[redacted] (403)");
    check("https://user:pw@host/a b", "https://[redacted]@host/a b");
    check("https://user:pw@host/a?sig=1 b", "https://[redacted]@host/a?[redacted] b");
    check(
        "to https://a/https://me:pw@b/c?d, Bearer hf_0123456789abcdef.x",
        "to https://a/https://[redacted]@b/c?[redacted] Bearer [redacted]",
    );
    check("Bearer [redacted] and Bearer abc", "Bearer [redacted] and Bearer [redacted]");
    check("http://host/é?é=1\nhf_aaaaaaaaaaaa\u{e9}", "http://host/é?[redacted]\n[redacted]\u{e9}");
    check("https://host/plain?", "https://host/plain?");
}
