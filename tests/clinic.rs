//! The embedded clinic: its tables, vignettes, splits and corpus hold what they promise.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use medserl::{
    clinic::{self, DocumentKind, Split, Tables},
    task::{ErrorKind, Label, Note, Verdict, verdict},
};

const SEED: u64 = 7;

const CONDITION: &str = r#"
[[condition]]
name = "acute cystitis"
mimics = ["acute pyelonephritis", "vaginal candidiasis"]
sex = "female"
age = [18, 65]
setting = "clinic"
complaints = ["burning with urination", "frequent urination"]
durations = ["2 days"]
history = ["{He} is well"]
exam = ["suprapubic tenderness", "no flank tenderness"]
labs = ["Urinalysis shows nitrites"]
temperature_c = [36.6, 37.6]
pulse = [70, 95]
[condition.organism]
right = "Escherichia coli"
wrong = ["Staphylococcus aureus", "Candida albicans"]
[condition.drug]
right = "nitrofurantoin"
wrong = ["gentamicin", "vancomycin"]
"#;
const DRUG: &str = r#"
[[drug]]
name = "nitrofurantoin"
class = "antibiotic"
route = "oral"
dose = [100, 200]
unit = "mg"
frequency = "twice daily"
"#;

fn parse(condition: &str) -> Result<Tables, clinic::TableError> {
    Tables::parse(&[("a.toml", condition)], ("drugs.toml", DRUG))
}

fn words(text: &str) -> HashMap<&str, i32> {
    text.split_whitespace().fold(HashMap::new(), |mut counts, word| {
        *counts.entry(word).or_default() += 1;
        counts
    })
}

/// Words of `a` that `b` lacks, counted with multiplicity.
fn missing(a: &str, b: &str) -> i32 {
    let b = words(b);
    words(a).iter().map(|(word, count)| (count - b.get(word).copied().unwrap_or(0)).max(0)).sum()
}

fn differing(a: &Note, b: &Note) -> Vec<u32> {
    assert_eq!(a.sentences.len(), b.sentences.len());
    a.sentences.iter().zip(&b.sentences).filter(|(a, b)| a != b).map(|(a, _)| a.id).collect()
}

#[test]
fn tables_are_valid_and_large() {
    let tables = clinic::tables().unwrap();
    assert!(tables.conditions().len() >= 100);
    let drugs: BTreeSet<&str> = tables
        .conditions()
        .iter()
        .filter_map(|c| c.fact(ErrorKind::Pharmacotherapy))
        .flat_map(|f| f.wrong.iter().chain([&f.right]).map(|a| a.text.as_str()))
        .collect();
    assert!(drugs.len() >= 80);
    let with_doses = tables.conditions().iter().filter(|c| c.doses_known()).count();
    assert!(with_doses >= 60, "doses known for only {with_doses} conditions");
}

#[test]
fn bad_tables_are_refused_by_name() {
    let good = parse(CONDITION).unwrap();
    let drug = &good.conditions()[0].fact(ErrorKind::Pharmacotherapy).unwrap().right;
    assert_eq!(drug.dose.as_deref(), Some("100 mg orally twice daily"));
    let cases = [
        ("\"gentamicin\"", "\"Nitrofurantoin\"", "repeats"),
        ("age = [18, 65]", "age = [65, 18]", "age"),
        ("\"frequent urination\"", "\"frequent; urination\"", "complaints"),
        ("{He} is well", "{they} is well", "history"),
        ("\"frequent urination\"", "\"fr\u{e9}quent\"", "ASCII"),
        ("temperature_c = [36.6, 37.6]", "temperature_c = [366, 376]", "temperature_c"),
        (", \"vancomycin\"", "", "at least 2"),
    ];
    for (old, new, what) in cases {
        assert_eq!(CONDITION.matches(old).count(), 1);
        let error = parse(&CONDITION.replace(old, new)).unwrap_err().to_string();
        assert!(error.starts_with("a.toml: 'acute cystitis': ") && error.contains(what), "{error}");
    }
    let error = parse(&CONDITION.replace("pulse =", "puls =")).unwrap_err().to_string();
    assert!(error.contains("a.toml") && error.contains("puls"), "{error}");
    assert!(parse(&CONDITION.repeat(2)).unwrap_err().to_string().contains("twice"));
}

#[test]
fn draws_are_functions_of_seed_and_index() {
    for index in 0..50 {
        let (a, b) = (clinic::vignette(Split::Train, SEED, index), clinic::vignette(Split::Train, SEED, index));
        assert_eq!((a.error, a.clean, a.group), (b.error, b.clean, b.group));
        assert_eq!(clinic::document(SEED, index), clinic::document(SEED, index));
    }
    let texts: BTreeSet<String> = (0..50).map(|seed| clinic::vignette(Split::Train, seed, 0).error.note.text()).collect();
    assert_eq!(texts.len(), 50);
}

