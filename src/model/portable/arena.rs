//! Keys and values of everything being written, in one buffer a layer on the device. It is cut into cells of two sizes, one for
//! prompts and one for completions, so that a finished one makes room for the next without moving anything.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};

use super::attention::{Masks, attention};
use crate::model::{gemma3::Attend, ops::attention::Heads, spec::Spec};

/// Rows of completions attended to at once; bounds the copies.
const TOGETHER: usize = 32;

/// How much can be written at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cells {
    /// Completions in flight.
    pub n_tails: usize,
    /// Positions of each.
    pub tail: usize,
    /// Prompts they may come from.
    pub n_prompts: usize,
    pub prompt: usize,
}

impl Cells {
    /// As many completions at a time as fit `budget` bytes; one at least, whatever the budget.
    pub fn fit(requests: &[(usize, usize)], max_tokens: usize, bytes_a_position: usize, budget: usize) -> Cells {
        let prompt = requests.iter().map(|r| r.0).max().unwrap_or(0);
        let all: usize = requests.iter().map(|r| r.1).sum();
        let fewest = requests.iter().map(|r| r.1).filter(|k| *k > 0).min().unwrap_or(1);
        // The first of a prompt's completions may end while the last still waits, so one prompt more may be open.
        let n_prompts = |n_tails: usize| requests.len().min(n_tails.div_ceil(fewest) + 1);
        let fits = |n: usize| (n * max_tokens + n_prompts(n) * prompt) * bytes_a_position <= budget;
        let n_tails = (1..=all).rev().find(|n| fits(*n)).unwrap_or(1);
        Cells { n_tails, tail: max_tokens, n_prompts: n_prompts(n_tails), prompt }
    }

    pub fn positions(&self) -> usize {
        self.n_tails * self.tail + self.n_prompts * self.prompt
    }

    /// First position of a prompt's cell.
    pub fn prompt_start(&self, cell: usize) -> usize {
        cell * self.prompt
    }

    /// First position of a completion's cell.
    pub fn tail_start(&self, cell: usize) -> usize {
        self.n_prompts * self.prompt + cell * self.tail
    }
}

/// Bytes that keys and values of one position take over all layers.
pub fn bytes_a_position(spec: &Spec, dtype: DType) -> usize {
    2 * spec.n_layers() * spec.n_kv_heads * spec.head_dim * dtype.size_in_bytes()
}

/// Rotated keys and values by layer, (positions, kv heads · hd).
pub struct Arena {
    layers: Vec<(Tensor, Tensor)>,
}

impl Arena {
    pub fn new(spec: &Spec, cells: Cells, dtype: DType, device: &Device) -> Result<Arena> {
        let shape = (cells.positions(), spec.n_kv_heads * spec.head_dim);
        let zeros = || Tensor::zeros(shape, dtype, device);
        let layers = (0..spec.n_layers()).map(|_| Ok((zeros()?, zeros()?))).collect::<Result<_>>()?;
        Ok(Arena { layers })
    }

    /// An arena of these keys and values, one pair a layer.
    pub fn of(layers: Vec<(Tensor, Tensor)>) -> Arena {
        Arena { layers }
    }

    /// Keys and values of a layer.
    pub fn layer(&self, layer: usize) -> &(Tensor, Tensor) {
        &self.layers[layer]
    }

    /// Stores rows of k and v at the places of `targets` (rows, width).
    fn store(&self, layer: usize, k: &Tensor, v: &Tensor, targets: &Tensor) -> Result<()> {
        let (keys, values) = &self.layers[layer];
        keys.scatter_set(targets, &k.detach().to_dtype(keys.dtype())?.contiguous()?, 0)?;
        values.scatter_set(targets, &v.detach().to_dtype(values.dtype())?.contiguous()?, 0)
    }
}

/// The places of rows as `scatter_set` wants them: repeated over the width.
pub fn targets(places: &[u32], width: usize, device: &Device) -> Result<Tensor> {
    Tensor::new(places, device)?.unsqueeze(1)?.broadcast_as((places.len(), width))?.contiguous()
}

/// Attention over whole prompts that also stores their keys and values.
pub struct Fill<'a> {
    pub arena: &'a Arena,
    pub targets: Tensor,
    pub masks: Arc<Masks>,
}

