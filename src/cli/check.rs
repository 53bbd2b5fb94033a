//! `medserl check`: what this machine offers a run, what is missing, and what that means. Changes nothing, asks no network.

use std::{io::IsTerminal, path::Path, process::ExitCode};

use anyhow::Result;
use serde::Serialize;

use crate::{
    model::hub::Settings,
    runner::room::{Room, gib},
    store::runs_root,
};

#[derive(clap::Args)]
pub struct Args {
    #[arg(long)]
    json: bool,
}

/// How a finding bears on running here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Ok,
    /// Works, with less than there could be.
    Note,
    /// Something that runs need is missing.
    Bad,
}

#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    grade: Grade,
    found: String,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let findings = findings();
    if args.json {
        println!("{}", serde_json::to_string(&findings)?);
    } else {
        println!("medserl {} ({})", env!("CARGO_PKG_VERSION"), if cfg!(feature = "cuda") { "cuda" } else { "cpu only" });
        for Finding { what, grade, found } in &findings {
            let mark = match grade {
                Grade::Ok => "ok",
                Grade::Note => "note",
                Grade::Bad => "BAD",
            };
            println!("{mark:5} {what:14} {found}");
        }
    }
    let bad = findings.iter().any(|f| f.grade == Grade::Bad);
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn findings() -> Vec<Finding> {
    let root = runs_root();
    let room = root.as_ref().ok().map(|root| Room::here(root));
    let mut all = vec![threads(), instructions()];
    all.extend(room.as_ref().map(memory));
    all.push(graphics(room.as_ref()));
    match &root {
        Ok(root) => all.push(store(root, room.as_ref())),
        Err(error) => all.push(Finding { what: "run store", grade: Grade::Bad, found: format!("{error:#}") }),
    }
    all.push(terminal());
    all.push(hub());
    all
}

fn threads() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (pool, set) = (rayon::current_num_threads(), std::env::var("RAYON_NUM_THREADS").is_ok());
    let why = if set { "set by RAYON_NUM_THREADS; " } else { "" };
    let grade = if pool < cores { Grade::Note } else { Grade::Ok };
    let found =
        format!("{cores} cores, {pool} compute threads ({why}threads = N in an experiment, recorded with each checkpoint)");
    Finding { what: "threads", grade, found }
}

fn instructions() -> Finding {
    #[cfg(target_arch = "x86_64")]
    let (good, found) = {
        let mut found = Vec::new();
        macro_rules! look {
            ($($name:tt),*) => { $(if std::arch::is_x86_feature_detected!($name) { found.push($name); })* };
        }
        look!("avx2", "fma", "avx512f", "avx512bf16", "avx512vnni");
        (found.contains(&"avx2") && found.contains(&"fma"), found.join(" "))
    };
    #[cfg(not(target_arch = "x86_64"))]
    let (good, found) = (cfg!(target_arch = "aarch64"), std::env::consts::ARCH.to_owned());
    let (grade, more) =
        if good { (Grade::Ok, "") } else { (Grade::Note, ": no AVX2 with FMA, the portable kernels are several times slower") };
    Finding { what: "instructions", grade, found: format!("{found}{more}") }
}

fn memory(room: &Room) -> Finding {
    let (Some(total), Some(free)) = (room.memory_total, room.memory_free) else {
        return Finding { what: "memory", grade: Grade::Note, found: "the system does not tell".into() };
    };
    // The demo's peak, with a little air.
    let grade = if free < 1 << 30 { Grade::Bad } else { Grade::Ok };
    Finding {
        what: "memory",
        grade,
        found: format!("{} free of {}; medserl plan says what an experiment takes", gib(free), gib(total)),
    }
}

