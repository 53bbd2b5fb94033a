//! How the screens look and call: options of the command line over a file of the user's, over what the terminal says.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;

use crate::{
    config,
    tui::{Options, notify::Channel},
};

#[derive(clap::Args, Clone, Debug, Default)]
pub struct Look {
    /// Colours: dark, light or mono (also by NO_COLOR)
    #[arg(long)]
    theme: Option<String>,
    /// Draw with ASCII characters only
    #[arg(long)]
    ascii: bool,
    /// Leave the mouse to the terminal
    #[arg(long)]
    no_mouse: bool,
    /// Call when something happens while the window is not in front: off, bell, osc9 or osc777
    #[arg(long)]
    notify: Option<Channel>,
}

/// `screen.toml` in the user's configuration folder (`$MEDSERL_HOME` where that is set).
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Kept {
    theme: Option<String>,
    ascii: bool,
    mouse: Option<bool>,
    notify: Option<String>,
}

impl Look {
    /// What the screens are given.
    ///
    /// # Errors
    /// A file that cannot be read, or holds what it cannot hold; named with its place.
    pub fn options(&self) -> Result<Options> {
        let kept = kept()?;
        let notify = match (self.notify, &kept.notify) {
            (Some(channel), _) => channel,
            (None, Some(word)) => word.parse().map_err(anyhow::Error::msg).context("screen.toml, notify")?,
            (None, None) => Channel::Off,
        };
        Ok(Options {
            theme: self.theme.clone().or(kept.theme),
            ascii: self.ascii || kept.ascii,
            no_mouse: self.no_mouse || kept.mouse == Some(false),
            notify,
            ..Options::default()
        })
    }
}

fn kept() -> Result<Kept> {
    let Some(path) = path() else { return Ok(Kept::default()) };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Kept::default()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    config::text::read(&text).map_err(|e| anyhow!("{}: expected theme, ascii, mouse and notify: {e}", path.display()))
}

fn path() -> Option<PathBuf> {
    match std::env::var_os("MEDSERL_HOME").filter(|home| !home.is_empty()) {
        Some(home) => Some(PathBuf::from(home).join("screen.toml")),
        None => Some(directories::ProjectDirs::from("", "", "medserl")?.config_dir().join("screen.toml")),
    }
}

/// The name of who sits there: as the shell has it, else as the system's list of users has it.
pub fn user() -> Option<String> {
    let named = ["USER", "LOGNAME"].iter().find_map(|key| std::env::var(key).ok().filter(|name| !name.trim().is_empty()));
    named.or_else(|| name_of(rustix::process::getuid().as_raw(), &fs::read_to_string("/etc/passwd").ok()?))
}

/// `passwd`: lines of name:password:uid:…
fn name_of(uid: u32, passwd: &str) -> Option<String> {
    let line = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|line| line.get(2) == Some(&uid.to_string().as_str()))?;
    line.first().map(|name| (*name).to_owned())
}
