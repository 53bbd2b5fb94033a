//! A device as the model uses it: kernels launched and matrices multiplied at addresses, without a graph and without new memory.

use candle_core::{Device, Result, bail};

use super::{Argument, Launcher};

#[cfg(feature = "cuda")]
pub use super::cuda::Recorded;

/// Nothing is recorded in this build.
#[cfg(not(feature = "cuda"))]
pub enum Recorded {}

#[cfg(not(feature = "cuda"))]
impl Recorded {
    pub fn replay(&self) -> Result<()> {
        match *self {}
    }
}

/// Where kernels run.
pub struct Machine {
    device: Device,
    launcher: Launcher,
    /// Whether products of f32 may round what they read to 10 bits of mantissa, which tensor cores take (TF32); sums stay f32.
    rounds: bool,
    #[cfg(feature = "cuda")]
    functions: super::cuda::Functions,
}

/// A matrix at an address: element (i, j) is `row · i + col · j` values from it; `step` values lie between those of a batch.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub at: u64,
    pub row: usize,
    pub col: usize,
    pub step: usize,
    /// bf16 instead of f32.
    pub half: bool,
}

impl View {
    /// f32 rows, `width` values from one to the next.
    pub fn rows(at: u64, width: usize) -> View {
        View { at, row: width, col: 1, step: 0, half: false }
    }

    /// The transpose of such rows.
    pub fn t(at: u64, width: usize) -> View {
        View { at, row: 1, col: width, step: 0, half: false }
    }

    pub fn half(self) -> View {
        View { half: true, ..self }
    }

    pub fn step(self, step: usize) -> View {
        View { step, ..self }
    }

    /// So many f32 values further.
    pub fn skip(self, values: usize) -> View {
        View { at: self.at + (4 * values) as u64, ..self }
    }
}

/// out (m, n) f32 = scale · a (m, k) · b (k, n) + keep · out, for each of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// m, n, k
    pub size: (usize, usize, usize),
    pub a: View,
    pub b: View,
    pub out: View,
    pub scale: f32,
    pub keep: f32,
    pub batch: usize,
}

impl Product {
    /// One product, in the place of what was there.
    pub fn of(size: (usize, usize, usize), a: View, b: View, out: View) -> Product {
        Product { size, a, b, out, scale: 1.0, keep: 0.0, batch: 1 }
    }

    pub fn scaled(self, scale: f32) -> Product {
        Product { scale, ..self }
    }

    /// Added to what is there, where `adds`.
    pub fn added(self, adds: bool) -> Product {
        Product { keep: f32::from(u8::from(adds)), ..self }
    }

    pub fn batch(self, batch: usize) -> Product {
        Product { batch, ..self }
    }
}

impl Machine {
    pub fn new(device: &Device, launcher: Launcher) -> Machine {
        Machine {
            device: device.clone(),
            launcher,
            rounds: false,
            #[cfg(feature = "cuda")]
            functions: super::cuda::Functions::default(),
        }
    }

    /// The same with products of f32 that may round what they read.
    pub fn rounding(self, rounds: bool) -> Machine {
        Machine { rounds, ..self }
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Runs a kernel over a grid of blocks; nothing where the grid is empty. Number, order and kinds of the arguments must be what
    /// the kernel of this name declares, and addresses must hold what it reads and writes.
    pub fn launch(&self, name: &'static str, grid: (usize, usize), arguments: &[Argument]) -> Result<()> {
        if grid.0 == 0 || grid.1 == 0 {
            return Ok(());
        }
        match self.launcher {
            #[cfg(feature = "cuda")]
            Launcher::Cuda => self.functions.launch(&self.device, name, grid, arguments),
            Launcher::Emulated(emulator) => emulator.launch(name, grid, arguments),
        }
    }

    pub fn product(&self, product: &Product) -> Result<()> {
        let (m, n, k) = product.size;
        if m == 0 || n == 0 || k == 0 || product.batch == 0 {
            return Ok(());
        }
        if product.out.col != 1 || product.out.half || product.a.half != product.b.half {
            bail!("products are of two matrices of one kind, into rows of f32");
        }
        match self.launcher {
            #[cfg(feature = "cuda")]
            Launcher::Cuda => super::cuda::product(&self.device, product, self.rounds),
            Launcher::Emulated(_) => super::emulated::product(product, self.rounds),
        }
    }

    /// Records what `f` launches, to be made again in one: hundreds of launches cost the CPU more than most of them the GPU. `None`
    /// where nothing can be recorded.
    pub fn record(&self, f: &mut dyn FnMut() -> Result<()>) -> Result<Option<Recorded>> {
        match self.launcher {
            #[cfg(feature = "cuda")]
            Launcher::Cuda => super::cuda::record(&self.device, f).map(Some),
            Launcher::Emulated(_) => f().map(|()| None),
        }
    }

    /// Puts words at an address, in order with the launches.
    pub fn write(&self, at: u64, words: &[u32]) -> Result<()> {
        match self.launcher {
            #[cfg(feature = "cuda")]
            Launcher::Cuda => super::cuda::write(&self.device, at, words),
            Launcher::Emulated(_) => super::emulated::write(at, words),
        }
    }
}
