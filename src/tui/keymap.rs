//! Keys to actions. Knows how keys are spelled, not what actions do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{
    action::{Action, rows_of},
    screen::Screen,
};

/// One key with its modifiers, in a form two equal presses share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chord {
    code: KeyCode,
    modifiers: KeyModifiers,
}

impl Chord {
    /// The chord of a press; `None` for releases. Shift is dropped where the character already tells it.
    pub fn of(key: KeyEvent) -> Option<Chord> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        let mut modifiers = key.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SHIFT);
        if matches!(key.code, KeyCode::Char(_) | KeyCode::BackTab) {
            modifiers -= KeyModifiers::SHIFT;
        }
        Some(Chord { code: key.code, modifiers })
    }

    /// The press this is a chord of.
    pub fn press(self) -> KeyEvent {
        KeyEvent::new(self.code, self.modifiers)
    }

    /// Reads `q`, `?`, `space`, `ctrl-c`, `shift-tab`, `pagedown`; `None` for anything else.
    pub fn parse(name: &str) -> Option<Chord> {
        if let Some(rest) = name.strip_prefix("ctrl-") {
            let chord = Chord::parse(rest)?;
            return Some(Chord { modifiers: chord.modifiers | KeyModifiers::CONTROL, ..chord });
        }
        let code = match name {
            "space" => KeyCode::Char(' '),
            "tab" => KeyCode::Tab,
            "shift-tab" => KeyCode::BackTab,
            "enter" => KeyCode::Enter,
            "esc" => KeyCode::Esc,
            "left" => KeyCode::Left,
            "right" => KeyCode::Right,
            "up" => KeyCode::Up,
            "down" => KeyCode::Down,
            "pageup" => KeyCode::PageUp,
            "pagedown" => KeyCode::PageDown,
            "home" => KeyCode::Home,
            "end" => KeyCode::End,
            _ => {
                let mut letters = name.chars();
                match (letters.next(), letters.next()) {
                    (Some(c), None) => KeyCode::Char(c),
                    _ => return None,
                }
            }
        };
        Some(Chord { code, modifiers: KeyModifiers::NONE })
    }
}

/// A key name as the hint line and the help overlay print it.
pub fn label(name: &str) -> String {
    match name {
        "left" => "←".to_owned(),
        "right" => "→".to_owned(),
        "up" => "↑".to_owned(),
        "down" => "↓".to_owned(),
        "pageup" => "PgUp".to_owned(),
        "pagedown" => "PgDn".to_owned(),
        "shift-tab" => "Shift-Tab".to_owned(),
        name if name.starts_with("ctrl-") => format!("Ctrl-{}", name[5..].to_uppercase()),
        name if name.len() > 1 => name[..1].to_uppercase() + &name[1..],
        name => name.to_owned(),
    }
}

/// Which chord means what on which screen.
#[derive(Clone, Debug)]
pub struct Keymap {
    bindings: Vec<(Screen, Chord, Action)>,
}

impl Default for Keymap {
    fn default() -> Keymap {
        let of = |screen: Screen| {
            let spelled = rows_of(screen).flat_map(|row| row.keys.iter().map(|key| (*key, row.action)));
            spelled.filter_map(move |(key, action)| Some((screen, Chord::parse(key)?, action)))
        };
        Keymap { bindings: Screen::ALL.into_iter().flat_map(of).collect() }
    }
}

impl Keymap {
    pub fn action(&self, screen: Screen, chord: Chord) -> Option<Action> {
        let bound = self.bindings.iter().find(|(where_bound, bound, _)| *where_bound == screen && *bound == chord);
        bound.map(|(.., action)| *action)
    }

    /// Every binding, by screen and in table order.
    pub fn bindings(&self) -> &[(Screen, Chord, Action)] {
        &self.bindings
    }
}
