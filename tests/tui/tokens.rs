//! The token layer: every value of every token, under the text where the store knows how tokens read.

use medserl::tui::{inspect::Layer, layer};

use super::{assert_shows, fixture::Reader};

fn on(layer: Layer, size: (u16, u16)) -> Reader {
    let mut reader = Reader::inspecting(1, size);
    while reader.app.inspect.layer != layer {
        reader.press("t");
    }
    reader
}

#[test]
fn bars_stand_under_the_words_they_belong_to() {
    let mut reader = on(Layer::Surprise, (120, 40));
    reader.press("]");
    let screen = reader.shown();
    assert_shows(
        &screen,
        &["─ tokens · surprise", "perplexity", "#2 of", "“ patient”", "log p -0.060, p 0.942", "least     #40 -2.34"],
    );
    let lines: Vec<&str> = screen.lines().collect();
    let text = lines.iter().position(|line| line.contains("<thinking>The patient is")).unwrap();
    let bars: Vec<char> = lines[text + 1].chars().collect();
    let at = |word: &str| lines[text][..lines[text].find(word).unwrap()].chars().count();
    // Token 0 has probability 1.
    assert_eq!(bars[at("<thinking>The")], '▁', "{screen}");
    assert_eq!(bars[at("patient")], '▂', "{screen}");
    assert_eq!(bars[at("patient") - 1], ' ', "blanks carry no bar");
    assert!(!screen.contains("─ thinking"), "the text stands once: {screen}");
}

#[test]
fn everything_known_of_the_token_stays_below_the_text() {
    let mut reader = on(Layer::Kl, (200, 60));
    for _ in 0..5 {
        reader.press("]");
    }
    let screen = reader.shown();
    assert_shows(&screen, &["─ tokens · KL to the reference", "#6 of"]);
    assert_shows(
        &screen,
        &["policy -0.310 (drift -0.0100, ratio 0.990)", "reference -0.900 (KL +0.600)", "entropy 1.250", "clipped"],
    );
    // Rank 0 of five is the drawn token, whose turn it is at every fifth.
    assert_shows(&screen, &["likeliest ▸“", "0.607", "0.223"]);
    for (layer, name) in
        [(Layer::Entropy, "entropy"), (Layer::Drift, "drift"), (Layer::Share, "share of the update"), (Layer::Mask, "mask")]
    {
        let screen = on(layer, (120, 40)).shown();
        assert_shows(&screen, &[&format!("─ tokens · {name}"), "bar  "]);
    }
}

#[test]
fn high_bars_are_found_and_brought_into_view() {
    let mut reader = on(Layer::Surprise, (80, 24));
    reader.press("enter");
    reader.press("}");
    let found = reader.app.inspect.token;
    let levels = layer::levels(Layer::Surprise, reader.app.inspect.rollout().unwrap());
    assert!(found > 0 && levels[found] >= layer::HIGH && levels[..found].iter().all(|level| *level < layer::HIGH));
    assert_shows(&reader.shown(), &[&format!("#{} of", found + 1)]);
    let last = levels.iter().rposition(|level| *level >= layer::HIGH).unwrap();
    while reader.app.inspect.token != last {
        reader.press("}");
    }
    let visible = 24 - 3 - 2 - reader.app.inspect.page.pinned.len() - 1;
    let line = reader.app.inspect.page.token_at.unwrap();
    assert!((reader.app.inspect.top..reader.app.inspect.top + visible).contains(&line), "line {line} is out of view");
    reader.press("}");
    assert_shows(&reader.shown(), &["no high bar after this token"]);
    reader.press("{");
    assert!(reader.app.inspect.token < last);
}

#[test]
fn an_old_step_says_what_it_lost_and_keeps_what_it_has() {
    let mut reader = on(Layer::Surprise, (120, 40));
    for _ in 0..3 {
        reader.press("right");
    }
    assert!(reader.app.inspect.rollout().unwrap().trace.is_none());
    assert_shows(&reader.shown(), &["#1 of", "nothing else is kept of this step's tokens", "▁▁"]);
    reader.press("t");
    assert_shows(&reader.shown(), &["this run keeps no such values of this step"]);
}

#[test]
fn tokens_whose_spelling_is_unknown_are_counted_instead() {
    let mut reader = on(Layer::Surprise, (200, 60));
    std::fs::remove_file(reader.dir.path().join("rollouts.db")).unwrap();
    reader.press("down");
    for _ in 0..4 {
        reader.press("down");
    }
    let screen = reader.shown();
    assert!(reader.app.inspect.spellings.is_empty());
    assert_shows(&screen, &["     1 ▁▂▃▃▃▄▄▄▄▅ ▅", "─ thinking"]);
}

#[test]
fn siblings_stand_side_by_side_with_every_part_of_their_rewards() {
    let mut reader = Reader::inspecting(1, (200, 60));
    reader.press("b");
    let screen = reader.shown();
    assert_shows(&screen, &["AE-0001-00  2 of 4 right  truth ERROR", "▸ completion 1 of 4", "completion 4 of 4", "raw adv."]);
    assert_shows(
        &screen,
        &["format    +0.10", "outcome   -1.00", "raw adv.  +0.53", "advantage +0.85 normalised", "malformed: no <thinking>"],
    );
    assert!(!screen.contains("sample/sibling"), "the group has the whole width: {screen}");
    reader.press("right");
    assert_shows(&reader.shown(), &["▸ completion 2 of 4"]);
    let mut narrow = Reader::inspecting(1, (80, 24));
    narrow.press("b");
    assert_shows(&narrow.shown(), &["▸ completion 1 of 4", "completion 2 of 4"]);
    narrow.press("right");
    narrow.press("right");
    assert_shows(&narrow.shown(), &["▸ completion 3 of 4"]);
    narrow.press("esc");
    assert_shows(&narrow.shown(), &["completion 3/4", "siblings · 2 of 4 right"]);
}
