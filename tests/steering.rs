//! What steers a run: conditions, knobs, how they survive in the store, and the commands that tell its owner.

use std::{fs, path::Path};

use medserl::{
    config::{HooksConfig, RunConfig},
    runner::{
        hooks::{Hooks, Occasion},
        settings::Settings,
    },
    store::{RunMeta, Store},
    task::{Breakpoint, Breakpoints, Knob, Knobs, LabelGate, Quadrant, StepReport},
};
use serde_json::json;

fn report(step: u32, metrics: &[(&str, f64)]) -> StepReport {
    let metrics = metrics.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
    StepReport { step, metrics, ..StepReport::default() }
}

#[test]
fn conditions_read_and_write_the_same() {
    for (written, meant) in [
        ("kl > 0.05", "kl > 0.05"),
        ("  KL>.05 ", "kl > 0.05"),
        ("false_positive_rate >= 0.3 for 3", "fp >= 0.3 for 3"),
        ("fp>=0.3 for 3 steps", "fp >= 0.3 for 3"),
        ("step = 50", "step = 50"),
        ("step == 50", "step = 50"),
        ("SD.fp > 0.4", "sd.fp > 0.4"),
        ("reward <= -1e-3", "reward <= -0.001"),
        ("nan", "nan"),
        ("constant", "reward constant"),
        ("reward constant for 3", "reward constant"),
        ("entropy constant for 5", "entropy constant for 5"),
    ] {
        let breakpoint: Breakpoint = written.parse().unwrap();
        assert_eq!(breakpoint.to_string(), meant, "{written}");
        assert_eq!(meant.parse::<Breakpoint>().unwrap(), breakpoint);
    }
    for (written, said) in [
        ("", "is no condition"),
        ("kl", "is no condition"),
        ("kl > much", "must be a finite number"),
        ("kl > nan", "must be a finite number"),
        ("luck > 1", "there is no quantity 'luck'"),
        ("xx.fp > 1", "there is no quantity 'xx.fp'"),
        ("sd.luck > 1", "there is no quantity 'sd.luck'"),
        ("kl > 1 for 0", "comes a number of steps"),
        (&"k".repeat(5000), "is no condition"),
    ] {
        let error = written.parse::<Breakpoint>().unwrap_err();
        assert!(error.contains(said), "{written}: {error}");
    }
}

/// Steps at which a condition is hit, over values of one metric.
fn hits(condition: &str, metric: &str, values: &[f64]) -> Vec<u32> {
    let mut all = Breakpoints::default();
    all.add(condition.parse().unwrap());
    let reports = (1..).zip(values).map(|(step, value)| report(step, &[(metric, *value)]));
    reports.flat_map(|report| all.observe(&report)).map(|hit| hit.step).collect()
}

#[test]
fn a_breakpoint_is_hit_when_it_comes_true_and_not_while_it_stays_so() {
    assert_eq!(hits("kl > 0.05", "kl", &[0.01, 0.06, 0.07, 0.05, 0.06]), [2, 5]);
    assert_eq!(hits("kl > 0.05 for 2", "kl", &[0.06, 0.01, 0.06, 0.07, 0.08, 0.0, 0.06, 0.06]), [4, 8]);
    assert_eq!(hits("acc < 0.5", "accuracy", &[0.6, f64::NAN, 0.4]), [3]);
    assert_eq!(hits("step = 3", "kl", &[0.0; 5]), [3]);
    assert_eq!(hits("nan", "loss", &[0.1, f64::NAN, f64::INFINITY, 0.1, f64::NAN]), [2, 5]);
    assert_eq!(hits("nan", "skipped_updates", &[0.0, 1.0]), [2]);
    assert_eq!(hits("constant", "reward", &[0.1, 0.5, 0.5, 0.5, 0.5, 0.6]), [4]);
    assert_eq!(hits("reward constant for 2", "reward", &[0.5, 0.5, 0.6, 0.6]), [2, 4]);
    assert_eq!(hits("fp > 0.1", "kl", &[0.5, 0.5]), [] as [u32; 0], "a step that says nothing about it hits nothing");
    let mut all = Breakpoints::default();
    all.add("sd.fp > 0.2".parse().unwrap());
    let mut report = report(1, &[]);
    let stats = &mut report.quadrants[Quadrant::SyntheticDecoy.index()];
    (stats.n_rollouts, stats.false_positives) = (16, 4);
    assert_eq!(all.observe(&report)[0].why, "sd.fp = 0.2500");
}

