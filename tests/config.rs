//! Experiment files by hand-written tables: what is read, what is refused, and where the message points.

use std::path::Path;

use medserl::{
    config::{ConfigError, DataSource, Estimator, Preset, RunConfig, ScribePolicy},
    task::PromptStyle,
};

fn parse(text: &str, overrides: &[&str]) -> Result<RunConfig, ConfigError> {
    let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
    RunConfig::parse(Path::new("exp.toml"), text, &overrides)
}

#[track_caller]
fn check_config_refused(text: &str, overrides: &[&str], mentions: &[&str]) {
    let message = parse(text, overrides).expect_err("accepted").to_string();
    assert!(mentions.iter().all(|part| message.contains(part)), "{message:?} does not mention all of {mentions:?}");
}

#[test]
fn an_experiment_is_read_with_its_defaults_and_overrides() {
    assert_eq!(parse("", &[]).unwrap(), RunConfig::default());
    let config = parse(
        "name = \"night\"\nsteps = 7\n[doctor]\nsamples = 8\n[algo]\npreset = \"paper-v9\"\n",
        &[
            "steps=9",
            "algo.estimator=dr_grpo",
            "algo.learning_rate=1e-4",
            "algo.betas=[0.9, 0.95]",
            "scribe.policy=current",
            "model=a/b",
            "lora.rank=4",
        ],
    )
    .unwrap();
    assert_eq!((config.name.as_str(), config.steps, config.doctor.samples, config.lora.rank), ("night", 9, 8, 4));
    assert_eq!((config.algo.preset, config.algo.estimator), (Preset::PaperV9, Some(Estimator::DrGrpo)));
    assert_eq!((config.algo.learning_rate, config.algo.betas), (Some(1e-4), Some((0.9, 0.95))));
    assert_eq!((config.scribe.policy, config.model.as_str()), (ScribePolicy::Current, "a/b"));
    assert_eq!(parse("", &["name=two words"]).unwrap().name, "two words");
    assert_eq!(parse(&config.to_toml().unwrap(), &[]).unwrap(), config, "the echoed experiment reads back as itself");
}

#[test]
fn the_prompt_style_follows_the_model() {
    let style = |overrides: &[&str]| parse("", overrides).unwrap().prompt_style();
    assert_eq!(style(&[]), PromptStyle::Brief);
    assert_eq!(style(&["model=google/medgemma-4b-it"]), PromptStyle::Full);
    assert_eq!(style(&["prompts=full"]), PromptStyle::Full);
}

#[test]
fn medec_needs_its_files() {
    let named = "[data]\nsource = \"medec\"\ntrain = \"a.jsonl\"\nvalidation = \"b.csv\"\n";
    assert_eq!(parse(named, &[]).unwrap().data.source, DataSource::Medec);
    check_config_refused("[data]\nsource = \"medec\"\nvalidation = \"b.csv\"\n", &[], &["data.train", "path"]);
    check_config_refused("[data]\nsource = \"medec\"\ntrain = \"a.jsonl\"\n", &[], &["data.validation", "path"]);
}

#[test]
fn bad_experiments_are_refused_with_the_place() {
    check_config_refused("name = \"x\"\n\nstepz = 3\n", &[], &["exp.toml", "line 3", "stepz", "steps"]);
    check_config_refused("[doctor]\nsamples = 8\nsample = 8\n", &[], &["line 3", "`sample`", "samples"]);
    check_config_refused("[algo]\nestimator = \"ppo\"\n", &[], &["line 2", "ppo", "reinforce"]);
    check_config_refused("steps = \"many\"\n", &[], &["line 1", "steps"]);
    check_config_refused("steps = -1\n", &[], &["line 1"]);
    check_config_refused("steps = \n", &[], &["line 1"]);
    check_config_refused("", &["algo.lerning_rate=1e-4"], &["--set algo.lerning_rate=1e-4", "lerning_rate", "learning_rate"]);
    check_config_refused("", &["steps=many"], &["--set steps=many"]);
    check_config_refused("", &["steps"], &["--set steps", "key=value"]);
    check_config_refused("", &["=3"], &["--set =3", "empty"]);
    check_config_refused("", &["name.first=x", "steps=1"], &["--set name.first=x"]);
    check_config_refused("name = \"x\"", &["name.first=x"], &["--set name.first=x", "section"]);
    let missing = RunConfig::load(Path::new("no/such/exp.toml"), &[]).expect_err("read a file that is not there");
    assert!(missing.to_string().contains("no/such/exp.toml"), "{missing}");
}

#[test]
fn values_out_of_range_are_refused_by_key() {
    let check =
        |assignment: &str| check_config_refused("", &[assignment], &[assignment.split('=').next().unwrap_or_default(), "must"]);
    check("doctor.samples=6");
    check("doctor.samples=0");
    check("doctor.completions=0");
    check("doctor.max_tokens=0");
    check("doctor.temperature=0.0");
    check("doctor.temperature=nan");
    check("scribe.temperature=-0.1");
    check("scribe.temperature=nan");
    check("scribe.max_attempts=0");
    check("lora.rank=0");
    check("checkpoint.every=0");
    check("checkpoint.keep=0");
    check("sft.clean_fraction=1.5");
    check("sft.clean_fraction=nan");
    check("sft.batch=0");
}
