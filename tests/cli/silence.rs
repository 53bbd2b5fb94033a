//! That nothing is sent anywhere: every socket the program and its children make is a local one. `strace` sees each call; where it is
//! missing or may not trace, the open sockets are looked up in /proc again and again, which can miss one that lives for an instant.

use std::{
    fs,
    process::{Command, Stdio},
};

use super::program::{Home, tiny, words};
use crate::figure::figure;

#[test]
fn a_run_opens_no_socket_to_anywhere() {
    let home = Home::new();
    let log = home.path("calls");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "trace=socket,connect,sendto,sendmsg", "-o"]).arg(&log).arg(env!("CARGO_BIN_EXE_medserl"));
    let args = tiny("2", &[]);
    // Without the setting that keeps the hub away, and without anything in the way: nothing is asked for by itself.
    let run = strace.args(words(&args)).env("MEDSERL_HOME", home.0.path()).stdin(Stdio::null()).output();
    match run {
        Ok(output) if output.status.success() => {
            let calls = fs::read_to_string(&log).unwrap();
            let sockets: Vec<&str> = calls.lines().filter(|line| line.contains("socket(")).collect();
            assert!(!sockets.is_empty(), "the control socket at least is seen: {calls}");
            let others: Vec<&&str> = sockets.iter().filter(|line| !line.contains("socket(AF_UNIX")).collect();
            assert!(others.is_empty(), "{others:#?}");
            assert!(!calls.contains("AF_INET"), "{calls}");
            let n = sockets.len();
            figure(
                "R25",
                "every socket call of `demo` and its threads under strace",
                &format!("{n} sockets, all AF_UNIX; 0 to the network"),
            );
        }
        _ => by_looking(&home),
    }
}

fn by_looking(home: &Home) {
    println!("strace cannot be used here: looking into /proc instead");
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