#[test]
fn knobs_read_back_to_the_same_bits_and_refuse_nonsense() {
    let rate = 1.0 / 3.0 * 1e-4;
    for knob in [Knob::Temperature(0.1 + 0.2), Knob::LearningRate(rate), Knob::LabelGate(LabelGate::Sample(0.25))] {
        assert_eq!(knob.to_string().parse::<Knob>().unwrap(), knob);
    }
    assert_eq!("lr = 1e-4".parse::<Knob>().unwrap(), Knob::LearningRate(1e-4));
    assert_eq!("labels.gate=\"ask\"".parse::<Knob>().unwrap(), Knob::LabelGate(LabelGate::Ask));
    for (written, said) in [
        ("temperature", "is no change"),
        ("temperature=0", "must be above 0"),
        ("temperature=nan", "must be above 0"),
        ("lr=-1", "must lie between 0 and 1"),
        ("label_gate=maybe", "is no label gate"),
        ("rank=4", "there is no knob 'rank'"),
    ] {
        let error = written.parse::<Knob>().unwrap_err();
        assert!(error.contains(said), "{written}: {error}");
    }
}

const FIRST: Knobs = Knobs { temperature: 1.0, learning_rate: 4e-4, label_gate: LabelGate::Off };

fn store(dir: &Path) {
    let meta = RunMeta {
        id: "r".into(),
        name: "r".into(),
        model: "nano".into(),
        seed: 1,
        steps_total: 9,
        config_toml: String::new(),
        program_version: "0".into(),
        started_unix_s: 0,
    };
    Store::create(dir).unwrap().begin_run(&meta).unwrap();
}

#[test]
fn a_step_made_again_gets_the_values_it_had() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path());
    let mut settings = Settings::open(dir.path(), FIRST, &[]).unwrap();
    settings.change(10, Knob::Temperature(0.8)).unwrap();
    settings.change(20, Knob::Temperature(0.6)).unwrap();
    settings.change(20, Knob::LearningRate(1e-4)).unwrap();
    let temperatures = |settings: &Settings| [9, 10, 19, 20, 30].map(|step| settings.at(step).temperature);
    assert_eq!(temperatures(&settings), [1.0, 0.8, 0.8, 0.6, 0.6]);
    let mut again = Settings::open(dir.path(), FIRST, &[]).unwrap();
    assert_eq!(temperatures(&again), temperatures(&settings));
    assert_eq!(again.picture(9, None).coming.len(), 3);
    // Whoever changes a value while step 12 is made again means all that follow.
    again.change(13, Knob::Temperature(0.7)).unwrap();
    assert_eq!([12, 13, 20].map(|step| again.at(step).temperature), [0.8, 0.7, 0.7]);
    assert_eq!(again.picture(12, None).coming, [(20, Knob::LearningRate(1e-4)), (13, Knob::Temperature(0.7))]);
    // Step 12 is given up: what was asked for during it holds for it.
    again.bring_forward(12).unwrap();
    assert_eq!((again.at(12).temperature, again.at(12).learning_rate), (0.7, 1e-4));
    assert_eq!(again.picture(12, None).coming, []);
}

