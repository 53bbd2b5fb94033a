//! The filter language and what the store answers to it.

use medserl::{
    store::{Cell, RolloutFilter, RolloutRow, Sort, SortKey, Store},
    task::{Quadrant, Rollout, StopReason},
};

use super::fixture::{BROKEN, CLEAN, fill, step};

fn parse(text: &str) -> RolloutFilter {
    RolloutFilter::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// Runs a filter over four steps of sixteen rollouts.
fn browse(store: &Store, text: &str) -> Vec<RolloutRow> {
    store.browse(&parse(text), Sort { key: SortKey::Step, descending: false }).unwrap()
}

#[test]
fn every_term_selects_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let store = fill(dir.path(), 4);
    let all: Vec<Rollout> = (1..=4).flat_map(|n| step(n).2).collect();
    let n_tokens = |r: &Rollout| r.completion.tokens.len();
    let close = |a: f32, b: f32| (a - b).abs() < 0.005;
    type Expect = fn(&Rollout) -> bool;
    let cases: &[(&str, Expect)] = &[
        ("", |_| true),
        ("quad:SD", |r| r.sample.quadrant == Quadrant::SyntheticDecoy),
        ("quad:sd,AE", |r| matches!(r.sample.quadrant, Quadrant::SyntheticDecoy | Quadrant::AugmentedError)),
        ("-quad:SD", |r| r.sample.quadrant != Quadrant::SyntheticDecoy),
        ("cell:FP", |r| Cell::of(r) == Cell::FalsePositive),
        ("cell:fn,xx", |r| matches!(Cell::of(r), Cell::FalseNegative | Cell::Malformed)),
        ("r<0", |r| r.reward.total() < 0.0),
        ("r>=1 step:2..3", |r| r.reward.total() >= 1.0 && (2..=3).contains(&r.sample.step)),
        ("step:3..", |r| r.sample.step >= 3),
        ("step:..1", |r| r.sample.step <= 1),
        ("step=2", |r| r.sample.step == 2),
        ("step>2 step<=3", |r| r.sample.step == 3),
        ("sib:2", |r| r.sibling == 1),
        ("type:pharma", |r| r.sample.label.is_error()),
        ("type:clean", |r| !r.sample.label.is_error()),
        ("type:diag,clean", |r| !r.sample.label.is_error()),
        ("stop:end", |r| r.completion.stop == StopReason::EndOfTurn),
        ("stop:length,aborted", |_| false),
        ("text:\"looks wrong\"", |r| r.completion.text == CLEAN),
        ("LOOKS", |r| r.completion.text == CLEAN),
        ("\"dose is too high\"", |r| r.completion.text == BROKEN),
        ("note:\"5000 mg\"", |r| r.sample.label.is_error()),
        ("id:SD-0003", |r| r.sample.id == "SD-0003-02"),
        ("text:%", |_| false),
        ("text:_____", |_| false),
        ("text:\"'; DROP TABLE rollout; --\"", |_| false),
    ];
    for (text, expect) in cases {
        let wanted: Vec<(String, u32)> = all.iter().filter(|r| expect(r)).map(|r| (r.sample.id.clone(), r.sibling)).collect();
        let got: Vec<(String, u32)> = browse(&store, text).iter().map(|row| (row.sample_id.to_string(), row.sibling)).collect();
        assert_eq!(got, wanted, "{text}");
    }
    let long = n_tokens(&all[0]);
    assert_eq!(browse(&store, &format!("len>={long}")).len(), all.iter().filter(|r| n_tokens(r) >= long).count());
    let exact = all.iter().filter(|r| close(r.reward.total(), 1.1)).count();
    assert_eq!(browse(&store, "r:1.1").len(), exact, "what is shown as 1.10 is 1.1");
    assert_eq!(browse(&store, "a:0.85").len(), exact);
    assert_eq!(store.n_rollouts().unwrap(), 64);
}

#[test]
fn an_error_names_the_character_and_what_is_expected() {
    let cases = [
        ("quad:SD,XY", 8, "'XY' is not AE, AS, SD or SI"),
        ("cell:maybe", 5, "'maybe' is not TP"),
        ("r<", 2, "missing after r<"),
        ("r<abc", 2, "'abc' is no number"),
        ("len>nan", 4, "'nan' is no number"),
        ("step:3..x", 8, "'x' is no number"),
        ("step:..", 5, "at least one end"),
        ("bogus:1", 0, "'bogus' is no key"),
        ("cell>FP", 4, "cell is no number"),
        ("r<0 text:\"open", 9, "not closed"),
        ("-quad:Q", 6, "'Q' is not"),
        ("type:zebra", 5, "'zebra' is not"),
        ("é quad:", 7, "missing after quad:"),
    ];
    for (text, at, words) in cases {
        let error = RolloutFilter::parse(text).unwrap_err();
        assert_eq!(error.at, at, "{text}: {error}");
        assert!(error.to_string().contains(words), "{text}: {error}");
        assert!(error.to_string().starts_with(&format!("character {}", at + 1)));
    }
    assert_eq!(parse("\"12:30\"").terms.len(), 1, "a quoted word is searched for, whatever it looks like");
    assert_eq!(parse("  ").terms.len(), 0);
    assert_eq!(parse("\"a \\\" b\""), parse("text:\"a \\\" b\""));
    assert_eq!(parse("-"), parse("text:-"), "a lone dash is a word");
}

#[test]
fn lists_come_in_the_order_asked_for_and_numbers_that_are_none_come_last() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = fill(dir.path(), 2);
    let (report, samples, mut rollouts) = step(3);
    rollouts[0].reward.outcome = f32::NAN;
    rollouts[1].advantage = None;
    store.commit_step(&report, &samples, &rollouts).unwrap();
    for key in SortKey::ALL {
        for descending in [true, false] {
            let rows = store.browse(&RolloutFilter::default(), Sort { key, descending }).unwrap();
            assert_eq!(rows.len(), 48);
            let of = |row: &RolloutRow| match key {
                SortKey::Step => Some(f64::from(row.step)),
                SortKey::Reward => Some(row.reward).filter(|r| !r.is_nan()),
                SortKey::Advantage => row.advantage,
                SortKey::Length => Some(f64::from(row.n_tokens)),
            };
            let known: Vec<f64> = rows.iter().map_while(of).collect();
            assert!(rows[known.len()..].iter().all(|row| of(row).is_none()), "{key:?}: unknown values are last");
            assert!(known.len() >= 47);
            let ordered = |pair: &[f64]| if descending { pair[0] >= pair[1] } else { pair[0] <= pair[1] };
            assert!(known.windows(2).all(ordered), "{key:?} {descending}");
        }
    }
    assert_eq!(browse(&store, "r<100 step:3").len(), 15, "NaN is below nothing");
    assert_eq!(browse(&store, "-r<100").len(), 1, "and its opposite is true");
    assert_eq!(browse(&store, "step:3 -a>-100").len(), 1);
}
