//! `medserl label`: judging samples by hand, on a screen or from a file, and what such labels say.

use std::{
    collections::HashMap,
    fs,
    io::IsTerminal,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};

use super::look::{self, Look};
use crate::{
    attach::{Client, Live},
    config::{LabelsConfig, RunConfig},
    data::labels::{Signature, import, unheard},
    eval::LabelStats,
    store::{
        Cell, Fault, LABELS, LabelFile, LabelLog, RolloutFilter, SampleHead, Sort, Store, merge_labels, read_labels, resolve_run,
        runs_root, write_labels,
    },
    task::{Entry, Sample, Standing, hand_label::Picked},
    tui::{
        Options,
        label::{
            Setup, Task,
            queue::Votes,
            run::{Desk, Left, label},
        },
        widget::number,
    },
};

/// How long a trainer may take to say what it is doing.
const SNAPSHOT: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    judge: JudgeArgs,
    #[command(flatten)]
    look: Look,
}

#[derive(clap::Subcommand)]
enum Command {
    /// How often the Scribe's claims are right, and whether annotators agree
    Stats {
        /// Runs or label files; the newest run where left out
        sources: Vec<String>,
        #[arg(long)]
        json: bool,
    },
    /// Put several label files into one; a label that two of them hold is one label
    Merge {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[arg(long)]
        out: PathBuf,
    },
}

#[derive(clap::Args)]
struct JudgeArgs {
    /// A run's id or the start of it, or a file with one sample (JSON) a line; the newest run where left out
    source: Option<String>,
    /// Who decides; the run's labels.annotator or the user's name where left out
    #[arg(long)]
    annotator: Option<String>,
    /// Judge notes without seeing the claim
    #[arg(long)]
    blind: bool,
    #[arg(long, value_enum, default_value = "newest")]
    order: Order,
    /// Of the order and of repeats; the run's own where left out
    #[arg(long)]
    seed: Option<u64>,
    /// Take decisions from a file instead: {"sample": ID, "decision": "accept"} a line, or another label file
    #[arg(long)]
    from: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Order {
    /// Newest step first
    Newest,
    /// A seeded draw, every quadrant in turn
    Stratified,
    /// Those first where the Doctor contradicts the claim
    Disagreement,
    /// Those first that somebody else has decided on
    Second,
}

impl From<Order> for Picked {
    fn from(order: Order) -> Picked {
        match order {
            Order::Newest => Picked::Newest,
            Order::Stratified => Picked::Stratified,
            Order::Disagreement => Picked::Disagreement,
            Order::Second => Picked::Second,
        }
    }
}

pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Some(Command::Stats { sources, json }) => stats(sources, *json),
        Some(Command::Merge { files, out }) => merge(files, out),
        None => judge(&args.judge, &args.look.options()?).map(drop),
    }
}

/// The Label screen of one run, as key 3 of an attached client opens it.
pub fn judge_run(dir: &Path, options: &Options) -> Result<Left> {
    let source = Some(dir.to_string_lossy().into_owned());
    judge(&JudgeArgs { source, annotator: None, blind: false, order: Order::Newest, seed: None, from: None }, options)
}

fn judge(args: &JudgeArgs, options: &Options) -> Result<Left> {
    let on_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    ensure!(
        on_terminal || args.from.is_some(),
        "the Label screen needs a terminal; without one, give decisions with --from FILE, or see `label stats`"
    );
    let (mut desk, config) = open(args.source.as_deref())?;
    let annotator = args.annotator.clone().or(config.labels.annotator.clone()).or_else(look::user);
    let annotator = annotator.filter(|name| !name.trim().is_empty());
    let annotator =
        annotator.context("say who decides: medserl label RUN --annotator NAME, or labels.annotator in the experiment")?;
    if let Some(path) = &args.from {
        take(path, &annotator, &mut desk)?;
        return Ok(Left { n_decisions: 0, hung_up: false });
    }
    let setup = Setup {
        run: desk.name.clone(),
        annotator,
        seed: args.seed.unwrap_or(config.seed),
        repeats: config.labels.repeats,
        task: if args.blind { Task::Blind } else { Task::Review },
        order: if args.blind && matches!(args.order, Order::Disagreement) { Picked::Stratified } else { args.order.into() },
    };
    let path = desk.log.path().to_owned();
    let left = label(options, setup, &mut desk)?;
    if left.hung_up {
        // There may be no terminal to say anything on.
        return Ok(left);
    }
    desk.faults.iter().for_each(|fault| eprintln!("{fault}"));
    if left.n_decisions > 0 {
        println!("{}, on disk in {}", number::many(left.n_decisions, "decision"), path.display());
    }
    Ok(left)
}

