//! Where a model computes, and by which operations: opened before anything else, so that a missing GPU is known at once.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};

use super::{
    gemma3::Attend,
    kernels::Launcher,
    ops::{
        attention::{Heads, attention},
        geglu::geglu,
        linear::{linear, lora_linear},
        logprob::linear_logprob,
        matrix::{Kept, Matrix, narrow},
        norm::{add_normed, rms_norm},
        rope::rope,
    },
    plan::Plan,
    portable::{self, attention::Masks, rows::Angles},
};
use crate::config::Place;

/// Rows of a matrix unpacked at a time on their way to a device; a whole number of panels.
const PLACED_ROWS: usize = 1024;

/// What is missing for the device that was asked for. Nothing falls back to another one.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error(
        "device = \"{0}\" was asked for, but this build is for the CPU only; build with `cargo build --release --features cuda` \
         (experiments/gpu/build.sh does it without a CUDA toolkit), or ask for device = \"cpu\""
    )]
    NotBuilt(Place),
    #[error("device = \"{place}\" was asked for, but {library} cannot be loaded ({why}); {hint}")]
    NoLibrary { place: Place, library: &'static str, why: String, hint: &'static str },
    #[error(
        "device = \"{place}\" was asked for, but {why}; `nvidia-smi` shows what the driver sees. Ask for a GPU that is there, or \
         for device = \"cpu\""
    )]
    NoGpu { place: Place, why: String },
}

/// Which operations a model runs on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ops {
    /// The CPU's own, with frozen weights in any precision and trainable ones.
    Cpu,
    /// Those for any device, by candle's operations or by kernels of ours.
    Portable(Option<Launcher>),
}

impl Ops {
    pub fn kernels(self) -> Option<Launcher> {
        match self {
            Ops::Cpu => None,
            Ops::Portable(kernels) => kernels,
        }
    }

    /// x (.., D) with frozen or trainable weight (D); see [`rms_norm`].
    pub fn rms_norm(self, x: &Tensor, w: &Tensor, eps: f32) -> Result<Tensor> {
        match self {
            Ops::Cpu => rms_norm(x, w, eps),
            Ops::Portable(_) => portable::rms_norm(x, w, eps),
        }
    }

    /// x + rms_norm(y, w); see [`add_normed`].
    pub fn add_normed(self, x: &Tensor, y: &Tensor, w: &Tensor, eps: f32) -> Result<Tensor> {
        match self {
            Ops::Cpu => add_normed(x, y, w, eps),
            Ops::Portable(_) => x + portable::rms_norm(y, w, eps)?,
        }
    }

    /// See [`rope`].
    pub fn rope(self, x: &Tensor, angles: &Angles, positions: &Arc<Vec<u32>>) -> Result<Tensor> {
        match self {
            Ops::Cpu => rope(x, angles.table(), positions),
            Ops::Portable(_) => portable::rope(x, &angles.of(positions, x.device())?),
        }
    }

    /// See [`geglu`].
    pub fn geglu(self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        match self {
            Ops::Cpu => geglu(gate, up),
            Ops::Portable(_) => portable::geglu(gate, up),
        }
    }

    /// See [`linear`].
    pub fn linear(self, x: &Tensor, w: &Matrix) -> Result<Tensor> {
        match self {
            Ops::Cpu => linear(x, w),
            Ops::Portable(kernels) => portable::product::linear(x, w, kernels),
        }
    }

    /// See [`lora_linear`].
    pub fn lora_linear(self, x: &Tensor, w: &Matrix, a: &Tensor, b: &Tensor, scale: f32) -> Result<Tensor> {
        match self {
            Ops::Cpu => lora_linear(x, w, a, b, scale),
            Ops::Portable(kernels) => portable::product::lora_linear(x, w, a, b, scale, kernels),
        }
    }

    /// See [`linear_logprob`].
    pub fn logprobs(self, h: &Tensor, w: &Matrix, targets: &[u32], temperature: f32) -> Result<Tensor> {
        match self {
            Ops::Cpu => linear_logprob(h, w, targets, temperature),
            Ops::Portable(kernels) => portable::logprob::linear_logprob(h, w, targets, temperature, kernels),
        }
    }

    /// Attention over the rows of a plan, for all layers of a forward.
    pub fn over(self, plan: &Arc<Plan>) -> OverPlan {
        match self {
            Ops::Cpu => OverPlan::Cpu(plan.clone()),
            Ops::Portable(_) => OverPlan::Portable(Arc::new(Masks::new(plan))),
        }
    }
}

/// Attention over the rows of a plan.
pub enum OverPlan {
    Cpu(Arc<Plan>),
    Portable(Arc<Masks>),
}

impl Attend for OverPlan {
    fn attend(&mut self, _layer: usize, q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads) -> Result<Tensor> {
        match self {
            OverPlan::Cpu(plan) => attention(q, k, v, heads, plan),
            OverPlan::Portable(masks) => portable::attention::attention(q, k, v, heads, masks),
        }
    }
}

