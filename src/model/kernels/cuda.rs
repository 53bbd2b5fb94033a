//! Launching kernels through the CUDA driver, and the one matrix product candle does not offer. Never run on the CPU.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Mutex,
};

use candle_core::{
    CudaDevice, CudaStorage, DType, Device, Result,
    backend::BackendStorage,
    bail,
    cuda_backend::{
        WrapErr,
        cudarc::{
            cublas::{result, sys},
            driver::{
                CudaFunction, CudaGraph, DevicePtr, LaunchConfig, PushKernelArg, result as driver,
                sys::{CUgraphInstantiate_flags, CUstreamCaptureMode},
            },
        },
    },
};

use super::{
    Argument, THREADS,
    machine::{Product, View},
};

/// kernels.cu as PTX for the oldest GPU the build was told of; the driver compiles it for the one at hand.
const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// Device address of a tensor's first value.
pub fn address(storage: &CudaStorage, offset: usize) -> Result<u64> {
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

fn of(device: &Device) -> Result<&CudaDevice> {
    device.as_cuda_device()
}

/// The kernels that were launched, by name: asking the driver for one costs as much as launching it.
#[derive(Default)]
pub struct Functions(Mutex<HashMap<&'static str, CudaFunction>>);

impl Functions {
    pub fn launch(&self, device: &Device, name: &'static str, grid: (usize, usize), arguments: &[Argument]) -> Result<()> {
        let (device, Ok(mut known)) = (of(device)?, self.0.lock()) else { bail!("a launch panicked") };
        let function = match known.entry(name) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => free.insert(device.get_or_load_custom_func(name, "medserl", PTX)?.into_cuda_function()),
        };
        let stream = device.cuda_stream();
        let mut builder = stream.launch_builder(function);
        for argument in arguments {
            match argument {
                Argument::At(at) => builder.arg(at),
                Argument::Count(n) => builder.arg(n),
                Argument::Real(x) => builder.arg(x),
            };
        }
        let config =
            LaunchConfig { grid_dim: (grid.0 as u32, grid.1 as u32, 1), block_dim: (THREADS as u32, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: number, order and kinds of the arguments are what the kernel of this name declares; tests run the same calls.
        unsafe { builder.launch(config) }.w()?;
        Ok(())
    }
}

/// Launches that were recorded, to be made again in one.
pub struct Recorded(CudaGraph);

/// Records what `f` launches, without running it.
pub fn record(device: &Device, f: &mut dyn FnMut() -> Result<()>) -> Result<Recorded> {
    let stream = of(device)?.cuda_stream();
    stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED).w()?;
    let launched = f();
    let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    let graph = stream.end_capture(flags).w();
    launched?;
    match graph? {
        Some(graph) => Ok(Recorded(graph)),
        None => bail!("the driver recorded nothing"),
    }
}

impl Recorded {
    pub fn replay(&self) -> Result<()> {
        self.0.launch().w()
    }
}

/// What cuBLAS calls a matrix (rows, cols) whose rows, or columns, are its columns, and how far apart those lie. It wants them no
/// nearer than they are long, also where there is only one.
fn column_major(view: &View, rows: usize, cols: usize) -> Result<(sys::cublasOperation_t, i32)> {
    match (view.row, view.col) {
        (row, 1) if row >= cols || rows == 1 => Ok((sys::cublasOperation_t::CUBLAS_OP_N, row.max(cols) as i32)),
        (1, col) if col >= rows || cols == 1 => Ok((sys::cublasOperation_t::CUBLAS_OP_T, col.max(rows) as i32)),
        (row, col) => bail!("{rows} rows {row} apart of {cols} columns {col} apart are no matrix for cuBLAS"),
    }
}

fn kind(view: &View) -> sys::cudaDataType_t {
    if view.half { sys::cudaDataType_t::CUDA_R_16BF } else { sys::cudaDataType_t::CUDA_R_32F }
}

/// Row-major a · b is column-major bᵀ · aᵀ; sums are f32 in either kind.
pub fn product(device: &Device, product: &Product, rounds: bool) -> Result<()> {
    let Product { size: (m, n, k), a, b, out, scale, keep, batch } = *product;
    let ((a_op, a_lead), (b_op, b_lead)) = (column_major(&a, m, k)?, column_major(&b, k, n)?);
    let device = of(device)?;
    device.cuda_stream().context().bind_to_thread().w()?;
    let handle = device.cublas_handle();
    let (scale, keep) = (std::ptr::from_ref(&scale).cast(), std::ptr::from_ref(&keep).cast());
    let compute = match rounds && !a.half {
        true => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        false => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
    };
    let algorithm = sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT;
    let out_kind = sys::cudaDataType_t::CUDA_R_32F;
    // SAFETY: the caller says that matrices of these shapes lie at these addresses.
    unsafe {
        let (m, n, k) = (m as i32, n as i32, k as i32);
        let ((a_at, b_at), out_at) = ((a.at as *const _, b.at as *const _), out.at as *mut _);
        if batch == 1 {
            result::gemm_ex(
                *handle.handle(),
                b_op,
                a_op,
                n,
                m,
                k,
                scale,
                b_at,
                kind(&b),
                b_lead,
                a_at,
                kind(&a),
                a_lead,
                keep,
                out_at,
                out_kind,
                out.row as i32,
                compute,
                algorithm,
            )
        } else {
            let step = |view: &View| view.step as i64;
            result::gemm_strided_batched_ex(
                *handle.handle(),
                b_op,
                a_op,
                n,
                m,
                k,
                scale,
                b_at,
                kind(&b),
                b_lead,
                step(&b),
                a_at,
                kind(&a),
                a_lead,
                step(&a),
                keep,
                out_at,
                out_kind,
                out.row as i32,
                step(&out),
                batch as i32,
                compute,
                algorithm,
            )
        }
    }
    .w()
}

pub fn write(device: &Device, at: u64, words: &[u32]) -> Result<()> {
    let stream = of(device)?.cuda_stream();
    stream.context().bind_to_thread().w()?;
    // SAFETY: the caller owns so many words there. From pageable memory the driver has read them before this returns.
    unsafe { driver::memcpy_htod_async(at, words, stream.cu_stream()) }.map_err(candle_core::Error::wrap)
}
