//! A value computed outside the graph, put into it with a hand-written backward: what candle would record as a dozen operations,
//! each keeping its inputs, becomes one that keeps only what its backward reads.

use std::sync::Mutex;

use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Storage, Tensor, backend::BackendStorage,
    bail,
};

/// The value until the graph takes it over.
struct Value(Mutex<Option<Tensor>>);

impl Value {
    fn new(y: Tensor) -> Result<Value> {
        // The storage moves as a whole, so it must hold nothing else.
        let whole = y.is_contiguous() && y.layout().start_offset() == 0;
        Ok(Value(Mutex::new(Some(if whole { y.detach() } else { y.force_contiguous()? }))))
    }

    fn take(&self) -> Result<Tensor> {
        let taken = self.0.lock().map_or(None, |mut y| y.take());
        match taken {
            Some(y) => Ok(y),
            None => bail!("a computed value enters a graph once"),
        }
    }

    fn cpu(&self) -> Result<(CpuStorage, Shape)> {
        let y = self.take()?;
        let (storage, layout) = y.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => bail!("the inputs are on the CPU and the value is not"),
        }
    }

    fn cuda(&self) -> Result<(CudaStorage, Shape)> {
        let y = self.take()?;
        let (storage, layout) = y.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => bail!("the inputs are on the GPU and the value is not"),
        }
    }
}

type Backward<const N: usize> = Box<dyn Fn([&Tensor; N], &Tensor) -> Result<[Tensor; N]> + Send + Sync>;

struct Node<const N: usize> {
    name: &'static str,
    value: Value,
    backward: Backward<N>,
}

/// Puts `y`, computed from `xs`, into the graph. `backward(xs, slope of y)` returns the slopes of `xs`; it sees detached tensors.
/// Where none of `xs` is tracked, `y` itself is returned and nothing is kept.
pub fn node1(
    name: &'static str,
    x: &Tensor,
    y: Tensor,
    backward: impl Fn([&Tensor; 1], &Tensor) -> Result<[Tensor; 1]> + Send + Sync + 'static,
) -> Result<Tensor> {
    if !x.track_op() {
        return Ok(y);
    }
    x.apply_op1(Node { name, value: Value::new(y)?, backward: Box::new(backward) })
}

/// [`node1`] of two inputs.
pub fn node2(
    name: &'static str,
    [a, b]: [&Tensor; 2],
    y: Tensor,
    backward: impl Fn([&Tensor; 2], &Tensor) -> Result<[Tensor; 2]> + Send + Sync + 'static,
) -> Result<Tensor> {
    if !a.track_op() && !b.track_op() {
        return Ok(y);
    }
    a.apply_op2(b, Node { name, value: Value::new(y)?, backward: Box::new(backward) })
}

/// [`node1`] of three inputs.
pub fn node3(
    name: &'static str,
    [a, b, c]: [&Tensor; 3],
    y: Tensor,
    backward: impl Fn([&Tensor; 3], &Tensor) -> Result<[Tensor; 3]> + Send + Sync + 'static,
) -> Result<Tensor> {
    if !a.track_op() && !b.track_op() && !c.track_op() {
        return Ok(y);
    }
    a.apply_op3(b, c, Node { name, value: Value::new(y)?, backward: Box::new(backward) })
}

impl CustomOp1 for Node<1> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.value.cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.value.cuda()
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, slope: &Tensor) -> Result<Option<Tensor>> {
        let [dx] = (self.backward)([&x.detach()], &slope.detach().contiguous()?)?;
        Ok(Some(dx))
    }
}

impl CustomOp2 for Node<2> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.value.cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.value.cuda()
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _y: &Tensor, slope: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [da, db] = (self.backward)([&a.detach(), &b.detach()], &slope.detach().contiguous()?)?;
        Ok((Some(da), Some(db)))
    }
}

impl CustomOp3 for Node<3> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.value.cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.value.cuda()
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        _y: &Tensor,
        slope: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [da, db, dc] = (self.backward)([&a.detach(), &b.detach(), &c.detach()], &slope.detach().contiguous()?)?;
        Ok((Some(da), Some(db), Some(dc)))
    }
}
