//! How a run is kept safe: going on from a checkpoint, saving one, waiting for room, heeding alarms.

use std::{path::Path, sync::Arc, time::Instant};

use anyhow::{Context, Result, bail};

use super::{Run, health::Health};
use crate::{
    attach::protocol::Level,
    runner::{
        alarm::Alarms,
        outlet::{Outlet, Output},
        room,
        steer::Steer,
    },
    store::{self, Store, StoreError},
    task::StepReport,
    train::{
        checkpoint::{self, Circumstances, Cursor},
        sft::Warmup,
        vault::{Chosen, VaultError},
    },
};

/// Bytes that must be free again before something that found the disk full is written once more.
pub(super) const ROOM_FOR_A_STEP: u64 = 16 << 20;

/// Whether an error says that the disk is full.
pub(super) fn is_full(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|e| store::says_full(e.kind())))
}

/// Pauses until so many bytes are free beside the checkpoints; false where the run is told to end first.
pub(super) fn wait_for_room(outlet: &mut Outlet, steer: &mut Steer, checkpoints: &Path, why: &str, needed: u64) -> bool {
    let why = format!("{why}; the run waits and goes on by itself once there is room");
    outlet.say(Level::Error, &why);
    let vault = checkpoint::vault(checkpoints);
    let goes_on = steer.wait_until(&why, &|| vault.require_room(needed).is_ok());
    if goes_on {
        outlet.say(Level::Info, "there is room again");
    }
    goes_on
}

impl Run {
    /// Goes on from the newest valid checkpoint, and says whether there is one; an invalid one is named and passed over.
    pub(super) fn restore(&mut self) -> Result<bool> {
        let root = self.dir.checkpoints();
        for name in checkpoint::vault(&root).sweep()? {
            self.outlet.say(Level::Info, &format!("removed {name}, which an earlier start left unfinished"));
        }
        let choice = checkpoint::choose(&root)?;
        for refused in &choice.refused {
            self.outlet.say(Level::Warn, &format!("checkpoint {} cannot be used: {}", refused.dir.display(), refused.why));
        }
        match &choice.chosen {
            Some(chosen) => self.go_on_from(chosen)?,
            None if choice.refused.is_empty() => {}
            None => bail!("no checkpoint in {} can be used; start over with --fresh", root.display()),
        }
        self.recall()?;
        Ok(choice.chosen.is_some())
    }

    fn go_on_from(&mut self, chosen: &Chosen<Cursor>) -> Result<()> {
        // What memory allowed then is part of the bits: the checkpoint is compared with the plan of its own step.
        self.trainer.policy.micro_rows = self.rows.at(chosen.step);
        self.origin.micro_batch_plan = Some(checkpoint::micro_batch_plan(&self.trainer.policy));
        let differences = chosen.value.differences(&self.origin, env!("CARGO_PKG_VERSION"));
        if !differences.forbidden.is_empty() {
            bail!("{} cannot be continued: {}; start over with --fresh", self.dir.0.display(), differences.forbidden.join("; "));
        }
        let cursor = checkpoint::restore(&chosen.dir, &mut self.trainer)?;
        differences.notable.iter().for_each(|what| self.outlet.say(Level::Warn, &format!("{what}; the last bits may differ")));
        self.seconds_before = cursor.wall_seconds.unwrap_or(0.0);
        match checkpoint::unfinished_warmup(&chosen.dir)? {
            Some(warmup) => self.warmup_stands = warmup,
            None => (self.step, self.saved) = (cursor.step, Some(chosen.step)),
        }
        Ok(())
    }

    /// Brings the store, the alarms and the callers to where the checkpoint stands.
    fn recall(&mut self) -> Result<()> {
        if let Some(saved) = self.saved {
            self.outlet.say(Level::Info, &format!("continuing after step {saved}"));
        }
        let discarded = self.rebuild()?;
        let last = self.store.last_step()?.unwrap_or(0);
        if last < self.step {
            let lost = self.step - last;
            self.outlet
                .say(Level::Warn, &format!("the store ends at step {last}: {lost} steps before the checkpoint are not in it"));
        }
        for eval in self.store.evals()? {
            let scores = Box::new(serde_json::from_value(eval.value).context("a stored evaluation cannot be read")?);
            self.outlet.output(Output::Recalled { name: eval.name, scores });
        }
        for kind in self.alarms.active() {
            self.outlet.say(Level::Warn, &format!("alarm {} is still raised", kind.name()));
        }
        if discarded > 0 {
            self.outlet.say(Level::Warn, &format!("{discarded} committed steps after that checkpoint are made again"));
        }
        Ok(())
    }

