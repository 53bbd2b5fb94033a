//! Known errors: novelty, the growing pool, and the examples shown to the writer.

use medserl::config::{DataSource, Novelty, RunConfig, ScribeConfig};
use medserl::scribe::pool::{Edit, Pool};
use medserl::scribe::{Lexicon, Scribe, ScribeError, draw};
use medserl::task::{
    Completion, ErrorKind, Generate, GenerateRequest, Label, LabelledNote, PromptStyle, Quadrant, Sample, Sampling, StopReason,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::{clinic_note, note};

fn error_note(id: &str, group: &str, kind: ErrorKind, wrong: &str, right: &str) -> LabelledNote {
    let mut note = note(&[(0, "She has fever."), (1, wrong)]);
    (note.id, note.group) = (id.into(), group.into());
    LabelledNote { note, label: Label::Error { kind, sentence: 1, correction: right.into() } }
}

fn corpus() -> Vec<LabelledNote> {
    let drug = |id: &str, group: &str, old: &str, new: &str| {
        error_note(id, group, ErrorKind::Pharmacotherapy, &format!("{new} was given."), &format!("{old} was given."))
    };
    vec![
        drug("e1", "g", "Ceftriaxone", "Vancomycin"),
        drug("e2", "h", "Tylenol", "Codeine"),
        drug("e3", "h", "Heparin", "Warfarin"),
        error_note("e4", "i", ErrorKind::Diagnosis, "Acute viral hepatitis was found.", "Acute bacterial hepatitis was found."),
    ]
}

fn edit(before: &str, after: &str) -> Edit {
    Edit::between(before, after, Lexicon::standard())
}

#[test]
fn edits_leave_out_what_is_alike() {
    let found = edit("He was given Rocephin 1 g daily.", "He was given vancomycin 1 g daily.");
    assert_eq!((found.old.join(" "), found.new.join(" ")), ("ceftriaxone".into(), "vancomycin".into()));
    let gone = edit("Aspirin and heparin are given.", "Aspirin is given.");
    assert_eq!((gone.old.join(" "), gone.new.join(" ")), ("and heparin are".into(), "is".into()));
    let alike = |a: &Edit, b: &Edit| a.likeness(b);
    let (one, other) = (edit("x a b", "x c"), edit("y a b", "y d"));
    assert!((alike(&one, &one) - 1.0).abs() < 1e-12 && (alike(&one, &other) - 0.5).abs() < 1e-12);
    assert!(alike(&edit("x a", "x c"), &edit("x e", "x f")).abs() < 1e-12);
}

#[test]
fn scopes_decide_what_is_known() {
    // The pair of e1, put into a note of the same patient and of another one.
    let same = edit("Rocephin was given.", "Vancomycin was given.");
    let near = edit("Acute bacterial hepatitis is likely.", "Acute viral cholestatic hepatitis is likely.");
    for (scope, group, known, alike) in [
        (Novelty::Off, "g", false, false),
        (Novelty::Vignette, "g", true, true),
        (Novelty::Vignette, "h", false, false),
        (Novelty::Corpus, "h", true, true),
    ] {
        let pool = Pool::new(scope, &corpus());
        assert_eq!(
            (pool.unknown_pair(group, &same).is_err(), pool.novel(group, &same, 0.7).is_err()),
            (known, alike),
            "{scope:?} {group}"
        );
    }
    let pool = Pool::new(Novelty::Corpus, &corpus());
    let (likeness, nearest) = pool.nearest(&near, |_| true).unwrap();
    assert!(nearest.id == "e4" && likeness > 0.5 && likeness < 1.0, "{likeness}");
    assert!(
        pool.unknown_pair("z", &near).is_ok() && pool.novel("z", &near, 0.5).is_err() && pool.novel("z", &near, 0.95).is_ok()
    );
    // Clean notes and labels that name no sentence teach nothing.
    let clean = LabelledNote { note: clinic_note(), label: Label::Clean };
    assert!(Pool::new(Novelty::Corpus, [&clean]).known().is_empty());
}

/// Proposes one edit, the same for every request, and keeps the prompts.
struct Proposer {
    line: String,
    prompts: Vec<String>,
}

impl Generate for Proposer {
    fn generate(
        &mut self,
        requests: &[GenerateRequest],
        _: Sampling,
        _: &mut dyn FnMut(usize, usize, &str) -> bool,
    ) -> anyhow::Result<Vec<Vec<Completion>>> {
        self.prompts.extend(requests.iter().map(|r| r.chat.turns[0].content.clone()));
        let completion = Completion {
            tokens: vec![1],
            rollout_logprobs: vec![-0.5],
            text: self.line.clone(),
            stop: StopReason::EndOfTurn,
            alternatives: Vec::new(),
        };
        Ok(requests.iter().map(|_| vec![completion.clone()]).collect())
    }
}

fn proposer(new: &str) -> Proposer {
    let line = format!("Sentence: 6 | Old: Ceftriaxone | New: {new} | Type: Pharmacotherapy | Why: w");
    Proposer { line, prompts: Vec::new() }
}

/// The injection drawn for the clinic note, with three attempts over all kinds: one of them asks for the drug.
fn inject(pool: &Pool, config: &ScribeConfig, new: &str) -> (Sample, Vec<String>) {
    inject_in(PromptStyle::Brief, pool, config, new)
}

fn inject_in(style: PromptStyle, pool: &Pool, config: &ScribeConfig, new: &str) -> (Sample, Vec<String>) {
    let source = (Quadrant::SyntheticInjection, LabelledNote { note: clinic_note(), label: Label::Clean });
    let mut writer = proposer(new);
    let scribe = Scribe { config, style, seed: 5, pool, first: 0 };
    let drawn = scribe.draw(&[source], 1, &mut writer, None, &mut |_| true).unwrap();
    (drawn.samples[0].clone(), writer.prompts)
}

fn config() -> ScribeConfig {
    ScribeConfig { max_attempts: 5, ..ScribeConfig::default() }
}

#[test]
fn the_pool_grows_and_refuses_repeats() {
    let mut pool = Pool::new(Novelty::Vignette, &[]);
    let (first, _) = inject(&pool, &config(), "Vancomycin");
    assert!(!first.provenance.fallback, "{:?}", first.provenance.rejections);
    pool.learn([&first]);
    assert_eq!(pool.known().len(), 1);
    assert!(pool.known()[0].own == Some(1) && pool.known()[0].group == "g");
    let (again, _) = inject(&pool, &config(), "Vancomycin");
    assert!(again.provenance.fallback && again.provenance.rejections.contains(&"known-pair".to_owned()));
    // A fallback teaches nothing.
    pool.learn([&again]);
    assert_eq!(pool.known().len(), 1);
    let (other, _) = inject(&pool, &config(), "Warfarin");
    assert!(!other.provenance.fallback);
    // A run that goes on feeds the same steps again and stands where it stood.
    let mut resumed = Pool::new(Novelty::Vignette, &[]);
    resumed.learn([&first]);
    resumed.learn([&again]);
    assert_eq!(resumed.known(), pool.known());
}

#[test]
fn examples_are_of_the_kind_and_mostly_seeds() {
    let mut pool = Pool::new(Novelty::Off, &corpus());
    let mut samples: Vec<Sample> =
        ["Vancomycin", "Warfarin", "Codeine", "Aspirin"].map(|new| inject(&Pool::default(), &config(), new).0).into();
    samples.iter_mut().enumerate().for_each(|(i, s)| s.source.group = format!("own{i}"));
    pool.learn(&samples);
    let shown = |kind, group: &str, n, seed| -> Vec<String> {
        pool.examples(kind, group, n, 0, &mut ChaCha8Rng::seed_from_u64(seed)).into_iter().map(|k| k.id.clone()).collect()
    };
    for seed in 0..50 {
        let ids = shown(ErrorKind::Pharmacotherapy, "g", 4, seed);
        assert_eq!(ids, shown(ErrorKind::Pharmacotherapy, "g", 4, seed));
        assert!(
            ids.iter().filter(|id| !id.starts_with('e')).count() == 2 && ids.iter().filter(|id| id.starts_with('e')).count() == 2,
            "{ids:?}"
        );
        assert!(!ids.contains(&"e1".to_owned()) && !ids.contains(&"e4".to_owned()), "{ids:?}");
    }
    // The run's own were made in step 1: from step 2 on they have expired.
    let fresh = |since| {
        pool.examples(ErrorKind::Pharmacotherapy, "g", 4, since, &mut ChaCha8Rng::seed_from_u64(1))
            .iter()
            .filter(|k| k.own.is_some())
            .count()
    };
    assert_eq!((fresh(1), fresh(2)), (2, 0));
    assert!(shown(ErrorKind::CausalOrganism, "g", 4, 1).is_empty());
    assert!(shown(ErrorKind::Pharmacotherapy, "g", 0, 1).is_empty());
}

#[test]
fn the_writer_sees_examples_only_where_asked() {
    let pool = Pool::new(Novelty::Off, &corpus());
    let (_, plain) = inject(&pool, &config(), "Vancomycin");
    assert!(plain.iter().all(|p| p.starts_with("Propose") && !p.contains("Old:")), "{plain:?}");
    let asked = ScribeConfig { few_shot: 2, ..config() };
    let (_, shown) = inject(&pool, &asked, "Vancomycin");
    assert_eq!(shown, inject(&pool, &asked, "Vancomycin").1);
    let drug = shown.iter().find(|p| p.contains("Pharmacotherapy error")).unwrap();
    // In one line with what is asked: a model that knows one line a task takes another beginning for another task.
    let line = drug.lines().next().unwrap();
    assert!(line.starts_with("Propose one Pharmacotherapy error for this note. Unlike: ") && line.ends_with('.'), "{drug}");
    assert!(line.contains("acetaminophen to codeine") || line.contains("heparin to warfarin"), "{drug}");
    assert!(drug.ends_with(&format!("\n{}", clinic_note().numbered())) && !drug.contains("vancomycin"), "{drug}");
    // A kind without examples is asked for as ever.
    assert!(shown.iter().filter(|p| p.contains("Causal Organism error")).all(|p| !p.contains("Unlike")));
    // A model that is told the whole grammar sees them as it is to write them.
    let (_, full) = inject_in(PromptStyle::Full, &pool, &asked, "Vancomycin");
    let example = "Old: acetaminophen | New: codeine | Type: Pharmacotherapy\n";
    assert!(full.iter().any(|p| p.starts_with("Errors made for other notes") && p.contains(example)), "{full:?}");
}

#[test]
fn thresholds_are_checked_when_read() {
    let parse = |line: &str| RunConfig::parse("x.toml".as_ref(), &format!("[scribe]\n{line}\n"), &[]);
    let good = parse("novelty = \"corpus\"\nfew_shot = 4\nvotes = 3\npair_judge = true\naugment_kept = 0.5").unwrap();
    assert_eq!((good.scribe.novelty, good.scribe.few_shot, good.scribe.votes), (Some(Novelty::Corpus), 4, 3));
    assert_eq!(RunConfig::parse("x.toml".as_ref(), &good.to_toml().unwrap(), &[]).unwrap(), good);
    let scopes = |novelty| [DataSource::Clinic, DataSource::Medec].map(|s| ScribeConfig { novelty, ..config() }.novelty_for(s));
    assert_eq!(scopes(None), [Novelty::Vignette, Novelty::Corpus]);
    assert_eq!(scopes(Some(Novelty::Off)), [Novelty::Off; 2]);
    for (line, key) in [
        ("novelty_rouge = 1.5", "scribe.novelty_rouge"),
        ("vote_share = -0.1", "scribe.vote_share"),
        ("augment_kept = nan", "scribe.augment_kept"),
        ("inject_length_ratio = [1.1, 0.9]", "scribe.inject_length_ratio"),
        ("max_attempts = 300", "scribe.max_attempts"),
        ("decoy_edits = 0", "scribe.decoy_edits"),
        ("inject_max_edits = 0", "scribe.inject_max_edits"),
        ("novelty = \"some\"", "novelty"),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(error.contains(key), "{line}: {error}");
    }
}

#[test]
fn a_drawing_without_a_pool_is_the_same_drawing() {
    let sources = vec![(Quadrant::SyntheticInjection, LabelledNote { note: clinic_note(), label: Label::Clean })];
    let plain = draw(&sources, 1, 5, &config(), PromptStyle::Brief, &mut proposer("Warfarin"), &mut |_| true).unwrap();
    assert_eq!(plain.samples[0], inject(&Pool::default(), &config(), "Warfarin").0);
    let stopped = draw(&sources, 1, 5, &config(), PromptStyle::Brief, &mut proposer("Warfarin"), &mut |_| false).unwrap_err();
    assert!(matches!(stopped.downcast_ref(), Some(ScribeError::Aborted)));
}
