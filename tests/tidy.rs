//! The house rules, enforced by reading the source as text: who may import whom, where each heavy crate may appear, who may
//! print, how long things may be, what they may not be called. Every message names file and line.
//! The last section runs every rule over made-up source that breaks it, so that no rule can go blind unnoticed.

#[path = "tidy/source.rs"]
mod source;

use std::{fs, path::Path};

use source::{Source, blank, closing, first_word, is_word, without_tests, words};

/// Which top-level module may use which others. `main` and `lib` may use anything; a change here is a change of the design.
const LAW: &[(&str, &[&str])] = &[
    ("task", &[]),
    ("config", &["task"]),
    ("data", &["task", "config"]),
    ("clinic", &["task", "config"]),
    ("model", &["task", "config"]),
    ("store", &["task", "config"]),
    ("attach", &["task"]),
    ("scribe", &["task", "config"]),
    ("train", &["task", "config", "model", "scribe", "data"]),
    ("eval", &["task", "config"]),
    ("export", &["task", "config", "store", "model", "eval"]),
    ("serve", &["task", "config"]),
    ("runner", &["task", "config", "data", "clinic", "model", "store", "attach", "scribe", "train", "eval", "export", "serve"]),
    ("tui", &["task", "config", "store", "attach"]),
    ("cli", &ANYTHING),
    ("main", &ANYTHING),
    ("lib", &ANYTHING),
];
const ANYTHING: [&str; 15] = [
    "task", "config", "data", "clinic", "model", "store", "attach", "scribe", "train", "eval", "export", "serve", "runner",
    "tui", "cli",
];

/// Crates by the start of their name, and the only modules that may name them.
const CRATES: &[(&str, &[&str])] = &[("candle_", &["model", "train", "runner"]), ("rusqlite", &["store"]), ("ratatui", &["tui"])];

const PRINTING: &[&str] = &["println", "eprintln", "print", "eprint", "dbg"];
const MAY_PRINT: &[&str] = &["cli", "main"];
const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 80;
/// Not part of any name of ours: the word is step.
const BANNED_IN_NAMES: &[&str] = &["iteration", "iterations"];
/// Not part of a type's or a file's name: they say nothing.
const BANNED_IN_TYPES: &[&str] = &["manager", "managers", "helper", "helpers", "util", "utils"];

// ------------------------------------------------------------------------------------------------------------- rules

type Rule = fn(&[Source]) -> Vec<String>;

fn in_src(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources.iter().filter(|s| s.path.starts_with("src/"))
}

fn import_law(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in in_src(sources) {
        let own = source.module();
        let Some((_, allowed)) = LAW.iter().find(|(module, _)| *module == own) else {
            broken.push(source.at(0, &format!("module {own} has no place in the import law")));
            continue;
        };
        for (at, module) in crate_paths(source) {
            if module != own && !allowed.contains(&module) {
                broken.push(source.at(at, &format!("{own} must not use crate::{module}; it may use {allowed:?}")));
            }
        }
    }
    broken
}

/// Every top-level module named by a path from the crate root, whether `crate::x`, `crate::{x, y}` or enough `super::`.
fn crate_paths(source: &Source) -> Vec<(usize, &str)> {
    let code = source.code.as_str();
    let mut found = Vec::new();
    for (start, word) in words(code) {
        let mut at = start + word.len();
        let mut ups = 1;
        match word {
            "crate" if code[at..].starts_with("::") => {}
            "super" if !code[..start].ends_with("super::") && code[at..].starts_with("::") => {
                while code[at..].starts_with("::super") {
                    (at, ups) = (at + "::super".len(), ups + 1);
                }
                if ups < source.depth() || !code[at..].starts_with("::") {
                    continue;
                }
            }
            _ => continue,
        }
        found.extend(branches(code, at + 2));
    }
    found
}

