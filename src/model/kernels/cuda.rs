//! Launching kernels through the CUDA driver, and the one matrix product candle does not offer. Never run on the CPU.

use candle_core::{
    CudaDevice, CudaStorage, DType, Result, Shape, Storage, Tensor, bail,
    cuda_backend::{
        WrapErr,
        cudarc::{
            cublas::{result, sys},
            driver::{CudaSlice, DevicePtr, DevicePtrMut, LaunchConfig, PushKernelArg},
        },
    },
    op::BackpropOp,
};

use super::{Call, Number, THREADS};

/// kernels.cu as PTX for the oldest GPU the build was told of; the driver compiles it for the one at hand.
const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

fn storage<'a>(storage: &'a Storage, what: &str) -> Result<&'a CudaStorage> {
    match storage {
        Storage::Cuda(storage) => Ok(storage),
        _ => bail!("{what}: a tensor is not on the GPU"),
    }
}

/// Device address of a tensor's first value.
fn address(storage: &CudaStorage, offset: usize) -> Result<u64> {
    use candle_core::backend::BackendStorage;
    let stream = storage.device().cuda_stream();
    let base = match storage.dtype() {
        DType::F32 => storage.as_cuda_slice::<f32>()?.device_ptr(&stream).0,
        DType::U32 => storage.as_cuda_slice::<u32>()?.device_ptr(&stream).0,
        // Seen as bytes it is the same address; the type itself is a crate of its own.
        DType::BF16 => half_address(storage, &stream)?,
        other => bail!("no kernel takes {other:?}"),
    };
    Ok(base + (offset * storage.dtype().size_in_bytes()) as u64)
}

fn half_address(storage: &CudaStorage, stream: &candle_core::cuda_backend::cudarc::driver::CudaStream) -> Result<u64> {
    Ok(match &storage.slice {
        candle_core::cuda_backend::CudaStorageSlice::BF16(slice) => slice.device_ptr(stream).0,
        _ => bail!("expected bf16"),
    })
}

fn wrap(slice: CudaSlice<f32>, device: &CudaDevice, shape: Shape) -> Tensor {
    let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(slice, device.clone()));
    Tensor::from_storage(storage, shape, BackpropOp::none(), false)
}

pub fn run(call: &Call) -> Result<Vec<Tensor>> {
    use candle_core::backend::BackendStorage;
    let Some(first) = call.inputs.first() else { bail!("{}: no inputs", call.name) };
    let held: Vec<_> = call.inputs.iter().map(|t| t.storage_and_layout()).collect();
    let device = match first.device() {
        candle_core::Device::Cuda(device) => device.clone(),
        _ => bail!("{}: the inputs are not on a GPU", call.name),
    };
    let mut addresses = Vec::new();
    for (held, layout) in &held {
        let held = storage(held, call.name)?;
        if held.device().id() != device.id() {
            bail!("{}: the inputs lie on different GPUs", call.name);
        }
        addresses.push(address(held, layout.start_offset())?);
    }
    let stream = device.cuda_stream();
    let mut outputs = Vec::new();
    for shape in call.outputs {
        // SAFETY: a kernel writes every value of its outputs.
        let mut out = unsafe { device.alloc::<f32>(shape.elem_count())? };
        addresses.push(out.device_ptr_mut(&stream).0);
        outputs.push(out);
    }
    if call.grid.0 > 0 && call.grid.1 > 0 {
        let function = device.get_or_load_custom_func(call.name, "medserl", PTX)?;
        let mut builder = function.builder();
        for address in &addresses {
            builder.arg(address);
        }
        for number in call.numbers {
            match number {
                Number::Count(n) => builder.arg(n),
                Number::Real(x) => builder.arg(x),
            };
        }
        let config = LaunchConfig {
            grid_dim: (call.grid.0 as u32, call.grid.1 as u32, 1),
            block_dim: (THREADS as u32, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: number, order and kinds of the arguments are what the kernel of this name declares; tests run the same calls.
        unsafe { builder.launch(config) }.w()?;
    }
    Ok(outputs.into_iter().zip(call.outputs).map(|(out, shape)| wrap(out, &device, shape.clone())).collect())
}

/// x (N, K) f32 · W or Wᵀ with bf16 weights: inputs bf16, sums and result f32. Row-major x · Wᵀ is column-major W · xᵀ.
pub fn half_product(x: &Tensor, w: &Tensor, transposed: bool) -> Result<Tensor> {
    let half = x.to_dtype(DType::BF16)?.contiguous()?;
    let ((rows, inner), (out, input)) = (half.dims2()?, w.dims2()?);
    let (columns, expected) = if transposed { (out, input) } else { (input, out) };
    if inner != expected || !w.is_contiguous() {
        bail!("a product of {rows} x {inner} with weights {out} x {input} does not fit");
    }
    let candle_core::Device::Cuda(device) = x.device() else { bail!("the input is not on a GPU") };
    let ((x_held, x_layout), (w_held, w_layout)) = (half.storage_and_layout(), w.storage_and_layout());
    let x_address = address(storage(&x_held, "product")?, x_layout.start_offset())?;
    let w_address = address(storage(&w_held, "product")?, w_layout.start_offset())?;
    // SAFETY: the product below writes every value.
    let mut y = unsafe { device.alloc::<f32>(rows * columns)? };
    let y_address = y.device_ptr_mut(&device.cuda_stream()).0;
    let (one, zero) = (1f32, 0f32);
    let operation = if transposed { sys::cublasOperation_t::CUBLAS_OP_T } else { sys::cublasOperation_t::CUBLAS_OP_N };
    // SAFETY: addresses are of this device and as large as the shapes checked above say.
    unsafe {
        result::gemm_ex(
            *device.cublas_handle().handle(),
            operation,
            sys::cublasOperation_t::CUBLAS_OP_N,
            columns as i32,
            rows as i32,
            inner as i32,
            std::ptr::from_ref(&one).cast(),
            w_address as *const _,
            sys::cudaDataType_t::CUDA_R_16BF,
            input as i32,
            x_address as *const _,
            sys::cudaDataType_t::CUDA_R_16BF,
            inner as i32,
            std::ptr::from_ref(&zero).cast(),
            y_address as *mut _,
            sys::cudaDataType_t::CUDA_R_32F,
            columns as i32,
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
        )
    }
    .w()?;
    Ok(wrap(y, device, Shape::from((rows, columns))))
}
