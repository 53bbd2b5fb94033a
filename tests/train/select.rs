//! Which groups train, which samples are read again, when another round is worth it: rules on plain data.

use std::{collections::HashSet, sync::Arc};

use medserl::{
    config::{Bounds, Preset, RoundsConfig, RunConfig, SelectConfig, Selection, When},
    runner::rounds::judge,
    task::{
        Completion, ErrorKind, Label, LabelledNote, Malformation, Note, Provenance, Quadrant, Reward, Rollout, Sample, Scheme,
        Sentence, StopReason, Verdict, vote,
    },
    train::{
        explain,
        select::{pass_rate, refusals},
        shelf::{Shelf, without},
    },
};

fn note(id: &str) -> Note {
    Note { id: id.into(), group: id.into(), sentences: vec![Sentence { id: 0, text: format!("Text of {id}.") }] }
}

fn sample(quadrant: Quadrant, step: u32, index: u32, label: Label) -> Arc<Sample> {
    let id = Sample::make_id(quadrant, step, index);
    Arc::new(Sample {
        note: note(&id),
        source: note(&id),
        id,
        step,
        index,
        quadrant,
        label,
        provenance: Provenance::default(),
        gates: Vec::new(),
    })
}

fn error(kind: ErrorKind) -> Verdict {
    Verdict::Error { kind, sentence: None, correction: None }
}

fn malformed() -> Verdict {
    Verdict::Malformed { why: Malformation::Empty }
}

fn group(sample: &Arc<Sample>, verdicts: &[Verdict]) -> Vec<Rollout> {
    let rollout = |(i, verdict): (usize, &Verdict)| Rollout {
        sample: Arc::clone(sample),
        sibling: i as u32,
        completion: Completion {
            tokens: vec![1],
            rollout_logprobs: vec![0.0],
            text: String::new(),
            stop: StopReason::EndOfTurn,
            alternatives: Vec::new(),
        },
        verdict: verdict.clone(),
        reward: Reward::default(),
        advantage: None,
        trace: None,
    };
    verdicts.iter().enumerate().map(rollout).collect()
}

fn wrong() -> Label {
    Label::Error { kind: ErrorKind::Treatment, sentence: 0, correction: "Right.".into() }
}

fn selection(window: (f64, f64), bounds: Bounds) -> Selection {
    let set = SelectConfig { filter: Some(true), window: Some(window), bounds: Some(bounds), ..SelectConfig::default() };
    set.resolve(Preset::Openrlhf)
}

#[test]
fn the_window_is_strict_or_inclusive() {
    let fates = |window, bounds| [0.0, 0.2, 0.25, 0.8, 1.0].map(|rate| selection(window, bounds).refuses(rate));
    let (hard, easy) = (Some("too-hard"), Some("too-easy"));
    assert_eq!(fates((0.2, 0.8), Bounds::Strict), [hard, hard, None, easy, easy]);
    assert_eq!(fates((0.2, 0.8), Bounds::Inclusive), [hard, None, None, None, easy]);
    assert_eq!(fates((0.0, 1.0), Bounds::Strict), [hard, None, None, None, easy]);
    let off = SelectConfig::default().resolve(Preset::Openrlhf);
    assert!([0.0, 0.5, 1.0].iter().all(|rate| off.refuses(*rate).is_none()), "no filter refuses nothing");
}

#[test]
fn a_completion_passes_where_flag_and_type_are_right() {
    let (clean, ill) =
        (sample(Quadrant::SyntheticDecoy, 1, 0, Label::Clean), sample(Quadrant::SyntheticInjection, 1, 1, wrong()));
    let treatment = || error(ErrorKind::Treatment);
    let of_clean = group(&clean, &[Verdict::Clean, treatment(), malformed(), Verdict::Clean]);
    let of_ill = group(&ill, &[treatment(), error(ErrorKind::Diagnosis), Verdict::Clean, malformed()]);
    assert_eq!((pass_rate(Scheme::Strict, &of_clean), pass_rate(Scheme::Full, &of_ill)), (0.5, 0.25));
    let all = [of_clean, of_ill].concat();
    let strict = selection((0.25, 1.0), Bounds::Strict);
    assert_eq!(refusals(&strict, Scheme::Strict, &all), [None, Some("too-hard")]);
}

