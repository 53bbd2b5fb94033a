//! Scores, intervals, tests, baselines and the official MEDEC metrics.
//! Where the shared material (`$MEDSERL_SHARED`, or `../shared`) is present, the official figures must come out too.

mod compare;
mod official;

use std::{
    fs,
    path::{Path, PathBuf},
};

use medserl::{
    eval::{
        Baseline, Graded, McNemar, Rate, Reference, Scores, Submission, Unmatched,
        baseline::majority_kind,
        baselines, bootstrap,
        graded::Pairs,
        mcnemar::{self, exact_p},
        medec_score::score,
        rouge::rouge,
        submission, tallies, wilson,
    },
    task::{
        ErrorKind::{self, CausalOrganism, Diagnosis, Treatment},
        Label, LabelledNote, Note, Sentence, Verdict,
        verdict::Malformation,
    },
};

const UNREAD: Verdict = Verdict::Malformed { why: Malformation::Empty };

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-12
}

fn note(id: &str, group: &str, label: Label) -> LabelledNote {
    let sentences = (0..3).map(|id| Sentence { id, text: format!("Sentence {id}.") }).collect();
    LabelledNote { note: Note { id: id.to_owned(), group: group.to_owned(), sentences }, label }
}

fn truth(kind: ErrorKind) -> Label {
    Label::Error { kind, sentence: 1, correction: "Right.".to_owned() }
}

fn claim(kind: ErrorKind, sentence: u32) -> Verdict {
    Verdict::Error { kind, sentence: Some(sentence), correction: Some("Right.".to_owned()) }
}

/// One pair: the verdict on the error note (Treatment, sentence 1), then on its clean sibling.
fn pair(group: &str, on_error: Verdict, on_clean: Verdict) -> [Graded; 2] {
    let id = |which| format!("{group}-{which}");
    [
        Graded::claimed(&note(&id("error"), group, truth(Treatment)), on_error),
        Graded::claimed(&note(&id("clean"), group, Label::Clean), on_clean),
    ]
}

/// Every outcome of a pair once, and one error note without a sibling.
fn mixed() -> Vec<Graded> {
    let mut graded: Vec<Graded> = [
        pair("right", claim(Treatment, 1), Verdict::Clean),
        pair("inverted", Verdict::Clean, claim(Treatment, 1)),
        pair("both-clean", Verdict::Clean, Verdict::Clean),
        pair("both-error", claim(Diagnosis, 2), claim(Treatment, 1)),
        pair("unread", UNREAD, Verdict::Clean),
    ]
    .into_iter()
    .flatten()
    .collect();
    graded.push(Graded::claimed(&note("alone", "alone", truth(CausalOrganism)), claim(CausalOrganism, 2)));
    graded
}

// ------------------------------------------------------------------------------------------------------------ scores

#[test]
fn scores_count_what_they_say() {
    let scores = Scores::of(&mixed());
    assert_eq!((scores.n_notes, scores.n_error, scores.n_clean, scores.n_pairs), (11, 6, 5, 5));
    assert_eq!(scores.pairs, Pairs { right: 1, inverted: 1, both_clean: 1, both_error: 1, unread: 1 });
    let check = |rate: Rate, hits: f64, out_of: usize| {
        let (value, over) = scores.rate(rate);
        assert!(close(value, hits / out_of as f64) && over == out_of, "{rate:?}: {value} of {over}");
    };
    check(Rate::FlagAccuracy, 6.0, 11);
    check(Rate::FalsePositiveRate, 2.0, 5);
    check(Rate::FalseNegativeRate, 2.0, 6);
    check(Rate::MalformedRate, 1.0, 11);
    check(Rate::SentenceAccuracy, 4.0, 11);
    check(Rate::TypeAccuracy, 2.0, 6);
    check(Rate::PairAccuracy, 1.0, 5);
    let of = |kind: ErrorKind| scores.per_type_recall.get(&kind).map(|r| (r.n_notes, r.flagged, r.right_type));
    assert_eq!((of(Treatment), of(CausalOrganism), of(Diagnosis)), (Some((5, 2, 1)), Some((1, 1, 1)), None));
}

