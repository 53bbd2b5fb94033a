//! Rewards by hand-written tables: the origin's formula, the strict one, and every part that scheme `full` adds.

use std::sync::Arc;

use medserl::{
    config::RewardConfig,
    task::{
        Answer, Completion,
        ErrorKind::{self, CausalOrganism, Diagnosis, Pharmacotherapy, Treatment},
        Label, Note, Provenance, Quadrant, Reward, Rollout, Rules, Sample, Scheme, StopReason, Truth, Verdict,
        gain::{correction_gain, unigram_f},
        reward::{self, Flagged, Overlong, pair_shares, pay_pairs},
        verdict,
    },
};

use super::{THINKING, error, labelled, truth};

fn rules(scheme: Scheme) -> Rules {
    RewardConfig { scheme, ..RewardConfig::default() }.rules(512)
}

fn scored(rules: &Rules, completion: &str, label: &Label) -> Reward {
    let (verdict, note) = (verdict::parse(completion), labelled(label.clone()));
    reward::score(rules, Truth::from(&note), Answer { text: completion, n_tokens: 100, verdict: &verdict })
}

fn total(scheme: Scheme, completion: &str, label: &Label) -> f32 {
    scored(&rules(scheme), completion, label).total()
}

/// Rewards where the truth is Pharmacotherapy, Causal Organism, clean.
#[track_caller]
fn check_reward(scheme: Scheme, completion: &str, expected: [f32; 3]) {
    let earned = [truth(Pharmacotherapy), truth(CausalOrganism), Label::Clean].map(|label| total(scheme, completion, &label));
    let close = earned.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(close, "{scheme:?} pays {earned:?}, expected {expected:?}, for {completion:?}");
}

fn think(verdict: &str) -> String {
    format!("{THINKING}<verdict>{verdict}</verdict>")
}

/// The executed table of the origin's formula, flaws and all; its type string is the wording the Doctor is asked for.
#[test]
fn spec_reward_is_the_origins_formula_to_the_letter() {
    let check = |completion: &str, expected| check_reward(Scheme::Spec, completion, expected);
    check(&think("Error: Pharmacotherapy"), [1.1, 0.1, -1.4]);
    check(&think("Error: Causal Organism"), [0.1, 1.1, -1.4]);
    check(&think("Error: causalOrganism"), [0.1, 0.1, -1.4]);
    check(&think("Error: pharmacotherapy"), [0.1, 0.1, -1.4]);
    check(&think("No Clinical Error"), [0.1, 0.1, 1.1]); // a miss costs nothing
    check(&think("No Error"), [-0.9, -0.9, -1.4]);
    check(&think("No clinical error"), [0.1, 0.1, 0.1]);
    check(&think("No Clinical Errors found"), [0.1, 0.1, 1.1]);
    check(&think("Error: Diagnosis, Management, Treatment, Pharmacotherapy, Causal Organism"), [1.1, 1.1, -1.4]);
    check("<thinking>Pharmacotherapy Causal Organism causalOrganism No Clinical Error", [1.1, 1.1, 1.1]); // the constant hack
    check("<thinking>Pharmacotherapy, Diagnosis</thinking><verdict>No Error</verdict>", [1.1, -0.9, -1.4]);
    check(&format!("{}{}", think("Error: Pharmacotherapy"), think("No Clinical Error")), [1.1, 0.1, 1.1]);
    check(&think("Error: Diagnosis"), [0.1, 0.1, -1.4]);
    check("", [0.0, 0.0, 0.0]);
    check("<thinking>The patient", [0.1, 0.1, 0.1]);
    check("<thinking>I see no Error here</thinking><verdict>Clean</verdict>", [0.1, 0.1, -1.4]);
    check("<thinking>not a Pharmacotherapy error</thinking><verdict>No Error</verdict>", [1.1, -0.9, -1.4]);
    check("No Clinical Error", [0.0, 0.0, 1.0]); // no tag, no bonus
    check("Error", [0.0, 0.0, -1.5]);
    check("</thinking> banana", [0.0, 0.0, 0.0]);
}

