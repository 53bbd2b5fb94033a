//! Everything a user can get wrong ends in one clear line and exit code 1, or in the usage and 2; never in a panic.

use super::program::{Home, Outcome, demo};

#[track_caller]
fn assert_refused(outcome: &Outcome, named: &[&str]) {
    assert_eq!(outcome.code, Some(1), "{}{}", outcome.out, outcome.err);
    let first = outcome.err.lines().next().unwrap_or_default();
    assert!(first.starts_with("error: "), "{}", outcome.err);
    assert!(!outcome.err.contains("panicked") && !outcome.err.contains("RUST_BACKTRACE"), "{}", outcome.err);
    for name in named {
        assert!(first.contains(name), "{name:?} is not named in the first line:\n{}", outcome.err);
    }
}

#[test]
fn a_bad_experiment_file_is_named_with_its_line() {
    let home = Home::new();
    let run = |path: &str| home.run(&["run", path, "--headless"]);
    assert_refused(&run("no-such.toml"), &["no-such.toml", "cannot read"]);
    assert_eq!(run("no-such.toml").err.matches("No such file").count(), 1, "a cause is told once");
    std::fs::create_dir(home.path("folder.toml")).unwrap();
    assert_refused(&run("folder.toml"), &["folder.toml"]);
    let cases: [(&str, &[u8], &str); 6] = [
        ("key.toml", b"steps = 1\n[doctor]\nsample = 4\n", "line 3"),
        ("type.toml", b"name = \"x\"\nsteps = \"ten\"\n", "line 2"),
        ("word.toml", b"[data]\nsource = \"web\"\n", "line 2"),
        ("syntax.toml", b"steps = 1\n[doctor\n", "line 2"),
        ("negative.toml", b"steps = -1\n", "line 1"),
        ("bytes.toml", b"name = \"\xff\"\n", "bytes.toml"),
    ];
    for (name, text, place) in cases {
        home.write(name, text);
        assert_refused(&run(name), &[name, place]);
    }
    home.write("value.toml", "[doctor]\nsamples = 6\n");
    assert_refused(&run("value.toml"), &["doctor.samples = 6", "multiple of 4"]);
    home.write("name.toml", "name = \"../../etc\"\n");
    assert_refused(&run("name.toml"), &["../../etc"]);
    assert!(!home.path("runs").exists(), "a refused experiment leaves nothing behind");
}

#[test]
fn a_bad_override_is_named() {
    let home = Home::new();
    for (set, says) in [
        ("nonsense", "key=value"),
        ("=1", "the key is empty"),
        ("doctor.=1", "the key is empty"),
        ("doctor.samples=many", "doctor.samples=many"),
        ("doctor.sample=4", "doctor.sample=4"),
        ("steps.deep.deeper=1", "steps.deep.deeper=1"),
        ("doctor.temperature=0", "doctor.temperature"),
        ("lora.rank=0", "lora.rank"),
    ] {
        assert_refused(&home.run(&["demo", "--headless", "--set", set]), &[says]);
    }
}

#[test]
fn a_model_that_cannot_be_opened_is_named_and_does_not_spoil_the_run() {
    let home = Home::new();
    std::fs::create_dir(home.path("empty")).unwrap();
    let folder = home.path("empty").to_str().unwrap().to_owned();
    let file = home.write("model.gguf", "x");
    let with = |model: &str| {
        let set = format!("model={model}");
        let args = [demo("1").as_slice(), &["--set", &set]].concat();
        home.run(&args)
    };
    assert_refused(&with(&folder), &[&folder, "config.json"]);
    home.write("empty/config.json", "{}");
    assert_refused(&with(&folder), &[&folder, "model_type"]);
    assert_refused(&with(&file), &[&file, "is a file"]);
    assert_refused(&with("no-such-model"), &["no-such-model", "neither"]);
    assert_refused(&with("owner/never-fetched"), &["owner/never-fetched", "HF_HUB_OFFLINE"]);
    // With the mistake put right, the same command runs.
    home.run(&demo("1")).done();
}

#[test]
fn another_experiment_may_not_take_over_a_run() {
    let home = Home::new();
    home.run(&demo("1")).done();
    let args = [demo("1").as_slice(), &["--set", "doctor.temperature=0.5"]].concat();
    assert_refused(&home.run(&args), &["demo-s1", "another experiment", "--fresh"]);
}

#[test]
fn wrong_usage_shows_the_usage() {
    let home = Home::new();
    let cases: [&[&str]; 7] = [
        &[],
        &["frobnicate"],
        &["run"],
        &["demo", "--steps", "x"],
        &["demo", "--json"],
        &["demo", "--headless", "--no-such-flag"],
        &["status", "a", "b"],
    ];
    for args in cases {
        let outcome = home.run(args);
        assert_eq!(outcome.code, Some(2), "{args:?}: {}", outcome.err);
        assert!(outcome.err.contains("Usage: medserl") || outcome.err.contains("try '--help'"), "{args:?}: {}", outcome.err);
    }
    let help = home.run(&["--help"]).done().out;
    assert!(help.contains("Research only"), "{help}");
}

#[test]
fn commands_about_runs_that_are_not_there_say_so() {
    let home = Home::new();
    assert!(home.run(&["runs"]).done().out.contains("no runs"));
    assert_eq!(home.run(&["runs", "--json"]).done().out.trim(), "[]");
    assert_refused(&home.run(&["status"]), &["no run"]);
    assert_refused(&home.run(&["status", "abc"]), &["abc"]);
    assert_refused(&home.run(&["stop", "abc"]), &["abc"]);
    assert_refused(&home.run(&["attach", "abc"]), &["abc"]);
    assert_refused(&home.run(&["demo"]), &["terminal", "--headless"]);
    assert_refused(&home.run(&["data", "check", "no.csv"]), &["no.csv"]);
    assert_refused(&home.run(&["parity", "nowhere"]), &[]);
    assert_refused(&home.run(&["pretrain", "nowhere.toml"]), &["nowhere.toml"]);
    std::fs::create_dir_all(home.path("runs/stray")).unwrap();
    assert!(home.run(&["runs"]).done().out.contains("stray"), "a broken run is listed, not hidden");
}

#[test]
fn an_experiment_that_never_closes_its_brackets_is_an_error_like_any_other() {
    let home = Home::new();
    // The parser of TOML goes one call deeper with every repetition.
    let piece = " \" urce = \"clinic\"\n[doctor]\nsamples ={4\n[alarms]\npause = [\"kl\"]\n";
    for (times, part) in [(1_000, "line 1"), (40_000, "bytes are more than")] {
        home.write("deep.toml", format!("samples{}", piece.repeat(times)));
        let refused = home.run(&["run", "deep.toml", "--headless"]);
        assert!(refused.code == Some(1) && refused.err.contains("deep.toml"), "{:?} {}", refused.code, refused.err);
        assert!(refused.err.contains(part), "{}", &refused.err[..refused.err.len().min(400)]);
    }
    let long = format!("{}=1", ["a"; 20_000].join("."));
    let refused = home.run(&["demo", "--headless", "--set", &long]);
    assert!(refused.code == Some(1) && refused.err.contains("so many parts"), "{:?}", refused.code);
}
