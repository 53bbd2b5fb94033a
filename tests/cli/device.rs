//! Asking for a device: a GPU that cannot be had is one clear line before anything starts, and never another device instead.

use super::program::{Home, demo};

#[test]
#[cfg(not(feature = "cuda"))]
fn a_gpu_in_a_build_without_one_is_refused_before_anything_starts() {
    let home = Home::new();
    let on_gpu = [demo("1").as_slice(), &["--device", "cuda"]].concat();
    let by_key = [demo("1").as_slice(), &["--set", "device=cuda:3"]].concat();
    home.write("gpu.toml", "device = \"cuda\"\n");
    let commands: [(&[&str], &str); 8] = [
        (&on_gpu, "cuda:0"),
        (&by_key, "cuda:3"),
        (&["run", "gpu.toml", "--headless"], "cuda:0"),
        (&["run", "gpu.toml"], "cuda:0"),
        (&["score", "--device", "cuda:1"], "cuda:1"),
        (&["kernels", "--device", "cuda"], "cuda:0"),
        (&["bench", "--device", "cuda", "--shape", "4b"], "cuda:0"),
        (&["bench", "--device", "cuda", "--memory-cap", "24"], "cuda:0"),
    ];
    for (args, place) in commands {
        let outcome = home.run(args);
        assert_eq!(outcome.code, Some(1), "{args:?}: {}", outcome.err);
        assert_eq!(outcome.err.lines().count(), 1, "{args:?}: {}", outcome.err);
        for part in ["error: ", place, "--features cuda", "build.sh", "cpu"] {
            assert!(outcome.err.contains(part), "{args:?} does not say {part:?}: {}", outcome.err);
        }
    }
    assert!(!home.path("runs").exists(), "nothing was started");
}

#[test]
fn a_word_that_is_no_device_is_named_with_what_would_be() {
    let home = Home::new();
    for word in ["gpu", "cuda:x", "cuda:-1", "cuda:", "cpu:1", "cuda/fast"] {
        let outcome = home.run(&["score", "--device", word]);
        assert_eq!(outcome.code, Some(2), "{}", outcome.err);
        assert!(outcome.err.contains(word) && outcome.err.contains("cuda:N"), "{}", outcome.err);
    }
    home.write("device.toml", "steps = 1\ndevice = \"gpu\"\n");
    let outcome = home.run(&["run", "device.toml", "--headless"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("line 2") && outcome.err.contains("cuda:N"), "{}", outcome.err);
}

#[test]
fn a_run_trains_on_the_path_of_a_gpu() {
    // `cpu/composed` is what a GPU runs without our kernels, on the CPU.
    let home = Home::new();
    let args = [demo("1").as_slice(), &["--device", "cpu/composed"]].concat();
    let out = home.run(&args).done().out;
    assert!(out.contains("\"step\":1") || out.contains("step 1"), "{out}");
    let experiment = std::fs::read_to_string(home.path("runs/demo-s1/experiment.toml")).unwrap();
    assert!(experiment.contains("device = \"cpu/composed\""), "{experiment}");
}
