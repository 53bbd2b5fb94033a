//! Under the feature `cuda`: compiles the GPU kernels to PTX, which the driver finishes for the GPU at hand. Else it does nothing.
//!
//! PTX at build time and not at run time: candle's own kernels need `nvcc` for the build anyway, so this asks for nothing more, finds
//! errors where they are made, and spares every start a compiler library of 100 MB.

use std::{env, path::PathBuf, process::Command};

const SOURCE: &str = "src/model/kernels/kernels.cu";
/// With the files it includes.
const SOURCES: &str = "src/model/kernels";
/// bf16 needs it; PTX for it runs on everything newer.
const OLDEST: &str = "80";

fn main() {
    println!("cargo::rerun-if-changed={SOURCES}");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    if let Err(why) = compile() {
        println!("cargo::error=the feature cuda needs nvcc of CUDA 12.8 or later: {why}; experiments/gpu/build.sh brings one");
    }
}

fn compile() -> Result<(), String> {
    let nvcc = env::var_os("CUDA_HOME").map_or_else(|| PathBuf::from("nvcc"), |home| PathBuf::from(home).join("bin/nvcc"));
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?).join("kernels.ptx");
    let capability = env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| OLDEST.to_owned());
    let run = |command: &mut Command| -> Result<String, String> {
        let output = command.output().map_err(|e| format!("{} does not start ({e})", nvcc.display()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    };
    let version = run(Command::new(&nvcc).arg("--version"))?;
    let major = version.split("release ").nth(1).and_then(|v| v.split('.').next()).ok_or("its version cannot be read")?;
    println!("cargo::rustc-env=MEDSERL_CUDA_MAJOR={major}");
    let mut command = Command::new(&nvcc);
    command.args(["--ptx", "-O3", "-std=c++17", &format!("-arch=compute_{capability}"), "-o"]).arg(out).arg(SOURCE);
    run(&mut command).map(|_| ())
}