#[test]
fn siblings_are_paired_in_order_and_only_within_their_group() {
    let mut graded: Vec<Graded> = pair("g", claim(Treatment, 1), Verdict::Clean).into();
    graded.extend(pair("g", Verdict::Clean, Verdict::Clean));
    graded.extend(pair("h", claim(Treatment, 1), Verdict::Clean).into_iter().take(1));
    let scores = Scores::of(&graded);
    assert_eq!((scores.n_pairs, scores.pairs.right, scores.pairs.both_clean), (2, 1, 1));
}

#[test]
fn completions_are_graded_through_the_parser() {
    let note = note("n", "g", truth(Treatment));
    let thinking = "<thinking>One two three four five.</thinking>";
    let right = Graded::new(&note, &format!("{thinking}<verdict>Error: Treatment; Sentence: 1; Correction: Right.</verdict>"));
    assert!(right.flag_right() && right.type_right() && right.sentence_right());
    assert_eq!(right.n_words, 10);
    let unread = Graded::new(&note, "Error: Treatment; Sentence: 1");
    assert!(!unread.flag_right() && !unread.type_right() && !unread.sentence_right());
}

#[test]
fn printed_and_stored_scores() {
    let scores = Scores::with_intervals(&mixed(), 7);
    let lines = scores.lines();
    let line = |start: &str| lines.iter().find(|l| l.starts_with(start)).unwrap_or_else(|| panic!("no {start:?} in {lines:?}"));
    assert!(line("flag accuracy").contains(" 54.5 %  of 11  95% ["));
    assert!(line("recall Causal Organism").contains("100.0 %  1 of 1, 1 with the right type"));
    assert!(lines.iter().all(|l| l.len() <= 80), "{lines:?}");
    let back: Scores = serde_json::from_str(&serde_json::to_string(&scores).unwrap()).unwrap();
    assert_eq!(
        (back.n_pairs, &back.pairs, &back.per_type_recall, back.lines()),
        (5, &scores.pairs, &scores.per_type_recall, lines.clone())
    );
    let nothing = Scores::of(&[]);
    assert_eq!(nothing, Scores::default());
    assert!(nothing.lines().iter().any(|l| l.starts_with("pair accuracy") && l.ends_with("n/a")));
}

// --------------------------------------------------------------------------------------------------------- intervals

#[test]
fn bootstrap_resamples_groups_and_is_seeded() {
    let groups = tallies(&mixed());
    assert_eq!(groups.len(), 6);
    let interval = |seed| bootstrap(&groups, Rate::FlagAccuracy, seed, 2000).unwrap();
    assert_eq!(interval(1), interval(1));
    let (low, high) = (interval(1).low, interval(1).high);
    assert!((0.0..6.0 / 11.0).contains(&low) && high > 6.0 / 11.0 && high <= 1.0, "{low} {high}");
    assert!(bootstrap(&[], Rate::FlagAccuracy, 1, 100).is_none());
    let cleans = tallies(&[Graded::claimed(&note("c", "c", Label::Clean), Verdict::Clean)]);
    assert!(bootstrap(&cleans, Rate::TypeAccuracy, 1, 100).is_none());
}

/// 400 groups of one pair, flags right with probability one half: the binomial standard error of independent pairs.
#[test]
fn bootstrap_width_is_that_of_independent_groups() {
    let graded: Vec<Graded> = (0..400)
        .flat_map(|i| {
            if i % 2 == 0 {
                pair(&format!("g{i}"), claim(Treatment, 1), Verdict::Clean)
            } else {
                pair(&format!("g{i}"), UNREAD, UNREAD)
            }
        })
        .collect();
    let groups = tallies(&graded);
    for rate in [Rate::FlagAccuracy, Rate::PairAccuracy] {
        let i = bootstrap(&groups, rate, 3, 4000).unwrap();
        // Both notes of a pair agree, so 800 notes are worth 400: +- 1.96 * 0.5 / 20, not / 28.
        assert!((i.low - 0.451).abs() < 0.006 && (i.high - 0.549).abs() < 0.006, "{rate:?}: {i}");
    }
}