/// Writes the decisions of a file down.
fn take(path: &Path, annotator: &str, desk: &mut SampleDesk) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (_, entries) = desk.look()?;
    let standing: Standing = entries.into_iter().collect();
    desk.faults.iter().for_each(|fault| eprintln!("{fault}"));
    let name = desk.name.clone();
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX));
    let signature = Signature { run: &name, annotator, at };
    let found = import(path, &text, &signature, &mut |id| desk.find(id))?;
    let n = found.len();
    let fresh = unheard(found, &standing);
    let n_fresh = fresh.len();
    for entry in fresh {
        desk.keep(entry)?;
    }
    println!("{n_fresh} decisions written to {}, {} stood there already", desk.log.path().display(), n - n_fresh);
    Ok(())
}

fn stats(sources: &[String], json: bool) -> Result<()> {
    let mut config: Option<LabelsConfig> = None;
    let mut files = Vec::new();
    let mut paths: Vec<PathBuf> = sources.iter().map(PathBuf::from).filter(|path| path.is_file()).collect();
    let runs =
        sources.iter().map(|source| Some(source.as_str())).filter(|source| !source.is_some_and(|s| Path::new(s).is_file()));
    let newest = sources.is_empty().then_some(None);
    for source in runs.chain(newest) {
        let dir = resolve_run(&runs_root()?, source)?;
        config.get_or_insert(experiment(&dir)?.labels);
        paths.push(dir.join(LABELS));
    }
    for path in &paths {
        files.push(read(path)?);
    }
    let standing: Standing = merge_labels(files).into_iter().collect();
    let stats = LabelStats::of(&standing, &config.unwrap_or_default());
    if json {
        println!("{}", serde_json::to_string(&stats)?);
    } else {
        stats.lines().iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}

fn merge(files: &[PathBuf], out: &Path) -> Result<()> {
    let read = files.iter().map(|path| read(path)).collect::<Result<Vec<LabelFile>>>()?;
    let n: usize = read.iter().map(|file| file.entries.len()).sum();
    let merged = merge_labels(read);
    write_labels(out, &merged)?;
    println!("{} entries of {} files in {}; {} were there twice", merged.len(), files.len(), out.display(), n - merged.len());
    Ok(())
}

/// Reads a label file and says what was left out of it.
fn read(path: &Path) -> Result<LabelFile> {
    let file = read_labels(path)?;
    file.faults.iter().for_each(|fault| eprintln!("{fault}"));
    ensure!(
        !file.entries.is_empty() || file.faults.is_empty(),
        "{} is no label file: not one line of it is an entry",
        path.display()
    );
    Ok(file)
}

/// The samples of a run, the ones of the step in progress included, or those of a file, and the labels beside them.
struct SampleDesk {
    name: String,
    log: LabelLog,
    faults: Vec<Fault>,
    /// None for a file.
    run: Option<(PathBuf, Store)>,
    /// Samples that no store holds (yet).
    loose: HashMap<String, Sample>,
    trainer: Option<(Client, Live)>,
    last_step: u32,
}

fn open(source: Option<&str>) -> Result<(SampleDesk, RunConfig)> {
    let (last_step, faults, trainer) = (0, Vec::new(), None);
    if let Some(path) = source.map(Path::new).filter(|path| path.is_file()) {
        let loose = samples(path)?.into_iter().map(|sample| (sample.id.clone(), sample)).collect();
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let log = LabelLog::open(&path.with_extension("labels.jsonl"))?;
        return Ok((SampleDesk { name, log, faults, run: None, loose, trainer, last_step }, RunConfig::default()));
    }
    let dir = resolve_run(&runs_root()?, source)?;
    let config = experiment(&dir)?;
    let store = Store::open_read_only(&dir)?;
    let name = dir.file_name().unwrap_or(dir.as_os_str()).to_string_lossy().into_owned();
    let log = LabelLog::open(&dir.join(LABELS))?;
    Ok((SampleDesk { name, log, faults, run: Some((dir, store)), loose: HashMap::new(), trainer, last_step }, config))
}

fn experiment(dir: &Path) -> Result<RunConfig> {
    Ok(RunConfig::load(&dir.join("experiment.toml"), &[])?)
}

fn samples(path: &Path) -> Result<Vec<Sample>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |(i, line): (usize, &str)| {
        let hint = "expected one sample a line, as column sample_json of run.db holds it";
        serde_json::from_str(line).with_context(|| format!("{}:{}: no sample; {hint}", path.display(), i + 1))
    };
    lines.map(read).collect()
}

