//! What leaves by escape sequence beside the screen: the window title and calls for attention. Only sanitised text goes out, on one
//! line, and a terminal inside tmux is reached through it. The clipboard has a file of its own.

use std::{
    fmt,
    io::{self, Write},
    str::FromStr,
};

use crate::task::Text;

/// How the reader is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    #[default]
    Off,
    /// The bell, which tmux and most terminals turn into a mark.
    Bell,
    /// A message of the terminal (iTerm2, WezTerm, Windows Terminal), and the bell.
    Osc9,
    /// The same for rxvt-unicode, foot, Ghostty and others.
    Osc777,
}

/// Longer texts are cut by whoever shows them.
const LONGEST: usize = 120;

impl FromStr for Channel {
    type Err = String;

    fn from_str(word: &str) -> Result<Channel, String> {
        match word {
            "off" => Ok(Channel::Off),
            "bell" => Ok(Channel::Bell),
            "osc9" => Ok(Channel::Osc9),
            "osc777" => Ok(Channel::Osc777),
            _ => Err(format!("'{word}' is no way to call; write off, bell, osc9 or osc777")),
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Channel::Off => "off",
            Channel::Bell => "bell",
            Channel::Osc9 => "osc9",
            Channel::Osc777 => "osc777",
        })
    }
}

/// Calls the reader; `in_tmux` wraps what tmux would keep to itself (it needs `allow-passthrough`).
pub fn call(out: &mut dyn Write, channel: Channel, text: &Text, in_tmux: bool) -> io::Result<()> {
    let words = one_line(text);
    let message = match channel {
        Channel::Off => return Ok(()),
        Channel::Bell => String::new(),
        Channel::Osc9 => format!("\x1b]9;{words}\x1b\\"),
        // Semicolons part the fields of this one.
        Channel::Osc777 => format!("\x1b]777;notify;medserl;{}\x1b\\", words.replace(';', ",")),
    };
    if !message.is_empty() && in_tmux {
        write!(out, "\x1bPtmux;{}\x1b\\", message.replace('\x1b', "\x1b\x1b"))?;
    } else {
        out.write_all(message.as_bytes())?;
    }
    out.write_all(b"\x07")?;
    out.flush()
}

/// Names the window.
pub fn title(out: &mut dyn Write, text: &Text) -> io::Result<()> {
    write!(out, "\x1b]2;{}\x1b\\", one_line(text))?;
    out.flush()
}

fn one_line(text: &Text) -> String {
    // Sanitised already; a line feed is the one control character that `Text` keeps.
    text.as_str().chars().map(|c| if c == '\n' { ' ' } else { c }).take(LONGEST).collect()
}