/// First words of the path tree at `at`: one for `x::y`, several for `{x, y::z}`.
fn branches(code: &str, at: usize) -> Vec<(usize, &str)> {
    if !code[at..].starts_with('{') {
        return [(at, first_word(&code[at..]))].into_iter().filter(|(_, word)| !word.is_empty()).collect();
    }
    let end = closing(code, at) - 1;
    let (mut depth, mut fresh, mut found) = (0, true, Vec::new());
    for (i, b) in code[at + 1..end].bytes().enumerate() {
        match b {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => fresh = true,
            b if fresh && depth == 0 && is_word(b) => {
                fresh = false;
                found.push((at + 1 + i, first_word(&code[at + 1 + i..])));
            }
            _ => {}
        }
    }
    found
}

fn crates_in_their_place(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in in_src(sources) {
        for (at, word) in words(&source.code) {
            if let Some((_, places)) =
                CRATES.iter().find(|(name, places)| word.starts_with(name) && !places.contains(&source.module()))
            {
                broken.push(source.at(at, &format!("{word} may be named in {places:?} only")));
            }
        }
    }
    broken
}

fn printing(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in in_src(sources).filter(|s| !MAY_PRINT.contains(&s.module())) {
        for (at, word) in words(&source.code) {
            if PRINTING.contains(&word) && source.code[at + word.len()..].starts_with('!') {
                broken.push(source.at(at, &format!("{word}! outside {MAY_PRINT:?}: return the text to the caller")));
            }
        }
    }
    broken
}

fn file_length(sources: &[Source]) -> Vec<String> {
    let too_long = |source: &Source| {
        let n = source.text.lines().count();
        (n > MAX_FILE_LINES)
            .then(|| format!("{}:{n}: the file has {n} lines, at most {MAX_FILE_LINES}: split it by noun", source.path))
    };
    sources.iter().filter_map(too_long).collect()
}

fn function_length(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in in_src(sources) {
        for (at, word) in words(&source.code) {
            let after = source.code[at + word.len()..].trim_start();
            let name = first_word(after);
            if word != "fn" || name.is_empty() {
                continue;
            }
            let n = source.code[at..function_end(&source.code, at)].lines().count();
            if n > MAX_FUNCTION_LINES {
                broken.push(source.at(at, &format!("fn {name} has {n} lines, at most {MAX_FUNCTION_LINES}")));
            }
        }
    }
    broken
}

/// End of the function that starts at `at`: behind its body, or at the semicolon of a bodiless one.
fn function_end(code: &str, at: usize) -> usize {
    let mut here = at;
    while let Some(found) = code[here..].find(['(', '[', '{', ';']) {
        here += found;
        match code.as_bytes()[here] {
            b';' => return here,
            b'{' => return closing(code, here),
            _ => here = closing(code, here),
        }
    }
    code.len()
}

fn no_unwrap(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in in_src(sources) {
        for (at, _) in without_tests(&source.code).match_indices(".unwrap()") {
            broken.push(source.at(at, "unwrap(): return an error, or state the invariant with expect()"));
        }
    }
    broken
}

fn banned_names(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in in_src(sources) {
        let file_name = source.inside().replace(['/', '.'], "_");
        let names =
            words(&source.code).into_iter().map(|(at, word)| (at, word, word.starts_with(|c: char| c.is_ascii_uppercase())));
        for (at, name, is_type) in names.chain([(0, file_name.as_str(), true)]) {
            let banned =
                |part: &String| BANNED_IN_NAMES.contains(&part.as_str()) || is_type && BANNED_IN_TYPES.contains(&part.as_str());
            if let Some(part) = parts(name).into_iter().find(banned) {
                broken.push(source.at(at, &format!("{name}: '{part}' is a banned word")));
            }
        }
    }
    broken
}

