//! The command line: one short file per subcommand. Printing happens here and nowhere else.

mod attach;
mod audit;
mod bench;
mod check;
mod control;
mod data;
mod eval;
mod export;
mod headless;
mod import;
mod kernels;
mod knobs;
mod label;
mod look;
mod parity;
mod plan;
mod pretrain;
mod replay;
mod reward;
mod run;
mod score;

use std::{io::IsTerminal, process::ExitCode};

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "medserl",
    version,
    about = "Improves a small medical language model by self-play, and lets you watch. Research only: nothing here is medical advice.",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    /// The screen of all runs where left out
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    look: look::Look,
}

#[derive(Subcommand)]
enum Command {
    /// Watch the embedded nano model learn from demo notes: no network, no account, no GPU
    Demo(run::DemoArgs),
    /// Run an experiment, or continue it where it stopped
    Run(run::RunArgs),
    /// Watch and steer a run
    Attach(attach::Args),
    /// Play a run back on the screens, into a recording (asciicast), or print one screen as text
    Replay(replay::Args),
    /// List the runs of this machine
    Runs(control::RunsArgs),
    /// Say how a run stands
    Status(control::StatusArgs),
    /// Pause a run at its next phase boundary
    Pause(control::Args),
    /// Let a paused run go on; a run that stopped or died is started again from its last checkpoint
    Resume(control::Args),
    /// Change values of a run from its next step on: temperature=0.8, learning_rate=1e-4, label_gate=ask; without any, show them
    Set(knobs::SetArgs),
    /// Pause a run where a condition comes true, such as "kl > 0.05", nan, constant; without any, list them
    Break(knobs::BreakArgs),
    /// Give up what the step in progress has written so far, and pause before that step
    Abort(control::Args),
    /// Let a run go on to the end of one step, then pause it
    Step(control::StepArgs),
    /// Save a run and end its trainer; the same run command continues it
    Stop(control::StopArgs),
    /// Score a model on a data file, or a submission file as the official script does
    Eval(eval::Args),
    /// Judge the Scribe's samples by hand; what such labels say, and merging them
    Label(label::Args),
    /// Show what trivial and adversarial policies earn from a reward scheme
    Audit(audit::Args),
    /// Say what an experiment takes before it starts: memory, disk, time
    Plan(plan::Args),
    /// Say what this machine offers: threads, instructions, memory, graphics, store, terminal, hub
    Check(check::Args),
    /// Score completions: JSON lines in, JSON lines out
    Reward(reward::Args),
    /// Look at data files
    Data(data::Args),
    /// Make the nano model from nothing (resumes where it stopped)
    Pretrain(pretrain::Args),
    /// Compare this build with a reference dump, number by number
    Parity(parity::Args),
    /// Write what a run learnt in the formats of other programs
    Export(export::Args),
    /// Begin a run from what another program learnt
    Import(import::Args),
    /// Token ids in, log-probs out: JSON lines, for checking this model against another
    Score(score::Args),
    /// Measure a policy step on random weights: nano, 270m and 4b shapes, beside the machine's ceilings and a peer
    Bench(bench::Args),
    /// Compare a GPU's operations with the CPU's, one by one
    #[command(hide = true)]
    Kernels(kernels::Args),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
}

/// What a download has to say, where no run's log takes it.
fn to_stderr(line: &str) {
    eprintln!("{line}");
}

pub fn main() -> Result<ExitCode> {
    let done = |result: Result<()>| result.map(|()| ExitCode::SUCCESS);
    let Cli { command, look } = Cli::parse();
    let Some(command) = command else {
        if !std::io::stdout().is_terminal() {
            eprint!("{}", Cli::command().render_help());
            return Ok(ExitCode::from(2));
        }
        return done(look.options().and_then(|options| attach::choose(&options)));
    };
    match command {
        Command::Demo(args) => run::demo(&args),
        Command::Run(args) => run::run(&args),
        Command::Attach(args) => done(attach::run(&args)),
        Command::Replay(args) => done(replay::run(&args)),
        Command::Runs(args) => done(control::runs(&args)),
        Command::Status(args) => done(control::status(&args)),
        Command::Pause(args) => done(control::pause(&args)),
        Command::Resume(args) => done(control::resume(&args)),
        Command::Set(args) => done(knobs::set(&args)),
        Command::Break(args) => done(knobs::set_breakpoints(&args)),
        Command::Abort(args) => done(knobs::abort(&args)),
        Command::Step(args) => done(control::step(&args)),
        Command::Stop(args) => done(control::stop(&args)),
        Command::Eval(args) => done(eval::run(&args)),
        Command::Label(args) => done(label::run(&args)),
        Command::Audit(args) => audit::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Import(args) => done(import::run(&args)),
        Command::Reward(args) => done(reward::run(&args)),
        Command::Data(args) => done(data::run(&args)),
        Command::Pretrain(args) => done(pretrain::run(&args)),
        Command::Parity(args) => parity::run(&args),
        Command::Export(args) => done(export::run(&args)),
        Command::Score(args) => done(score::run(&args)),
        Command::Bench(args) => done(bench::run(&args)),
        Command::Kernels(args) => kernels::run(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "medserl", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}
