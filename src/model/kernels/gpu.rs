//! Opening a GPU: what could be missing is looked for in order, and said in words.

use std::ffi::c_void;

use candle_core::{
    Device,
    cuda_backend::cudarc::driver::{DriverError, result, sys},
};

use crate::{config::Place, model::place::DeviceError};

/// CUDA's major version this build was made with; its libraries carry it in their names.
const CUDA_MAJOR: &str = env!("MEDSERL_CUDA_MAJOR");

/// bf16 products and the kernels' PTX need it.
const OLDEST: (i32, i32) = (8, 0);

const DRIVER: &str = "libcuda.so.1";
const LIBRARIES: [&str; 3] = [
    concat!("libcublas.so.", env!("MEDSERL_CUDA_MAJOR")),
    concat!("libcublasLt.so.", env!("MEDSERL_CUDA_MAJOR")),
    "libcurand.so.10",
];

/// Opens GPU `index` after looking for driver, libraries, the GPU itself and what it can do.
pub fn open(place: Place, index: usize) -> Result<Device, DeviceError> {
    library(place, DRIVER, "install NVIDIA's driver; a container needs it passed in (`--gpus all`)")?;
    for name in LIBRARIES {
        library(
            place,
            name,
            "put its folder into LD_LIBRARY_PATH; it comes with the CUDA toolkit, with PyTorch, or with the Python packages \
             nvidia-cublas and nvidia-curand",
        )?;
    }
    let no_gpu = |why: String| DeviceError::NoGpu { place, why };
    fits(index).map_err(no_gpu)?;
    let device = Device::new_cuda_with_stream(index).map_err(|e| no_gpu(format!("it cannot be opened: {e}")))?;
    prepare(&device).map_err(|e| no_gpu(format!("it cannot be set up: {e}")))?;
    Ok(device)
}

fn library(place: Place, name: &'static str, hint: &'static str) -> Result<(), DeviceError> {
    // SAFETY: these are NVIDIA's own libraries, whose initialisers are what any CUDA program runs.
    match unsafe { libloading::Library::new(name) } {
        Ok(library) => {
            std::mem::forget(library); // stays for the calls to come
            Ok(())
        }
        Err(error) => Err(DeviceError::NoLibrary { place, library: name, why: error.to_string(), hint }),
    }
}

