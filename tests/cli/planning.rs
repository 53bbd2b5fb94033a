//! Before a run: what it will take, what the machine offers, whether this build computes what the reference computes, and where another
//! program's adapter becomes the beginning of a run.

use std::path::Path;

use serde_json::Value;

use super::program::{Home, SMALL};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
const LARGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/medgemma-4b-24gb.toml");
const GIB: f64 = (1u64 << 30) as f64;

#[test]
fn medgemma_on_a_card_of_24_gb_fits_on_paper() {
    let home = Home::new();
    // Whether this machine's own memory would do is not the question here.
    let found = home.run(&["plan", LARGE, "--json", "--gpu-gib", "24"]);
    let plan: Value = serde_json::from_str(&found.out).unwrap_or_else(|e| panic!("{e}: {} {}", found.out, found.err));
    let peak = plan["gpu"]["peak_bytes"].as_f64().unwrap() / GIB;
    assert!(peak < 22.0 && peak > 10.0, "{peak} GiB");
    assert_eq!(plan["fits_card"], true);
    let always: f64 = plan["gpu"]["always"].as_array().unwrap().iter().map(|line| line["bytes"].as_f64().unwrap()).sum();
    let phase = |p: &Value| -> f64 { p["lines"].as_array().unwrap().iter().map(|l| l["bytes"].as_f64().unwrap()).sum() };
    let phases = plan["gpu"]["phases"].as_array().unwrap();
    let most = phases.iter().map(|p| always + phase(p)).fold(0.0, f64::max);
    assert!((most / GIB - peak).abs() < 1e-6, "the peak is the sum of its lines");
    // 3.88 G values of the text tower in bf16, whether or not its files are here.
    let weights = plan["gpu"]["always"][1]["bytes"].as_f64().unwrap();
    assert!((weights / 2.0 - 3.88e9).abs() < 0.01e9, "{weights}");
    assert!(plan["spec_from"].as_str().unwrap().contains("built-in"));
    let small = home.run(&["plan", LARGE, "--gpu-gib", "12"]);
    assert!(small.out.contains("DOES NOT FIT that card"), "{}", small.out);
    let more = home.run(&["plan", LARGE, "--json", "--set", "doctor.completions=16"]);
    let more: Value = serde_json::from_str(&more.out).unwrap();
    assert!(more["cpu"]["peak_bytes"].as_f64().unwrap() > plan["cpu"]["peak_bytes"].as_f64().unwrap());
}

#[test]
fn a_plan_counts_the_notes_and_refuses_what_cannot_be() {
    let home = Home::new();
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/demo.toml");
    let fits = home.run(&["plan", demo]).done();
    for part in ["frozen weights", "PEAK", "counted on", "checkpoints", "a step", "it fits this machine"] {
        assert!(fits.out.contains(part), "{part} is not in\n{}", fits.out);
    }
    let vast = home.run(&["plan", demo, "--set", "lora.rank=300000"]);
    assert!(vast.code == Some(1) && vast.out.contains("DOES NOT FIT: ") && vast.out.contains("of memory"), "{}", vast.out);
    let unknown = home.run(&["plan", demo, "--set", "model=someone/else"]);
    assert!(unknown.code == Some(1) && unknown.err.contains("config.json"), "{}", unknown.err);
}

#[test]
fn check_names_every_part_of_the_machine() {
    let home = Home::new();
    let found = home.run(&["check", "--json"]);
    let findings: Vec<Value> = serde_json::from_str(&found.out).unwrap();
    let names: Vec<&str> = findings.iter().map(|f| f["what"].as_str().unwrap()).collect();
    for part in ["threads", "instructions", "memory", "graphics", "run store", "terminal", "model hub"] {
        assert!(names.contains(&part), "{part} is not in {names:?}");
    }
    let bad = findings.iter().any(|f| f["grade"] == "bad");
    assert_eq!(found.code, Some(i32::from(bad)), "{}", found.out);
    let plain = home.run(&["check"]);
    assert!(plain.out.contains(home.0.path().to_str().unwrap()), "{}", plain.out);
}

