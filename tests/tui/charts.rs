//! The Charts screen: metrics of live and stored runs, drawn without losing a spike, and the way back to the rollouts.

use std::fs;

use medserl::{
    attach::Notice,
    store::{RunMeta, Store},
    task::{StepReport, report::METRICS},
    tui::{
        Event,
        charts::{WEIGHTS, title},
        screen::Screen,
        widget::{chart::Scale, number, pyramid::Pyramid},
    },
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use super::{
    assert_shows,
    fixture::{Reader, fill, report},
};

/// On the Charts screen of a run of `steps` steps.
fn charting(steps: u32, size: (u16, u16)) -> Reader {
    let dir = tempfile::tempdir().unwrap();
    let mut store = fill(dir.path(), 0);
    for n in 1..=steps {
        store.commit_step(&report(n), &[], &[]).unwrap();
    }
    let mut reader = Reader::new(0, size);
    reader.dir = std::sync::Arc::new(dir);
    reader.press("4");
    assert_eq!(reader.app.screen, Screen::Charts);
    reader
}

fn braille(screen: &str) -> usize {
    screen.chars().filter(|c| ('\u{2801}'..='\u{28ff}').contains(c)).count()
}

#[test]
fn every_metric_that_was_logged_has_a_chart_with_name_value_and_axis() {
    let reader = charting(60, (200, 60));
    let screen = reader.shown();
    assert_shows(&screen, &["4·Charts", "average 0.9 over raw", "steps 1–60, follows"]);
    for key in report(60).metrics.keys() {
        assert_shows(&screen, &[&title(key)]);
    }
    assert_shows(&screen, &["completion tokens", " tokens", "reward: mean total reward", "1 of 8"]);
    assert!(braille(&screen) > 400, "{screen}");
    // Eight charts, eight axes.
    assert_eq!(screen.matches('└').count(), 8, "{screen}");
}

#[test]
fn one_chart_has_the_whole_screen_and_esc_takes_it_back() {
    let mut reader = charting(60, (80, 24));
    reader.press("z");
    let screen = reader.shown();
    assert_eq!(screen.matches('└').count(), 1, "{screen}");
    reader.press("down");
    assert_shows(&reader.shown(), &["accuracy", "2 of 8"]);
    reader.press("esc");
    assert!(reader.shown().matches('└').count() > 1);
}

#[test]
fn the_crosshair_walks_tells_and_opens_the_rollouts_of_its_step() {
    let mut reader = Reader::inspecting(9, (120, 40));
    reader.press("4");
    reader.press("right");
    assert_eq!(reader.app.charts.cursor, Some(1.0));
    reader.press("right");
    reader.press("right");
    let screen = reader.shown();
    assert_shows(&screen, &["step 3", "reward raw", "@3", "┊"]);
    reader.press("left");
    assert_eq!(reader.app.charts.cursor, Some(2.0));
    reader.press("enter");
    assert_eq!(reader.app.screen, Screen::Inspect);
    assert_shows(&reader.shown(), &["/ step:2", "Rollouts  16 of 144", "AE-0002-00/1"]);
    let mut empty = charting(0, (80, 24));
    assert_shows(&empty.shown(), &["no step is committed yet"]);
    empty.press("enter");
    assert_shows(&empty.shown(), &["no step is committed yet"]);
}

#[test]
fn zooming_keeps_the_crosshair_in_place_and_panning_leaves_and_finds_the_end() {
    let mut reader = charting(200, (120, 40));
    for _ in 0..10 {
        reader.press("right");
    }
    let cursor = reader.app.charts.cursor.unwrap();
    let share = |reader: &Reader| {
        let (start, end) = reader.app.charts.range().unwrap();
        (cursor - start) / (end - start)
    };
    let before = share(&reader);
    reader.press("+");
    assert!((share(&reader) - before).abs() < 0.05);
    let (start, end) = reader.app.charts.range().unwrap();
    assert!((end - start - 99.5).abs() < 0.1);
    for _ in 0..20 {
        reader.press("L");
    }
    assert_eq!(reader.app.charts.range().unwrap().1, 200.0);
    assert_shows(&reader.shown(), &["follows"]);
    reader.press("H");
    assert!(!reader.shown().contains("follows"));
    for _ in 0..20 {
        reader.press("+");
    }
    let (start, end) = reader.app.charts.range().unwrap();
    assert!((end - start - 4.0).abs() < 1e-9, "a few steps are the least");
    reader.press("0");
    assert_eq!(reader.app.charts.range(), Some((1.0, 200.0)));
    reader.press("-");
    assert_eq!(reader.app.charts.range(), Some((1.0, 200.0)));
}

#[test]
fn smoothing_walks_its_weights_and_raw_alone_is_one_of_them() {
    let mut reader = charting(60, (120, 40));
    for _ in 0..9 {
        reader.press("]");
    }
    assert_eq!(reader.app.charts.weight.value(), WEIGHTS[WEIGHTS.len() - 1]);
    for _ in 0..9 {
        reader.press("[");
    }
    assert_shows(&reader.shown(), &[" raw  steps"]);
    reader.press("y");
    assert_shows(&reader.shown(), &["log values"]);
    let newest = report(60).metrics["kl"];
    assert_shows(&reader.shown(), &[&number::compact(newest)]);
}

#[test]
fn values_that_are_no_numbers_are_seen() {
    let mut reader = charting(40, (120, 40));
    let mut broken: StepReport = report(41);
    broken.metrics.insert("reward".to_owned(), f64::NAN);
    broken.metrics.insert("kl".to_owned(), f64::INFINITY);
    reader.event(Event::Notice(Box::new(Notice::Step { report: Box::new(broken) })));
    let screen = reader.shown();
    assert_eq!(screen.matches('×').count(), 2, "{screen}");
    assert_shows(&screen, &["steps 1–41"]);
    reader.press("f");
    for _ in 0..60 {
        reader.press("right");
    }
    assert_shows(&reader.shown(), &["reward raw NaN"]);
}

#[test]
fn alarms_and_checkpoints_stand_on_the_axis_and_can_be_gone_to() {
    let mut reader = charting(50, (120, 40));
    let mut store = Store::open(reader.dir.path()).unwrap();
    store.add_event(12, "alarm", "kl 0.31 above 0.20").unwrap();
    let kept = reader.dir.path().join("checkpoints/step-25");
    fs::create_dir_all(&kept).unwrap();
    fs::write(kept.join(medserl::train::vault::MANIFEST), "").unwrap();
    reader.press("R");
    assert_shows(&reader.shown(), &["▲", "◆"]);
    reader.press("n");
    assert_shows(&reader.shown(), &["step 12", "▲ alarm: kl 0.31 above 0.20"]);
    reader.press("n");
    assert_shows(&reader.shown(), &["step 25", "◆ checkpoint"]);
    reader.press("n");
    assert_shows(&reader.shown(), &["no alarm, event or checkpoint after this"]);
    reader.press("N");
    assert_eq!(reader.app.charts.cursor, Some(12.0));
}

#[test]
fn a_gap_is_filled_from_the_store() {
    let mut reader = charting(5, (120, 40));
    let mut store = Store::open(reader.dir.path()).unwrap();
    (6..=8).for_each(|n| store.commit_step(&report(n), &[], &[]).unwrap());
    // Steps 6 and 7 never reached this client.
    reader.event(Event::Notice(Box::new(Notice::Step { report: Box::new(report(8)) })));
    assert_eq!(reader.app.charts.own().unwrap().series["reward"].raw.len(), 8);
    // A step that is known already changes nothing.
    reader.event(Event::Notice(Box::new(Notice::Step { report: Box::new(report(8)) })));
    assert_eq!(reader.app.charts.own().unwrap().series["reward"].raw.len(), 8);
}

#[test]
fn other_runs_are_laid_beside_and_taken_away_again() {
    let root = tempfile::tempdir().unwrap();
    for id in ["own", "other"] {
        let mut store = Store::create(&root.path().join(id)).unwrap();
        let meta = RunMeta {
            id: id.to_owned(),
            name: id.to_owned(),
            model: "nano".to_owned(),
            seed: 1,
            steps_total: 20,
            config_toml: String::new(),
            program_version: "0".to_owned(),
            started_unix_s: 0,
        };
        store.begin_run(&meta).unwrap();
        (1..=20).for_each(|n| store.commit_step(&report(n), &[], &[]).unwrap());
    }
    let mut beside = charting(30, (200, 60));
    beside.answer_from(root.path().join("own"));
    beside.press("R");
    beside.press("c");
    assert_shows(&beside.shown(), &["Compare with", "other", "20 of 20"]);
    beside.press("space");
    beside.press("esc");
    let screen = beside.shown();
    assert_shows(&screen, &["A⠤⠤ own", "B⠄⠄ other"]);
    beside.press("z");
    assert_shows(&beside.shown(), &["B other step 20"]);
    beside.press("c");
    beside.press("enter");
    beside.press("esc");
    assert_eq!(beside.app.charts.runs.len(), 1);
}

#[test]
fn metrics_are_filtered_by_name_and_explained_by_the_registry() {
    let mut reader = charting(10, (120, 40));
    reader.press("/");
    "rate|KL".chars().for_each(|c| reader.press(&c.to_string()));
    reader.press("enter");
    let screen = reader.shown();
    assert_shows(&screen, &["/rate|kl", "false positive rate", "1 of 3"]);
    assert!(!screen.contains("entropy"), "{screen}");
    reader.press("m");
    let shown = reader.shown();
    for metric in METRICS.iter().filter(|metric| ["false_positive_rate", "false_negative_rate", "kl"].contains(&metric.key)) {
        assert_shows(&shown, &[metric.meaning]);
    }
    reader.press("down");
    reader.press("enter");
    assert_eq!(reader.app.charts.chosen, 1);
    reader.press("/");
    reader.press("ctrl-u");
    "zzz".chars().for_each(|c| reader.press(&c.to_string()));
    reader.press("enter");
    assert_shows(&reader.shown(), &["no metric has such a name"]);
    reader.press("esc");
    assert_shows(&reader.shown(), &["1 of 7"]);
}

#[test]
fn a_pyramid_tells_the_extremes_of_any_stretch_as_a_scan_does() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut pyramid = Pyramid::default();
    let mut values = Vec::new();
    for i in 0..9000_u32 {
        let value = match rng.next_u32() % 50 {
            0 => f64::NAN,
            1 => f64::NEG_INFINITY,
            n => f64::from(n) + f64::from(rng.next_u32() % 1000) / 7.0,
        };
        values.push(value);
        assert!(pyramid.push(f64::from(i), value));
    }
    assert!(!pyramid.push(8999.0, 1.0), "points come in order");
    for _ in 0..3000 {
        let (a, b) = (rng.next_u32() as usize % 9001, rng.next_u32() as usize % 9001);
        let (from, to) = (a.min(b), a.max(b));
        let found = pyramid.extremes(from, to);
        let finite = || values[from..to].iter().copied().filter(|v| v.is_finite());
        let wanted = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
        assert_eq!((found.low, found.high), wanted, "{from}..{to}");
        assert_eq!(found.n_odd, values[from..to].iter().filter(|v| !v.is_finite()).count());
    }
}