impl SampleDesk {
    fn find(&self, id: &str) -> Result<Option<Sample>> {
        let stored = match &self.run {
            Some((_, store)) => store.sample(id)?,
            None => None,
        };
        Ok(stored.or_else(|| self.loose.get(id).cloned()))
    }

    /// Takes the samples of the step in progress from the trainer, if there is one.
    fn listen(&mut self) -> Vec<SampleHead> {
        let Some((dir, _)) = &self.run else { return Vec::new() };
        if self.trainer.is_none() {
            let client = Client::connect(&dir.join("control.sock")).ok();
            self.trainer = client.map(|client| (client, Live::default()));
        }
        let Some((client, live)) = &mut self.trainer else { return Vec::new() };
        // The first notice is the whole picture, and worth a moment's wait.
        let mut patience = if live.run_id.is_empty() { SNAPSHOT } else { Duration::ZERO };
        let gone = loop {
            match client.next_timeout(std::mem::take(&mut patience)) {
                Ok(Some(notice)) => live.apply(notice),
                Ok(None) => break live.ended.is_some(),
                Err(_) => break true,
            }
        };
        let heads = live.samples.iter().map(|sample| SampleHead::from(sample.as_ref())).collect();
        self.loose = live.samples.iter().map(|sample| (sample.id.clone(), sample.as_ref().clone())).collect();
        if gone {
            self.trainer = None;
        }
        heads
    }
}

impl Desk for SampleDesk {
    fn sample(&mut self, id: &str) -> Result<(Sample, Votes)> {
        let Some(sample) = self.find(id)? else { bail!("it is no longer there; its step was made again or given up") };
        let mut votes = Votes::default();
        if let Some((_, store)) = &self.run {
            store.group(id)?.iter().for_each(|rollout| votes.count(Cell::of(rollout)));
        }
        Ok((sample, votes))
    }

    fn votes(&mut self) -> Result<HashMap<String, Votes>> {
        let mut votes: HashMap<String, Votes> = HashMap::new();
        if let Some((_, store)) = &self.run {
            for row in store.browse(&RolloutFilter::default(), Sort::default())? {
                votes.entry(row.sample_id.into_string()).or_default().count(row.cell);
            }
        }
        Ok(votes)
    }

    fn keep(&mut self, entry: Entry) -> Result<Entry> {
        Ok(self.log.append(entry)?)
    }

    fn look(&mut self) -> Result<(Vec<SampleHead>, Vec<Entry>)> {
        let news = self.log.news()?;
        self.faults.extend(news.faults);
        let mut heads = match &self.run {
            Some((_, store)) => store.sample_heads(self.last_step)?,
            None if self.last_step == 0 => self.loose.values().map(SampleHead::from).collect(),
            None => Vec::new(),
        };
        // The last step is read again: it may have been given up and made anew. A file is read once.
        self.last_step = heads.iter().map(|head| head.step).max().unwrap_or(self.last_step).max(u32::from(self.run.is_none()));
        heads.extend(self.listen());
        Ok((heads, news.entries))
    }
}
