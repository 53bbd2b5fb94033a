//! The life of a run: open or continue, warm up, step, evaluate, save, end.

mod health;
mod rounding;
mod saving;
mod steering;
mod tokens;
mod warmup;

use std::{
    cell::RefCell,
    fs,
    path::Path,
    sync::{Arc, mpsc::Sender},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use health::Health;

use super::{
    Ending, Options,
    alarm::Alarms,
    clock::Times,
    deadline::Deadline,
    dir::RunDir,
    evaluate::{Reading, evaluate},
    hooks::Hooks,
    labels::HandLabels,
    machine::Watch,
    outlet::{Outlet, Output},
    room,
    rows::{self, RowPlan},
    settings::Settings,
    signals::Signals,
    sources,
    steer::Steer,
};
use crate::{
    attach::{Live, Notice, RunState, Server, protocol::Level},
    config::RunConfig,
    data,
    eval::Scores,
    model::{Policy, files, place},
    store::{RUN_DB, RunLock, RunMeta, Store, StoreError},
    task::{LabelledNote, Phase, Sample, StepReport, Text, prompt, report::PhaseTiming, without_secrets},
    train::{
        checkpoint::{self, Origin},
        sft::Warmup,
        step::{Aborted, Flow, StepOutcome, Trainer},
    },
};

/// Reports a fresh client needs for its trend lines.
const TREND_STEPS: u32 = 512;

/// Everything a run holds while it lives.
struct Run {
    dir: RunDir,
    store: Store,
    trainer: Trainer,
    warmup: Vec<LabelledNote>,
    /// Where the warm-up stands, while it is not finished.
    warmup_stands: Warmup,
    rows: RowPlan,
    health: Health,
    held_out: Vec<LabelledNote>,
    outlet: Outlet,
    steer: Steer,
    labels: HandLabels,
    /// Steps completed.
    step: u32,
    /// Step of the newest checkpoint.
    saved: Option<u32>,
    origin: Origin,
    alarms: Alarms,
    /// Best held-out accuracy so far, and its step.
    best: Option<(f64, u32)>,
    started: Instant,
    clock: Times,
    /// Seconds that earlier starts of this run used.
    seconds_before: f64,
    spelt: tokens::Spelt,
    _lock: RunLock,
    _machine: Watch,
}

/// Runs to an end, whatever it is; the store and the clients hear of it.
pub(super) fn run(options: Options, channel: Sender<Output>) -> Result<Ending> {
    let signals = Signals::install()?;
    let mut run = Run::open(options, channel, signals)?;
    let result = run.live_or_panic();
    let (state, word, message) = match &result {
        Ok(Ending::Finished) => (RunState::Finished, "finished", run.why_finished()),
        Ok(Ending::Stopped) => {
            (RunState::Stopping, "stopped", format!("stopped after step {}; the same command continues", run.step))
        }
        Ok(Ending::Signalled(s)) => {
            (RunState::Stopping, "stopped", format!("signal {s} after step {}; the same command continues", run.step))
        }
        Ok(Ending::OutOfTime) => {
            (RunState::Stopping, "stopped", format!("out of time after step {}; the same command continues", run.step))
        }
        Err(error) => (RunState::Failed, "failed", without_secrets(&format!("{error:#}"))),
    };
    if let Err(error) = run.store.set_state(word, &message) {
        // How a run ended must not change how it ended; a disk that is full is the likeliest reason.
        run.outlet.say(Level::Error, &format!("the store cannot note that the run is {word}: {error}"));
    }
    run.outlet.say(if result.is_err() { Level::Error } else { Level::Info }, &message);
    run.outlet.notice(Notice::Ended { state, message: Text::new(&message) });
    run.tell_ending(state, &message);
    // Not left to the last owner of the server: that is the thread that watches the machine, and the process does not wait for it.
    // Socket and lock are gone before a client has read the end, so that it can start the run again at once.
    let server = run.outlet.server.clone();
    server.unlink();
    drop(run);
    server.shutdown();
    result
}

/// Faults made on purpose are told and stored, so that no such run can pass for another.
fn announce_faults(trainer: &Trainer, store: &mut Store, outlet: &mut Outlet) -> Result<()> {
    if !trainer.faults.is_empty() {
        let what = format!("faults are made on purpose in this run: {:?}", trainer.faults);
        store.add_event(0, "faults", &what)?;
        outlet.say(Level::Warn, &what);
    }
    Ok(())
}

impl Run {
    fn open(options: Options, channel: Sender<Output>, signals: Signals) -> Result<Run> {
        let started = Instant::now();
        let Options { config, dir, deadline, faults } = options;
        if config.threads > 0 {
            // Only the first run of a process can set the pool; one process is one run.
            let _ = rayon::ThreadPoolBuilder::new().num_threads(config.threads).build_global();
        }
        let dir = RunDir(dir);
        dir.create()?;
        let lock = RunLock::acquire(&dir.0)?;
        let mut store = open_store(&dir, &config)?;
        let live = first_picture(&dir, &config, &store)?;
        let server = Arc::new(Server::start(dir.socket(), live)?);
        let mut outlet = Outlet::open(server.clone(), channel, &dir.log())?;
        outlet.say(Level::Info, &format!("run {} in {}", dir.id(), dir.0.display()));
        if dir.is_open_to_others() {
            let at = dir.0.display();
            outlet.say(Level::Warn, &format!("others may write into {at}; close it with: chmod go-w {at}"));
        }
        if let Some(remark) = store.remark() {
            outlet.say(Level::Warn, &remark);
        }
        let notes = sources::load(&config)?;
        notes.remarks.iter().for_each(|remark| outlet.say(Level::Info, remark));
        let (device, kept, mut tell) = (config.device, config.precision, |line: &str| outlet.say(Level::Info, line));
        let policy = Policy::open_at(device, &config.model, kept, &config.lora, config.seed, &mut tell)?;
        room::shortages(&config, &policy, &dir.0).iter().for_each(|line| outlet.say(Level::Warn, line));
        let card = place::bus_id(policy.model.device());
        let (n_base, n_adapter) =
            (policy.model.spec.n_parameters(), policy.adapter.vars().iter().map(|(_, v)| v.elem_count()).sum::<usize>());
        let commit = policy.commit.as_ref().map_or(String::new(), |commit| format!(" at commit {commit}"));
        let (model, threads) = (&config.model, rayon::current_num_threads());
        let line = format!("model {model}{commit}: {n_base} weights frozen, {n_adapter} in the adapter; {threads} threads");
        outlet.say(Level::Info, &line);
        let (pools, warmup, held_out) = fitting(notes, &config, &policy, &mut outlet)?;
        let [model_hash, tokenizer_hash] = files::hashes(&config.model)?.map(Some);
        let (alarms, labels) = (Alarms::new(&config.alarms), HandLabels::open(&dir.0, &config)?);
        let rows = RowPlan::recall(policy.micro_rows, &store.events()?);
        let mut trainer = Trainer::new(config, policy, pools);
        trainer.selection.describe().iter().for_each(|what| outlet.say(Level::Info, what));
        trainer.faults = faults;
        announce_faults(&trainer, &mut store, &mut outlet)?;
        let origin = Origin { model_hash, tokenizer_hash, ..checkpoint::origin(&trainer)? };
        let machine = Watch::start(server.clone(), card)?;
        let settings = Settings::open(&dir.0, trainer.knobs, &trainer.config.breakpoints)?;
        let hooks = Hooks::new(&trainer.config.hooks, &dir.id(), &dir.0);
        let deadline = deadline.and_then(|allowed| Deadline::after(started, allowed));
        let steer = Steer::new(outlet.twin()?, signals, deadline, settings, hooks);
        let mut run = Run {
            dir,
            store,
            trainer,
            warmup,
            warmup_stands: Warmup::default(),
            rows,
            health: Health::default(),
            held_out,
            outlet,
            steer,
            labels,
            step: 0,
            saved: None,
            origin,
            alarms,
            best: None,
            started,
            clock: Times::now(),
            seconds_before: 0.0,
            spelt: tokens::Spelt::default(),
            _lock: lock,
            _machine: machine,
        };
        if !run.restore()? {
            run.start_from_adapter()?;
        }
        Ok(run)
    }

    fn live(&mut self) -> Result<Ending> {
        self.written(|store| store.set_state("running", ""))?;
        self.outlet.notice(Notice::State { state: RunState::Running });
        if self.saved.is_none() && !self.begin()? {
            return self.end();
        }
        let warmed = self.trainer.config.sft.notes > 0 && self.step == 0;
        if warmed && !self.has_eval("warm")? && !self.evaluate("warm")? {
            return self.end();
        }
        while self.step < self.trainer.config.steps && !self.is_over()? {
            self.look_at_the_clock()?;
            self.steer.step_boundary();
            if self.steer.wants_stop() {
                return self.end();
            }
            let clock = Instant::now();
            let next = self.step + 1;
            self.turn_knobs(next);
            match self.one_step(next) {
                Ok(outcome) => {
                    self.conclude(outcome)?;
                    self.steer.note_step(clock.elapsed());
                }
                Err(error) if error.is::<Aborted>() && self.gives_up_step()? => {}
                Err(error) if error.is::<Aborted>() => return self.end(),
                Err(error) => return Err(error),
            }
            self.heed_hooks();
        }
        self.save()?;
        if !self.evaluate_last()? {
            return self.end();
        }
        Ok(Ending::Finished)
    }

    fn look_at_the_clock(&mut self) -> Result<()> {
        let now = Times::now();
        let odd = now.since(&std::mem::replace(&mut self.clock, now));
        self.steer.note_sleep(odd.slept);
        for remark in odd.remarks {
            let step = self.step;
            self.written(|store| store.add_event(step, "clock", &remark))?;
            self.outlet.say(Level::Warn, &remark);
        }
        Ok(())
    }

    fn one_step(&mut self, step: u32) -> Result<StepOutcome> {
        // Events and the wait for labels steer the same run, never at once.
        let steer = RefCell::new(&mut self.steer);
        let (labels, outlet) = (&mut self.labels, &mut self.outlet);
        let mut told = false;
        let checkpoints = self.dir.checkpoints();
        let mut sift = |samples: &[Arc<Sample>]| {
            let done = loop {
                let sifted = labels.sift(step, samples, &mut |n| {
                    if !std::mem::replace(&mut told, true) {
                        let wait = if n == 1 { "1 sample waits".to_owned() } else { format!("{n} samples wait") };
                        let what = format!("step {step}: {wait} for hand labels: key 3, `medserl label`, or resume without them");
                        outlet.say(Level::Info, &what);
                    }
                    steer.borrow_mut().wait_for_labels()
                });
                match sifted {
                    Err(error) if saving::is_full(&error) => {
                        let (why, needed) = (format!("{error:#}"), saving::ROOM_FOR_A_STEP);
                        let goes_on = saving::wait_for_room(outlet, &mut steer.borrow_mut(), &checkpoints, &why, needed);
                        anyhow::ensure!(goes_on, Aborted);
                    }
                    done => break done?,
                }
            };
            steer.borrow_mut().labels_done();
            done.remarks.iter().for_each(|remark| outlet.say(Level::Warn, remark));
            Ok(done.sifted)
        };
        self.trainer.policy.micro_rows = self.rows.at(step);
        self.trainer.step(step, &mut |event| steer.borrow_mut().watch(event), &mut sift)
    }

    /// What comes before step 1: the score to beat, the warm-up, the first checkpoint. False where the run is to end first.
    fn begin(&mut self) -> Result<bool> {
        if !self.has_eval("before")? && !self.evaluate("before")? {
            return Ok(false);
        }
        if self.trainer.config.sft.notes > 0 && !self.warm_up()? {
            return Ok(false);
        }
        self.save()?;
        Ok(true)
    }

    /// One transaction, then the clients hear of it; a checkpoint where one is due.
    fn commit(&mut self, outcome: StepOutcome) -> Result<()> {
        self.steer.phase(Phase::Commit, 0);
        let clock = Instant::now();
        let StepOutcome { mut report, samples, mut rollouts, fewer_rows } = outcome;
        self.leave_standstill_out(&mut report);
        self.only_kept_traces(&mut rollouts);
        if let Some(rows) = fewer_rows {
            self.written(|store| store.add_event(report.step, rows::IN_STEP, &RowPlan::message(rows)))?;
            self.rows.note(report.step, rows);
            self.outlet.say(Level::Warn, &format!("step {}: {}", report.step, RowPlan::message(rows)));
        }
        let samples: Vec<_> = samples.iter().map(|s| s.as_ref().clone()).collect();
        self.written(|store| store.commit_step(&report, &samples, &rollouts))?;
        self.step = report.step;
        self.steer.set_step(self.step);
        self.tidy_tokens(self.step, &rollouts);
        if let Some(first_bad) = self.health.observe(&report) {
            self.heed_alarms(&report, true)?;
            return self.roll_back(first_bad);
        }
        self.say_what_was_left_out(&report);
        self.conclude_round()?;
        self.heed_alarms(&report, false)?;
        self.heed_breakpoints(&report)?;
        let is_best = self.best.is_some_and(|(_, step)| step == self.step);
        // A state that bad steps led to is not worth keeping: the checkpoint before them is where the run may have to go back to.
        if self.health.is_good() && (is_best || self.step.is_multiple_of(self.trainer.config.checkpoint.every)) {
            self.save()?;
        }
        report.timings.push(PhaseTiming { phase: Phase::Commit, seconds: clock.elapsed().as_secs_f64(), tokens: 0 });
        self.outlet.notice(Notice::Step { report: Box::new(report.clone()) });
        self.outlet.output(Output::Step(Box::new(report)));
        Ok(())
    }

    /// Ends before the last step: a checkpoint of the last complete one, unless nothing was learnt yet.
    fn end(&mut self) -> Result<Ending> {
        if self.saved.is_some() && self.health.is_good() {
            self.save()?;
        }
        Ok(match self.steer.signal() {
            Some(signal) => Ending::Signalled(signal),
            None if self.steer.is_out_of_time() && !self.steer.was_told_to_stop() => Ending::OutOfTime,
            None => Ending::Stopped,
        })
    }

    /// Whether this was evaluated at this step: a finished run that is given more steps is evaluated again after them.
    fn has_eval(&self, name: &str) -> Result<bool> {
        Ok(self.store.evals()?.iter().any(|e| e.name == name && e.step == self.step))
    }

    /// Scores the held-out notes as of the last complete step. False where the run is to end first.
    fn evaluate(&mut self, name: &str) -> Result<bool> {
        Ok(self.evaluate_at(self.step, name)?.is_some())
    }

    fn evaluate_at(&mut self, step: u32, name: &str) -> Result<Option<Scores>> {
        self.steer.set_step(step);
        self.steer.phase(Phase::Eval, self.held_out.len());
        let (style, max_tokens) = (self.trainer.config.prompt_style(), self.trainer.config.doctor.max_tokens);
        let steer = &mut self.steer;
        let mut watch = |reading: Reading| match reading {
            Reading::Token { note, delta } => steer.held_out_text(&note.note.id, delta) == Flow::Continue,
            Reading::Done(done) => {
                steer.progress(done, 0);
                steer.flow() == Flow::Continue
            }
        };
        let mut reader = self.trainer.policy.current()?;
        let Some(graded) = evaluate(&self.held_out, style, max_tokens, &mut reader, &mut watch)? else { return Ok(None) };
        let scores = Scores::with_intervals(&graded, self.trainer.config.seed);
        let value = serde_json::to_value(&scores)?;
        self.written(|store| store.add_eval(step, name, &value))?;
        self.note_score(step, name, scores.flag_accuracy);
        self.outlet.say(
            Level::Info,
            &format!(
                "held-out, {name}: accuracy {:.1}%, false positives {:.1}%, pairs right {:.1}%, malformed {:.1}%",
                100.0 * scores.flag_accuracy,
                100.0 * scores.false_positive_rate,
                100.0 * scores.pair_accuracy,
                100.0 * scores.malformed_rate
            ),
        );
        self.outlet.output(Output::Eval { step, name: name.to_owned(), scores: Box::new(scores.clone()) });
        Ok(Some(scores))
    }
}

/// Opens the run's store, or makes it together with the echo of the experiment.
fn open_store(dir: &RunDir, config: &RunConfig) -> Result<Store> {
    if is_blank(dir)? {
        [dir.experiment(), dir.0.join(RUN_DB)].iter().filter(|p| p.exists()).try_for_each(fs::remove_file)?;
    } else if dir.experiment().exists() {
        check_same(&dir.experiment(), config)?;
        let mut store = Store::open(&dir.0)?;
        store.set_steps_total(config.steps)?;
        return Ok(store);
    }
    let mut store = Store::create(&dir.0)?;
    if store.run()?.is_none() {
        let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        store.begin_run(&RunMeta {
            id: dir.id(),
            name: config.name.clone(),
            model: config.model.clone(),
            seed: config.seed,
            steps_total: config.steps,
            config_toml: config.to_toml()?,
            program_version: env!("CARGO_PKG_VERSION").into(),
            started_unix_s: started,
        })?;
    }
    // Written last: its presence says that the store is complete.
    fs::write(dir.experiment(), config.to_toml()?).with_context(|| format!("cannot write {}", dir.experiment().display()))?;
    Ok(store)
}

/// Whether the directory holds no more than the beginning that a failed or killed start leaves; it must not stand in the way.
fn is_blank(dir: &RunDir) -> Result<bool> {
    let store = match Store::open_read_only(&dir.0) {
        Ok(store) => store,
        Err(StoreError::Missing { .. } | StoreError::Uninitialised { .. }) => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    Ok(checkpoint::list(&dir.checkpoints()).is_empty() && store.last_step()?.is_none() && store.evals()?.is_empty())
}

/// A directory that holds another experiment is refused before anything is touched.
fn check_same(path: &Path, config: &RunConfig) -> Result<()> {
    let there = RunConfig::load(path, &[])?;
    if checkpoint::config_hash(&there)? != checkpoint::config_hash(config)? {
        bail!(
            "{} holds a run of another experiment; give this one another name or seed, choose another --run-dir, or start over with --fresh",
            path.parent().unwrap_or(path).display()
        );
    }
    Ok(())
}

fn first_picture(dir: &RunDir, config: &RunConfig, store: &Store) -> Result<Live> {
    let last = store.last_step()?.unwrap_or(0);
    let reports: Vec<StepReport> = store.reports(last.saturating_sub(TREND_STEPS))?;
    Ok(Live {
        run_id: dir.id(),
        model: config.model.clone(),
        steps_total: config.steps,
        step: last,
        reports: reports.into(),
        alerts: steering::alerts(&store.events()?),
        ..Live::default()
    })
}

/// Drops notes too long for the model or the experiment, and says how many.
fn fitting(
    notes: sources::Notes,
    config: &RunConfig,
    policy: &Policy,
    outlet: &mut Outlet,
) -> Result<(data::Pools, Vec<LabelledNote>, Vec<LabelledNote>)> {
    let style = config.prompt_style();
    let count = |note: &LabelledNote| Ok(policy.tokenizer.encode_chat(&prompt::doctor(style, &note.note))?.len());
    let limit = config
        .data
        .max_note_tokens
        .min(policy.model.n_positions().saturating_sub(config.doctor.max_tokens.max(config.scribe.max_tokens)));
    let sources::Notes { mut pools, mut warmup, mut held_out, .. } = notes;
    let mut dropped = 0;
    for list in [&mut pools.errors, &mut pools.cleans, &mut warmup] {
        dropped += sources::drop_long(list, limit, &count)?;
    }
    let dropped_held_out = sources::drop_long(&mut held_out, limit, &count)?;
    if dropped + dropped_held_out > 0 {
        outlet.say(
            Level::Warn,
            &format!("notes longer than {limit} tokens left out: {dropped} training, {dropped_held_out} held out"),
        );
    }
    Ok((data::Pools::new(pools.errors.into_iter().chain(pools.cleans))?, warmup, held_out))
}
