//! Whole screens, kept under `snapshots/`: text and styles of the dark theme readable, every other look as a hash beside them.
//! `MEDSERL_SNAPSHOTS=write` makes them anew; a new look is one more row of [`LOOKS`].

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use medserl::{
    task::hand_label::Picked,
    tui::{App, Event, Theme, glyphs, history::History, label::Task, screen, theme::Depth},
};
use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::{Buffer, Cell},
    layout::Rect,
    style::{Color, Modifier},
};

use super::{
    fixture::{Reader, history},
    runs::some_runs,
};
use crate::tui_label::bench::{Bench, setup};

const SIZES: [(u16, u16); 4] = [(20, 5), (80, 24), (120, 40), (200, 60)];

/// One way a screen can look. The first is kept in full.
struct Look {
    name: &'static str,
    theme: &'static str,
    ascii: bool,
}

const LOOKS: &[Look] = &[
    Look { name: "dark", theme: "dark", ascii: false },
    Look { name: "light", theme: "light", ascii: false },
    Look { name: "mono", theme: "mono", ascii: false },
    Look { name: "ascii", theme: "mono", ascii: true },
];

impl Look {
    fn theme(&self) -> Theme {
        Theme::built_in(self.theme, Depth::True).unwrap()
    }

    /// As the loops of the screens without an [`App`] finish a frame.
    fn finish(&self, mut buffer: Buffer) -> Buffer {
        if self.ascii {
            glyphs::to_ascii(&mut buffer);
        }
        buffer
    }
}

fn text(buffer: &Buffer) -> String {
    let rows = buffer.content.chunks(usize::from(buffer.area.width));
    rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned() + "\n").collect()
}

/// `#8A8A8A bold`; empty where the cell is plain.
fn style(cell: &Cell) -> String {
    let mut words = Vec::new();
    for (colour, word) in [(cell.fg, ""), (cell.bg, "on ")] {
        if colour != Color::Reset {
            words.push(format!("{word}{colour}"));
        }
    }
    let named = cell.modifier.iter_names().map(|(name, _)| name.to_lowercase());
    words.extend(named);
    words.join(" ")
}

/// A legend of letters, then the runs of every row that is not plain: `3: a12 b4`; `.` is plain.
fn styles(buffer: &Buffer) -> String {
    let mut legend: Vec<String> = Vec::new();
    let mut rows = String::new();
    for (y, row) in buffer.content.chunks(usize::from(buffer.area.width)).enumerate() {
        let mut runs: Vec<(String, usize)> = Vec::new();
        for cell in row {
            // A blank looks the same in any colour.
            let invisible = cell.symbol() == " "
                && cell.bg == Color::Reset
                && !cell.modifier.intersects(Modifier::REVERSED | Modifier::UNDERLINED);
            let style = if invisible { String::new() } else { style(cell) };
            match runs.last_mut() {
                Some((last, n)) if *last == style => *n += 1,
                _ => runs.push((style, 1)),
            }
        }
        if runs.last().is_some_and(|(style, _)| style.is_empty()) {
            runs.pop();
        }
        if runs.is_empty() {
            continue;
        }
        write!(rows, "{y}:").unwrap();
        for (style, n) in runs {
            let letter = if style.is_empty() {
                '.'
            } else {
                let at = legend.iter().position(|known| *known == style).unwrap_or_else(|| {
                    legend.push(style);
                    legend.len() - 1
                });
                char::from(b'a' + u8::try_from(at).unwrap())
            };
            write!(rows, " {letter}{n}").unwrap();
        }
        rows.push('\n');
    }
    let legend =
        legend.iter().enumerate().map(|(at, style)| format!("{} {style}\n", char::from(b'a' + u8::try_from(at).unwrap())));
    legend.collect::<String>() + &rows
}

fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}

/// Compares with the file; line by line, so that a difference can be read.
pub(super) fn check(name: &str, shown: &str) {
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

/// Draws a screen in every look. Coloured themes show the same text; mono has no colour at all, the others colour what is wrong,
/// and dark is not light.
fn keep(name: &str, (columns, rows): (u16, u16), mut draw: impl FnMut(&Look) -> Buffer) {
    let name = format!("{name}-{columns}x{rows}");
    let buffers: Vec<Buffer> = LOOKS.iter().map(&mut draw).collect();
    let mut kept = text(&buffers[0]) + "--- styles of dark\n" + &styles(&buffers[0]) + "--- other looks\n";
    for (look, buffer) in LOOKS.iter().zip(&buffers).skip(1) {
        let same = if text(buffer) == text(&buffers[0]) { "same text" } else { "own text" };
        writeln!(kept, "{} {same} {} styles {}", look.name, hash(&text(buffer)), hash(&styles(buffer))).unwrap();
    }
    check(&name, &kept);
    let colours = |buffer: &Buffer| -> BTreeSet<String> {
        let used = buffer.content.iter().flat_map(|cell| [cell.fg, cell.bg]).filter(|c| *c != Color::Reset);
        used.map(|c| c.to_string()).collect()
    };
    let of = |wanted: &str| &buffers[LOOKS.iter().position(|look| look.name == wanted).unwrap()];
    assert!(colours(of("mono")).is_empty(), "{name}: mono shows {:?}", colours(of("mono")));
    assert!(!colours(of("dark")).is_empty() && colours(of("dark")) != colours(of("light")), "{name}");
    assert_eq!(text(of("dark")), text(of("light")), "{name}");
    assert_eq!(text(of("dark")), text(of("mono")), "{name}");
    let drawn_with = |cell: &&Cell| cell.symbol().chars().all(|c| ('\u{2500}'..='\u{28ff}').contains(&c));
    let odd = of("ascii").content.iter().find(drawn_with);
    assert!(odd.is_none(), "{name}: {odd:?}");
    let emphasised = of("mono").content.iter().any(|cell| !cell.modifier.is_empty());
    assert!(emphasised || rows < 15, "{name}: emphasis does not hang on colour");
}

fn drawn(app: &App) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(app.size.0, app.size.1)).unwrap();
    terminal.draw(|frame| screen::draw(app, frame)).unwrap();
    terminal.backend().buffer().clone()
}

