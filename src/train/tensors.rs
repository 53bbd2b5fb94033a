//! f32 arrays ↔ safetensors bytes, without a tensor library. A value that is not finite is never written.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};

/// A named array and its shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// An array holds NaN or an infinity, which would poison every later step.
#[derive(Debug, thiserror::Error)]
#[error("{name} holds {value} at position {at}; the checkpoint was not saved and the one before it stands")]
pub struct NotFinite {
    pub name: String,
    pub at: usize,
    pub value: f32,
}

/// Position of the first value that is NaN or infinite.
pub fn first_not_finite(values: &[f32]) -> Option<usize> {
    values.iter().position(|v| !v.is_finite())
}

/// A safetensors file of these arrays; the same arrays give the same bytes. Refuses non-finite values with [`NotFinite`].
pub fn encode(arrays: &BTreeMap<String, Array>) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(arrays.len());
    for (name, array) in arrays {
        if let Some(at) = first_not_finite(&array.values) {
            return Err(NotFinite { name: name.clone(), at, value: array.values[at] }.into());
        }
        bytes.push(array.values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
    }
    let mut views = Vec::with_capacity(arrays.len());
    for ((name, array), bytes) in arrays.iter().zip(&bytes) {
        let view = TensorView::new(Dtype::F32, array.shape.clone(), bytes).with_context(|| format!("{name} is misshapen"))?;
        views.push((name.as_str(), view));
    }
    serialize(views, None).context("the arrays cannot be written as safetensors")
}

/// The arrays of a safetensors file, all of which must be f32.
pub fn decode(bytes: &[u8]) -> Result<BTreeMap<String, Array>> {
    let file = SafeTensors::deserialize(bytes).context("not a safetensors file")?;
    let mut arrays = BTreeMap::new();
    for (name, view) in file.tensors() {
        ensure!(view.dtype() == Dtype::F32, "{name} is {:?}, expected F32", view.dtype());
        let values = view.data().as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        arrays.insert(name, Array { shape: view.shape().to_vec(), values });
    }
    Ok(arrays)
}
