//! Whole screens, kept as text under `snapshots/`, at four sizes. The three themes must show the same text; what differs is
//! style, and it is checked cell by cell. `MEDSERL_SNAPSHOTS=write` makes them anew.

use std::{collections::BTreeSet, fs, path::Path};

use medserl::tui::{App, Theme, screen, theme::Depth};
use ratatui::{Terminal, backend::TestBackend, buffer::Buffer, style::Color};

use super::fixture::Reader;

const SIZES: [(u16, u16); 4] = [(20, 5), (80, 24), (120, 40), (200, 60)];
const THEMES: [&str; 3] = ["dark", "light", "mono"];

fn buffer(app: &App) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(app.size.0, app.size.1)).unwrap();
    terminal.draw(|frame| screen::draw(app, frame)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let rows = buffer.content.chunks(usize::from(buffer.area.width));
    rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned() + "\n").collect()
}

/// Compares with the file; line by line, so that a difference can be read.
fn check(name: &str, shown: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tui/snapshots").join(format!("{name}.txt"));
    if std::env::var("MEDSERL_SNAPSHOTS").as_deref() == Ok("write") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, shown).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    for (i, (got, want)) in shown.lines().zip(kept.lines()).enumerate() {
        assert_eq!(got, want, "{name}, line {}; MEDSERL_SNAPSHOTS=write keeps the new one:\n{shown}", i + 1);
    }
    assert_eq!(shown.lines().count(), kept.lines().count(), "{name}");
}

/// Every theme shows the same text; mono has no colour at all, the others colour what is wrong, and dark is not light.
fn check_themes(name: &str, reader: &mut Reader) {
    let mut colours: Vec<BTreeSet<String>> = Vec::new();
    let mut texts = Vec::new();
    for theme in THEMES {
        reader.app.theme = Theme::built_in(theme, Depth::True).unwrap();
        // Laid-out lines carry their styles: a theme is chosen at the start, here a resize lays out again.
        let (columns, rows) = reader.app.size;
        reader.event(medserl::tui::Event::Resize(columns, rows));
        let buffer = buffer(&reader.app);
        let used = buffer.content.iter().flat_map(|cell| [cell.fg, cell.bg]).filter(|c| *c != Color::Reset);
        colours.push(used.map(|c| c.to_string()).collect());
        texts.push(text(&buffer));
        let modified = buffer.content.iter().any(|cell| !cell.modifier.is_empty());
        assert!(modified || reader.app.size.1 < 15, "{name} {theme}: emphasis does not hang on colour");
    }
    check(name, &texts[0]);
    assert!(texts.iter().all(|text| *text == texts[0]), "{name}: themes show different text");
    assert!(colours[2].is_empty(), "{name}: mono shows {:?}", colours[2]);
    assert!(!colours[0].is_empty() && !colours[1].is_empty() && colours[0] != colours[1], "{name}: {colours:?}");
}

#[test]
fn live_looks_as_kept() {
    for (columns, rows) in SIZES {
        let mut reader = Reader::new(0, (columns, rows));
        check_themes(&format!("live-{columns}x{rows}"), &mut reader);
    }
}

#[test]
fn inspect_looks_as_kept() {
    for (columns, rows) in SIZES {
        let mut reader = Reader::inspecting(3, (columns, rows));
        reader.filter("cell:FP,FN r<0");
        for key in ["down", "v", "down"] {
            reader.press(key);
        }
        check_themes(&format!("inspect-list-{columns}x{rows}"), &mut reader);
        reader.press("t");
        reader.press("enter");
        check_themes(&format!("inspect-tokens-{columns}x{rows}"), &mut reader);
        reader.press("c");
        check_themes(&format!("inspect-compare-{columns}x{rows}"), &mut reader);
    }
}