fn keep_app(name: &str, reader: &mut Reader) {
    let size = reader.app.size;
    keep(name, size, |look| {
        (reader.app.theme, reader.app.ascii) = (look.theme(), look.ascii);
        // Laid-out lines carry their styles: a theme is chosen at the start, here a resize lays out again.
        reader.event(Event::Resize(size.0, size.1));
        drawn(&reader.app)
    });
}

#[test]
fn live_looks_as_kept() {
    for size in SIZES {
        keep_app("live", &mut Reader::new(0, size));
    }
}

#[test]
fn inspect_looks_as_kept() {
    for size in SIZES {
        let mut reader = Reader::inspecting(3, size);
        reader.filter("cell:FP,FN r<0");
        for key in ["down", "v", "down"] {
            reader.press(key);
        }
        keep_app("inspect-list", &mut reader);
        for key in ["t", "enter", "]", "]"] {
            reader.press(key);
        }
        keep_app("inspect-tokens", &mut reader);
        for key in ["T", "b", "right"] {
            reader.press(key);
        }
        keep_app("inspect-group", &mut reader);
        for key in ["esc", "left", "c"] {
            reader.press(key);
        }
        keep_app("inspect-compare", &mut reader);
    }
}

#[test]
fn charts_look_as_kept() {
    for size in SIZES {
        let mut reader = Reader::new(1, size);
        reader.press("4");
        let mut whole = history();
        // A hole in the reward.
        whole.series.iter_mut().find(|(key, _)| key == "reward").unwrap().1[200].1 = f64::NAN;
        reader.app.charts.loaded(None, whole);
        keep_app("charts", &mut reader);
        let other = History { id: "0139-lora-r8".to_owned(), dir: "/runs/0139".into(), ..history() };
        reader.app.charts.loaded(Some("/runs/0139".into()), other);
        for key in ["z", "n", "+"] {
            reader.press(key);
        }
        keep_app("chart-alone", &mut reader);
    }
}

#[test]
fn the_log_looks_as_kept() {
    for size in SIZES {
        let mut reader = Reader::new(1, size);
        let long = "the experiment pauses until there is room again: 12 MiB are free and a step needs 16 ".repeat(3);
        let lines = format!(
            "1790000001 INFO  run demo-s1\n1790000002 INFO  [scribe] eight samples\n1790000065 WARN  [commit] alarm KL: 0.31\n\
             1790000066 ERROR [commit] {long}\n1790000099 INFO  [commit] checkpoint saved\n"
        );
        fs::write(reader.dir.path().join("trainer.log"), lines).unwrap();
        for key in ["6", "/", "K", "L", "enter"] {
            reader.press(key);
        }
        reader.press("down");
        keep_app("log", &mut reader);
    }
}

#[test]
fn runs_look_as_kept() {
    for size in SIZES {
        let mut app = some_runs();
        let draw = |app: &mut medserl::tui::runs::RunsApp, name: &str| {
            keep(name, size, |look| {
                app.theme = look.theme();
                let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
                terminal.draw(|frame| screen::runs::draw(app, frame)).unwrap();
                look.finish(terminal.backend().buffer().clone())
            });
        };
        draw(&mut app, "runs");
        for key in ["v", "down", "v", "c"] {
            app.key(super::key(key));
        }
        draw(&mut app, "runs-compare");
    }
}

#[test]
fn label_looks_as_kept() {
    for size in SIZES {
        for (name, task) in [("label-review", Task::Review), ("label-blind", Task::Blind)] {
            let mut bench = Bench::new(size, setup(task, Picked::Newest));
            keep(name, size, |look| {
                bench.app.theme = look.theme();
                let mut buffer = Buffer::empty(Rect::new(0, 0, size.0, size.1));
                screen::label::draw(&bench.app, buffer.area, &mut buffer);
                look.finish(buffer)
            });
        }
    }
}