#[test]
fn strict_reward_pays_the_parsed_verdict() {
    let check = |completion: &str, expected| check_reward(Scheme::Strict, completion, expected);
    check(&think("Error: Pharmacotherapy"), [1.1, 0.1, -1.4]);
    check(&think("Error: causalOrganism; Sentence: 1; Correction: No Clinical Error"), [0.1, 1.1, -1.4]);
    check(&think("error: pharmacotherapy."), [1.1, 0.1, -1.4]);
    check(&think("Error: Diagnosis"), [0.1, 0.1, -1.4]);
    check(&think("No Clinical Error"), [-0.9, -0.9, 1.1]);
    check(&think("no clinical error."), [-0.9, -0.9, 1.1]);
    check("<thinking>This is not a Pharmacotherapy error.</thinking><verdict>No Clinical Error</verdict>", [-0.9, -0.9, 1.1]);
    for hack in [
        String::new(),
        "<thinking>The patient".to_owned(),
        "<thinking>Pharmacotherapy Causal Organism causalOrganism No Clinical Error".to_owned(),
        "<verdict>No Clinical Error</verdict>".to_owned(),
        "<thinking></thinking><verdict>No Clinical Error</verdict>".to_owned(),
        think("No Error"),
        think("No Clinical Errors found"),
        think("Error: not Pharmacotherapy"),
        think("Error: Diagnosis, Management, Treatment, Pharmacotherapy, Causal Organism"),
        format!("{}{}", think("Error: Pharmacotherapy"), think("No Clinical Error")),
        format!("{} Error: Pharmacotherapy", think("No Clinical Error")),
        format!("<thinking>{}</thinking>", think("No Clinical Error")),
    ] {
        check(&hack, [-1.0, -1.0, -1.5]);
    }
}

#[test]
fn reward_parts_add_up_and_strict_is_the_default() {
    assert_eq!(Scheme::default(), Scheme::Strict);
    let right = format!("{THINKING}<verdict>Error: Treatment</verdict>");
    for scheme in [Scheme::Spec, Scheme::Strict] {
        let expected = Reward { format: 0.1, outcome: 1.0, ..Reward::default() };
        assert_eq!(scored(&rules(scheme), &right, &truth(Treatment)), expected);
    }
    let all = Reward { format: 1.0, outcome: 2.0, location: 4.0, correction: 8.0, pair: 16.0, wrong_type: 32.0, overlong: -64.0 };
    assert_eq!((all.total(), all.parts().map(|(_, v)| v)), (-1.0, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, -64.0]));
    assert_eq!(all.parts().map(|(n, _)| n).join(" "), "format outcome location correction pair wrong_type overlong");
    for kind in ErrorKind::ALL {
        let named = format!("{THINKING}<verdict>Error: {}</verdict>", kind.title());
        assert!((total(Scheme::Strict, &named, &truth(kind)) - 1.1).abs() < 1e-6, "{kind:?}");
        assert!((total(Scheme::Spec, &named, &truth(kind)) - 1.1).abs() < 1e-6, "{kind:?}");
    }
    assert_eq!(serde_json::to_string(&Scheme::Spec).unwrap(), "\"spec\"");
}

