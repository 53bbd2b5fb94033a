//! What a forward needs to know of its rows, on the device, made once and used by every layer: angles and masks.

use std::sync::{Arc, Mutex};

use candle_core::{Device, Result, Tensor, bail};

use crate::model::ops::rope::RopeTable;

/// A table of angles for one kind of layer, and the rows last asked for.
#[derive(Debug)]
pub struct Angles {
    table: Arc<RopeTable>,
    last: Mutex<Option<Turned>>,
    whole: Mutex<Option<(Tensor, Tensor)>>,
}

#[derive(Clone, Debug)]
struct Turned {
    positions: Arc<Vec<u32>>,
    cos_sin: (Tensor, Tensor),
}

impl Angles {
    pub fn new(table: Arc<RopeTable>) -> Angles {
        Angles { table, last: Mutex::new(None), whole: Mutex::new(None) }
    }

    pub fn table(&self) -> &Arc<RopeTable> {
        &self.table
    }

    /// cos and sin (positions, half) of every position of the table, on the device that first asked.
    pub fn whole(&self, device: &Device) -> Result<(Tensor, Tensor)> {
        let Ok(mut whole) = self.whole.lock() else { bail!("a forward panicked") };
        if let Some(whole) = whole.as_ref().filter(|(cos, _)| cos.device().same_device(device)) {
            return Ok(whole.clone());
        }
        let positions: Vec<u32> = (0..self.table.n_positions() as u32).collect();
        let (cos, sin) = self.table.gather(&positions)?;
        let shape = (positions.len(), cos.len() / positions.len().max(1));
        let made = (Tensor::from_vec(cos, shape, device)?, Tensor::from_vec(sin, shape, device)?);
        Ok(whole.insert(made).clone())
    }

    /// cos and sin (N, half) of the rows' positions. The layers of a forward ask with the same `Arc` and share one answer.
    pub fn of(&self, positions: &Arc<Vec<u32>>, device: &Device) -> Result<(Tensor, Tensor)> {
        let Ok(mut last) = self.last.lock() else { bail!("a forward panicked") };
        if let Some(turned) = last.as_ref().filter(|t| Arc::ptr_eq(&t.positions, positions)) {
            return Ok(turned.cos_sin.clone());
        }
        let (cos, sin) = self.table.gather(positions)?;
        let shape = (positions.len(), cos.len() / positions.len().max(1));
        let cos_sin = (Tensor::from_vec(cos, shape, device)?, Tensor::from_vec(sin, shape, device)?);
        *last = Some(Turned { positions: positions.clone(), cos_sin: cos_sin.clone() });
        Ok(cos_sin)
    }
}
