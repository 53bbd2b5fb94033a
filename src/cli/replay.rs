//! `medserl replay`: a run as it was, on the screens, as a recording, or as text.

use std::{
    fs::File,
    io::{BufWriter, IsTerminal, Write},
    path::PathBuf,
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::look::Look;
use crate::{
    store::{Store, resolve_run, runs_root},
    tui::{
        self, Event, Options, Theme,
        cast::{self, Stage, Timed},
        keymap::Chord,
        replay,
    },
};

#[derive(clap::Args)]
pub struct Args {
    /// The run's id or the start of it, or the path of a run directory; the newest run where left out
    run: Option<String>,
    /// First step to play
    #[arg(long, default_value_t = 1)]
    from: u32,
    /// Last step to play; the last committed one where left out
    #[arg(long)]
    to: Option<u32>,
    /// How much faster than it was
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// Write a recording (asciicast, version 2) instead of showing it
    #[arg(long, value_name = "FILE")]
    cast: Option<PathBuf>,
    /// Print the last screen as text instead
    #[arg(long, conflicts_with = "cast")]
    print: bool,
    /// Of recordings and printed screens
    #[arg(long, default_value = "120x40", value_parser = size)]
    size: (u16, u16),
    /// Press a key so many seconds after the beginning, such as --press 5:2 --press 6.5:enter; by seconds of the recording
    #[arg(long, value_name = "SECONDS:KEY", value_parser = press)]
    press: Vec<(f64, Chord)>,
    #[command(flatten)]
    look: Look,
}

fn size(text: &str) -> Result<(u16, u16), String> {
    let parts = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    parts
        .filter(|(w, h)| (1..=1000).contains(w) && (1..=1000).contains(h))
        .ok_or_else(|| format!("'{text}' is no size; write 80x24"))
}

fn press(text: &str) -> Result<(f64, Chord), String> {
    let wrong = || format!("'{text}' is no key press; write SECONDS:KEY, such as 5:enter");
    let (at, key) = text.split_once(':').ok_or_else(wrong)?;
    let at = at.parse::<f64>().ok().filter(|at| *at >= 0.0 && at.is_finite()).ok_or_else(wrong)?;
    Ok((at, Chord::parse(key).ok_or_else(wrong)?))
}

pub fn run(args: &Args) -> Result<()> {
    ensure!(args.speed.is_finite() && args.speed > 0.0, "--speed must be above 0");
    let dir = resolve_run(&runs_root()?, args.run.as_deref())?;
    let last = Store::open_read_only(&dir)?.last_step()?.unwrap_or(0);
    ensure!(args.from <= last, "{} has {last} committed steps; there is no step {} to play", dir.display(), args.from);
    let told = replay::notices(&dir, args.from, args.to.unwrap_or(last))?;
    let mut events: Vec<Timed> =
        told.into_iter().map(|(at, notice)| (at.div_f64(args.speed), Event::Notice(Box::new(notice)))).collect();
    events.extend(args.press.iter().map(|(at, chord)| (Duration::from_secs_f64(*at), Event::Key(chord.press()))));
    events.sort_by_key(|(at, _)| *at);
    let options = Options { read_only: true, replay: true, run_dir: Some(dir.clone()), ..args.look.options()? };
    if args.cast.is_none() && !args.print {
        return show(&options, events);
    }
    // A recording is for any terminal, not for the one it is made on.
    let theme = Theme::choose(options.theme.as_deref(), |name| (name == "COLORTERM").then(|| "truecolor".to_owned()))?;
    let stage = Stage { theme, ascii: options.ascii, size: args.size };
    let Some(path) = &args.cast else {
        print!("{}", cast::print(stage, &dir, events)?);
        return Ok(());
    };
    let mut file = BufWriter::new(File::create(path).with_context(|| format!("cannot write {}", path.display()))?);
    cast::record(stage, &dir, events, &mut file)?;
    file.flush().with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}

/// Plays it on this terminal; the keys that only look work as ever.
fn show(options: &Options, events: Vec<Timed>) -> Result<()> {
    ensure!(std::io::stdout().is_terminal(), "there is no terminal to draw on; use --cast FILE or --print");
    let (sender, receiver) = channel();
    let told = sender.clone();
    let began = Instant::now();
    thread::Builder::new().name("replay".into()).spawn(move || {
        for (at, event) in events {
            thread::sleep(at.saturating_sub(began.elapsed()));
            if told.send(event).is_err() {
                return;
            }
        }
    })?;
    tui::run(options, (&sender, &receiver), &mut |_| {})?;
    Ok(())
}
