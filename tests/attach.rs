//! Attaching: the snapshot comes first, controls arrive, nobody who watches can slow or hurt the trainer.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use medserl::{
    attach::{
        Client, Control, Live, Machine, Notice, RunState, Server,
        protocol::{Gpu, Level},
    },
    task::{
        Completion, Label, Note, Phase, Provenance, Quadrant, QuadrantStats, Reward, Rollout, Sample, Sentence, StepReport,
        StopReason, Verdict,
    },
};

/// Longer than anything here takes; reaching it is a failure.
const LIMIT: Duration = Duration::from_secs(60);

struct Place {
    _dir: tempfile::TempDir,
    socket: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    Place { _dir: dir, socket }
}

fn live() -> Live {
    Live { run_id: "r1".into(), model: "nano".into(), steps_total: 9, ..Live::default() }
}

fn next(client: &Client) -> Notice {
    client.next_timeout(LIMIT).unwrap().expect("a notice in time")
}

/// Skips notices until `wanted` returns something.
fn until<T>(client: &Client, wanted: impl Fn(&Notice) -> Option<T>) -> T {
    loop {
        if let Some(found) = wanted(&next(client)) {
            return found;
        }
    }
}

fn warning(notice: &Notice) -> Option<String> {
    match notice {
        Notice::Log { level: Level::Warn, message } => Some(message.to_string()),
        _ => None,
    }
}

/// Folds notices until the picture is `target`.
fn fold_until(client: &Client, target: &Live) {
    let mut picture = Live::default();
    while picture != *target {
        picture.apply(next(client));
    }
}

fn sample(step: u32, index: u32) -> Sample {
    let note = Note { id: "n".into(), group: "g".into(), sentences: vec![Sentence { id: 0, text: "He is well.".into() }] };
    Sample {
        id: Sample::make_id(Quadrant::AugmentedSafe, step, index),
        step,
        index,
        quadrant: Quadrant::AugmentedSafe,
        note: note.clone(),
        label: Label::Clean,
        source: note,
        provenance: Provenance::default(),
        gates: Vec::new(),
    }
}

fn rollout(sample: &Sample, sibling: u32) -> Rollout {
    Rollout {
        sample: Arc::new(sample.clone()),
        sibling,
        completion: Completion {
            tokens: vec![1, 2],
            rollout_logprobs: vec![-0.5, -0.1],
            text: "<thinking>well\u{1b}</thinking>".into(),
            stop: StopReason::EndOfTurn,
            alternatives: Vec::new(),
        },
        verdict: Verdict::Clean,
        reward: Reward { format: 0.1, outcome: 1.0, ..Reward::default() },
        advantage: Some(0.75),
        trace: None,
    }
}

fn token(sample: &Sample, sibling: u32, n: u32) -> Notice {
    Notice::Token { sample_id: sample.id.clone(), sibling, delta: format!("w{n} ").as_str().into() }
}

fn report(step: u32) -> StepReport {
    let mut report = StepReport { step, ..StepReport::default() };
    report.quadrants[1] = QuadrantStats { n_rollouts: 2, reward_sum: 1.5, ..QuadrantStats::default() };
    report.metrics.insert("reward".into(), 0.75);
    report
}

/// One of every kind of notice a step brings.
fn a_step(step: u32) -> Vec<Notice> {
    let sample = sample(step, 0);
    let gpu = Gpu { name: "H200".into(), used: Some(0.5), watts: Some(312.5), ..Gpu::default() };
    let machine = Machine { n_cpus: 2, cpu_used: Some(0.25), gpu: Some(gpu), ..Machine::default() };
    let mut notices = vec![
        Notice::State { state: RunState::Running },
        Notice::Phase { step, phase: Phase::Scribe, total: 4 },
        Notice::Sample { sample: Box::new(sample.clone()) },
        Notice::Phase { step, phase: Phase::Doctor, total: 8 },
        Notice::Progress { done: 1, tokens: 20, seconds: 0.5 },
    ];
    notices.extend((0..5).map(|n| token(&sample, 0, n)));
    notices.push(Notice::Rollout { rollout: Box::new(rollout(&sample, 0)) });
    notices.push(token(&sample, 1, 7));
    notices.push(Notice::Machine { machine: Box::new(machine) });
    notices.push(Notice::Step { report: Box::new(report(step)) });
    notices.push(Notice::Log { level: Level::Info, message: "committed".into() });
    notices
}