#[test]
fn wilson_intervals() {
    let check = |hits: usize, n: usize, low: f64, high: f64| {
        let i = wilson(hits, n).unwrap();
        assert!((i.low - low).abs() < 1e-9 && (i.high - high).abs() < 1e-9, "{hits}/{n}: {i:?}");
    };
    check(50, 50, 0.928_652_400_866_641_4, 1.0);
    check(100, 100, 0.963_006_501_793_014_3, 1.0);
    check(0, 10, 0.0, 0.277_532_799_862_889_2);
    check(5, 10, 0.236_593_090_512_564, 0.763_406_909_487_436_1);
    check(328, 574, 0.530_601_594_327_878_6, 0.611_305_841_956_178_8);
    assert!(wilson(0, 0).is_none());
}

// ----------------------------------------------------------------------------------------------------------- McNemar

#[test]
fn exact_p_values() {
    let check = |lost, won, p: f64| assert!((exact_p(lost, won) / p - 1.0).abs() < 1e-9, "{lost} {won}: {}", exact_p(lost, won));
    check(0, 0, 1.0);
    check(1, 0, 1.0);
    check(5, 0, 0.0625);
    check(3, 7, 0.34375);
    check(7, 3, 0.34375);
    check(10, 10, 1.0);
    check(40, 80, 0.000_330_400_018_391_320_7);
    check(300, 200, 8.940_066_542_253_267e-6);
    check(1200, 1000, 2.181_702_640_791_471_2e-5);
}

#[test]
fn before_and_after_are_matched_by_note() {
    let before = [pair("a", Verdict::Clean, Verdict::Clean), pair("b", Verdict::Clean, claim(Treatment, 1))].concat();
    let mut after = [pair("a", claim(Treatment, 1), Verdict::Clean), pair("b", claim(Treatment, 1), UNREAD)].concat();
    after.reverse();
    let expected = McNemar { both_right: 1, lost: 0, won: 2, both_wrong: 1, p_value: 0.5 };
    assert_eq!(mcnemar::mcnemar(&before, &after), Ok(expected));
    assert_eq!(mcnemar::mcnemar(&before, &after[1..]), Err(Unmatched::OneSided("b-clean".to_owned())));
    assert_eq!(mcnemar::mcnemar(&before[1..], &after), Err(Unmatched::OneSided("a-error".to_owned())));
    let twice = [after.clone(), after.clone()].concat();
    assert!(matches!(mcnemar::mcnemar(&before, &twice), Err(Unmatched::Twice(_))));
}

// --------------------------------------------------------------------------------------------------------- baselines

#[test]
fn trivial_policies_on_the_same_notes() {
    let last = Label::Error { kind: Diagnosis, sentence: 2, correction: "Right.".to_owned() };
    let notes = [
        note("a", "g", truth(Treatment)),
        note("b", "g", Label::Clean),
        note("c", "h", last.clone()),
        note("d", "i", last),
        note("e", "i", Label::Clean),
    ];
    assert_eq!(majority_kind(&notes[..3]), Diagnosis, "of equals the first");
    assert_eq!(majority_kind(&[]), Diagnosis);
    let [clean, error]: [Baseline; 2] = baselines(&notes).try_into().unwrap();
    assert_eq!((clean.policy.as_str(), error.policy.as_str()), ("always clean", "always error, last sentence, Diagnosis"));
    assert!(close(clean.scores.flag_accuracy, 0.4) && close(clean.scores.sentence_accuracy, 0.4));
    assert!(close(error.scores.flag_accuracy, 0.6) && close(error.scores.sentence_accuracy, 0.4));
    assert!(close(error.scores.type_accuracy, 2.0 / 3.0) && close(error.scores.false_positive_rate, 1.0));
    assert_eq!((clean.scores.pairs.both_clean, error.scores.pairs.both_error), (2, 2));
}

