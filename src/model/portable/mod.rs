//! The model's operations for any device, out of candle's own: what a GPU runs, and what a CPU runs when asked to, so that
//! this path can be compared with the CPU's fused operations where there is no GPU.
//!
//! Values are computed outside the graph and entered into it with a hand-written backward ([`node`]), so that a layer keeps
//! what its backward reads and no more. Stream, norms, softmax and log-probs are f32; only the frozen weights, and what meets
//! them in a product, may be bf16. [`super::fused`] computes the same by kernels of ours.

pub mod arena;
pub mod attention;
pub mod generate;
pub mod logprob;
pub mod node;
pub mod pick;
pub mod product;
pub mod rows;

use candle_core::{Result, Tensor, bail};

use node::{node1, node2};

/// x (.., D), frozen w (D) → same shape as x: x / sqrt(mean(x²) + eps) · (1 + w), each block of D features alone.
pub fn rms_norm(x: &Tensor, w: &Tensor, eps: f32) -> Result<Tensor> {
    if w.is_variable() {
        bail!("norms are trained on the CPU only");
    }
    let (x, w) = (x.contiguous()?, w.detach());
    let d = w.elem_count();
    let rows = x.detach().reshape((x.elem_count() / d, d))?;
    let y = normed(&rows, eps)?.1.broadcast_mul(&(&w + 1.0)?)?.reshape(x.shape())?;
    node1("rms-norm", &x, y, move |[x], slope| Ok([rms_norm_back(x, &w, slope, eps)?]))
}

/// Inverse root mean square (rows, 1) of x (rows, D), and x times it.
fn normed(x: &Tensor, eps: f32) -> Result<(Tensor, Tensor)> {
    let inverse = (x.sqr()?.mean_keepdim(candle_core::D::Minus1)? + f64::from(eps))?.sqrt()?.recip()?;
    let y = x.broadcast_mul(&inverse)?;
    Ok((inverse, y))
}

/// dx = r (g (1+w)) - x r³ mean(x g (1+w))
fn rms_norm_back(x: &Tensor, w: &Tensor, slope: &Tensor, eps: f32) -> Result<Tensor> {
    let d = w.elem_count();
    let rows = x.elem_count() / d;
    let (x2, g) = (x.reshape((rows, d))?, slope.reshape((rows, d))?.broadcast_mul(&(w + 1.0)?)?);
    let (inverse, y) = normed(&x2, eps)?;
    let mean = (&g * &y)?.mean_keepdim(1)?;
    (g - y.broadcast_mul(&mean)?)?.broadcast_mul(&inverse)?.reshape(x.shape())
}

/// Rotates every head of x (N, heads · 2 half) by its row's angle; cos, sin (N, half).
pub fn rope(x: &Tensor, (cos, sin): &(Tensor, Tensor)) -> Result<Tensor> {
    let x = x.contiguous()?;
    let y = turned(&x.detach(), cos, sin)?;
    let (cos, sin) = (cos.clone(), sin.clone());
    node1("rope", &x, y, move |_, slope| Ok([turned(slope, &cos, &sin.neg()?)?]))
}

fn turned(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let ((n, width), half) = (x.dims2()?, cos.dim(1)?);
    let heads = x.reshape((n, width / (2 * half), 2 * half))?;
    let (x1, x2) = (heads.narrow(2, 0, half)?, heads.narrow(2, half, half)?);
    let (cos, sin) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?);
    let y1 = (x1.broadcast_mul(&cos)? - x2.broadcast_mul(&sin)?)?;
    let y2 = (x2.broadcast_mul(&cos)? + x1.broadcast_mul(&sin)?)?;
    Tensor::cat(&[y1, y2], 2)?.reshape((n, width))
}

/// gelu_tanh(gate) · up, elementwise.
pub fn geglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let (gate, up) = (gate.contiguous()?, up.contiguous()?);
    let y = (gate.detach().gelu()? * up.detach())?;
    node2("geglu", [&gate, &up], y, |[gate, up], slope| geglu_back(gate, up, slope))
}

fn geglu_back(gate: &Tensor, up: &Tensor, slope: &Tensor) -> Result<[Tensor; 2]> {
    // gelu(x) = x s(u), u = 2 sqrt(2/π) (x + 0.044715 x³), s the logistic function; tanh is 2 s(2 z) - 1.
    let root = (2.0 / std::f64::consts::PI).sqrt();
    let square = gate.sqr()?;
    let tanh = ((gate * ((&square * 0.044_715)? + 1.0)?)? * root)?.tanh()?;
    let half = ((&tanh + 1.0)? * 0.5)?; // s
    let steep = ((tanh.sqr()?.neg()? + 1.0)? * (0.5 * root))?;
    let bend = ((square * (3.0 * 0.044_715))? + 1.0)?;
    let value = (gate * &half)?;
    let derivative = (half + (gate * (steep * bend)?)?)?;
    Ok([((slope * up)? * derivative)?, (slope * value)?])
}