impl Attend for Fill<'_> {
    fn attend(&mut self, layer: usize, q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads) -> Result<Tensor> {
        self.arena.store(layer, k, v, &self.targets)?;
        attention(q, k, v, heads, &self.masks)
    }
}

/// What one row sees: its prompt's positions, then its own, the newest included.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub prompt_start: usize,
    pub prompt_len: usize,
    pub own_start: usize,
    pub own_len: usize,
}

impl Span {
    fn len(&self) -> usize {
        self.prompt_len + self.own_len
    }
}

/// One token per completion over the arena.
pub struct Step<'a> {
    arena: &'a Arena,
    targets: Tensor,
    blocks: Vec<Block>,
}

/// Some rows' positions in the arena, padded to the longest, and the masks of both kinds of layer, (rows, 1, 1, positions).
struct Block {
    first: usize,
    n_rows: usize,
    positions: Tensor,
    global: Tensor,
    local: Tensor,
}

impl<'a> Step<'a> {
    /// `window` is that of the local layers.
    pub fn new(arena: &'a Arena, spans: &[Span], window: usize, width: usize, device: &Device) -> Result<Step<'a>> {
        let places: Vec<u32> = spans.iter().map(|s| (s.own_start + s.own_len - 1) as u32).collect();
        let blocks = spans.chunks(TOGETHER).enumerate();
        let blocks = blocks.map(|(i, s)| Block::new(i * TOGETHER, s, window, device)).collect::<Result<_>>()?;
        Ok(Step { arena, targets: targets(&places, width, device)?, blocks })
    }
}

impl Block {
    fn new(first: usize, spans: &[Span], window: usize, device: &Device) -> Result<Block> {
        let (n_rows, longest) = (spans.len(), spans.iter().map(Span::len).max().unwrap_or(0));
        let mut positions = vec![0u32; n_rows * longest];
        let (mut global, mut local) = (vec![f32::NEG_INFINITY; n_rows * longest], vec![f32::NEG_INFINITY; n_rows * longest]);
        for (i, s) in spans.iter().enumerate() {
            let at = i * longest;
            let rows = (s.prompt_start..s.prompt_start + s.prompt_len).chain(s.own_start..s.own_start + s.own_len);
            rows.zip(&mut positions[at..]).for_each(|(row, place)| *place = row as u32);
            global[at..at + s.len()].fill(0.0);
            local[at + s.len().saturating_sub(window)..at + s.len()].fill(0.0);
        }
        let mask = |values| Tensor::from_vec(values, (n_rows, 1, 1, longest), device);
        let positions = Tensor::from_vec(positions, n_rows * longest, device)?;
        Ok(Block { first, n_rows, positions, global: mask(global)?, local: mask(local)? })
    }

    /// Keys or values by row and key head, (rows, kv heads, positions, hd) f32.
    fn gather(&self, from: &Tensor, heads: Heads) -> Result<Tensor> {
        let x = from.index_select(&self.positions, 0)?.to_dtype(DType::F32)?;
        let longest = self.positions.dim(0)? / self.n_rows;
        x.reshape((self.n_rows, longest, heads.n_kv_heads, heads.head_dim))?.transpose(1, 2)?.contiguous()
    }

    fn attend(&self, q: &Tensor, (keys, values): &(Tensor, Tensor), heads: Heads) -> Result<Tensor> {
        let Heads { n_heads, n_kv_heads, head_dim, scale, window } = heads;
        let q = q.narrow(0, self.first, self.n_rows)?.reshape((self.n_rows, n_kv_heads, n_heads / n_kv_heads, head_dim))?;
        let scores = q.contiguous()?.matmul(&self.gather(keys, heads)?.transpose(2, 3)?)?;
        let mask = if window.is_some() { &self.local } else { &self.global };
        let scores = (scores * f64::from(scale))?.broadcast_add(mask)?;
        let e = scores.broadcast_sub(&scores.max_keepdim(3)?)?.exp()?;
        let p = e.broadcast_div(&e.sum_keepdim(3)?)?;
        p.matmul(&self.gather(values, heads)?)?.reshape((self.n_rows, n_heads * head_dim))
    }
}

impl Attend for Step<'_> {
    fn attend(&mut self, layer: usize, q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads) -> Result<Tensor> {
        self.arena.store(layer, k, v, &self.targets)?;
        let caches = &self.arena.layers[layer];
        let rows = self.blocks.iter().map(|b| b.attend(q, caches, heads)).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&rows, 0)
    }
}
