//! Kernels compiled for the CPU, for tests: the caller loads the library and hands over its one entry.

use std::ffi::{CString, c_char, c_void};

use candle_core::{CpuStorage, Result, Storage, Tensor, bail};

use super::{Call, Number};

/// `launch(name, blocks in x, blocks in y, threads, arguments)`: arguments are addresses of values, as the CUDA driver takes them.
/// Returns 0, or 1 where there is no kernel of that name.
pub type Launch = unsafe extern "C" fn(*const c_char, u32, u32, u32, *const *const c_void) -> i32;

/// A library of kernels for the CPU.
#[derive(Clone, Copy, Debug)]
pub struct Emulator {
    launch: Launch,
}

impl PartialEq for Emulator {
    fn eq(&self, other: &Emulator) -> bool {
        std::ptr::fn_addr_eq(self.launch, other.launch)
    }
}

impl Emulator {
    /// # Safety
    /// `launch` must behave as [`Launch`] says and stay loaded for as long as any launcher made from this is used.
    pub const unsafe fn new(launch: Launch) -> Emulator {
        Emulator { launch }
    }

    pub fn run(self, call: &Call) -> Result<Vec<Tensor>> {
        let storages: Vec<_> = call.inputs.iter().map(|t| t.storage_and_layout()).collect();
        let mut addresses = Vec::new();
        for (storage, layout) in &storages {
            let Storage::Cpu(storage) = &**storage else { bail!("{}: an input is not on the CPU", call.name) };
            addresses.push(address(storage, layout.start_offset())?);
        }
        let mut outputs: Vec<Vec<f32>> = call.outputs.iter().map(|s| vec![0f32; s.elem_count()]).collect();
        addresses.extend(outputs.iter_mut().map(|out| out.as_mut_ptr().cast::<c_void>().cast_const()));
        let pointers = addresses.iter().map(|a| std::ptr::from_ref(a).cast::<c_void>());
        let numbers = call.numbers.iter().map(|number| match number {
            Number::Count(n) => std::ptr::from_ref(n).cast::<c_void>(),
            Number::Real(x) => std::ptr::from_ref(x).cast::<c_void>(),
        });
        let arguments: Vec<*const c_void> = pointers.chain(numbers).collect();
        let Ok(name) = CString::new(call.name) else { bail!("a kernel's name holds a zero") };
        let (x, y) = (call.grid.0 as u32, call.grid.1 as u32);
        // SAFETY: the arguments outlive the call, and their number and kinds are what the kernel of this name declares.
        let status = unsafe { (self.launch)(name.as_ptr(), x, y, super::THREADS as u32, arguments.as_ptr()) };
        if status != 0 {
            bail!("there is no kernel {}", call.name);
        }
        let device = candle_core::Device::Cpu;
        outputs.into_iter().zip(call.outputs).map(|(out, shape)| Tensor::from_vec(out, shape.clone(), &device)).collect()
    }
}

fn address(storage: &CpuStorage, offset: usize) -> Result<*const c_void> {
    Ok(match storage {
        CpuStorage::F32(values) => values[offset..].as_ptr().cast(),
        CpuStorage::U32(values) => values[offset..].as_ptr().cast(),
        CpuStorage::BF16(values) => values[offset..].as_ptr().cast(),
        other => bail!("no kernel takes {:?}", candle_core::backend::BackendStorage::dtype(other)),
    })
}
