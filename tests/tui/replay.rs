//! A run played back: what a client would have been told, as a recording, and as text.

use std::time::Duration;

use medserl::{
    attach::{Live, Notice, RunState},
    task::Phase,
    tui::{
        Effect, Event,
        cast::{self, Stage, Timed},
        replay,
    },
};
use serde_json::Value;

use super::{assert_shows, fixture, key, theme};

fn stage(size: (u16, u16)) -> Stage {
    Stage { theme: theme(), ascii: false, size }
}

fn events(dir: &std::path::Path) -> Vec<Timed> {
    replay::notices(dir, 1, 9).unwrap().into_iter().map(|(at, notice)| (at, Event::Notice(Box::new(notice)))).collect()
}

#[test]
fn a_run_played_back_ends_as_the_store_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = fixture::fill(dir.path(), 3);
    let told = replay::notices(dir.path(), 2, 3).unwrap();
    assert!(told.windows(2).all(|pair| pair[0].0 <= pair[1].0), "times only grow");
    // Each phase takes as long as it took, up to the longest that anybody waits for.
    let seconds: f64 = [8.0, 0.2, 8.0, 0.1, 8.0].iter().sum();
    let took = told.last().unwrap().0.as_secs_f64();
    assert!((took - 2.0 * seconds).abs() < 0.01, "{took}");
    let mut live = Live::default();
    let mut phases = Vec::new();
    for (_, notice) in told {
        if let Notice::Phase { phase, .. } = &notice {
            phases.push(*phase);
        }
        live.apply(notice);
    }
    assert_eq!(phases, [Phase::STEP, Phase::STEP].concat());
    assert_eq!((live.step, live.state, live.reports.len()), (3, RunState::Running, 3));
    let mut shown: Vec<_> = live.streams.iter().map(|s| (s.sample_id.clone(), s.sibling, s.rollout.clone().unwrap())).collect();
    let mut stored: Vec<_> = store.rollouts(3).unwrap().into_iter().map(|r| (r.sample.id.clone(), r.sibling, r)).collect();
    shown.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    stored.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    assert_eq!(shown, stored);
}

#[test]
fn a_recording_is_an_asciicast_and_the_same_every_time() {
    let dir = tempfile::tempdir().unwrap();
    drop(fixture::fill(dir.path(), 2));
    let record = || {
        let mut all = events(dir.path());
        all.push((Duration::from_secs(60), Event::Key(key("2"))));
        let mut out = Vec::new();
        cast::record(stage((80, 24)), dir.path(), all, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let first = record();
    assert_eq!(first, record());
    let lines: Vec<Value> = first.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["version"], &lines[0]["width"], &lines[0]["height"]), (&2.into(), &80.into(), &24.into()));
    let times: Vec<f64> = lines[1..].iter().map(|line| line[0].as_f64().unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] > 0.0999), "at most ten frames a second");
    assert!(times.len() > 50 && times.len() < 600, "{}", times.len());
    let sent: String = lines[1..].iter().map(|line| line[2].as_str().unwrap()).collect();
    assert!(sent.contains("Rollouts") && sent.contains("Quadrants"));
}

/// Nobody trains a replay: there is nothing to detach from, to steer or to judge, and no other run behind it.
#[test]
fn a_replay_says_what_it_is_and_is_left_at_once() {
    let mut app = super::app((80, 24));
    (app.read_only, app.replayed) = (true, true);
    for (key, says) in
        [("space", "nothing in it can be changed"), ("3", "the screens of one run"), ("5", "the screens of one run")]
    {
        assert_eq!(super::press(&mut app, key), None);
        assert_shows(&super::shown(&app), &[" 0142-lora-r16 · ", "replay", says]);
    }
    assert_eq!((super::press(&mut app, "q"), app.overlay), (Some(Effect::Quit), None));
}

#[test]
fn a_screen_is_printed_as_text() {
    let dir = tempfile::tempdir().unwrap();
    drop(fixture::fill(dir.path(), 2));
    let text = cast::print(stage((100, 30)), dir.path(), events(dir.path())).unwrap();
    assert_eq!(text.lines().count(), 30);
    assert_shows(&text, &["● RUN", "step 2/1000", "replay"]);
    let ascii = Stage { ascii: true, ..stage((100, 30)) };
    assert!(cast::print(ascii, dir.path(), events(dir.path())).unwrap().is_ascii());
    assert!(cast::print(stage((0, 3)), dir.path(), []).unwrap_err().to_string().contains("0x3"));
}
