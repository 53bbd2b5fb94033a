//! That nothing is sent anywhere: every socket the program and its children make is a local one. `strace` sees each call; where it is
//! missing or may not trace, this says so, and the open sockets of one run are looked up in /proc again and again, which can miss one
//! that lives for an instant.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use medserl::store::Store;

use super::{
    medec,
    program::{Home, tiny, words},
    terminal::{Terminal, can_make_terminals},
};
use crate::{figure::figure, tiny_folder};

const CALLS: &str = "trace=socket,socketpair,connect,bind,listen,sendto,sendmsg,sendmmsg";
/// Longer than anything here takes; reaching it is a failure.
const LIMIT: Duration = Duration::from_secs(60);

/// Whether calls can be traced here; says so where not.
fn can_trace() -> bool {
    let tried = Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "true"]).output();
    let can = tried.is_ok_and(|output| output.status.success());
    if !can {
        println!("skipped in part: strace is not here or may not trace, so that single calls cannot be seen");
    }
    can
}

/// Runs the program to its end under strace; the calls are in `log`. Nothing in the environment keeps the hub away: nothing is asked
/// for by itself.
fn traced(home: &Home, log: &Path, args: &[&str]) {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", CALLS, "-o"]).arg(log).arg(env!("CARGO_BIN_EXE_medserl")).args(args);
    strace.env("MEDSERL_HOME", home.0.path()).env_remove("HF_HUB_OFFLINE").current_dir(home.0.path()).stdin(Stdio::null());
    let output = strace.output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// How many sockets were made; all of them must be local.
#[track_caller]
fn only_local(log: &Path) -> usize {
    let calls = fs::read_to_string(log).unwrap();
    let sockets: Vec<&str> = calls.lines().filter(|line| line.contains("socket(")).collect();
    let others: Vec<&&str> = sockets.iter().filter(|line| !line.contains("socket(AF_UNIX")).collect();
    assert!(others.is_empty(), "{others:#?}");
    assert!(!["AF_INET", "AF_NETLINK", "AF_PACKET"].iter().any(|family| calls.contains(family)), "{calls}");
    sockets.len()
}

#[test]
fn a_run_opens_no_socket_to_anywhere() {
    let home = Home::new();
    if !can_trace() {
        return by_looking(&home);
    }
    let log = home.path("calls");
    traced(&home, &log, &words(&tiny("2", &[])));
    let n = only_local(&log);
    assert!(n > 0, "the control socket at least is seen");
    figure(
        "R25",
        "every socket call of `demo` and its threads under strace",
        &format!("{n} sockets, all AF_UNIX; 0 to the network"),
    );
}

#[test]
fn training_on_files_and_judging_a_model_open_no_socket_to_anywhere() {
    if !can_trace() {
        return;
    }
    let home = Home::new();
    let experiment = medec::small_files(&home, tiny_folder::folder());
    let (run, eval) = (home.path("run.calls"), home.path("eval.calls"));
    traced(&home, &run, &medec::args(&experiment));
    let n = only_local(&run);
    assert!(n > 0, "the control socket at least is seen");
    let adapter = home.path("runs/small-s1/checkpoints/step-1");
    let model = tiny_folder::folder().to_str().unwrap();
    traced(&home, &eval, &["eval", "--model", model, "--adapter", adapter.to_str().unwrap(), "--data", "val.csv"]);
    let n_eval = only_local(&eval);
    figure(
        "R25",
        "the same of `run` on a model folder and MEDEC files, and of `eval` with its adapter",
        &format!("{n} and {n_eval} sockets, all AF_UNIX; 0 to the network"),
    );
}

#[test]
fn screens_and_the_trainer_behind_them_open_no_socket_to_anywhere() {
    if !can_trace() || !can_make_terminals() {
        return;
    }
    let home = Home::new();
    let under = |log: &Path| format!("env -u HF_HUB_OFFLINE strace -f -qq -e {CALLS} -o '{}'", log.display());
    let (live, attach) = (home.path("live.calls"), home.path("attach.calls"));
    // The screen of a demo, and the trainer that it starts in a session of its own.
    let args: Vec<String> = tiny("2", &[]).into_iter().filter(|arg| arg != "--headless" && arg != "--json").collect();
    let screen = Terminal::open_under(&home, &under(&live), &words(&args));
    let patience = Instant::now() + LIMIT;
    let is_over = || Ok::<_, medserl::store::StoreError>(Store::open_read_only(&home.run_dir())?.state()?.state == "finished");
    while !is_over().unwrap_or(false) {
        assert!(Instant::now() < patience, "the run does not come to its end");
        thread::yield_now();
    }
    // Leaves, or answers the question how, where the screen has not heard of the end yet.
    screen.press_until_left("qd");
    let n = only_local(&live);
    assert!(fs::read_to_string(&live).unwrap().contains("control.sock"), "the screen is connected with the trainer");
    let mut screen = Terminal::open_under(&home, &under(&attach), &["attach"]);
    screen.press("24561");
    screen.press_until_left("q");
    let n_attach = only_local(&attach);
    figure(
        "R25",
        "the same of a screen with the trainer that it starts, and of `attach` with its screens",
        &format!("{n} and {n_attach} sockets, all AF_UNIX; 0 to the network"),
    );
}

fn by_looking(home: &Home) {
    let mut run = home.start(&words(&tiny("2", &[])));
    let pid = run.child.id();
    let mut looks = 0;
    while run.child.try_wait().unwrap().is_none() {
        let inodes: Vec<String> = ["tcp", "tcp6", "udp", "udp6", "raw", "raw6", "icmp", "icmp6"]
            .iter()
            .filter_map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).ok())
            .flat_map(|table| {
                table.lines().skip(1).filter_map(|l| l.split_whitespace().nth(9).map(str::to_owned)).collect::<Vec<_>>()
            })
            .collect();
        for fd in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let target = fs::read_link(fd.path()).unwrap_or_default().to_string_lossy().into_owned();
            let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
            assert!(!inode.is_some_and(|inode| inodes.iter().any(|i| i == inode)), "a network socket: {target}");
        }
        looks += 1;
    }
    assert!(looks > 0, "the run ended before it was looked at");
    run.stop_reading();
    assert_eq!(run.end(), Some(0));
}