/// Driver new enough, GPU there, GPU new enough.
fn fits(index: usize) -> Result<(), String> {
    let say = |error: DriverError| format!("the driver says {error}");
    result::init().map_err(say)?;
    let mut version = 0;
    // SAFETY: the driver writes one number.
    unsafe { sys::cuDriverGetVersion(&mut version).result() }.map_err(say)?;
    let built: i32 = CUDA_MAJOR.parse().unwrap_or(i32::MAX);
    if version / 1000 < built {
        let (major, minor) = (version / 1000, version % 1000 / 10);
        return Err(format!("the driver goes up to CUDA {major}.{minor} and this build needs CUDA {built}: update the driver"));
    }
    let n = result::device::get_count().map_err(say)?;
    if i32::try_from(index).is_ok_and(|index| index >= n) || n == 0 {
        return Err(format!("there are {n} GPUs"));
    }
    let gpu = result::device::get(index as i32).map_err(say)?;
    let number = |what| unsafe { result::device::get_attribute(gpu, what) }.map_err(say); // SAFETY: `gpu` is the driver's own
    let able = (
        number(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        number(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    if able < OLDEST {
        let name = result::device::get_name(gpu).map_err(say)?;
        return Err(format!("{name} is of compute capability {}.{}; {}.{} is the least", able.0, able.1, OLDEST.0, OLDEST.1));
    }
    Ok(())
}

fn pool(device: &Device) -> candle_core::Result<sys::CUmemoryPool> {
    let mut pool = std::ptr::null_mut();
    let ordinal = device.as_cuda_device()?.cuda_stream().context().ordinal();
    let asked = result::device::get(ordinal as i32).and_then(|gpu| {
        // SAFETY: the driver writes one handle.
        unsafe { sys::cuDeviceGetDefaultMemPool(&mut pool, gpu).result() }
    });
    asked.map_err(candle_core::Error::wrap)?;
    Ok(pool)
}

/// Such as `0000:3b:00.0`.
pub fn bus_id(device: &Device) -> candle_core::Result<String> {
    let ordinal = device.as_cuda_device()?.cuda_stream().context().ordinal();
    let mut text: [std::ffi::c_char; 32] = [0; 32];
    let asked = result::device::get(ordinal as i32).and_then(|gpu| {
        // SAFETY: the driver writes a closed string into at most as many bytes as it is told there are.
        unsafe { sys::cuDeviceGetPCIBusId(text.as_mut_ptr(), text.len() as i32, gpu).result() }
    });
    asked.map_err(candle_core::Error::wrap)?;
    Ok(text.iter().take_while(|c| **c != 0).map(|c| char::from(*c as u8)).collect())
}

fn prepare(device: &Device) -> candle_core::Result<()> {
    // SAFETY: everything of ours on this GPU goes through the one stream of this device.
    unsafe { device.as_cuda_device()?.disable_event_tracking() };
    // Freed memory stays with this process: a step allocates the same sizes again and again.
    let mut keep = u64::MAX;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the driver reads one number.
    unsafe { sys::cuMemPoolSetAttribute(pool(device)?, attribute, (&raw mut keep).cast::<c_void>()).result() }
        .map_err(candle_core::Error::wrap)
}

/// Most bytes in use on the GPU at a time so far, by this process.
pub fn peak_memory(device: &Device) -> candle_core::Result<u64> {
    of_the_pool(device, sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
}

/// Bytes this process can still take: what the GPU has free, and what the pool keeps although nothing of ours uses it any more.
pub fn free_memory(device: &Device) -> candle_core::Result<u64> {
    let (free, _) = memory(device)?;
    let kept = of_the_pool(device, sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
    let used = of_the_pool(device, sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
    Ok(free as u64 + kept.saturating_sub(used))
}

/// A number of bytes that the pool knows.
fn of_the_pool(device: &Device, attribute: sys::CUmemPool_attribute) -> candle_core::Result<u64> {
    let mut bytes = 0u64;
    // SAFETY: the driver writes one number.
    unsafe { sys::cuMemPoolGetAttribute(pool(device)?, attribute, (&raw mut bytes).cast::<c_void>()).result() }
        .map_err(candle_core::Error::wrap)?;
    Ok(bytes)
}

/// Bytes free on the GPU, and in all.
pub fn memory(device: &Device) -> candle_core::Result<(usize, usize)> {
    device.as_cuda_device()?.cuda_stream().context().mem_get_info().map_err(candle_core::Error::wrap)
}

/// Memory taken so that no more than a cap is left, as on a smaller card; given back when dropped.
pub struct Ballast {
    at: sys::CUdeviceptr,
    /// Without anything that holds it, the context would go and the memory with it.
    _device: Device,
}

impl Ballast {
    /// Leaves `cap` bytes of what is free now.
    pub fn leave(device: &Device, cap: usize) -> candle_core::Result<Ballast> {
        let (free, _) = memory(device)?;
        if free < cap {
            candle_core::bail!("{free} bytes are free on the GPU, fewer than the {cap} asked for");
        }
        // SAFETY: plain memory, never read or written; freed once, by `drop`.
        let at = if free == cap { 0 } else { unsafe { result::malloc_sync(free - cap) }.map_err(candle_core::Error::wrap)? };
        Ok(Ballast { at, _device: device.clone() })
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        if self.at != 0 {
            // SAFETY: allocated by `leave`. A failure only means that the process ends with the memory still taken.
            _ = unsafe { result::free_sync(self.at) };
        }
    }
}