// ------------------------------------------------------------------------------------------------------------- ROUGE

/// F of ROUGE-1, -2 and -L; expected values printed by the Python package `rouge` 1.0.1.
#[test]
fn rouge_is_that_of_the_python_package() {
    let check = |hypothesis: &str, reference: &str, expected: [f64; 3]| {
        let r = rouge(hypothesis, reference).unwrap();
        let scored = [r.one.f, r.two.f, r.l.f];
        assert!(scored.iter().zip(&expected).all(|(a, b)| close(*a, *b)), "{hypothesis:?} / {reference:?}: {scored:?}");
    };
    check("the cat sat on the mat", "the cat sat on the mat", [0.999999995, 0.999999995, 0.999999995]);
    check("the the the the", "the cat the dog", [0.4999999962500001, 0.0, 0.4999999962500001]);
    check("A b C.", "a b c", [0.3333333283333334, 0.0, 0.3333333283333334]);
    check(
        "dose of 1.5 mg given. Then stopped.",
        "dose of 1.5 mg given.",
        [0.8571428522448981, 0.8333333284722222, 0.8571428522448981],
    );
    check("Then stopped. Dose given", "Dose given. Then stopped", [0.999999995, 0.6666666616666668, 0.999999995]);
    check("one", "one", [0.999999995, 0.0, 0.999999995]);
    check("one", "one two three", [0.4999999962500001, 0.0, 0.4999999962500001]);
    check("a b c d e f", "f e d c b a", [0.999999995, 0.0, 0.16666666166666683]);
    check("a b. c d. e f", "a b c d e f", [0.999999995, 0.999999995, 0.999999995]);
    check("a a a b b", "a b a b a", [0.999999995, 0.39999999520000007, 0.4999999950000001]);
    check("w1 w2 w3. w4 w5. w6", "w6. w5 w4. w3 w2 w1", [0.999999995, 0.0, 0.4999999950000001]);
    check("tab\tseparated  double  spaces", "tab separated double spaces", [0.999999995, 0.999999995, 0.999999995]);
    check("given.", "given. ", [0.6666666622222223, 0.0, 0.6666666622222223]);
    check("given. ", "given.", [0.6666666622222223, 0.0, 0.6666666622222223]);
    check("one . . two", "one two", [0.7999999952000001, 0.0, 0.7999999952000001]);
    check("a\u{1c}b", "a b", [0.999999995, 0.999999995, 0.999999995]);
    check("b a c b d a", "a b d c a b", [0.999999995, 0.22222221728395072, 0.749999995]);
    check("hyphen-ated, comma", "hyphen-ated , comma", [0.39999999520000007, 0.0, 0.39999999520000007]);
    check(" .", "x y", [0.0, 0.0, 0.0]);
    check("naïve café", "naive café", [0.4999999950000001, 0.0, 0.4999999950000001]);
    for (hypothesis, reference) in [("...", "dots only"), ("dots only", "..."), ("", "empty"), ("empty", "")] {
        assert_eq!(rouge(hypothesis, reference), None, "{hypothesis:?} / {reference:?}");
    }
}

// -------------------------------------------------------------------------------------------------- official metrics

const CSV: &str = "Text ID,Text,Sentences,Error Flag,Error Type,Error Sentence ID,Error Sentence,Corrected Sentence,Corrected Text\n\
    n-0,x,0 x,1,diagnosis,0,One bad word,One good word,x\n\
    n-1,x,0 x,0,NA,-1,NA,NA,NA\n\
    ,,,,,,,,\n\
    n-2,x,0 x,1,treatment,4,Take it,Leave it,x\n\
    n-3,x,0 x,0,NA,-1,NA,NA,NA\n";

fn reference(csv: &str) -> Reference {
    Reference::parse(Path::new("ref.csv"), csv.as_bytes()).unwrap()
}