/// `RunManager` → run, manager; `n_iterations` → n, iterations; `HTTPUtil` → http, util.
fn parts(name: &str) -> Vec<String> {
    let chars: Vec<char> = name.chars().collect();
    let mut parts = vec![String::new()];
    for (i, c) in chars.iter().enumerate() {
        let after_lower = i > 0 && chars[i - 1].is_ascii_lowercase();
        let before_lower = chars.get(i + 1).is_some_and(char::is_ascii_lowercase);
        if *c == '_' || c.is_ascii_uppercase() && (after_lower || before_lower) {
            parts.push(String::new());
        }
        if let (Some(part), false) = (parts.last_mut(), *c == '_') {
            part.push(c.to_ascii_lowercase());
        }
    }
    parts
}

/// Every key of `METRICS` is written somewhere else as a literal: a registered metric nobody logs is a promise not kept.
fn metrics_are_used(sources: &[Source]) -> Vec<String> {
    const REGISTRY: &str = "src/task/report.rs";
    let Some(registry) = sources.iter().find(|s| s.path == REGISTRY) else {
        return vec![format!("{REGISTRY}:1: the registry of metrics is missing")];
    };
    let keys: Vec<(usize, &str)> = registry
        .text
        .match_indices("Metric { key: \"")
        .map(|(at, start)| (at, registry.text[at + start.len()..].split('"').next().unwrap_or_default()))
        .collect();
    let used = |key: &str| in_src(sources).filter(|s| s.path != REGISTRY).any(|s| s.text.contains(&format!("\"{key}\"")));
    let mut broken: Vec<String> = keys
        .iter()
        .filter(|(_, key)| !used(key))
        .map(|(at, key)| registry.at(*at, &format!("metric {key:?} is registered and never logged")))
        .collect();
    if keys.is_empty() {
        broken.push(registry.at(0, "no line reads `Metric { key: \"…`: this rule no longer sees the registry"));
    }
    broken
}

// ------------------------------------------------------------------------------------------------- over the real tree

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["src", "tests"] {
        collect(root, &root.join(folder), &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.iter().any(|s| s.path == "src/lib.rs"), "no source under {}", root.display());
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
            found.push(Source::new(&name, &fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"))));
        }
    }
}

