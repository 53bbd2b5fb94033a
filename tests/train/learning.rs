//! That the whole machine learns: the embedded model on a handful of examples, in seconds.

use medserl::{
    config::{AlgoConfig, LoraConfig, Precision, SftConfig},
    data::SftExample,
    model::Policy,
    task::{Chat, Completion, Generate, GenerateRequest, Sampling, trace::Fate, verdict},
    train::{
        algo::Algo,
        optimizer::{Moments, Schedule},
        sft::warm_up,
        update::{PromptGroup, Trajectory, UpdateReport, reference_logprobs, update},
    },
};

/// Cool enough for a warm-up of seconds to show in what is drawn.
const SAMPLING: Sampling = Sampling { temperature: 0.7, max_tokens: 32 };
const N_DRAWN: usize = 24;
const ROUNDS: u64 = 6;
const NOTES: [&str; 2] = ["0 A man has a fever.\n1 He drinks water.", "0 A woman has a cough.\n1 She rests."];
const READS: [&str; 2] = [
    "<thinking> It all fits well here. </thinking><verdict>No Clinical Error</verdict>",
    "<thinking> This does not fit here. </thinking><verdict>Error: Treatment</verdict>",
];

fn nano() -> Policy {
    Policy::open("nano", Precision::Stored, &LoraConfig { rank: 8, alpha: 16.0, from: None }, 5, &mut |_| ()).unwrap()
}

fn chat(note: &str) -> Chat {
    Chat::user(format!("Check this note for one clinical error.\n{note}"))
}

/// Each note with each reading: a policy that learns them all calls about half of its readings clean.
fn examples() -> Vec<SftExample> {
    NOTES.iter().flat_map(|note| READS.map(|read| SftExample { chat: chat(note), completion: read.to_owned() })).collect()
}

fn warmed() -> (Policy, Vec<f64>) {
    let policy = nano();
    let config = SftConfig { notes: 4, epochs: 28, batch: 4, learning_rate: 5e-3, clean_fraction: 0.5, ..SftConfig::default() };
    let report = warm_up(&policy, &examples(), &config, &mut |_, _| true).unwrap();
    (policy, report.losses)
}

/// Draws half of [`N_DRAWN`] completions for each note.
fn draw(policy: &Policy, round: u64) -> Vec<Vec<Completion>> {
    let requests: Vec<GenerateRequest> = NOTES
        .iter()
        .zip(0..)
        .map(|(note, i)| GenerateRequest { chat: chat(note), n_completions: N_DRAWN / 2, stream: 10 * round + i })
        .collect();
    policy.current().unwrap().generate(&requests, SAMPLING, &mut |_, _, _| true).unwrap()
}

/// How many completions end in a verdict that says error, or clean; a malformed one says neither.
fn count(drawn: &[Vec<Completion>], says_error: bool) -> usize {
    drawn.iter().flatten().filter(|c| verdict::parse(&c.text).flag() == Some(says_error)).count()
}

/// Reward 1 for a reading that ends in the verdict that pays, -1 for any other.
fn groups(policy: &Policy, drawn: &[Vec<Completion>], pays: bool) -> Vec<PromptGroup> {
    let trajectory = |c: &Completion| Trajectory {
        tokens: c.tokens.clone(),
        rollout_logprobs: c.rollout_logprobs.clone(),
        reward: if verdict::parse(&c.text).flag() == Some(pays) { 1.0 } else { -1.0 },
    };
    let group = |(note, completions): (&&str, &Vec<Completion>)| PromptGroup {
        prompt: policy.tokenizer.encode_chat(&chat(note)).unwrap(),
        completions: completions.iter().map(trajectory).collect(),
        trains: true,
    };
    NOTES.iter().zip(drawn).map(group).collect()
}

fn reinforce(policy: &Policy, drawn: &[Vec<Completion>], pays: bool, moments: &mut Moments, learning_rate: f64) -> UpdateReport {
    let algo = Algo::resolve(&AlgoConfig { batch: Some(N_DRAWN), kl_coef: Some(1e-3), ..AlgoConfig::default() });
    let schedule = Schedule { peak: learning_rate, min_ratio: 1.0, warmup_steps: 0, total_steps: 100 };
    let groups = groups(policy, drawn, pays);
    let reference = reference_logprobs(policy, &groups, SAMPLING.temperature).unwrap();
    update(policy, &groups, &reference, &algo, SAMPLING.temperature, &schedule, moments, &mut |_, _| ()).unwrap()
}

#[test]
fn the_warm_up_learns_its_examples_and_reinforcement_prefers_what_pays() {
    let (policy, losses) = warmed();
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last < 0.5 * first, "completion loss went from {first} to {last}: {losses:?}");

    // The rarer verdict is made to pay, so that there is something to gain whichever way the warm-up leans.
    let first = draw(&policy, 0);
    let pays = count(&first, true) < count(&first, false);
    let mut moments = Moments::zeros(policy.adapter.vars());
    let mut paid = vec![count(&first, pays)];
    let mut drawn = first;
    for round in 1..=ROUNDS {
        let report = reinforce(&policy, &drawn, pays, &mut moments, 1e-3);
        assert_eq!(report.n_skipped, 0);
        assert!(report.rollout_policy_kl.abs() < 1e-4, "sampler and trainer disagree: {report:?}");
        assert!(report.entropy > 0.0 && report.loss.is_finite() && report.clip_fraction == 0.0, "{report:?}");
        drawn = draw(&policy, round);
        paid.push(count(&drawn, pays));
    }
    assert!(paid[0] < N_DRAWN / 2, "{paid:?}");
    assert!(
        paid[paid.len() - 1] >= paid[0] + N_DRAWN / 4,
        "the verdict that pays did not become more frequent: {paid:?} of {N_DRAWN}"
    );
}