#[test]
fn submission_lines_are_read_as_the_official_script_reads_them() {
    let check = |line: &str, expected: Option<[&str; 4]>| {
        let submission = Submission::parse(line);
        let read = submission.predictions.iter().next().map(|(id, p)| [id.as_str(), &p.flag, &p.sentence, &p.correction]);
        assert_eq!(read, expected, "{line:?}");
        assert_eq!(submission.bad_lines.len(), usize::from(expected.is_none()), "{line:?}");
    };
    check("n-0 1 5 Leave it.", Some(["n-0", "1", "5", "Leave it."]));
    check("n-0 1 5 \"Leave  \t it.\"  \r\n", Some(["n-0", "1", "5", "Leave it."]));
    check("n-0\t1\u{a0}5 \"\"Leave it\"\"\"", Some(["n-0", "1", "5", "Leave it"]));
    check("n-0 1 5 \"", Some(["n-0", "1", "5", "\""]));
    check("n-0 1 5 \\g<9> \\1 \\", Some(["n-0", "1", "5", "\\g<9> \\1 \\"]));
    check("n-0 1 5 NA", Some(["n-0", "1", "5", "NA"]));
    check("n-0 0 3 some words", Some(["n-0", "0", "3", "NA"]));
    check("n-0 01 -1 x", Some(["n-0", "01", "-1", "x"]));
    check("N-0 1 5 x", None);
    check("n_0 1 5 x", None);
    check("n-0 1 5", None);
    check("n-0  1 5 x", None);
    check("n-0 yes 5 x", None);
    check("n-0 1 --5 x", None);
    check("n-0 1 - x", None);
    check("n-0 -1 5 x", None);
    check("n-0 \u{661} 5 x", None);
    check("\u{1b}[2J", None);
    let many = Submission::parse("n-0 1 5 x\n\n n-1 0 -1 NA\nbad\u{7}\nn-0 0 -1 NA\n");
    assert_eq!(many.predictions["n-0"].flag, "0", "the last of several lines counts");
    assert_eq!(many.duplicates.into_iter().collect::<Vec<_>>(), ["n-0"]);
    assert_eq!((many.bad_lines[0].line, many.bad_lines[0].text.as_str()), (4, "bad\u{fffd}"));
}

#[test]
fn official_scores_of_a_small_submission() {
    let reference = reference(CSV);
    let scores = score(
        &reference,
        &Submission::parse("n-0 1 0 \"One bad word\"\nn-1 0 -1 NA\nn-2 1 -1 NA\nn-9 1 1 x\nn-1 0 -1 NA\noops\n"),
    );
    assert!(close(scores.flag_accuracy, 0.75) && close(scores.sentence_accuracy, 0.5));
    let (subset, composite, no_op) = (scores.rouge_1.subset.unwrap(), scores.rouge_1.composite, scores.rouge_1.no_op.unwrap());
    assert!((subset - 2.0 / 3.0).abs() < 1e-8 && close(composite, (subset + 1.0) / 4.0) && close(no_op, subset));
    let c = scores.counters;
    assert_eq!((c.total_texts, c.reference_na, c.total_system_texts, c.system_na, c.correct_na), (4, 2, 3, 2, 1));
    assert_eq!((c.scored_pairs, c.no_ops, c.unscorable_pairs), (1, 1, 0));
    assert_eq!((scores.missing.as_slice(), scores.unknown.as_slice()), (&["n-3".to_owned()][..], &["n-9".to_owned()][..]));
    assert_eq!((scores.duplicates.as_slice(), scores.reference_empty_rows), (&["n-1".to_owned()][..], 1));
    assert_eq!(scores.warnings().len(), 5, "{:?}", scores.warnings());
    assert!(scores.lines().iter().any(|l| l.contains("1 pairs, 1 of them unchanged")), "{:?}", scores.lines());
}