#[test]
fn a_moving_average_starts_at_its_first_value_and_passes_over_holes() {
    let mut raw = Pyramid::default();
    [4.0, f64::NAN, 4.0, 0.0].iter().enumerate().for_each(|(i, v)| _ = raw.push(i as f64, *v));
    let smooth = raw.smoothed(0.5);
    let at = |i: usize| smooth.point(i).unwrap().1;
    assert_eq!((at(0), at(1), at(2)), (4.0, 4.0, 4.0));
    // (0.125·4 + 0.25·4 + 0.5·0) / 0.875
    assert!((at(3) - 1.5 / 0.875).abs() < 1e-12, "{}", at(3));
    assert_eq!(raw.smoothed(0.0).point(3).unwrap().1, 0.0);
    assert_eq!(Scale::of(-1.0, 1.0, true), Scale { low: -1.0, high: 1.0, log: false }, "no logarithm of what is not positive");
}

#[test]
fn one_spike_among_a_million_points_is_on_the_screen() {
    let mut reader = charting(3, (200, 60));
    let mut points: Vec<(u32, f64)> = (0..1_000_000).map(|i| (i, f64::from(i % 7) * 0.01)).collect();
    points[654_321].1 = 50.0;
    let history = medserl::tui::history::History { series: vec![("kl".to_owned(), points)], ..Default::default() };
    reader.app.charts.loaded(None, history);
    reader.press("z");
    reader.press("[");
    let screen = reader.shown();
    assert_shows(&screen, &["50.0", "steps 0–999999"]);
    let rows: Vec<&str> = screen.lines().collect();
    let tall = (5..50).filter(|row| braille(rows[*row]) > 0).count();
    assert!(tall > 40, "the spike goes from the bottom to the top: {screen}");
}
