//! Base weights and adapter as one checkpoint that other programs load: W + scale · B A, tensor by tensor.

use std::{borrow::Cow, collections::HashMap, path::Path};

use anyhow::{Context, Result};
use candle_core::Tensor;
use safetensors::tensor::{Dtype, View};

use super::{
    lora::{Adapter, Projection},
    spec::Spec,
    weights::{Weights, names},
};

/// What the written numbers are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrittenAs {
    F32,
    Bf16,
}

/// Writes `model.safetensors` and `config.json` of `Gemma3ForCausalLM` into `dir`, which must exist. Tensors are merged as they are
/// written, so the merged model never lies in memory whole.
pub fn write_merged(spec: &Spec, weights: &Weights, adapter: Option<&Adapter>, dir: &Path, written: WrittenAs) -> Result<()> {
    let view = adapter.map(|adapter| (adapter, adapter.frozen()));
    let mut parts = Vec::new();
    for (name, shape) in names(spec) {
        let low_rank = view.as_ref().and_then(|(_, view)| {
            let (layer, projection) = placed(&name)?;
            let (a, b) = view.pair(layer, projection);
            Some((a.clone(), b.clone(), view.scale))
        });
        parts.push((format!("model.{name}"), Part { name, shape, weights, low_rank, written }));
    }
    // Computed once before anything is written, so that a tensor that cannot be merged leaves no half a file.
    parts.iter().try_for_each(|(_, part)| part.check())?;
    let path = dir.join("model.safetensors");
    let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(parts, Some(about), &path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut config = spec.to_json();
    config["torch_dtype"] = if written == WrittenAs::F32 { "float32" } else { "bfloat16" }.into();
    let path = dir.join("config.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&config)?).with_context(|| format!("cannot write {}", path.display()))
}

/// `layers.3.mlp.up_proj.weight` → (3, Up)
fn placed(name: &str) -> Option<(usize, Projection)> {
    let (layer, rest) = name.strip_prefix("layers.")?.split_once('.')?;
    let path = rest.strip_suffix(".weight")?;
    Some((layer.parse().ok()?, *Projection::ALL.iter().find(|p| p.path() == path)?))
}

/// One tensor, computed when it is written.
struct Part<'a> {
    name: String,
    shape: Vec<usize>,
    weights: &'a Weights,
    /// A, B and the scale of their product.
    low_rank: Option<(Tensor, Tensor, f32)>,
    written: WrittenAs,
}

impl Part<'_> {
    fn check(&self) -> Result<()> {
        match self.shape.as_slice() {
            [rows, cols] => self.weights.matrix(&self.name, (*rows, *cols)).map(|_| ()),
            other => self.weights.vector(&self.name, other.iter().product()).map(|_| ()),
        }
    }

    fn values(&self) -> Result<Vec<f32>> {
        let [rows, cols] = self.shape.as_slice() else {
            return Ok(self.weights.vector(&self.name, self.shape.iter().product())?.to_vec1()?);
        };
        let mut values =
            self.weights.matrix(&self.name, (*rows, *cols))?.with_rows(0..*rows, &mut Vec::new(), <[f32]>::to_vec)?;
        if let Some((a, b, scale)) = &self.low_rank {
            let product: Vec<f32> = b.matmul(a)?.flatten_all()?.to_vec1()?;
            values.iter_mut().zip(product).for_each(|(value, more)| *value += scale * more);
        }
        Ok(values)
    }
}

impl View for Part<'_> {
    fn dtype(&self) -> Dtype {
        if self.written == WrittenAs::F32 { Dtype::F32 } else { Dtype::BF16 }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let values = self.values().expect("checked before writing");
        let bytes = match self.written {
            WrittenAs::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            WrittenAs::Bf16 => values.iter().flat_map(|v| super::ops::matrix::narrow(*v).to_le_bytes()).collect(),
        };
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * if self.written == WrittenAs::F32 { 4 } else { 2 }
    }
}