#[test]
fn odd_submissions_score_without_falling_over() {
    let reference = reference(CSV);
    let nothing = score(&reference, &Submission::parse(""));
    assert_eq!((nothing.flag_accuracy, nothing.rouge_1.composite, nothing.rouge_1.subset), (0.0, 0.0, None));
    let dots = score(&reference, &Submission::parse("n-0 1 0 ...\nn-2 1 4 \\g\n"));
    assert_eq!((dots.counters.scored_pairs, dots.counters.unscorable_pairs, dots.rouge_l.subset), (2, 1, Some(0.0)));
    assert!(dots.warnings().iter().any(|w| w.contains("without a word")));
    // An error claimed nowhere says -1, as a clean note does: the official sentence accuracy takes it for right, and we say so.
    let sentence = |line: &str| {
        let scores = score(&reference, &Submission::parse(line));
        (scores.sentence_accuracy, scores.unlocated.clone(), scores.warnings().iter().any(|w| w.contains("in no sentence")))
    };
    assert_eq!(sentence("n-1 1 -1 NA\n"), (0.25, vec!["n-1".to_owned()], true));
    assert_eq!(sentence("n-1 1 2 x\n"), (0.0, vec![], false));
    assert_eq!(sentence("n-1 0 -1 NA\n"), (0.25, vec![], false));
}

#[test]
fn references_are_read_raw_and_refused_with_their_place() {
    let spelt =
        "text_id,error_flag,error_sentence_id,corrected_sentence\nn-0,1.0,3.0, Right. \nn-1,False,-1.0,nan\nn-0,1,2,Right.\n";
    let read = reference(spelt);
    assert_eq!((read.truths["n-1"].flag.as_str(), read.truths["n-1"].correction.as_str()), ("0", "NA"));
    assert_eq!((read.truths["n-0"].sentence.as_str(), read.duplicates.as_slice()), ("2", &["n-0".to_owned()][..]));
    assert_eq!(reference(&spelt.replace("\nn-0,1,2,Right.", "")).truths["n-0"].correction, " Right. ", "nothing is trimmed");
    let check = |csv: &str, mentions: [&str; 2]| {
        let message = Reference::parse(Path::new("ref.csv"), csv.as_bytes()).expect_err("accepted").to_string();
        assert!(mentions.iter().all(|part| message.contains(part)), "{message}");
    };
    check("a,b\n1,2\n", ["ref.csv", "Text ID"]);
    check(
        "text_id,error_flag,error_sentence_id,corrected_sentence\nn-0,1,3,x\nn-1,maybe,3,x\n",
        ["ref.csv:3", "\"maybe\", expected 0 or 1"],
    );
    check("text_id,error_flag,error_sentence_id,corrected_sentence\nn-0,1,three,x\n", ["ref.csv:2", "three"]);
    check("text_id,error_flag,error_sentence_id,corrected_sentence\n,1,3,x\n", ["ref.csv:2", "a note id"]);
    check("text_id,error_flag,error_sentence_id,corrected_sentence\n,,,\n", ["ref.csv", "content"]);
    check("text_id,error_flag,error_sentence_id,corrected_sentence\nn-0,1\n", ["ref.csv", "fields"]);
}

#[test]
fn written_submissions_read_back() {
    let verdicts = [
        Verdict::Clean,
        claim(Diagnosis, 3),
        Verdict::Error { kind: Diagnosis, sentence: None, correction: None },
        UNREAD,
        Verdict::Error { kind: Diagnosis, sentence: Some(2), correction: Some("Two\n lines\u{2028}of  \\g.".to_owned()) },
    ];
    let graded: Vec<Graded> =
        verdicts.into_iter().enumerate().map(|(i, v)| Graded::claimed(&note(&format!("n-{i}"), "g", Label::Clean), v)).collect();
    let written = submission::write(&graded).unwrap();
    assert_eq!(written.omitted, 1);
    assert_eq!(written.text, "n-0 0 -1 NA\nn-1 1 3 \"Right.\"\nn-2 1 -1 NA\nn-4 1 2 \"Two lines of \\g.\"\n");
    let read = Submission::parse(&written.text);
    assert!(read.bad_lines.is_empty() && read.predictions["n-4"].correction == "Two lines of \\g.");
    let bad = submission::write(&[Graded::claimed(&note("N 0", "g", Label::Clean), Verdict::Clean)]);
    assert!(bad.expect_err("accepted").to_string().contains("\"N 0\""));
}