#[test]
fn the_consensus_is_what_most_say_and_the_first_of_equals() {
    use ErrorKind::{Diagnosis, Treatment};
    let check = |verdicts: &[Verdict], expected: &[bool]| assert_eq!(vote::consensus(verdicts), expected, "{verdicts:?}");
    check(&[Verdict::Clean, Verdict::Clean, error(Treatment)], &[true, true, false]);
    // Another sentence or correction is the same vote, another type is not.
    let located = Verdict::Error { kind: Treatment, sentence: Some(3), correction: Some("x".into()) };
    check(&[error(Diagnosis), located, error(Treatment)], &[false, true, true]);
    check(&[error(Diagnosis), Verdict::Clean], &[true, false]);
    check(&[malformed(), malformed(), Verdict::Clean], &[false, false, true]);
    check(&[malformed(), malformed()], &[false, false]);
    check(&[], &[]);
    // Under the scheme, the pass rate of a group is how far it agrees, whatever its label.
    let mut rollouts =
        group(&sample(Quadrant::SyntheticDecoy, 1, 0, Label::Clean), &[error(Treatment), error(Treatment), Verdict::Clean]);
    vote::pay_consensus(&mut rollouts);
    assert_eq!(rollouts.iter().map(|r| r.reward.total()).collect::<Vec<_>>(), [1.0, 1.0, 0.0]);
    assert!((pass_rate(Scheme::Majority, &rollouts) - 2.0 / 3.0).abs() < 1e-9);
}

#[test]
fn samples_are_read_again_until_used_up_or_expired() {
    let shelf = |uses, max_age| {
        let set = SelectConfig { uses, max_age, ..SelectConfig::default() };
        let mut shelf = Shelf::new(&set.resolve(Preset::Openrlhf));
        let samples: Vec<_> = (0..4).map(|i| sample(Quadrant::ALL[i as usize], 1, i, Label::Clean)).collect();
        // SI did not train.
        let trained: HashSet<String> = samples[..3].iter().map(|s| s.id.clone()).collect();
        shelf.put(samples, &trained);
        shelf
    };
    let ids = |taken: &[Sample]| taken.iter().map(|s| s.id.clone()).collect::<Vec<_>>();
    let mut used_up = shelf(2, 9);
    let (taken, expired) = used_up.take(2, 1, false);
    assert!(expired.is_empty());
    assert_eq!(ids(&taken), ["AE-0002-00", "AS-0002-01", "SD-0002-02"]);
    let again = taken[0].provenance.again.as_ref().unwrap();
    assert_eq!((again.first.as_str(), again.written, again.uses, taken[0].step), ("AE-0001-00", 1, 1, 2));
    used_up.put(taken.iter().cloned().map(Arc::new), &ids(&taken).into_iter().collect());
    assert_eq!(used_up.take(3, 1, false), (vec![], Default::default()), "two uses are two steps");

    let mut lasting = shelf(9, 2);
    for step in [2, 3] {
        let (taken, _) = lasting.take(step, 1, false);
        assert_eq!(taken.len(), 3, "step {step}");
        assert_eq!(taken[2].provenance.again.as_ref().unwrap().first, "SD-0001-02");
        lasting.put(taken.iter().cloned().map(Arc::new), &ids(&taken).into_iter().collect());
    }
    let (taken, expired) = lasting.take(4, 1, false);
    assert!(taken.is_empty(), "written in step 1 and two steps old at most");
    assert_eq!(
        expired.into_iter().collect::<Vec<_>>(),
        [("AE/expired".into(), 1), ("AS/expired".into(), 1), ("SD/expired".into(), 1)]
    );

    assert!(!shelf(1, 1).is_used() && shelf(1, 1).take(2, 1, false).0.is_empty(), "by default nothing is read twice");
    // A share is never exceeded; what is over stays.
    let mut crowded = shelf(2, 9);
    assert!(crowded.take(2, 0, false).0.is_empty());
    assert_eq!(crowded.take(2, 1, false).0.len(), 3);
}

#[test]
fn where_pairs_are_paid_only_whole_pairs_are_read_again() {
    let side = |index: u32, quadrant: Quadrant, group: &str| {
        let label =
            if matches!(quadrant, Quadrant::AugmentedError | Quadrant::SyntheticInjection) { wrong() } else { Label::Clean };
        let mut sample = sample(quadrant, 1, index, label).as_ref().clone();
        sample.source.group = group.into();
        Arc::new(sample)
    };
    use Quadrant::{AugmentedError as Ae, AugmentedSafe as As, SyntheticDecoy as Sd, SyntheticInjection as Si};
    // The sibling of AE-0001-04 was too easy to train, and so was that of SD-0001-05.
    let samples =
        [side(0, Ae, "g1"), side(1, As, "g1"), side(2, Sd, "g2"), side(3, Si, "g2"), side(4, Ae, "g4"), side(5, Sd, "g5")];
    let take = |in_pairs| {
        let mut shelf = Shelf::new(&SelectConfig { uses: 2, max_age: 2, ..SelectConfig::default() }.resolve(Preset::Openrlhf));
        shelf.put(samples.iter().cloned(), &samples.iter().map(|s| s.id.clone()).collect());
        let (taken, expired) = shelf.take(2, 2, in_pairs);
        let left = shelf.take(4, 2, in_pairs).1;
        let first = |s: &Sample| s.provenance.again.as_ref().unwrap().first.clone();
        (taken.iter().map(first).collect::<Vec<_>>(), expired.len(), left.into_keys().collect::<Vec<_>>())
    };
    let pairs = ["AE-0001-00", "AS-0001-01", "SD-0001-02", "SI-0001-03"];
    assert_eq!(take(true), (pairs.map(str::to_owned).to_vec(), 0, vec!["AE/expired".into(), "SD/expired".into()]));
    assert_eq!(take(false).0.len(), 6);
}