/// What was stored before the parts of `full` existed still reads, and what is written names every part.
#[test]
fn reward_json_reads_old_rows_and_names_every_part() {
    let old: Reward = serde_json::from_str(r#"{"format":0.1,"outcome":-1.5}"#).unwrap();
    assert_eq!(old, Reward { format: 0.1, outcome: -1.5, ..Reward::default() });
    assert!(serde_json::from_str::<Reward>(r#"{"format":0.1}"#).is_err(), "a reward without its outcome is no reward");
    let new = Reward { location: 0.5, overlong: -0.25, ..old };
    let text = serde_json::to_string(&new).unwrap();
    assert!(new.parts().iter().all(|(name, _)| text.contains(&format!("\"{name}\":"))), "{text}");
    assert_eq!(serde_json::from_str::<Reward>(&text).unwrap(), new);
}

// ------------------------------------------------------------------------------------------------------------- full

/// The error: sentence 1, "Amoxicillin is given." for "Nitrofurantoin is given.", Pharmacotherapy.
#[test]
fn full_reward_adds_its_parts_to_the_strict_one() {
    let full = rules(Scheme::Full);
    let check = |verdict: &str, expected: [f32; 4]| {
        let text = think(verdict);
        let earned = scored(&full, &text, &truth(Pharmacotherapy));
        let strict = scored(&rules(Scheme::Strict), &text, &truth(Pharmacotherapy));
        assert_eq!((earned.format, earned.outcome), (strict.format, strict.outcome), "{verdict}");
        let parts = [earned.location, earned.correction, earned.pair, earned.wrong_type];
        assert!(parts.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{verdict}: {parts:?}, expected {expected:?}");
    };
    check("Error: Pharmacotherapy", [0.0, 0.0, 0.0, 0.0]);
    check("Error: Pharmacotherapy; Sentence: 1", [0.5, 0.0, 0.0, 0.0]);
    check("Error: Pharmacotherapy; Sentence: 4", [0.0, 0.0, 0.0, 0.0]);
    check("Error: Pharmacotherapy; Sentence: 1; Correction: Nitrofurantoin is given.", [0.5, 0.5, 0.0, 0.0]);
    check("Error: Pharmacotherapy; Sentence: 1; Correction: nitrofurantoin is given", [0.5, 0.5, 0.0, 0.0]);
    check("Error: Pharmacotherapy; Sentence: 1; Correction: Amoxicillin is given.", [0.5, 0.0, 0.0, 0.0]); // no-op
    check("Error: Pharmacotherapy; Sentence: 1; Correction: Send her home.", [0.5, 0.0, 0.0, 0.0]); // worse than the no-op
    // F 2/3 unchanged; 2*3/(4+3) = 6/7 for one word too many: (6/7 - 2/3) / (1/3) = 4/7 of the way.
    check("Error: Pharmacotherapy; Correction: Nitrofurantoin is given today.", [0.0, 0.5 * 4.0 / 7.0, 0.0, 0.0]);
    check("Error: Treatment; Sentence: 1", [0.5, 0.0, 0.0, 0.25]);
    check("Error: Treatment; Sentence: 2; Correction: Nitrofurantoin is given.", [0.0, 0.5, 0.0, 0.25]);
    check("No Clinical Error", [0.0, 0.0, 0.0, 0.0]);
    check("Error: everything; Sentence: 1", [0.0, 0.0, 0.0, 0.0]);
    // On a clean note nothing is added: there is no sentence to find.
    for text in ["No Clinical Error", "Error: Diagnosis; Sentence: 1; Correction: Nitrofurantoin is given.", "?"].map(think) {
        assert_eq!(scored(&full, &text, &Label::Clean), scored(&rules(Scheme::Strict), &text, &Label::Clean), "{text}");
    }
}

#[test]
fn weights_scale_their_own_part_only() {
    let text = think("Error: Treatment; Sentence: 1; Correction: Nitrofurantoin is given.");
    let config = RewardConfig { scheme: Scheme::Full, location: 0.125, correction: 0.75, wrong_type: 0.0, ..Default::default() };
    let earned = scored(&config.rules(512), &text, &truth(Pharmacotherapy));
    assert_eq!((earned.location, earned.correction, earned.wrong_type), (0.125, 0.75, 0.0));
    // Only `full` knows them.
    for scheme in [Scheme::Spec, Scheme::Strict] {
        let earned = scored(&RewardConfig { scheme, ..config.clone() }.rules(512), &text, &truth(Pharmacotherapy));
        assert_eq!((earned.location, earned.correction, earned.wrong_type), (0.0, 0.0, 0.0), "{scheme:?}");
    }
}

#[test]
fn unigram_f_counts_each_word_as_often_as_it_occurs() {
    let check = |a: &str, b: &str, expected: f64| {
        assert!((unigram_f(a, b) - expected).abs() < 1e-12, "{a:?} {b:?}: {}", unigram_f(a, b));
        assert!((unigram_f(b, a) - expected).abs() < 1e-12, "symmetric");
    };
    check("a b c", "a b c", 1.0);
    check("The drug.", "the DRUG", 1.0);
    check("a a a", "a", 0.5); // clipped: 1 common of 3 + 1
    check("a b", "c d", 0.0);
    check("", "a", 0.0);
    check("", "", 0.0);
    check("... !", "a", 0.0);
    check("b a", "a b", 1.0);
    check("5 %", "5", 2.0 / 3.0); // a sign with a meaning is a word
    check("Rh+", "Rh-", 0.0);
    check("2.5 mg (daily)", "2.5 mg daily.", 1.0);
    check("2.5", "25", 0.0);
    check("Fi\u{e8}vre \u{e0} 38,6", "fi\u{c8}vre \u{c0} 38,6", 1.0);
}

#[test]
fn correction_gain_is_the_share_of_the_way_from_error_to_correction() {
    let (wrong, right) = ("Culture grows Plasmodium vivax.", "Culture grows Escherichia coli.");
    let check = |proposed: &str, expected: f64| {
        let gain = correction_gain(proposed, wrong, right);
        assert!((gain - expected).abs() < 1e-12, "{proposed:?}: {gain}");
    };
    check(right, 1.0);
    check("culture grows escherichia coli", 1.0);
    check(wrong, 0.0);
    check("", 0.0);
    check("Supportive care was given.", 0.0); // never negative
    check("Culture grows Escherichia vivax.", 0.5); // F 3/4 between 2/4 and 4/4
    check("Culture grows Plasmodium vivax or Escherichia coli.", 2.0 * (8.0 / 11.0 - 0.5)); // both: less than half the way
    // The same words in another order: counts are blind, so only the correction itself gains.
    assert_eq!(correction_gain("aspirin, then heparin", "heparin, then aspirin", "Aspirin, then heparin."), 1.0);
    assert_eq!(correction_gain("heparin, then aspirin", "heparin, then aspirin", "Aspirin, then heparin."), 0.0);
    assert_eq!(correction_gain("Same.", "same", "Same"), 0.0);
}

// ------------------------------------------------------------------------------------------------------------- pairs

#[test]
fn a_pair_pays_the_share_of_opposite_answers_that_are_right() {
    let flagged = |(group, is_error, is_right): (&'static str, bool, bool)| Flagged { group, is_error, is_right };
    let check = |answers: &[(&'static str, bool, bool)], expected: &[f32]| {
        assert_eq!(pair_shares(&answers.iter().copied().map(flagged).collect::<Vec<_>>()), expected, "{answers:?}");
    };
    check(&[], &[]);
    check(&[("g", true, true), ("g", false, true)], &[1.0, 1.0]);
    check(&[("g", true, true), ("g", false, false)], &[0.0, 0.0]);
    check(&[("g", true, false), ("g", false, false)], &[0.0, 0.0]);
    check(&[("g", true, true), ("h", false, true)], &[0.0, 0.0]); // other patients
    check(&[("g", true, true), ("g", true, true)], &[0.0, 0.0]); // the same label is no pair
    check(&[("", true, true), ("", false, true)], &[0.0, 0.0]); // no group is no pair
    // Four completions each, error note 3 of 4 right, clean note 1 of 4: order does not matter.
    check(
        &[
            ("g", true, true),
            ("g", false, false),
            ("g", true, true),
            ("g", false, true),
            ("g", true, false),
            ("g", false, false),
            ("g", true, true),
            ("g", false, false),
        ],
        &[0.25, 0.0, 0.25, 0.75, 0.0, 0.0, 0.25, 0.0],
    );
}

fn rollout(quadrant: Quadrant, group: &str, label: Label, text: &str) -> Rollout {
    let note = Note { group: format!("{group}, as drawn"), ..labelled(Label::Clean).note };
    let source = Note { group: group.to_owned(), ..note.clone() };
    let (provenance, gates) = (Provenance::default(), Vec::new());
    let id = Sample::make_id(quadrant, 1, 0);
    let sample = Sample { id, step: 1, index: 0, quadrant, note, label, source, provenance, gates };
    let completion = Completion {
        tokens: vec![1],
        rollout_logprobs: vec![0.0],
        text: text.to_owned(),
        stop: StopReason::EndOfTurn,
        alternatives: Vec::new(),
    };
    let verdict = verdict::of(&completion);
    let reward = Reward::default();
    Rollout { sample: Arc::new(sample), sibling: 0, completion, verdict, reward, advantage: None, trace: None }
}

#[test]
fn pairs_of_a_step_go_by_source_group_and_only_full_pays_them() {
    let (error, clean) = (think("Error: Diagnosis"), think("No Clinical Error"));
    let step = || {
        vec![
            rollout(Quadrant::AugmentedError, "g", truth(Treatment), &error), // wrong type, right flag
            rollout(Quadrant::AugmentedSafe, "g", Label::Clean, &clean),
            rollout(Quadrant::SyntheticInjection, "h", truth(Treatment), &error),
            rollout(Quadrant::SyntheticDecoy, "h", Label::Clean, "nothing that can be read"),
            rollout(Quadrant::SyntheticDecoy, "i", Label::Clean, &clean),
        ]
    };
    for (scheme, expected) in [(Scheme::Full, [0.5, 0.5, 0.0, 0.0, 0.0]), (Scheme::Strict, [0.0; 5]), (Scheme::Spec, [0.0; 5])] {
        let mut rollouts = step();
        pay_pairs(&rules(scheme), &mut rollouts);
        assert_eq!(rollouts.iter().map(|r| r.reward.pair).collect::<Vec<_>>(), expected, "{scheme:?}");
    }
}

/// Whatever text a constant policy writes, no pair is ever paid for it.
#[test]
fn a_constant_answer_never_wins_a_pair() {
    for verdict in [Verdict::Clean, error(Diagnosis, None, None), verdict::parse("")] {
        let answers = [truth(Diagnosis), Label::Clean].map(|label| Flagged::new("g", &label, &verdict));
        assert_eq!(pair_shares(&answers), [0.0, 0.0], "{verdict:?}");
    }
}

// ---------------------------------------------------------------------------------------------------------- overlong

/// Golden vector of OpenRLHF (research: serl-openrlhf §1.4): limit 100, buffer 40, lengths 100, 60, 90, 80.
#[test]
fn overlong_penalty_is_openrlhfs() {
    let overlong = Overlong { max_tokens: 100, buffer: 40, factor: 1.0 };
    let paid = [(100, 1.0), (60, 1.0), (90, 1.0), (80, 0.0)].map(|(n, reward): (usize, f32)| reward + overlong.penalty(n));
    assert_eq!(paid, [0.0, 1.0, 0.25, -0.5]);
    assert_eq!([0, 1, 60, 61, 99, 100, 5000].map(|n| overlong.penalty(n)), [0.0, 0.0, 0.0, -0.025, -0.975, -1.0, -1.0]);
    assert_eq!(Overlong { factor: 0.5, ..overlong }.penalty(100), -0.5);
}

#[test]
fn overlong_is_off_by_default_and_applies_to_every_scheme() {
    let text = think("No Clinical Error");
    let verdict = verdict::parse(&text);
    let note = labelled(Label::Clean);
    for scheme in [Scheme::Spec, Scheme::Strict, Scheme::Full] {
        let paid = |config: RewardConfig, n_tokens| {
            reward::score(&config.rules(512), Truth::from(&note), Answer { text: &text, n_tokens, verdict: &verdict })
        };
        let off = RewardConfig { scheme, ..RewardConfig::default() };
        assert_eq!(paid(off.clone(), 512).overlong, 0.0, "{scheme:?}");
        let on = RewardConfig { overlong_buffer: 128, ..off };
        assert_eq!([384, 448, 512].map(|n| paid(on.clone(), n).overlong), [0.0, -0.5, -1.0], "{scheme:?}");
        assert!((paid(on, 512).total() - 0.1).abs() < 1e-6, "{scheme:?}");
    }
}