    /// Brings everything that follows from the committed steps to where `self.step` is; how many later ones were discarded.
    pub(super) fn rebuild(&mut self) -> Result<usize> {
        let step = self.step;
        let discarded = self.written(|store| store.discard_after(step))?;
        self.trainer.forget_edits();
        for step in 1..=self.step {
            let samples = self.store.samples(step)?;
            self.trainer.known.learn(&samples);
            if self.trainer.shelf.is_used() {
                // As the step did: what it took off the shelf is gone from it until it trained again.
                let _ = self.trainer.shelf.take(step, self.trainer.share(), self.trainer.wants_pairs());
                self.trainer.shelf.put(samples.into_iter().map(Arc::new), &self.store.trained(step)?);
            }
        }
        self.best = None;
        for eval in self.store.evals()? {
            let accuracy = eval.value.get("flag_accuracy").and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
            self.note_score(eval.step, &eval.name, accuracy);
        }
        (self.alarms, self.health) = (Alarms::new(&self.trainer.config.alarms), Health::default());
        for report in self.store.reports(0)? {
            // Told when they were raised.
            let _ = (self.alarms.observe(&report), self.health.observe(&report), self.steer.observe(&report));
        }
        Ok(discarded)
    }

    /// Saves the last complete step, unless that is done. Waits where the disk is full.
    pub(super) fn save(&mut self) -> Result<()> {
        if self.saved != Some(self.step) {
            self.write_checkpoint(None)?;
            self.saved = Some(self.step);
        }
        Ok(())
    }

    /// Writes a checkpoint of this moment; `warmup` says where an unfinished warm-up stands.
    pub(super) fn write_checkpoint(&mut self, warmup: Option<&Warmup>) -> Result<()> {
        let clock = Instant::now();
        let root = self.dir.checkpoints();
        self.origin.micro_batch_plan = Some(checkpoint::micro_batch_plan(&self.trainer.policy));
        loop {
            let circumstances = Circumstances {
                origin: self.origin.clone(),
                wall_seconds: Some(self.seconds_before + self.started.elapsed().as_secs_f64()),
                best: self.best.map(|(_, step)| step),
                warmup: warmup.cloned(),
            };
            let error = match checkpoint::save_with(&root, &self.trainer, self.step, &circumstances) {
                Ok(saved) => {
                    saved.remarks.iter().for_each(|remark| self.outlet.say(Level::Warn, remark));
                    break;
                }
                Err(error) => error,
            };
            let needed = match error.downcast_ref() {
                Some(VaultError::Full { needed, .. }) => *needed,
                _ => return Err(error.context("the checkpoint was not saved")),
            };
            if !self.wait_for_room(&format!("{error:#}"), needed) {
                return Err(error.context("the checkpoint was not saved"));
            }
        }
        self.steer.note_save(clock.elapsed());
        Ok(())
    }

    /// A change of the store, made again once there is room where the disk is full.
    pub(super) fn written<T>(&mut self, mut write: impl FnMut(&mut Store) -> Result<T, StoreError>) -> Result<T> {
        loop {
            match write(&mut self.store) {
                Err(error) if error.is_full() && self.wait_for_room(&self.full(&error), ROOM_FOR_A_STEP) => {}
                other => return Ok(other?),
            }
        }
    }

    /// What the store's refusal means in bytes.
    fn full(&self, error: &StoreError) -> String {
        let free = room::disk_free(&self.dir.0).map_or("an unknown number".to_owned(), |free| free.to_string());
        format!("{error}: {ROOM_FOR_A_STEP} bytes are wanted and {free} are free")
    }

    /// Pauses until so many bytes are free; false where the run is told to end first.
    pub(super) fn wait_for_room(&mut self, why: &str, needed: u64) -> bool {
        wait_for_room(&mut self.outlet, &mut self.steer, &self.dir.checkpoints(), why, needed)
    }

    /// Remembers the best held-out accuracy after the start.
    pub(super) fn note_score(&mut self, step: u32, name: &str, accuracy: f64) {
        if name != "before" && self.best.is_none_or(|(best, _)| accuracy > best) && accuracy.is_finite() {
            self.best = Some((accuracy, step));
        }
    }

    /// A step that trained on less than it should, or on nothing, must not pass silently.
    pub(super) fn say_what_was_left_out(&mut self, report: &StepReport) {
        let metric = |key: &str| report.metrics.get(key).copied().unwrap_or(0.0);
        let why: Vec<String> = report.dropped.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
        let (step, why) = (report.step, why.join(", "));
        if metric("empty_steps") > 0.0 {
            let why = if why.is_empty() { "hand labels".to_owned() } else { why };
            self.outlet
                .say(Level::Warn, &format!("step {step}: no group is left to train on ({why}); the policy stays as it is"));
        } else if metric("groups_missing") > 0.0 {
            let missing = metric("groups_missing");
            let what = format!("step {step}: {missing} groups are missing, left out by the difficulty window ({why})");
            self.outlet.say(Level::Warn, &what);
        }
    }
}
