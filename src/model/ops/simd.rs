//! Row kernels that the compiler vectorises for the machine found at run time (`pulp` picks the instruction set), and an
//! exponential it can vectorise.

use std::sync::LazyLock;

use pulp::{Arch, Simd, WithSimd};

static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// Runs `f` compiled for the best instruction set of this machine. `f` must be a closure marked `#[inline(always)]` and so must
/// what it calls: a closure that is not inlined keeps the baseline instruction set, where every fused multiply-add is a library
/// call (measured: five times slower GeGLU, three times slower attention).
///
/// It is called as `FnMut` for the same reason: calling a closure that borrows as `FnOnce` goes through a shim, which the compiler
/// inlines only when it feels like it.
#[inline(always)]
pub fn vectorised<R>(f: impl FnMut() -> R) -> R {
    struct Kernel<F>(F);

    impl<R, F: FnMut() -> R> WithSimd for Kernel<F> {
        type Output = R;

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, _simd: S) -> R {
            (self.0)()
        }
    }
    run(Kernel(f))
}

/// Runs a kernel written over `pulp`'s vectors with the widest ones of this machine.
#[inline(always)]
pub fn run<K: WithSimd>(kernel: K) -> K::Output {
    ARCH.dispatch(kernel)
}

/// e^x for f32: branch-free, relative error about 2e-7 (Cephes polynomial after range reduction by ln 2).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E).round_ties_even();
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4f32;
    p = p.mul_add(r, 1.398_199_9e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_5e-1);
    p = p.mul_add(r, 0.5);
    let y = (p * r).mul_add(r, r) + 1.0;
    f32::from_bits((y.to_bits() as i32 + ((n as i32) << 23)) as u32)
}

const LANES: usize = 32;

/// Dot product with a fixed order of additions.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let mut rest = 0f32;
    for (x, y) in a_chunks.remainder().iter().zip(b_chunks.remainder()) {
        rest += x * y;
    }
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            sums[i] = x[i].mul_add(y[i], sums[i]);
        }
    }
    rest + sums.iter().sum::<f32>()
}

#[inline(always)]
pub fn sum(x: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let mut rest = 0f32;
    for v in chunks.remainder() {
        rest += v;
    }
    for chunk in chunks {
        for i in 0..LANES {
            sums[i] += chunk[i];
        }
    }
    rest + sums.iter().sum::<f32>()
}

#[inline(always)]
pub fn max(x: &[f32]) -> f32 {
    let mut tops = [f32::NEG_INFINITY; LANES];
    let chunks = x.chunks_exact(LANES);
    let mut top = chunks.remainder().iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    for chunk in chunks {
        for i in 0..LANES {
            tops[i] = if chunk[i] > tops[i] { chunk[i] } else { tops[i] };
        }
    }
    for t in tops {
        top = top.max(t);
    }
    top
}

/// Sum of e^((x - top) · scale).
#[inline(always)]
pub fn sum_of_exps(x: &[f32], top: f32, scale: f32) -> f32 {
    let mut sums = [0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let mut rest = 0f32;
    for v in chunks.remainder() {
        rest += exp((v - top) * scale);
    }
    for chunk in chunks {
        for i in 0..LANES {
            sums[i] += exp((chunk[i] - top) * scale);
        }
    }
    rest + sums.iter().sum::<f32>()
}

/// y += a x
#[inline(always)]
pub fn add_scaled(y: &mut [f32], a: f32, x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = a.mul_add(*x, *y);
    }
}

/// x := e^((x - top) · scale)
#[inline(always)]
pub fn exps(x: &mut [f32], top: f32, scale: f32) {
    for v in x.iter_mut() {
        *v = exp((*v - top) * scale);
    }
}

/// Turns scores into probabilities in place: softmax(scale * x).
#[inline(always)]
pub fn softmax(x: &mut [f32], scale: f32) {
    let top = max(x);
    exps(x, top, scale);
    let inverse = 1.0 / sum(x);
    for v in x.iter_mut() {
        *v *= inverse;
    }
}