#[test]
fn pairs_differ_by_one_small_edit() {
    let mut kinds: BTreeMap<ErrorKind, usize> = BTreeMap::new();
    let mut edits = Vec::new();
    let mut lengths = Vec::new();
    let mut last = 0;
    let (mut phrased_anew, mut sentences) = (0, 0);
    for v in clinic::pairs(Split::Train, SEED, 2000) {
        let Label::Error { kind, sentence, correction } = &v.error.label else { panic!("error note without error label") };
        assert_eq!(v.clean.label, Label::Clean);
        assert_eq!((&v.error.note.group, &v.clean.note.group), (&v.group, &v.group));
        assert_eq!(
            (v.error.note.id.as_str(), v.clean.note.id.as_str()),
            (&*format!("{}-e", v.group), &*format!("{}-c", v.group))
        );
        let before = &v.error.note.sentence(*sentence).expect("label sentence exists").text;
        assert_ne!(before, correction);
        let corrected = v.error.corrected().unwrap();
        assert_eq!(differing(&v.error.note, &corrected), [*sentence]);
        edits.push(missing(before, correction).max(missing(correction, before)));
        *kinds.entry(*kind).or_default() += 1;
        let ids: Vec<u32> = v.error.note.sentences.iter().map(|s| s.id).collect();
        assert_eq!(ids, (0..).take(ids.len()).collect::<Vec<u32>>());
        assert!((6..=9).contains(&ids.len()), "{} sentences", ids.len());
        last += usize::from(ids.last() == Some(sentence));
        for note in [&v.error.note, &v.clean.note] {
            assert!(note.text().is_ascii() && !note.text().contains(['{', '}']), "{}", note.text());
            assert!(
                note.sentences.iter().all(|s| s.text.ends_with('.') && !s.text.starts_with(|c: char| c.is_ascii_lowercase()))
            );
            lengths.push(note.text().split_whitespace().count());
        }
        phrased_anew += differing(&corrected, &v.clean.note).len();
        sentences += ids.len();
    }
    edits.sort_unstable();
    lengths.sort_unstable();
    assert!((2..=3).contains(&edits[1000]), "median edit {}", edits[1000]);
    assert!((60..=100).contains(&lengths[2000]), "median length {}", lengths[2000]);
    assert!(lengths[200] >= 50 && lengths[3800] <= 100, "{} {}", lengths[200], lengths[3800]);
    assert!(ErrorKind::ALL.iter().all(|kind| kinds[kind] >= 160), "{kinds:?}");
    assert!(last < 1200, "the error stands last in {last} of 2000 notes");
    assert!((sentences * 3 / 10..sentences * 7 / 10).contains(&phrased_anew), "{phrased_anew} of {sentences} phrased anew");
}

#[test]
fn splits_share_no_content() {
    let mut seen: HashMap<String, Split> = HashMap::new();
    for (split, n) in [(Split::Train, 2000), (Split::Validation, 200), (Split::Test, 200)] {
        for v in clinic::pairs(split, SEED, n) {
            assert_eq!(*seen.entry(v.content_key()).or_insert(split), split, "{}", v.content_key());
            assert!(v.group.starts_with(&format!("clinic-{}-", split.name())));
        }
    }
    let texts = |split, n| -> BTreeSet<String> {
        clinic::pairs(split, SEED, n).iter().flat_map(|v| [v.error.note.text(), v.clean.note.text()]).collect()
    };
    assert!(texts(Split::Train, 2000).is_disjoint(&texts(Split::Test, 200)));
}

/// The numbered note inside a prompt, as it stands there.
fn prompt_of(document: &clinic::Document) -> &str {
    &document.chat.as_ref().expect("a prompt").turns[0].content
}

fn field<'a>(text: &'a str, key: &str) -> &'a str {
    text.split(" | ").find_map(|part| part.strip_prefix(key)).expect("field")
}

#[test]
fn inject_documents_name_an_old_span_that_occurs_once() {
    let injections: Vec<_> = (0..5000).map(|i| clinic::document(SEED, i)).filter(|d| d.kind == DocumentKind::Inject).collect();
    assert!(injections.len() > 300);
    for d in injections {
        let (_, note) = prompt_of(&d).split_once('\n').unwrap();
        let (sentence, old, new) = (field(&d.text, "Sentence: "), field(&d.text, "Old: "), field(&d.text, "New: "));
        assert_eq!(note.matches(old).count(), 1, "{}", d.text);
        assert_ne!(old, new);
        let line = note.lines().find(|line| line.starts_with(&format!("{sentence} "))).unwrap();
        assert!(line.contains(old));
        assert!(ErrorKind::parse(field(&d.text, "Type: ")).is_some_and(|kind| prompt_of(&d).contains(kind.title())));
    }
}