#[test]
fn the_snapshot_comes_first_and_the_socket_is_private() {
    let place = place();
    let server = Server::start(place.socket.clone(), live()).unwrap();
    assert_eq!(fs::metadata(&place.socket).unwrap().permissions().mode() & 0o777, 0o600);
    a_step(3).into_iter().for_each(|notice| server.send(notice));
    let client = Client::connect(&place.socket).unwrap();
    let Notice::Snapshot { live: first } = next(&client) else { panic!("the first line is not a Snapshot") };
    assert_eq!((*first).clone(), server.live());
    assert_eq!((first.run_id.as_str(), first.step, first.streams.len()), ("r1", 3, 2));
    assert_eq!(client.try_next(), None);
    assert_eq!(client.next_timeout(Duration::ZERO), Ok(None));
}

#[test]
fn both_sides_fold_to_the_same_picture() {
    let place = place();
    let server = Server::start(place.socket.clone(), live()).unwrap();
    let early = Client::connect(&place.socket).unwrap();
    (1..4).flat_map(a_step).for_each(|notice| server.send(notice));
    let late = Client::connect(&place.socket).unwrap();
    (4..20).flat_map(a_step).for_each(|notice| server.send(notice));
    let mut by_hand = live();
    (1..20).flat_map(a_step).for_each(|notice| by_hand.apply(notice));
    assert_eq!(server.live(), by_hand);
    fold_until(&early, &by_hand);
    fold_until(&late, &by_hand);
}