fn graphics(room: Option<&Room>) -> Finding {
    let card = room.and_then(|room| room.gpu.clone());
    let has = cfg!(feature = "cuda");
    let (grade, found) = match (card, has) {
        (Some((name, bytes)), true) => (Grade::Ok, format!("{name}, {}", gib(bytes))),
        (Some((name, bytes)), false) => {
            (Grade::Note, format!("{name}, {}, which this build cannot use: build with --features cuda", gib(bytes)))
        }
        (None, true) => (Grade::Bad, "this build is for CUDA, and NVML finds no card or no driver (libnvidia-ml.so.1)".into()),
        (None, false) => (Grade::Ok, "none; this build computes on the CPU".into()),
    };
    Finding { what: "graphics", grade, found }
}

/// The store needs locks and renames that a network folder may not keep.
fn store(root: &Path, room: Option<&Room>) -> Finding {
    let Some(room) = room else { return Finding { what: "run store", grade: Grade::Bad, found: "unknown".into() } };
    let kind = rustix::fs::statfs(&room.disk_at).map(|s| file_system(s.f_type as u32)).unwrap_or("unknown");
    let free = room.disk_free.map_or("unknown".into(), gib);
    let writable = rustix::fs::access(&room.disk_at, rustix::fs::Access::WRITE_OK).is_ok();
    let (grade, more) = match kind {
        _ if !writable => (Grade::Bad, ", not writable: set MEDSERL_HOME to a folder that is"),
        "nfs" | "cifs" | "smb2" | "fuse" => (Grade::Bad, ": SQLite's locks are not safe there; set MEDSERL_HOME to a local disk"),
        "tmpfs" => (Grade::Note, ": gone with the next start of the machine"),
        _ if room.disk_free.is_some_and(|free| free < 1 << 30) => (Grade::Note, ": little room"),
        _ => (Grade::Ok, ""),
    };
    Finding { what: "run store", grade, found: format!("{} ({kind}, {free} free){more}", root.display()) }
}

/// Names for the magic numbers of statfs(2).
fn file_system(magic: u32) -> &'static str {
    match magic {
        0xef53 => "ext",
        0x9123_683e => "btrfs",
        0x5846_5342 => "xfs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlay",
        0x6969 => "nfs",
        0xff53_4d42 => "cifs",
        0xfe53_4d42 => "smb2",
        0x6573_5546 => "fuse",
        0x0102_1997 => "9p",
        _ => "another file system",
    }
}

fn terminal() -> Finding {
    let what = "terminal";
    if !std::io::stdout().is_terminal() {
        return Finding { what, grade: Grade::Ok, found: "standard output is not one: --headless prints plain text".into() };
    }
    let term = std::env::var("TERM").unwrap_or_default();
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    let utf8 = locale.as_deref().is_some_and(|l| l.to_lowercase().replace('-', "").contains("utf8"));
    let size = crossterm::terminal::size().map_or("unknown size".into(), |(w, h)| format!("{w}x{h}"));
    let colours =
        if std::env::var("COLORTERM").is_ok_and(|c| c == "truecolor" || c == "24bit") { "24-bit" } else { "256 or fewer" };
    let (grade, more) = match (utf8, term.as_str()) {
        (_, "" | "dumb") => (Grade::Bad, ": TERM names no terminal that can be drawn on"),
        (false, _) => (Grade::Note, ": the locale is not UTF-8, lines may look broken"),
        _ => (Grade::Ok, ""),
    };
    Finding {
        what,
        grade,
        found: format!("{term}, {size}, {colours} colours, locale {}{more}", locale.unwrap_or_else(|| "unset".into())),
    }
}

fn hub() -> Finding {
    let what = "model hub";
    match Settings::from_env() {
        Ok(s) => {
            let token = s.token.map_or(format!("no token ({})", s.token_places), |t| format!("token from {}", t.place));
            let offline = if s.offline { "offline (HF_HUB_OFFLINE)" } else { s.endpoint.as_str() };
            Finding { what, grade: Grade::Ok, found: format!("cache {}, {offline}, {token}", s.cache.display()) }
        }
        Err(error) => Finding { what, grade: Grade::Note, found: format!("{error:#}") },
    }
}