#[test]
fn breakpoints_survive_and_one_taken_away_stays_away() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path());
    let of_experiment: Vec<Breakpoint> = vec!["nan".parse().unwrap(), "kl > 0.05".parse().unwrap()];
    let (kl, fp) = (of_experiment[1].clone(), "fp > 0.3".parse().unwrap());
    let mut settings = Settings::open(dir.path(), FIRST, &of_experiment).unwrap();
    assert_eq!((settings.add(1, &fp).unwrap(), settings.add(1, &fp).unwrap()), (true, false));
    assert_eq!((settings.remove(2, &kl).unwrap(), settings.remove(2, &kl).unwrap()), (true, false));
    let again = Settings::open(dir.path(), FIRST, &of_experiment).unwrap();
    assert_eq!(again.picture(0, None).breakpoints, [of_experiment[0].clone(), fp]);
    let kinds: Vec<String> =
        Store::open_read_only(dir.path()).unwrap().events().unwrap().into_iter().map(|e| e.message).collect();
    assert_eq!(kinds, ["add fp > 0.3", "remove kl > 0.05"]);
}

#[test]
fn an_experiment_says_where_it_pauses_and_whom_it_tells() {
    let read = |text: &str| RunConfig::parse(Path::new("e.toml"), text, &[]);
    let config = read("breakpoints = [\"kl > 0.05\"]\n[hooks]\non_pause = [\"notify\", \"a b\"]\n").unwrap();
    assert_eq!(config.breakpoints, ["kl > 0.05".parse().unwrap()]);
    assert_eq!(read(&config.to_toml().unwrap()).unwrap(), config);
    assert!(!read("").unwrap().to_toml().unwrap().contains("hooks"), "runs begun without hooks stay the same experiment");
    let error = read("breakpoints = [\"luck > 1\"]").unwrap_err().to_string();
    assert!(error.contains("no quantity 'luck'") && error.contains("line 1"), "{error}");
    assert!(read("[hooks]\non_pause = [\"\"]").unwrap_err().to_string().contains("must be a program"));
    assert!(read("[hooks]\ntimeout_s = 0").unwrap_err().to_string().contains("between 1 and 600"));
}

fn hooks(dir: &Path, config: HooksConfig) -> Hooks {
    Hooks::new(&config, "demo-s1", dir)
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_hook_gets_its_words_as_they_stand_and_no_message_unless_asked() {
    let dir = tempfile::tempdir().unwrap();
    let script = words(&["/bin/sh", "-c", "cat > told; printf '%s' \"$1\" > word", "sh", "$(touch bad); `x` 'y'"]);
    for messages in [false, true] {
        let mut hooks = hooks(dir.path(), HooksConfig { on_pause: script.clone(), messages, ..HooksConfig::default() });
        hooks.fire(Occasion::Pause, 7, &[("reason", json!("break"))], "quotes the note");
        hooks.fire(Occasion::Finish, 7, &[], "has no command");
        hooks.finish();
        assert_eq!(hooks.failures(), [] as [String; 0]);
        let told: serde_json::Value = serde_json::from_str(&fs::read_to_string(dir.path().join("told")).unwrap()).unwrap();
        assert_eq!(
            (&told["event"], &told["run"], &told["step"], &told["reason"]),
            (&json!("pause"), &json!("demo-s1"), &json!(7), &json!("break"))
        );
        assert_eq!(told.get("message").is_some(), messages);
    }
    assert_eq!(fs::read_to_string(dir.path().join("word")).unwrap(), "$(touch bad); `x` 'y'");
    assert!(!dir.path().join("bad").exists());
}

#[test]
fn a_hook_that_fails_or_hangs_is_told_and_hurts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let failing = |command: &[&str]| {
        let mut hooks = hooks(dir.path(), HooksConfig { on_alert: words(command), timeout_s: 1, ..HooksConfig::default() });
        hooks.fire(Occasion::Alert, 1, &[], "");
        hooks.finish();
        hooks.failures().pop().unwrap()
    };
    assert!(failing(&["/bin/sh", "-c", "echo why >&2; exit 3"]).contains("exit status: 3"));
    assert!(fs::read_to_string(dir.path().join("hooks.log")).unwrap().contains("why"));
    assert!(failing(&["/no/such/program"]).contains("cannot start /no/such/program"));
    // What it started goes with it: the file would be written a second later.
    let said = failing(&["/bin/sh", "-c", "(sleep 30; touch late) & sleep 30"]);
    assert!(said.contains("took longer than 1 s and was killed"), "{said}");
}