#[track_caller]
fn check_tree(rule: Rule) {
    let broken = rule(&sources());
    assert!(broken.is_empty(), "{} broken:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn modules_import_only_what_stands_above_them() {
    check_tree(import_law);
}

#[test]
fn heavy_crates_stay_in_their_modules() {
    check_tree(crates_in_their_place);
}

#[test]
fn only_the_command_line_prints() {
    check_tree(printing);
}

#[test]
fn files_are_short() {
    check_tree(file_length);
}

#[test]
fn functions_are_short() {
    check_tree(function_length);
}

#[test]
fn nothing_unwraps_outside_tests() {
    check_tree(no_unwrap);
}

#[test]
fn names_avoid_banned_words() {
    check_tree(banned_names);
}

#[test]
fn every_registered_metric_is_logged() {
    check_tree(metrics_are_used);
}

// --------------------------------------------------------------------------------------------- the rules, on made-up source

#[track_caller]
fn check(rule: Rule, path: &str, text: &str, expected: &[&str]) {
    let broken = rule(&[Source::new(path, text)]);
    let same = broken.len() == expected.len() && broken.iter().zip(expected).all(|(got, start)| got.starts_with(start));
    assert!(same, "{path} {text:?}\n gave {broken:#?}\n expected {expected:#?}");
}

#[test]
fn comments_and_literals_are_not_code() {
    let check = |text: &str, code: &str| assert_eq!(blank(text), code, "{text:?}");
    check("a // b\nc", "a     \nc");
    check("a /* b /* c */ d */ e", "a                   e");
    check("f(\"a\\\"b\", 'x', '\\'', 'é')", "f(      ,    ,     ,     )");
    check("r#\"a\"b\"# r\"\\\" br\"x\" x", "              b     x");
    check("fn f<'a>(x: &'a str) { '\"' }", "fn f<'a>(x: &'a str) {     }");
    check("\"a\nb\" c", "  \n   c");
    check("\"open", "     ");
}

#[test]
fn the_rules_see_what_they_forbid() {
    check(
        import_law,
        "src/eval/a.rs",
        "use crate::task::Label;\nuse crate::{config, store::Run};",
        &["src/eval/a.rs:2: eval must not use crate::store"],
    );
    check(import_law, "src/eval/a.rs", "use super::super::train;\nuse super::b;\nuse super::{super::x};", &["src/eval/a.rs:1"]);
    check(import_law, "src/config.rs", "fn f() { super::data::read() }", &["src/config.rs:1: config must not use crate::data"]);
    check(import_law, "src/task/a.rs", "// crate::store\nuse crate::task::b; const X: &str = \"crate::cli\";", &[]);
    check(import_law, "src/cli/a.rs", "use crate::{tui, train, store::{a, b}};", &[]);
    check(import_law, "src/extra/a.rs", "", &["src/extra/a.rs:1: module extra has no place"]);
    check(import_law, "src/task/a.rs", "pub(crate) fn f() { crate::model::g(); }", &["src/task/a.rs:1"]);
    check(
        crates_in_their_place,
        "src/eval/a.rs",
        "\nuse candle_core::Tensor;",
        &["src/eval/a.rs:2: candle_core may be named in"],
    );
    check(crates_in_their_place, "src/cli/a.rs", "rusqlite::Connection; ratatui::init()", &["src/cli/a.rs:1", "src/cli/a.rs:1"]);
    check(crates_in_their_place, "src/store/a.rs", "use rusqlite::Connection;", &[]);
    check(printing, "src/eval/a.rs", "fn f() {\n    println!();\n    write!(f, \"println!\") }", &["src/eval/a.rs:2: println!"]);
    check(printing, "src/cli/a.rs", "println!()", &[]);
    check(
        no_unwrap,
        "src/eval/a.rs",
        "a.unwrap_or(1);\nb.unwrap();\n#[cfg(test)]\nmod tests { c.unwrap(); }\nd.unwrap()",
        &["src/eval/a.rs:2", "src/eval/a.rs:5"],
    );
    check(no_unwrap, "tests/a.rs", "a.unwrap()", &[]);
    check(
        banned_names,
        "src/eval/a.rs",
        "struct RunManager;\nlet n_iterations = 1; candle::utils::f()",
        &["src/eval/a.rs:1: RunManager", "src/eval/a.rs:2"],
    );
    check(banned_names, "src/eval/utils.rs", "use Utilization;", &["src/eval/utils.rs:1: eval_utils_rs: 'utils'"]);
    let long = |n: usize| format!("struct S;\nfn f(x: [u8; 4]) -> u8\nwhere u8: Copy {{{}}}\nfn g();", "\n".repeat(n));
    check(function_length, "src/eval/a.rs", &long(78), &[]);
    check(function_length, "src/eval/a.rs", &long(79), &["src/eval/a.rs:2: fn f has 81 lines"]);
    check(function_length, "src/eval/a.rs", &format!("type F = fn(u8);{}", "\n".repeat(99)), &[]);
    check(file_length, "tests/a.rs", &"x\n".repeat(500), &[]);
    check(file_length, "tests/a.rs", &"x\n".repeat(501), &["tests/a.rs:501: the file has 501 lines"]);
    let registry =
        Source::new("src/task/report.rs", "\nMetric { key: \"kl\", unit: \"\" },\nMetric { key: \"loss\", unit: \"\" }");
    let log = Source::new("src/train/step.rs", "m.insert(\"loss\", 1.0); // kl");
    assert_eq!(metrics_are_used(&[registry, log]), ["src/task/report.rs:2: metric \"kl\" is registered and never logged"]);
    assert_eq!(metrics_are_used(&[]).len(), 1);
}
