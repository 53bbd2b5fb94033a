//! Commands that take words, as they are typed into the palette.

use super::{app::App, notify::Channel, theme::Theme};
use crate::{
    attach::Control,
    task::{Breakpoint, Knob},
    tui::app::Effect,
};

/// One row of the table of commands.
pub struct CommandRow {
    pub name: &'static str,
    /// An example.
    pub form: &'static str,
    pub doc: &'static str,
    pub steers: bool,
}

pub const COMMANDS: &[CommandRow] = &[
    CommandRow { name: "set", form: "set temperature=0.8", doc: "Change a knob from the next step on", steers: true },
    CommandRow { name: "break", form: "break kl > 0.05", doc: "Pause where this comes true", steers: true },
    CommandRow { name: "unbreak", form: "unbreak kl > 0.05", doc: "Take a breakpoint away", steers: true },
    CommandRow { name: "filter", form: "filter quad:SD cell:FP", doc: "Show the rollouts that this filter keeps", steers: false },
    CommandRow { name: "theme", form: "theme light", doc: "Other colours: dark, light or mono", steers: false },
    CommandRow { name: "ascii", form: "ascii on", doc: "Draw with ASCII characters only: on or off", steers: false },
    CommandRow { name: "mouse", form: "mouse off", doc: "Let the terminal select text again: on or off", steers: false },
    CommandRow { name: "notify", form: "notify bell", doc: "How to call you: off, bell, osc9 or osc777", steers: false },
];

/// A command with its words understood.
#[derive(Clone, Debug)]
pub enum Command {
    Set(Knob),
    Break(Breakpoint),
    Unbreak(Breakpoint),
    Filter(String),
    Theme(String),
    Ascii(bool),
    Mouse(bool),
    Notify(Channel),
}

/// Reads the words of the command `name`.
pub fn parse(name: &str, words: &str) -> Result<Command, String> {
    match name {
        "set" => words.parse().map(Command::Set),
        "break" => words.parse().map(Command::Break),
        "unbreak" => words.parse().map(Command::Unbreak),
        "filter" => Ok(Command::Filter(words.to_owned())),
        "theme" => Ok(Command::Theme(words.to_owned())),
        "ascii" => switch(words).map(Command::Ascii),
        "mouse" => switch(words).map(Command::Mouse),
        "notify" => words.parse().map(Command::Notify),
        _ => Err(format!("there is no command '{name}'")),
    }
}

fn switch(word: &str) -> Result<bool, String> {
    match word {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("'{word}' is neither on nor off")),
    }
}

impl App {
    /// Carries out a command.
    pub fn obey(&mut self, command: Command) -> Option<Effect> {
        self.dirty = true;
        match command {
            Command::Set(knob) => {
                self.say(&format!("{knob} asked for"));
                return Some(Effect::Send(Control::Set { knob }));
            }
            Command::Break(condition) => return Some(Effect::Send(Control::Break { condition })),
            Command::Unbreak(condition) => return Some(Effect::Send(Control::Unbreak { condition })),
            Command::Filter(text) => return self.show_filtered(&text),
            Command::Theme(name) => match Theme::built_in(&name, self.theme.depth) {
                Ok(theme) => (self.theme, self.inspect.stale) = (theme, true),
                Err(error) => self.say(&error.to_string()),
            },
            Command::Ascii(on) => self.ascii = on,
            Command::Mouse(on) => {
                self.say(if on { "the mouse chooses and scrolls" } else { "the mouse is the terminal's again" });
                return Some(Effect::Mouse(on));
            }
            Command::Notify(channel) => {
                self.notify = channel;
                self.say(&format!("notifications: {channel}"));
            }
        }
        None
    }
}
