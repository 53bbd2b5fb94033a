//! Two thousand sequences of anything that can happen, at any size: nothing panics, no control character is ever shown.

use medserl::{
    attach::Notice,
    tui::{
        App, Event,
        action::ACTIONS,
        overlay::{self, Overlay},
        screen::Screen,
    },
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};
use ratatui::crossterm::event::{KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use super::{
    SIZES, app,
    fixture::{Reader, random_notice},
    key, press, shown, theme,
};

/// Every key of the table, and some that only dialogs and the filter line know.
fn keys() -> Vec<&'static str> {
    let mut keys: Vec<&str> = ACTIONS.iter().flat_map(|row| row.keys.iter().copied()).collect();
    keys.extend(["c", "s", "d", "backspace", "\"", ":", "r", "<", "x", "é", "ctrl-w", "医"]);
    keys
}

/// A click or a turn of the wheel, on the screen or beside it.
fn mouse(rng: &mut ChaCha8Rng) -> MouseEvent {
    let n = rng.next_u32();
    let kinds = [
        MouseEventKind::Down(MouseButton::Left),
        MouseEventKind::ScrollUp,
        MouseEventKind::ScrollDown,
        MouseEventKind::Up(MouseButton::Right),
    ];
    MouseEvent {
        kind: kinds[n as usize % 4],
        column: (n >> 8) as u16 % 310,
        row: if n & 0x80 == 0 { 0 } else { (n >> 20) as u16 % 110 },
        modifiers: KeyModifiers::NONE,
    }
}

fn size(rng: &mut ChaCha8Rng) -> (u16, u16) {
    let n = rng.next_u32();
    if n & 1 == 0 {
        return SIZES[(n >> 1) as usize % SIZES.len()];
    }
    ((n >> 8) as u16 % 300 + 1, (n >> 20) as u16 % 100 + 1)
}

#[test]
fn two_thousand_sequences_never_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let keys = keys();
    // One filled store serves all: nothing here writes to it but exports.
    let mut reader = Reader::inspecting(2, (80, 24));
    let fresh = [reader.app.clone(), app((120, 40)), App::new(theme(), (80, 24))];
    for sequence in 0..2000_u32 {
        reader.app = fresh[sequence as usize % 3].clone();
        reader.effects.clear();
        let (columns, rows) = size(&mut rng);
        reader.event(Event::Resize(columns, rows));
        for _ in 0..8 {
            let n = rng.next_u32();
            match n % 16 {
                0..=9 => {
                    // Exports would fill the disk.
                    let name = keys[(n >> 8) as usize % keys.len()];
                    reader.press(if name == "E" { "2" } else { name });
                }
                10 => {
                    let (columns, rows) = size(&mut rng);
                    reader.event(Event::Resize(columns, rows));
                }
                11 if n & 0x100 == 0 => reader.event(Event::Tick),
                11 => reader.event(Event::Paste("kl > 0\u{1b}[31m\n医".to_owned())),
                13 => reader.event(Event::Mouse(mouse(&mut rng))),
                12 if n & 0xF00 == 0 => reader.event(Event::Closed),
                _ => reader.event(Event::Notice(Box::new(random_notice(&mut rng, sequence / 100)))),
            }
        }
        shown(&reader.app);
    }
}

#[test]
fn every_screen_and_overlay_draws_at_every_size() {
    let mut reader = Reader::inspecting(1, (80, 24));
    for size in SIZES.into_iter().chain([(2, 2), (3, 1), (1, 100), (300, 1), (59, 14), (60, 100), (300, 100)]) {
        reader.event(Event::Resize(size.0, size.1));
        for screen in Screen::ALL {
            reader.press(&screen.number().to_string());
            for overlay in Overlay::ALL {
                overlay::open(&mut reader.app, overlay);
                shown(&reader.app);
                for name in ["down", "a", "k", ">", "enter", "esc", "esc"] {
                    reader.press(name);
                    shown(&reader.app);
                }
                overlay::close(&mut reader.app);
            }
            reader.app.ascii = !reader.app.ascii;
        }
        reader.press("2");
        for name in ["t", "enter", "c", "esc", "v", "right", "c", "esc", "V", "/", "r", "<", "esc", "t", "t"] {
            reader.press(name);
            shown(&reader.app);
        }
    }
}

#[test]
fn a_long_session_of_notices_never_panics() {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let keys = keys();
    let mut app = App::new(theme(), (80, 24));
    for round in 0..4000_u32 {
        let n = rng.next_u32();
        match n % 8 {
            0 | 1 => drop(press(&mut app, keys[(n >> 8) as usize % keys.len()])),
            2 => {
                let (columns, rows) = size(&mut rng);
                app.update(Event::Resize(columns, rows));
            }
            3 => drop(app.update(Event::Key(key("esc")))),
            _ => {
                let notice: Notice = random_notice(&mut rng, round / 100);
                app.update(Event::Notice(Box::new(notice)));
            }
        }
        if round % 4 == 0 {
            shown(&app);
        }
    }
}
