//! Many trainers at once on one run directory, as processes: exactly one wins, and a dead one's lock is taken over.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Lines, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use medserl::store::{LockError, RunLock, is_locked};

use crate::figure::figure;

const CONTENDERS: usize = 8;
const ROUNDS: usize = 100;
/// Rounds that run side by side: a loser tries for a while, and waiting costs nothing.
const AT_ONCE: usize = 20;

/// A process that takes the locks it is told to, and holds what it got until the next line.
struct Contender {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Contender {
    fn start() -> Contender {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "lock::child_contends", "--nocapture"])
            .env("MEDSERL_TEST_CONTENDER", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()).lines());
        Contender { child, orders, answers }
    }

    /// All contenders start at one instant of the wall clock, as near to each other as the machine can.
    fn order(&mut self, start: Duration, dirs: &[PathBuf]) {
        let names: Vec<&str> = dirs.iter().map(|d| d.to_str().unwrap()).collect();
        writeln!(self.orders, "{}\t{}", start.as_nanos(), names.join("\t")).unwrap();
    }

    /// For each directory: `won`, `held by <pid>`, or another error.
    fn answer(&mut self) -> Vec<String> {
        let line = self.answers.by_ref().map(Result::unwrap).find_map(|l| Some(l.split_once("child: ")?.1.to_owned())).unwrap();
        line.split('\t').map(str::to_owned).collect()
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

#[test]
fn child_contends() {
    if std::env::var_os("MEDSERL_TEST_CONTENDER").is_none() {
        return;
    }
    let mut held: Vec<RunLock> = Vec::new();
    for line in std::io::stdin().lines().map(Result::unwrap) {
        held.clear();
        let (start, dirs) = line.split_once('\t').unwrap();
        let start = Duration::from_nanos(start.parse().unwrap());
        let dirs: Vec<&Path> = dirs.split('\t').filter(|d| !d.is_empty()).map(Path::new).collect();
        let results: Vec<Result<RunLock, LockError>> = thread::scope(|scope| {
            let take = |dir| {
                scope.spawn(move || {
                    while now() < start {
                        thread::yield_now();
                    }
                    RunLock::acquire(dir)
                })
            };
            let threads: Vec<_> = dirs.into_iter().map(take).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let mut words = Vec::new();
        for result in results {
            words.push(match &result {
                Ok(_) => "won".to_owned(),
                Err(LockError::Held { pid, .. }) => format!("held by {pid}"),
                Err(other) => other.to_string(),
            });
            held.extend(result.ok());
        }
        println!("child: {}", words.join("\t"));
    }
}

#[test]
fn of_many_trainers_exactly_one_wins_and_a_dead_one_is_replaced() {
    let home = tempfile::tempdir().unwrap();
    let mut contenders: Vec<Contender> = (0..CONTENDERS).map(|_| Contender::start()).collect();
    let pids: Vec<u32> = contenders.iter().map(|c| c.child.id()).collect();
    let dirs: Vec<PathBuf> = (0..ROUNDS).map(|round| home.path().join(round.to_string())).collect();
    dirs.iter().for_each(|dir| fs::create_dir(dir).unwrap());
    let (mut n_starts, mut won_by) = (0, BTreeSet::new());
    for (first, batch) in (0..).step_by(AT_ONCE).zip(dirs.chunks(AT_ONCE)) {
        // Two to eight processes a round.
        let in_round = |round: usize, contender: usize| contender < 2 + (first + round) % (CONTENDERS - 1);
        let mine = |contender| (0..batch.len()).filter(move |round| in_round(*round, contender));
        let start = now() + Duration::from_millis(40);
        for (i, contender) in contenders.iter_mut().enumerate() {
            let dirs: Vec<PathBuf> = mine(i).map(|round| batch[round].clone()).collect();
            contender.order(start, &dirs);
        }
        let mut winners: Vec<Vec<u32>> = vec![Vec::new(); batch.len()];
        let mut losers: Vec<Vec<String>> = vec![Vec::new(); batch.len()];
        for (i, contender) in contenders.iter_mut().enumerate() {
            for (round, word) in mine(i).zip(contender.answer()) {
                n_starts += 1;
                if word == "won" { winners[round].push(pids[i]) } else { losers[round].push(word) }
            }
        }
        for ((dir, winners), losers) in batch.iter().zip(&winners).zip(&losers) {
            let [winner] = winners.as_slice() else { panic!("{} won {}", winners.len(), dir.display()) };
            assert!(
                losers.iter().all(|word| *word == format!("held by {winner}")),
                "{winner} won, and the others say {losers:?}"
            );
            assert!(is_locked(dir));
            won_by.insert(*winner);
        }
    }
    assert!(won_by.len() > 1, "always the same one wins: this is no race");
    // Killed while they hold the locks of the last batch: their directories are free at once.
    for contender in &mut contenders {
        contender.child.kill().unwrap();
        contender.child.wait().unwrap();
    }
    let stale = &dirs[ROUNDS - AT_ONCE..];
    for dir in stale {
        assert!(!is_locked(dir), "{} is still locked", dir.display());
        RunLock::acquire(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    }
    figure(
        "R13",
        "2 to 8 processes take the lock of one run directory at one instant",
        &format!(
            "{ROUNDS} rounds, {n_starts} attempts: exactly 1 wins in 100 % ({} different winners), losers name its pid; {n} of {n} stale locks taken over",
            won_by.len(),
            n = stale.len()
        ),
    );
}