/// Opens a device: the tensors' and the operations that work there.
pub fn open(place: Place) -> std::result::Result<(Device, Ops), DeviceError> {
    match place {
        Place::Cpu => Ok((Device::Cpu, Ops::Cpu)),
        Place::Composed => Ok((Device::Cpu, Ops::Portable(None))),
        Place::Cuda { index, kernels } => open_cuda(place, index, kernels),
    }
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(place: Place, _index: usize, _kernels: bool) -> std::result::Result<(Device, Ops), DeviceError> {
    Err(DeviceError::NotBuilt(place))
}

#[cfg(feature = "cuda")]
fn open_cuda(place: Place, index: usize, kernels: bool) -> std::result::Result<(Device, Ops), DeviceError> {
    let device = super::kernels::gpu::open(place, index)?;
    Ok((device, Ops::Portable(kernels.then_some(Launcher::Cuda))))
}

/// A frozen matrix as the portable operations keep it on `device`: f32 stays f32, bf16 stays bf16.
pub fn place_matrix(matrix: &Matrix, device: &Device) -> Result<Matrix> {
    let (rows, cols) = matrix.dims()?;
    let kept = match matrix {
        Matrix::Plain(tensor) | Matrix::Placed(tensor) => return Ok(Matrix::Placed(tensor.detach().to_device(device)?)),
        Matrix::Packed(panels) => panels.kept(),
    };
    let unpacked = |bytes: &mut dyn FnMut(&[f32])| -> Result<()> {
        let mut scratch = Vec::new();
        for first in (0..rows).step_by(PLACED_ROWS) {
            matrix.with_rows(first..(first + PLACED_ROWS).min(rows), &mut scratch, &mut *bytes)?;
        }
        Ok(())
    };
    let mut bytes = Vec::new();
    let dtype = match kept {
        Kept::F32 => {
            unpacked(&mut |values| bytes.extend(values.iter().flat_map(|v| v.to_le_bytes())))?;
            DType::F32
        }
        Kept::Bf16 => {
            unpacked(&mut |values| bytes.extend(values.iter().flat_map(|v| narrow(*v).to_le_bytes())))?;
            DType::BF16
        }
        Kept::Int8 | Kept::Int4 => {
            candle_core::bail!("8-bit and 4-bit weights are kept on the CPU only; on a GPU use precision = \"bf16\"")
        }
    };
    Ok(Matrix::Placed(Tensor::from_raw_buffer(&bytes, dtype, &[rows, cols], device)?))
}

/// Most bytes of a GPU's memory in use at a time so far; `None` on the CPU.
pub fn peak_memory(device: &Device) -> Result<Option<u64>> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => super::kernels::gpu::peak_memory(device).map(Some),
        _ => Ok(None),
    }
}

/// Bytes that this process can still get where `device` keeps its tensors; `None` where nobody says.
pub fn free_memory(device: &Device) -> Option<u64> {
    match device {
        Device::Cpu => super::room::available(),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => super::kernels::gpu::free_memory(device).ok(),
        _ => None,
    }
}

/// Where the GPU that a device stands for sits on the PCI bus, as its driver says; `None` on the CPU. The number in `cuda:N` would not
/// do: CUDA counts the cards that `CUDA_VISIBLE_DEVICES` leaves, the fastest first, and other programs count all, by their place.
pub fn bus_id(device: &Device) -> Option<String> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => Some(super::kernels::gpu::bus_id(device).unwrap_or_else(|e| format!("an unknown place ({e})"))),
        _ => None,
    }
}

/// What keeps a GPU's memory down to a cap for as long as it lives.
pub struct Cap {
    #[cfg(feature = "cuda")]
    device: Device,
    #[cfg(feature = "cuda")]
    ballast: Option<super::kernels::gpu::Ballast>,
}

impl Cap {
    /// Leaves `bytes` free from now on, whatever is in use; returns how many were before.
    #[cfg(feature = "cuda")]
    pub fn leave(&mut self, bytes: usize) -> Result<usize> {
        let (before, _) = super::kernels::gpu::memory(&self.device)?;
        self.ballast = None;
        self.ballast = Some(super::kernels::gpu::Ballast::leave(&self.device, bytes)?);
        Ok(before)
    }

    /// There is none to keep down in this build.
    #[cfg(not(feature = "cuda"))]
    pub fn leave(&mut self, _bytes: usize) -> Result<usize> {
        candle_core::bail!("this build has no GPU")
    }
}

/// Takes so much of a GPU's free memory that `bytes` are left, as on a smaller card.
pub fn cap_memory(place: Place, bytes: usize) -> anyhow::Result<Cap> {
    match open(place)?.0 {
        #[cfg(feature = "cuda")]
        device @ Device::Cuda(_) => {
            let mut cap = Cap { device, ballast: None };
            cap.leave(bytes)?;
            Ok(cap)
        }
        _ => anyhow::bail!("a cap of {bytes} bytes is for a GPU's memory, and the device is {place}"),
    }
}