#[test]
fn augment_documents_reword_all_but_the_protected_sentence() {
    let mut protected = 0;
    for d in (0..3000).map(|i| clinic::document(SEED, i)).filter(|d| d.kind == DocumentKind::Augment) {
        let (order, note) = prompt_of(&d).split_once('\n').unwrap();
        let kept = order.split_once("Keep sentence ").map(|(_, id)| id.trim_end_matches('.'));
        protected += usize::from(kept.is_some());
        let id = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        let asked: Vec<String> = note.lines().map(id).filter(|id| Some(id.as_str()) != kept).collect();
        assert_eq!(d.text.lines().map(id).collect::<Vec<_>>(), asked);
        assert!(d.text.lines().all(|line| !note.lines().any(|old| old == line)), "{note}\n->\n{}", d.text);
    }
    assert!(protected > 150);
}

#[test]
fn doctor_documents_think_right_and_cry_wolf() {
    // What the documents were made of is recovered from the prompt: the error and clean note of the same index.
    let (mut claims, mut counts, mut right_kind, mut claimed) = ([0u32; 2], [0u32; 2], 0u32, 0u32);
    for index in 0..16_000 {
        let d = clinic::document(SEED, index);
        if d.kind != DocumentKind::Doctor {
            continue;
        }
        let v = clinic::vignette(Split::Train, SEED, index);
        let is_error = prompt_of(&d).contains(&v.error.note.numbered());
        assert!(is_error || prompt_of(&d).contains(&v.clean.note.numbered()));
        let verdict = verdict::parse(&d.text);
        assert!(verdict.flag().is_some(), "{}: {verdict:?}", d.text);
        counts[usize::from(is_error)] += 1;
        claims[usize::from(is_error)] += u32::from(verdict.flag() == Some(true));
        let (thinking, _) = verdict::split_for_display(&d.text);
        assert_eq!(thinking.contains(": differs."), is_error, "{thinking}");
        if let (Verdict::Error { kind, .. }, true) = (&verdict, is_error) {
            claimed += 1;
            right_kind += u32::from(v.error.label.kind() == Some(*kind));
        }
    }
    let rate = |which: usize| f64::from(claims[which]) / f64::from(counts[which]);
    let total = counts[0] + counts[1];
    assert!(total > 5_500);
    // The likeliest verdict is an error on every note: such a Doctor is right on half of the pairs.
    assert!((0.57..0.63).contains(&rate(0)), "{}", rate(0));
    assert!((0.82..0.88).contains(&rate(1)), "{}", rate(1));
    // Two to three facts are stated, so a blind guess of the type is right 33 to 50 percent of the time; half of the claims are.
    let kind_rate = f64::from(right_kind) / f64::from(claimed);
    assert!((0.65..0.78).contains(&kind_rate), "{kind_rate}");
}

#[test]
fn repeat_documents_repeat_and_compare_documents_compare() {
    let (mut agrees, mut differs) = (0u32, 0u32);
    for d in (0..3000).map(|i| clinic::document(SEED, i)) {
        let asked = d.chat.as_ref().map_or("", |chat| chat.turns[0].content.as_str());
        let body = asked.split_once('\n').map_or("", |(_, body)| body);
        match d.kind {
            DocumentKind::Repeat => assert_eq!(d.text, body),
            DocumentKind::Compare => {
                assert_eq!(d.text.lines().count(), body.lines().count());
                for (question, answer) in body.lines().zip(d.text.lines()) {
                    let (right, said) = question.split_once(' ').unwrap().1.split_once("; ").unwrap();
                    let word = if right == said { "agrees" } else { "differs" };
                    assert!(answer.ends_with(&format!(" {right}; note says {said}: {word}.")), "{question} -> {answer}");
                    *(if right == said { &mut agrees } else { &mut differs }) += 1;
                }
            }
            _ => {}
        }
    }
    assert!(agrees > 800 && differs > 800, "{agrees} {differs}");
}

#[test]
fn documents_are_ascii_and_mixed_as_weighted() {
    let mut counts: HashMap<DocumentKind, u32> = HashMap::new();
    for d in (0..4000).map(|i| clinic::document(SEED + 1, i)) {
        *counts.entry(d.kind).or_default() += 1;
        assert!(d.text.is_ascii() && !d.text.is_empty() && !d.text.contains(['{', '}']), "{}", d.text);
        assert!(d.chat.iter().flat_map(|c| &c.turns).all(|t| t.content.is_ascii() && !t.content.contains(['{', '}'])));
    }
    let shares = [
        (DocumentKind::Doctor, 1920),
        (DocumentKind::Augment, 560),
        (DocumentKind::Inject, 320),
        (DocumentKind::Note, 160),
        (DocumentKind::Textbook, 240),
        (DocumentKind::Repeat, 400),
        (DocumentKind::Compare, 400),
    ];
    for (kind, expected) in shares {
        assert!(counts[&kind].abs_diff(expected) < 120, "{kind:?}: {}", counts[&kind]);
    }
}
