//! Kernels compiled for the CPU, for tests: the caller loads the library and hands over its one entry.

use std::ffi::{CString, c_char, c_void};

use candle_core::{CpuStorage, Result, bail};

use super::{
    Argument,
    machine::{Product, View},
};

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

    pub fn launch(self, name: &'static str, grid: (usize, usize), arguments: &[Argument]) -> Result<()> {
        let arguments: Vec<*const c_void> = arguments
            .iter()
            .map(|argument| match argument {
                Argument::At(at) => std::ptr::from_ref(at).cast(),
                Argument::Count(n) => std::ptr::from_ref(n).cast(),
                Argument::Real(x) => std::ptr::from_ref(x).cast(),
            })
            .collect();
        let Ok(called) = CString::new(name) else { bail!("a kernel's name holds a zero") };
        // SAFETY: the arguments outlive the call, and their number and kinds are what the kernel of this name declares.
        let status =
            unsafe { (self.launch)(called.as_ptr(), grid.0 as u32, grid.1 as u32, super::THREADS as u32, arguments.as_ptr()) };
        if status != 0 {
            bail!("there is no kernel {name}");
        }
        Ok(())
    }
}

pub fn address(storage: &CpuStorage, offset: usize) -> Result<u64> {
    let at = match storage {
        CpuStorage::F32(values) => values[offset..].as_ptr().expose_provenance(),
        CpuStorage::U32(values) => values[offset..].as_ptr().expose_provenance(),
        CpuStorage::BF16(values) => values[offset..].as_ptr().expose_provenance(),
        other => bail!("no kernel takes {:?}", candle_core::backend::BackendStorage::dtype(other)),
    };
    Ok(at as u64)
}

/// An address as a pointer.
fn pointer<T>(at: u64) -> *mut T {
    std::ptr::with_exposed_provenance_mut(at as usize)
}

pub fn write(at: u64, words: &[u32]) -> Result<()> {
    // SAFETY: the caller owns so many words there.
    unsafe { std::ptr::copy_nonoverlapping(words.as_ptr(), pointer(at), words.len()) };
    Ok(())
}

/// Element (i, j) of one of a batch, widened.
fn value(view: &View, batch: usize, i: usize, j: usize) -> f32 {
    let at = batch * view.step + i * view.row + j * view.col;
    // SAFETY: the caller says that the matrix lies there.
    unsafe {
        match view.half {
            true => f32::from_bits(u32::from(pointer::<u16>(view.at).add(at).read()) << 16),
            false => pointer::<f32>(view.at).add(at).read(),
        }
    }
}

/// 10 bits of mantissa, ties to even; more than that is not there in a bf16.
fn tf32(x: f32) -> f32 {
    let bits = x.to_bits();
    if x.is_finite() { f32::from_bits(bits.wrapping_add(0xFFF + (bits >> 13 & 1)) & !0x1FFF) } else { x }
}

pub fn product(product: &Product, rounds: bool) -> Result<()> {
    let (m, n, k) = product.size;
    for batch in 0..product.batch {
        let plain = |view: &View, rows: usize, cols: usize| -> Vec<f32> {
            let at = (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j)));
            at.map(|(i, j)| value(view, batch, i, j)).map(|x| if rounds { tf32(x) } else { x }).collect()
        };
        let (a, b) = (plain(&product.a, m, k), plain(&product.b, k, n));
        for i in 0..m {
            let mut sums = vec![0f32; n];
            for (a, row) in a[i * k..(i + 1) * k].iter().zip(b.chunks_exact(n)) {
                sums.iter_mut().zip(row).for_each(|(sum, b)| *sum += a * b);
            }
            // SAFETY: the caller says that the matrix lies there.
            let out = pointer::<f32>(product.out.at).wrapping_add(batch * product.out.step + i * product.out.row);
            for (j, sum) in sums.into_iter().enumerate() {
                unsafe {
                    let out = out.add(j);
                    // As BLAS does: what is not kept is not read.
                    out.write(product.scale * sum + if product.keep == 0.0 { 0.0 } else { product.keep * out.read() });
                }
            }
        }
    }
    Ok(())
}
