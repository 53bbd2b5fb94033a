//! y = x Wᵀ in three forms: trainable (pretraining), frozen, and frozen plus LoRA as one op.
//!
//! The frozen forms capture W instead of taking it as an argument: candle's backward would otherwise compute and keep a
//! gradient for it.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::{
    gemm::{Mat, Threads, gemm},
    matrix::Matrix,
    slice, with_slice,
};

/// x (N, K), w (M, K) → (N, M); the weight gets a gradient where it is a variable.
pub fn linear(x: &Tensor, w: &Matrix) -> Result<Tensor> {
    let x = x.contiguous()?;
    match w.variable() {
        Some(w) => x.apply_op2(w, Trainable),
        None => x.apply_op1(Frozen { w: w.clone() }),
    }
}

/// x (N, K), frozen w (M, K), a (r, K), b (M, r) → x Wᵀ + scale (x Aᵀ) Bᵀ, (N, M) (Hu et al., LoRA, 2106.09685)
pub fn lora_linear(x: &Tensor, w: &Matrix, a: &Tensor, b: &Tensor, scale: f32) -> Result<Tensor> {
    x.contiguous()?.apply_op3(a, b, Lora { w: w.clone(), scale })
}

fn product(shape: (usize, usize, usize), a: Mat, b: Mat) -> Vec<f32> {
    let mut out = vec![0f32; shape.0 * shape.1];
    gemm(shape, a, b, &mut out, shape.1, false, 1.0, Threads::All);
    out
}

struct Trainable;

impl CustomOp2 for Trainable {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let ((n, k), (m, _)) = (l1.shape().dims2()?, l2.shape().dims2()?);
        let y = product((n, m, k), Mat::rows(slice(s1, l1)?, k), Mat::t(slice(s2, l2)?, k));
        Ok((CpuStorage::F32(y), Shape::from((n, m))))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let ((n, k), (m, _), grad) = (x.dims2()?, w.dims2()?, grad.contiguous()?);
        let (dx, dw) = with_slice(x, |x| {
            with_slice(w, |w| {
                with_slice(&grad, |g| {
                    let dx = product((n, k, m), Mat::rows(g, m), Mat::rows(w, k));
                    let dw = product((m, k, n), Mat::t(g, m), Mat::rows(x, k));
                    Ok((dx, dw))
                })
            })
        })?;
        Ok((Some(Tensor::from_vec(dx, (n, k), x.device())?), Some(Tensor::from_vec(dw, (m, k), x.device())?)))
    }
}

struct Frozen {
    w: Matrix,
}

impl CustomOp1 for Frozen {
    fn name(&self) -> &'static str {
        "frozen-linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, (m, _)) = (layout.shape().dims2()?.0, self.w.dims()?);
        let y = self.w.times_transposed(slice(storage, layout)?)?;
        Ok((CpuStorage::F32(y), Shape::from((n, m))))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let dx = with_slice(&grad.contiguous()?, |g| self.w.times(g))?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

/// A frozen matrix with its LoRA pair, on plain rows. Shapes as in [`lora_linear`].
pub struct LoraRows<'a> {
    pub w: &'a Matrix,
    pub a: &'a [f32],
    pub b: &'a [f32],
    pub rank: usize,
    pub scale: f32,
}

impl LoraRows<'_> {
    /// y = x Wᵀ + scale z Bᵀ with z (N, r) = x Aᵀ.
    pub fn forward(&self, x: &[f32], y: &mut [f32], z: &mut [f32]) -> Result<()> {
        let ((m, k), r) = (self.w.dims()?, self.rank);
        let n = x.len() / k;
        self.w.features_into(x, 0..m, 1.0, y)?;
        gemm((n, r, k), Mat::rows(x, k), Mat::t(self.a, k), z, r, false, 1.0, Threads::All);
        gemm((n, m, r), Mat::rows(z, r), Mat::t(self.b, r), y, m, true, self.scale, Threads::All);
        Ok(())
    }

    /// dB += s gᵀ z; dz = s g B; dA += dzᵀ x; dx = g W + dz A, or added to dx.
    #[allow(clippy::too_many_arguments)]
    pub fn backward(
        &self,
        x: &[f32],
        z: &[f32],
        g: &[f32],
        da: &mut [f32],
        db: &mut [f32],
        add: bool,
        dx: &mut [f32],
    ) -> Result<()> {
        let ((m, k), r) = (self.w.dims()?, self.rank);
        let n = x.len() / k;
        // As zᵀ g, which runs along the rows of both: half again as fast as gᵀ z.
        let turned = product((r, m, n), Mat::t(z, r), Mat::rows(g, m));
        for (i, row) in turned.chunks_exact(m).enumerate() {
            db.iter_mut().skip(i).step_by(r).zip(row).for_each(|(db, v)| *db += self.scale * v);
        }
        let mut dz = vec![0f32; n * r];
        gemm((n, r, m), Mat::rows(g, m), Mat::rows(self.b, r), &mut dz, r, false, self.scale, Threads::All);
        gemm((r, k, n), Mat::t(&dz, r), Mat::rows(x, k), da, k, true, 1.0, Threads::All);
        self.w.times_into(g, add, dx)?;
        gemm((n, k, r), Mat::rows(&dz, r), Mat::rows(self.a, k), dx, k, true, 1.0, Threads::All);
        Ok(())
    }
}

struct Lora {
    w: Matrix,
    scale: f32,
}

impl CustomOp3 for Lora {
    fn name(&self) -> &'static str {
        "lora-linear"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((n, _), (m, _), (r, _)) = (l1.shape().dims2()?, self.w.dims()?, l2.shape().dims2()?);
        let lora = LoraRows { w: &self.w, a: slice(s2, l2)?, b: slice(s3, l3)?, rank: r, scale: self.scale };
        let (mut y, mut z) = (vec![0f32; n * m], vec![0f32; n * r]);
        lora.forward(slice(s1, l1)?, &mut y, &mut z)?;
        Ok((CpuStorage::F32(y), Shape::from((n, m))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let ((n, k), (m, _), (r, _)) = (x.dims2()?, self.w.dims()?, a.dims2()?);
        let (grad, device) = (grad.contiguous()?, x.device());
        let gradients = |x: &[f32], a: &[f32], b: &[f32], g: &[f32]| {
            let z = product((n, r, k), Mat::rows(x, k), Mat::t(a, k));
            let (mut dx, mut da, mut db) = (vec![0f32; n * k], vec![0f32; r * k], vec![0f32; m * r]);
            let lora = LoraRows { w: &self.w, a, b, rank: r, scale: self.scale };
            lora.backward(x, &z, g, &mut da, &mut db, false, &mut dx)?;
            Ok((dx, da, db))
        };
        let (dx, da, db) = with_slice(x, |x| with_slice(a, |a| with_slice(b, |b| with_slice(&grad, |g| gradients(x, a, b, g)))))?;
        Ok((
            Some(Tensor::from_vec(dx, (n, k), device)?),
            Some(Tensor::from_vec(da, (r, k), device)?),
            Some(Tensor::from_vec(db, (m, r), device)?),
        ))
    }
}