#[test]
fn what_is_read_again_takes_the_place_of_something_new() {
    let source = |quadrant: Quadrant, id: &str| (quadrant, LabelledNote { note: note(id), label: Label::Clean });
    let sources: Vec<_> = (0..8).map(|i| source(Quadrant::ALL[i % 4], &i.to_string())).collect();
    let again = [sample(Quadrant::SyntheticDecoy, 1, 0, Label::Clean).as_ref().clone()];
    let left = without(sources, &again);
    assert_eq!(left.iter().map(|(_, n)| n.note.id.as_str()).collect::<Vec<_>>(), ["0", "1", "2", "3", "4", "5", "7"]);
}

#[test]
fn presets_settle_what_the_experiment_leaves_open() {
    let resolve = |preset, set: SelectConfig| set.resolve(preset);
    let serl = resolve(Preset::Serl, SelectConfig::default());
    assert_eq!((serl.filter, serl.window, serl.bounds, serl.when), (true, (0.2, 0.8), Bounds::Inclusive, When::After));
    let openrlhf = resolve(Preset::Openrlhf, SelectConfig { filter: Some(true), ..SelectConfig::default() });
    assert_eq!((openrlhf.window, openrlhf.bounds, openrlhf.when), ((0.0, 1.0), Bounds::Strict, When::Before));
    assert!(!resolve(Preset::PaperV9, SelectConfig::default()).filter);
    let set = SelectConfig { when: Some(When::Before), refill: Some(7), ..SelectConfig::default() };
    assert_eq!(resolve(Preset::Serl, set), Selection { when: When::Before, refill: 7, ..serl });
}

#[test]
fn rounds_end_a_run_that_gains_too_little() {
    let config = |min_gain, patience| RoundsConfig { steps: 5, min_gain, patience, ..RoundsConfig::default() };
    let told = |config: &RoundsConfig, before, scores: &[f64]| {
        let standing = judge(config, before, scores);
        (standing.idle, standing.stops)
    };
    let once = config(0.01, 1);
    assert_eq!(told(&once, Some(0.5), &[]), (0, false));
    assert_eq!(told(&once, Some(0.5), &[0.51]), (0, false), "a gain of just what is asked is a gain");
    assert_eq!(told(&once, Some(0.5), &[0.509]), (1, true));
    assert_eq!(told(&once, Some(0.5), &[0.6, 0.6]), (1, true));
    assert_eq!(told(&once, Some(0.5), &[0.4, 0.45, 0.52]), (0, false), "judged as of the last round");
    let twice = config(0.01, 2);
    assert_eq!(told(&twice, Some(0.5), &[0.5, 0.6]), (0, false));
    assert_eq!(told(&twice, Some(0.5), &[0.6, 0.55, 0.6]), (2, true), "the best so far is what counts");
    assert_eq!(told(&config(0.01, 0), Some(0.5), &[0.1, 0.1, 0.1]), (3, false), "no patience asked for: no rule");
    assert_eq!(told(&config(0.0, 1), None, &[0.5, 0.5]), (1, true), "no gain at all is no gain");
    assert!(config(0.0, 1).ends_at(5) && !config(0.0, 1).ends_at(6) && !RoundsConfig::default().ends_at(5));
}

#[test]
fn every_difference_of_the_presets_is_explained() {
    let config = RunConfig::parse("x.toml".as_ref(), "[algo]\npreset = \"serl\"\nkl_coef = 0.5\nbatch = 7\n", &[]).unwrap();
    let knobs = explain::knobs(&config).unwrap();
    let differing: Vec<&explain::Knob> = knobs.iter().filter(|k| k.differs()).collect();
    assert!(differing.len() >= 8, "{differing:?}");
    assert!(differing.iter().all(|k| !k.meaning.is_empty()), "a difference without a meaning: {differing:?}");
    let of = |name: &str| knobs.iter().find(|k| k.name == name).unwrap();
    assert!(of("algo.kl_coef").is_override && of("algo.batch").is_override && !of("select.window").is_override);
    assert_eq!(of("algo.kl_coef").here, 0.5);
    assert_eq!(of("select.bounds").presets[0], "strict");
    assert_eq!(of("select.bounds").here, "inclusive");
}
