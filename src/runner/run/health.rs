//! Steps whose numbers are not finite: counted, and after some in a row undone by going back to the last good checkpoint.

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{Run, steering::ALARM};
use crate::{
    attach::{Live, Notice, protocol::Level},
    runner::alarm::is_broken,
    task::StepReport,
    train::checkpoint,
};

/// So many bad steps in a row are no accident of one batch.
const TOO_MANY: u32 = 3;
/// The kind of the event that notes a return; its step is the first bad one.
const ROLLBACK: &str = "rollback";

/// How many of the last steps were bad.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Health {
    bad_in_a_row: u32,
}

impl Health {
    /// Takes in a step; the first bad one, where it is time to go back before it.
    pub(super) fn observe(&mut self, report: &StepReport) -> Option<u32> {
        self.bad_in_a_row = if is_broken(report) { self.bad_in_a_row + 1 } else { 0 };
        (self.bad_in_a_row >= TOO_MANY).then(|| report.step + 1 - self.bad_in_a_row)
    }

    /// Whether the last step was sound, so that its state is worth keeping.
    pub(super) fn is_good(&self) -> bool {
        self.bad_in_a_row == 0
    }
}

impl Run {
    /// Goes back to the newest valid checkpoint before step `first_bad` and goes on from there: a fault that does not come again
    /// then leaves no trace. One that does ends the run, since the same steps would fail for ever.
    pub(super) fn roll_back(&mut self, first_bad: u32) -> Result<()> {
        let what = format!("steps {first_bad} to {} left out updates, since numbers in them are not finite", self.step);
        let root = self.dir.checkpoints();
        let good = checkpoint::newest_before(&root, first_bad);
        if self.store.events()?.iter().any(|e| e.kind == ROLLBACK && e.step == first_bad) {
            let stands = good.map_or("none stands".into(), |dir| format!("{} stands", dir.display()));
            bail!(
                "{what}, again after going back; lower algo.learning_rate or look at these steps. Of the checkpoints before, {stands}"
            );
        }
        let dir = good.with_context(|| format!("{what}, and no valid checkpoint is older"))?;
        for (step, newer) in checkpoint::list(&root) {
            if step >= first_bad {
                checkpoint::vault(&root).discard(&newer)?;
            }
        }
        let cursor = checkpoint::restore(&dir, &mut self.trainer)?;
        (self.step, self.saved) = (cursor.step, Some(cursor.step));
        let message = format!("{what}: back to the checkpoint of step {}", cursor.step);
        let facts = [("back_to", json!(cursor.step))];
        self.alert(first_bad, (ROLLBACK, Level::Error), &message, &facts)?;
        let raised = self.alarms.active();
        self.rebuild()?;
        let still = self.alarms.active();
        for kind in raised.into_iter().filter(|kind| !still.contains(kind)) {
            let message = format!("alarm {} is over (the run is back at step {})", kind.name(), cursor.step);
            let facts = [("alarm", json!(kind.name())), ("raised", json!(false))];
            self.alert(cursor.step, (ALARM, Level::Info), &message, &facts)?;
        }
        self.show_afresh()
    }

    /// Gives clients the picture of where the run stands now; what is not about steps stays as they have it.
    fn show_afresh(&mut self) -> Result<()> {
        let picture = super::first_picture(&self.dir, &self.trainer.config, &self.store)?;
        let now = self.outlet.server.live();
        let (state, steering, clients) = (now.state, now.steering, now.clients);
        let live = Live { state, steering, clients, machine: now.machine, log: now.log, ..picture };
        self.outlet.notice(Notice::Snapshot { live: Box::new(live) });
        Ok(())
    }
}
