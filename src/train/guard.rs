//! An update that cannot be finished leaves nothing behind: what it changes is copied first, and put back.

use anyhow::{Context, Result};
use candle_core::Tensor;

use super::{optimizer::Moments, tensors::first_not_finite};
use crate::model::{
    Policy,
    fused::flat::all_finite,
    room::{OutOfMemory, is_out_of_memory},
};

/// Times the micro-batches of one update are made smaller before the run gives up.
pub(super) const MOST_HALVINGS: usize = 4;

/// Copies of the adapter and its moments.
pub(super) struct Backup {
    values: Vec<Tensor>,
    moments: Moments,
}

impl Backup {
    pub(super) fn of(policy: &Policy, moments: &Moments) -> Result<Backup> {
        let values = policy.adapter.vars().iter().map(|(_, var)| Ok(var.as_detached_tensor().copy()?)).collect::<Result<_>>()?;
        Ok(Backup { values, moments: moments.copy()? })
    }

    pub(super) fn put_back(&self, policy: &Policy, moments: &mut Moments) -> Result<()> {
        for ((_, var), values) in policy.adapter.vars().iter().zip(&self.values) {
            var.set(values)?;
        }
        *moments = self.moments.copy()?;
        Ok(())
    }
}

/// Whether every number that learning has changed is finite.
pub(super) fn is_sound(policy: &Policy, moments: &Moments) -> Result<bool> {
    let vars = policy.adapter.vars();
    if let Some(kernels) = policy.model.ops().kernels() {
        return Ok(all_finite(vars, policy.model.device(), kernels)? && moments.is_finite()?);
    }
    for (_, var) in vars {
        if first_not_finite(&var.as_tensor().flatten_all()?.to_vec1()?).is_some() {
            return Ok(false);
        }
    }
    moments.is_finite()
}

/// Rows of a micro-batch to try after `error`; the error itself where it says something else, or where there is nothing to halve.
///
/// # Errors
/// `error`, with what can be done about it where it was memory that ran out.
pub fn smaller(error: anyhow::Error, micro_rows: usize) -> Result<usize> {
    if !is_out_of_memory(&error) {
        return Err(error);
    }
    // The batch that found no room may have been smaller than the plan allows.
    let tried = error.downcast_ref::<OutOfMemory>().map_or(micro_rows, |e| e.rows.min(micro_rows));
    if tried < 2 { Err(error).context(ADVICE) } else { Ok(tried / 2) }
}

pub(super) const ADVICE: &str =
    "smaller micro-batches do not help; free memory, or lower doctor.max_tokens, doctor.completions or lora.rank";