#[test]
fn a_group_that_does_not_train_moves_the_mean_but_not_the_policy() {
    let policy = nano();
    let start = values(&policy);
    let drawn: Vec<Vec<Completion>> = draw(&policy, 0).into_iter().map(|all| all.into_iter().take(3).collect()).collect();
    let mut both = groups(&policy, &drawn, true);
    // Rewards by hand: the first group is mixed, the second always paid.
    let rewards = [[1.0, -1.0, 1.0], [3.0, 3.0, 3.0]];
    both.iter_mut().zip(rewards).for_each(|(g, r)| g.completions.iter_mut().zip(r).for_each(|(c, r)| c.reward = r));
    let algo = Algo::resolve(&AlgoConfig { batch: Some(8), kl_coef: Some(0.0), ..AlgoConfig::default() });
    let schedule = Schedule { peak: 1e-3, min_ratio: 1.0, warmup_steps: 0, total_steps: 1 };
    let step = |groups: &[PromptGroup]| {
        policy.adapter.vars().iter().zip(&start).for_each(|((_, var), values)| set(var, values));
        let reference = reference_logprobs(&policy, groups, SAMPLING.temperature).unwrap();
        let mut moments = Moments::zeros(policy.adapter.vars());
        let report =
            update(&policy, groups, &reference, &algo, SAMPLING.temperature, &schedule, &mut moments, &mut |_, _| ()).unwrap();
        (report.advantages[0].clone(), values(&policy))
    };
    let (among_both, all_train) = step(&both);
    let (alone, only_first) = step(&both[..1]);
    both[1].trains = false;
    let (left_out, first_trains) = step(&both);
    assert_eq!(left_out, among_both, "what does not train still counts for the normalisation");
    assert!(alone != left_out, "and what is not there does not");
    assert!(first_trains != all_train && first_trains != only_first && first_trains != start);
    // Its tokens are not in the loss: other tokens under the same rewards and log-probs change nothing.
    for completion in &mut both[1].completions {
        completion.tokens.reverse();
    }
    assert!(step(&both).1 == first_trains);
}

fn values(policy: &Policy) -> Vec<Vec<f32>> {
    policy.adapter.vars().iter().map(|(_, v)| v.flatten_all().unwrap().to_vec1().unwrap()).collect()
}

fn set(var: &candle_core::Var, values: &[f32]) {
    let tensor = candle_core::Tensor::from_slice(values, var.dims(), &candle_core::Device::Cpu).unwrap();
    var.set(&tensor).unwrap();
}

#[test]
fn an_update_at_rate_zero_measures_and_changes_nothing() {
    let policy = nano();
    let before = values(&policy);
    let drawn: Vec<Vec<Completion>> = draw(&policy, 0).into_iter().map(|all| all.into_iter().take(3).collect()).collect();
    let mut moments = Moments::zeros(policy.adapter.vars());
    let report = reinforce(&policy, &drawn, false, &mut moments, 0.0);
    assert_eq!(values(&policy), before);
    assert_eq!(moments.steps, 1);
    // The policy is its own reference: what is left is the rounding of caches against whole rows.
    assert!(report.kl.abs() < 1e-5, "{report:?}");
    assert_eq!(report.advantages.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
    assert_eq!(report.traces.len(), 6);
    let (mut entropy, mut n_tokens) = (0.0, 0.0);
    let advantages = report.advantages.iter().flatten();
    for ((trace, completion), mean) in report.traces.iter().zip(drawn.iter().flatten()).zip(advantages) {
        let n = completion.tokens.len();
        assert_eq!(trace.fates, vec![Fate::Trained; n]);
        for (i, drawn_at) in completion.rollout_logprobs.iter().enumerate() {
            assert!((trace.policy_logprobs[i] - drawn_at).abs() < 1e-4, "token {i}");
            assert!((trace.reference_logprobs[i] - drawn_at).abs() < 1e-4, "token {i}");
        }
        assert!((trace.advantages.iter().sum::<f32>() / n as f32 - mean).abs() < 1e-5);
        entropy += trace.entropies.iter().map(|h| f64::from(*h)).sum::<f64>();
        n_tokens += n as f64;
    }
    assert!((entropy / n_tokens - report.entropy).abs() < 1e-6, "{report:?}");
}

#[test]
fn a_warm_up_told_to_stop_says_so() {
    let config = SftConfig { notes: 4, epochs: 3, batch: 2, learning_rate: 1e-3, clean_fraction: 0.5, ..SftConfig::default() };
    let error = warm_up(&nano(), &examples(), &config, &mut |done, total| {
        assert_eq!(total, 6);
        done < 2
    })
    .unwrap_err();
    assert!(error.is::<medserl::train::step::Aborted>(), "{error:#}");
}
