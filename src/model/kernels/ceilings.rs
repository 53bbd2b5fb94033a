//! What a GPU can do at best, for shares of it.

use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor};

use super::{
    Launcher,
    buffer::{Buffer, address},
    machine::{Machine, Product, View},
};

/// Rows and columns of the product, and values that are copied (1 GiB): both well past what caches hold.
const N: usize = 8192;
const COPIED: usize = 256 << 20;
const TRIES: usize = 5;

/// 10⁹ operations a second in products of bf16, and 10⁹ bytes a second that a copy reads and writes.
pub fn ceilings(device: &Device, launcher: Launcher) -> Result<(f64, f64)> {
    // Zeros would multiply faster.
    let random = |shape: (usize, usize)| Tensor::rand(-1f32, 1f32, shape, device);
    let (a, b) = (random((N, N))?.to_dtype(DType::BF16)?, random((N, N))?.to_dtype(DType::BF16)?);
    let out = Buffer::new((N, N), DType::F32, device)?;
    let machine = Machine::new(device, launcher);
    let (rows, turned) = (View::rows(address(&a)?, N).half(), View::t(address(&b)?, N).half());
    let product = Product::of((N, N, N), rows, turned, View::rows(out.at(), N));
    let products = best(device, || machine.product(&product))?;
    drop((a, b, out));
    let values = random((COPIED, 1))?;
    let copies = best(device, || values.copy().map(drop))?;
    Ok((2.0 * (N * N * N) as f64 / 1e9 / products, (2 * 4 * COPIED) as f64 / 1e9 / copies))
}

/// Seconds of the fastest of some tries, after one to warm up.
fn best(device: &Device, f: impl Fn() -> Result<()>) -> Result<f64> {
    let mut fastest = f64::INFINITY;
    for attempt in 0..=TRIES {
        device.synchronize()?;
        let clock = Instant::now();
        f()?;
        device.synchronize()?;
        if attempt > 0 {
            fastest = fastest.min(clock.elapsed().as_secs_f64());
        }
    }
    Ok(fastest)
}