/// The folder of reference material, where there is one.
fn shared() -> Option<PathBuf> {
    let named = std::env::var_os("MEDSERL_SHARED").map(PathBuf::from);
    let root = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    let present = root.join("peers/medec-metrics").is_dir() && root.join("medec").is_dir();
    if !present {
        eprintln!("skipped: no shared material at {}", root.display());
    }
    present.then_some(root)
}

#[test]
fn official_figures_of_the_shared_submissions() {
    let Some(root) = shared() else { return };
    let reference = Reference::read(&root.join("medec/MEDEC-MS-ValidationSet-with-GroundTruth-and-ErrorType.csv")).unwrap();
    for name in ["all-zero", "baseline-run-1", "noisy", "oracle"] {
        let at = |ending: &str| root.join("peers/medec-metrics").join(format!("{name}.{ending}"));
        let official: serde_json::Value = serde_json::from_str(&fs::read_to_string(at("json")).unwrap()).unwrap();
        let scores = score(&reference, &Submission::read(&at("txt")).unwrap());
        let check = |pointer: &str, ours: Option<f64>| {
            let theirs = official.pointer(pointer).unwrap_or_else(|| panic!("{name}: no {pointer}")).as_f64();
            let same = match (ours, theirs) {
                (Some(a), Some(b)) => close(a, b),
                (a, b) => a == b,
            };
            assert!(same, "{name} {pointer}: {ours:?}, official {theirs:?}");
        };
        check("/accuracy/Error Flags Accuracy", Some(scores.flag_accuracy));
        check("/accuracy/Error Sentence Detection Accuracy", Some(scores.sentence_accuracy));
        check("/nlg/R1F_subset_check", scores.rouge_1.subset);
        check("/nlg/R2F_subset_check", scores.rouge_2.subset);
        check("/nlg/RLF_subset_check", scores.rouge_l.subset);
        check("/nlg/R1FC", Some(scores.rouge_1.composite));
        check("/nlg/R2FC", Some(scores.rouge_2.composite));
        check("/nlg/RLFC", Some(scores.rouge_l.composite));
        let c = scores.counters;
        let counts = [
            ("/counters/total_texts", c.total_texts),
            ("/counters/reference_na", c.reference_na),
            ("/counters/total_system_texts", c.total_system_texts),
            ("/counters/system_provided_na", c.system_na),
            ("/counters/system_provided_correct_na", c.correct_na),
            ("/scored_pairs", c.scored_pairs),
            ("/invalid_lines", scores.bad_lines.len()),
        ];
        counts.into_iter().for_each(|(pointer, n)| check(pointer, Some(n as f64)));
        if name == "noisy" {
            assert_eq!((scores.missing.len(), scores.duplicates.len() > 1), (24, true), "{:?}", scores.warnings());
        }
    }
}

#[test]
fn rouge_of_every_shared_pair() {
    let Some(root) = shared() else { return };
    for name in ["baseline-run-1", "noisy", "oracle", "edge"] {
        let text = fs::read_to_string(root.join(format!("peers/medec-metrics/{name}.pairs.jsonl"))).unwrap();
        assert!(text.lines().count() >= 20, "{name} is too short");
        for line in text.lines() {
            let pair: serde_json::Value = serde_json::from_str(line).unwrap();
            let ours = rouge(pair["hyp"].as_str().unwrap(), pair["ref"].as_str().unwrap());
            let Some(ours) = ours else {
                assert!(pair["error"].is_string(), "{name}: refused {line}");
                continue;
            };
            for (variant, prf) in [("rouge-1", ours.one), ("rouge-2", ours.two), ("rouge-l", ours.l)] {
                let theirs = |part: &str| pair["rouge"][variant][part].as_f64().unwrap_or(f64::NAN);
                let same = close(prf.p, theirs("p")) && close(prf.r, theirs("r")) && close(prf.f, theirs("f"));
                assert!(same, "{name} {variant}: {prf:?} for {line}");
            }
        }
    }
}