#[test]
fn this_build_computes_what_the_reference_computes() {
    let home = Home::new();
    for precision in ["stored", "f32", "bf16"] {
        let found = home.run(&["parity", GOLDEN, "--precision", precision, "--json"]).done();
        let dumps: Vec<Value> = found.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        // Both spellings of the configuration; one naming of the text model, two of the other.
        assert_eq!(dumps.len(), 2 + 4);
        for dump in dumps {
            let rows: Vec<&str> = dump["rows"].as_array().unwrap().iter().map(|r| r["what"].as_str().unwrap()).collect();
            for row in ["logits", "hidden_base", "greedy", "rollout", "wlp.grad", "rpp.token_loss", "rppb.grad", "rpp.adamw"] {
                assert!(rows.contains(&row), "{row} is not compared: {rows:?}");
            }
        }
    }
    // One wrong number is found.
    let copy = home.path("dump");
    let dump = Path::new(GOLDEN).join("text");
    std::fs::create_dir_all(copy.join("adapter")).unwrap();
    for name in ["config.json", "model.safetensors", "adapter/adapter_config.json", "adapter/adapter_model.safetensors"] {
        std::fs::copy(dump.join(name), copy.join(name)).unwrap();
    }
    std::fs::copy(dump.join("expected.safetensors"), copy.join("expected.safetensors")).unwrap();
    let config = std::fs::read_to_string(copy.join("config.json")).unwrap();
    std::fs::write(copy.join("config.json"), config.replace("\"sliding_window\": 6", "\"sliding_window\": 7")).unwrap();
    let wrong = home.run(&["parity", copy.to_str().unwrap()]);
    assert!(wrong.code == Some(1) && wrong.out.contains("parity FAILS"), "{}", wrong.out);
}

#[test]
fn rounded_weights_compute_what_the_same_weights_in_f32_do() {
    // The dumps lie beside a full checkout; the small one's matrices are too narrow for blocks.
    let dumps = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/goldens");
    if !dumps.exists() {
        return eprintln!("skipped: there are no dumps in {}", dumps.display());
    }
    for precision in ["bf16", "int8", "int4"] {
        let dump = dumps.join("golden-1/text");
        let found = Home::new().run(&["parity", dump.to_str().unwrap(), "--precision", precision, "--json"]).done();
        for dump in found.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            let rows: Vec<&str> = dump["rows"].as_array().unwrap().iter().map(|r| r["what"].as_str().unwrap()).collect();
            assert!(rows.contains(&"logits") && !rows.contains(&"greedy"), "{rows:?}");
            for what in ["logits", "greedy", "rollout", "wlp.grad", "rppb.grad", "rpp.adamw"] {
                assert!(rows.contains(&format!("{what}, same weights in f32").as_str()), "{what}: {rows:?}");
            }
        }
    }
}

#[test]
fn an_adapter_of_another_program_begins_a_run() {
    let home = Home::new();
    let mut args = vec!["demo", "--headless", "--steps", "1", "--set", "algo.learning_rate=0.05", "--set", "sft.notes=0"];
    SMALL.iter().for_each(|set| args.extend(["--set", set]));
    args.extend(["--set", "algo.warmup_ratio=0.0"]);
    home.run(&args).done();
    for layout in ["causal", "conditional", "legacy"] {
        home.run(&["export", "adapter", "--layout", layout, "--out", layout]).done();
    }
    let demo = home.write("demo.toml", include_str!("../../experiments/demo.toml"));
    let adapter = |layout: &str| std::fs::read(home.path(layout).join("adapter_model.safetensors")).unwrap();
    assert_ne!(adapter("causal"), adapter("conditional"));
    for layout in ["conditional", "legacy", "causal"] {
        let name = format!("name=from-{layout}");
        let mut args = vec!["import", "adapter", layout, &demo, "--set", &name];
        // The experiment says rank 16; the adapter's own rank wins.
        args.extend(SMALL.iter().filter(|s| !s.starts_with("lora")).flat_map(|set| ["--set", set]));
        let done = home.run(&args).done();
        assert!(done.out.contains("rank 2, alpha 32") && done.out.contains("medserl run "), "{}", done.out);
        let start = home.path(&format!("runs/from-{layout}-s1/start/adapter_model.safetensors"));
        assert_eq!(std::fs::read(start).unwrap(), adapter("causal"), "one spelling, the same numbers");
        let again = home.run(&args);
        assert!(again.code == Some(1) && again.err.contains("exists already"), "{}", again.err);
    }
    let run = home.path("runs/from-causal-s1");
    let file = run.join("imported.toml");
    let file = file.to_str().unwrap();
    let set = ["--set", "algo.learning_rate=0.0", "--set", "sft.notes=0"];
    // No training: what is saved is what was imported.
    let other = home.path("still");
    let args = [&["run", file, "--headless", "--steps", "1", "--run-dir", other.to_str().unwrap()][..], &set].concat();
    let done = home.run(&args).done();
    assert!(done.out.contains("starting from the adapter in"), "{}", done.out);
    let saved = std::fs::read(other.join("checkpoints/step-1/adapter_model.safetensors")).unwrap();
    assert_eq!(saved, adapter("causal"));

    let other = home.write("other.toml", "model = \"google/gemma-3-270m\"\nname = \"other\"\n");
    let refused = home.run(&["import", "adapter", "causal", &other]);
    assert!(refused.code == Some(1) && refused.err.contains("q_proj.lora_A.weight"), "{}", refused.err);
    let rank = home.run(&["run", file, "--headless", "--run-dir", "elsewhere", "--set", "lora.rank=4"]);
    assert!(rank.code == Some(1) && rank.err.contains("set lora.rank and lora.alpha"), "{}", rank.err);
}