#[test]
fn controls_of_every_client_arrive_in_order() {
    let place = place();
    let server = Server::start(place.socket.clone(), live()).unwrap();
    assert_eq!(server.try_control(), None);
    let clients = [Client::connect(&place.socket).unwrap(), Client::connect(&place.socket).unwrap()];
    let all = [Control::Pause, Control::StepPhase, Control::StepOnce, Control::Resume, Control::Stop { now: true }];
    for client in &clients {
        for control in &all {
            client.send(control).unwrap();
        }
        for control in &all {
            assert_eq!(server.wait_control(LIMIT).as_ref(), Some(control));
        }
    }
    assert_eq!(server.wait_control(Duration::from_millis(1)), None);
    // A one-shot command need not stay for an answer, nor end its line.
    for _ in 0..50 {
        UnixStream::connect(&place.socket).unwrap().write_all(br#"{"control":"pause"}"#).unwrap();
        assert_eq!(server.wait_control(LIMIT), Some(Control::Pause));
    }
}

#[test]
fn a_client_that_never_reads_does_not_block_the_trainer() {
    let place = place();
    let server = Arc::new(Server::start(place.socket.clone(), live()).unwrap());
    let stuck = UnixStream::connect(&place.socket).unwrap();
    // One line is read, so that the client is known to be attached; then it stops.
    let mut stuck = BufReader::with_capacity(1, stuck);
    let mut first = String::new();
    stuck.read_line(&mut first).unwrap();
    assert!(first.starts_with(r#"{"notice":"snapshot""#), "{first}");
    let well = Client::connect(&place.socket).unwrap();

    let (done, finished) = mpsc::channel();
    let sending = Arc::clone(&server);
    thread::spawn(move || {
        let samples: Vec<Sample> = (0..50).map(|index| sample(1, index)).collect();
        sending.send(Notice::Phase { step: 1, phase: Phase::Scribe, total: 50 });
        for n in 0..17_000 {
            sending.send(token(&samples[n as usize % 50], n % 4, n));
        }
        for n in 0..3_000 {
            sending.send(Notice::Rollout { rollout: Box::new(rollout(&samples[n as usize % 50], n % 4)) });
        }
        sending.send(Notice::Log { level: Level::Info, message: "the last".into() });
        done.send(()).unwrap();
    });
    finished.recv_timeout(LIMIT).expect("the trainer sent everything though a client was stuck");

    let target = server.live();
    fold_until(&well, &target);
    // The stuck client wakes up: it is told how much it missed, and ends with the same picture.
    let mut picture = Live::default();
    let (mut n_lines, mut n_missed) = (0, 0);
    stuck.get_ref().set_read_timeout(Some(LIMIT)).unwrap();
    let mut stuck = BufReader::new(stuck);
    let mut after_skipped = false;
    while picture != target {
        let mut line = String::new();
        stuck.read_line(&mut line).unwrap();
        n_lines += 1;
        let notice: Notice = serde_json::from_str(&line).unwrap();
        assert!(!after_skipped || matches!(notice, Notice::Snapshot { .. }), "a Snapshot follows Skipped");
        after_skipped = matches!(notice, Notice::Skipped { .. });
        if let Notice::Skipped { n_notices } = notice {
            n_missed += n_notices;
        }
        picture.apply(notice);
    }
    assert!(n_missed > 0 && n_lines < 20_000, "{n_missed} missed, {n_lines} lines");
}

#[test]
fn what_is_no_control_costs_only_its_sender() {
    let place = place();
    let server = Server::start(place.socket.clone(), live()).unwrap();
    let good = Client::connect(&place.socket).unwrap();
    assert!(matches!(next(&good), Notice::Snapshot { .. }));
    let endless = vec![b'x'; 200_000];
    let nested = [vec![b'['; 60_000], b"\n".to_vec()].concat();
    let lines: [&[u8]; 6] =
        [b"rm -rf /\n", b"{\"control\":\"fly\"}\n", b"\xff\xfe\0\n", b"{\"control\":\"pause\"", &endless, &nested];
    for line in lines {
        let mut bad = UnixStream::connect(&place.socket).unwrap();
        bad.set_read_timeout(Some(LIMIT)).unwrap();
        // The server may hang up in the middle of a long line.
        let _ = bad.write_all(line);
        let _ = bad.shutdown(std::net::Shutdown::Write);
        let mut heard = Vec::new();
        let _ = bad.read_to_end(&mut heard);
        let heard = String::from_utf8_lossy(&heard);
        assert!(heard.contains("dropped a client"), "the sender is told: {heard}");
        assert!(until(&good, warning).starts_with("dropped a client"));
    }
    assert_eq!(server.try_control(), None);
    good.send(&Control::Resume).unwrap();
    assert_eq!(server.wait_control(LIMIT), Some(Control::Resume));
    assert_eq!(server.live().log.len(), 6);
}

#[test]
fn shutdown_flushes_closes_and_unlinks() {
    let place = place();
    let server = Server::start(place.socket.clone(), live()).unwrap();
    let client = Client::connect(&place.socket).unwrap();
    assert!(matches!(next(&client), Notice::Snapshot { .. }));
    let idle = UnixStream::connect(&place.socket).unwrap();
    (0..500).for_each(|n| server.send(Notice::Progress { done: n, tokens: 0, seconds: 0.0 }));
    server.send(Notice::Ended { state: RunState::Finished, message: "done".into() });
    server.shutdown();
    assert!(!place.socket.exists());
    drop(idle);
    let (mut n_progress, mut ended) = (0, false);
    let closed = loop {
        match client.next_timeout(LIMIT) {
            Ok(Some(Notice::Progress { .. })) => n_progress += 1,
            Ok(Some(Notice::Ended { state: RunState::Finished, .. })) => ended = true,
            Ok(other) => panic!("unexpected {other:?}"),
            Err(closed) => break closed,
        }
    };
    assert_eq!((n_progress, ended), (500, true));
    assert!(closed.to_string().contains("closed"), "{closed}");
    assert_eq!(client.next_timeout(LIMIT), Err(closed));
    assert!(client.try_next().is_none() && client.send(&Control::Pause).is_err());
    assert!(Client::connect(&place.socket).is_err());
}

#[test]
fn a_stale_socket_gives_way_and_a_live_one_does_not() {
    let place = place();
    drop(UnixListener::bind(&place.socket).unwrap());
    assert!(place.socket.exists());
    let first = Server::start(place.socket.clone(), live()).unwrap();
    let error = start_error(&place.socket);
    assert!(error.contains("already listens"), "{error}");
    Client::connect(&place.socket).unwrap().send(&Control::Pause).unwrap();
    assert_eq!(first.wait_control(LIMIT), Some(Control::Pause));
    // Whoever took our place keeps it.
    fs::remove_file(&place.socket).unwrap();
    let second = Server::start(place.socket.clone(), live()).unwrap();
    drop(first);
    assert!(place.socket.exists());
    drop(second);
    assert!(!place.socket.exists());

    fs::write(&place.socket, "a file").unwrap();
    assert!(start_error(&place.socket).contains("not a socket"));
    assert_eq!(fs::read_to_string(&place.socket).unwrap(), "a file");
    let long = place.socket.with_file_name("x".repeat(120));
    let error = start_error(&long);
    assert!(error.contains("bytes") && error.contains("--run-dir"), "{error}");
}

fn start_error(path: &Path) -> String {
    match Server::start(path.to_owned(), live()) {
        Ok(_) => panic!("started on {}", path.display()),
        Err(e) => format!("{e:#}"),
    }
}

#[test]
fn a_client_survives_whatever_it_is_sent() {
    let place = place();
    let listener = UnixListener::bind(&place.socket).unwrap();
    let client = Client::connect(&place.socket).unwrap();
    let (mut fake, _) = listener.accept().unwrap();
    fake.write_all(b"\n{}\n\xff\xff\n{\"notice\":\"token\"}\n").unwrap();
    fake.write_all(&[vec![b'['; 100_000], b"\n".to_vec()].concat()).unwrap();
    fake.write_all(b"{\"notice\":\"state\",\"state\":\"paused\",\"and\":\"more\"}\n").unwrap();
    for _ in 0..5 {
        assert!(warning(&next(&client)).unwrap().contains("could not be read"));
    }
    assert_eq!(next(&client), Notice::State { state: RunState::Paused });
    fake.write_all(b"{\"notice\":\"st").unwrap();
    drop(fake);
    let closed = client.next_timeout(LIMIT).unwrap_err();
    assert!(closed.why.contains("middle of a line"), "{closed}");
}

#[test]
fn non_finite_metrics_reach_the_client() {
    let place = place();
    let server = Server::start(place.socket.clone(), live()).unwrap();
    let early = Client::connect(&place.socket).unwrap();
    assert!(matches!(next(&early), Notice::Snapshot { .. }));
    let mut odd = report(2);
    odd.metrics.extend([
        ("loss".to_owned(), f64::NAN),
        ("kl".to_owned(), f64::INFINITY),
        ("entropy".to_owned(), f64::NEG_INFINITY),
    ]);
    server.send(Notice::Step { report: Box::new(report(1)) });
    server.send(Notice::Step { report: Box::new(odd) });
    let mut broken = rollout(&sample(2, 0), 0);
    broken.completion.rollout_logprobs[0] = f32::NAN;
    server.send(Notice::Rollout { rollout: Box::new(broken) });

    let in_step = until(&early, |n| match n {
        Notice::Step { report } if report.step == 2 => Some((**report).clone()),
        _ => None,
    });
    let late = Client::connect(&place.socket).unwrap();
    let in_snapshot = until(&late, |n| match n {
        Notice::Snapshot { live } => Some(live.reports[1].clone()),
        _ => None,
    });
    for report in [in_step, in_snapshot] {
        let metrics = report.metrics;
        assert!(metrics["loss"].is_nan());
        assert_eq!((metrics["kl"], metrics["entropy"], metrics["reward"]), (f64::INFINITY, f64::NEG_INFINITY, 0.75));
    }
    let arrived = until(&early, |n| match n {
        Notice::Rollout { rollout } => Some((**rollout).clone()),
        _ => None,
    });
    assert!(arrived.completion.rollout_logprobs.is_empty() && arrived.completion.tokens.len() == 2);
}

/// Waits until the clients that stay are these; who steers is marked by a star.
fn until_clients(client: &Client, wanted: &[&str]) {
    until(client, |notice| {
        let clients = match notice {
            Notice::Clients { clients } => clients,
            Notice::Snapshot { live } => &live.clients,
            _ => return None,
        };
        let all: Vec<String> = clients.iter().map(|c| format!("{}{}", c.who, if c.steers { "*" } else { "" })).collect();
        (all == wanted).then_some(())
    });
}

#[test]
fn one_client_steers_at_a_time_and_a_command_from_the_shell_always_may() {
    let place = place();
    let server = Server::start(place.socket.clone(), live()).unwrap();
    let attach = |who: &str, steer: bool| {
        let client = Client::connect(&place.socket).unwrap();
        client.send(&Control::Attach { who: who.into(), steer }).unwrap();
        client
    };
    let ann = attach("ann", true);
    until_clients(&ann, &["ann*"]);
    let bob = attach("bob", true);
    until_clients(&bob, &["ann*", "bob"]);
    // Whoever watches is not heeded, and everybody hears of it.
    bob.send(&Control::Pause).unwrap();
    let said = until(&bob, warning);
    assert!(said.contains("not heeded") && said.contains("ann steers"), "{said}");
    assert_eq!(server.try_control(), None);
    bob.send(&Control::Take).unwrap();
    until_clients(&ann, &["ann", "bob*"]);
    bob.send(&Control::Resume).unwrap();
    assert_eq!(server.wait_control(LIMIT), Some(Control::Resume));
    let shell = Client::connect(&place.socket).unwrap();
    shell.send(&Control::StepOnce).unwrap();
    assert_eq!(server.wait_control(LIMIT), Some(Control::StepOnce));
    // A lead that goes gives it to whoever has wanted it longest.
    drop(bob);
    until_clients(&ann, &["ann*"]);
    let reader = attach("reader", false);
    until_clients(&reader, &["ann*", "reader"]);
    reader.send(&Control::Take).unwrap();
    assert!(until(&reader, warning).contains("read-only"));
    drop(ann);
    until_clients(&reader, &["reader"]);
}
