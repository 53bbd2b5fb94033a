//! Tensors that kernels write in place, and where values lie.

use candle_core::{DType, Device, Result, Shape, Storage, Tensor, bail};

/// A whole tensor whose values stay where they are: kernels get their address, everything else the tensor.
#[derive(Clone, Debug)]
pub struct Buffer {
    tensor: Tensor,
    at: u64,
}

impl Buffer {
    /// Zeros.
    pub fn new(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Result<Buffer> {
        Buffer::of(Tensor::zeros(shape, dtype, device)?)
    }

    /// An existing tensor, which must be contiguous.
    pub fn of(tensor: Tensor) -> Result<Buffer> {
        Ok(Buffer { at: address(&tensor)?, tensor })
    }

    pub fn at(&self) -> u64 {
        self.at
    }

    /// Address of a row, for a buffer of two dimensions.
    pub fn row(&self, row: usize) -> u64 {
        let width: usize = self.tensor.dims().iter().skip(1).product();
        self.at + (row * width * self.tensor.dtype().size_in_bytes()) as u64
    }

    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    pub fn into_tensor(self) -> Tensor {
        self.tensor
    }
}

/// Address of a contiguous tensor's first value, on its device.
pub fn address(tensor: &Tensor) -> Result<u64> {
    if !tensor.is_contiguous() {
        bail!("kernels take contiguous tensors only");
    }
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => super::emulated::address(storage, layout.start_offset()),
        #[cfg(feature = "cuda")]
        Storage::Cuda(storage) => super::cuda::address(storage, layout.start_offset()),
        _ => bail!("no kernel runs where this tensor lies"),
    }
}
