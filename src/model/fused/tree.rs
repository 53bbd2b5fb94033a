//! Causal grouped-query attention over prompts and their completions. A completion sees its prompt, which is computed once, and
//! itself: scores over the prompt are one product for all rows of a tree and each query head of a key head, those of the completions
//! another over rows padded to the longest.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor};

use super::{layers::Layers, rows::Rows};
use crate::model::{
    kernels::{
        Argument::{self, At},
        THREADS,
        buffer::{Buffer, address},
        count,
        machine::{Product, View},
    },
    ops::attention::Heads,
    plan::Plan,
};

/// No completion; kernels.cu's NONE.
const NONE: u32 = u32::MAX;

/// A prompt with its completions.
struct Tree {
    /// First row, rows in all, and rows of the prompt.
    start: usize,
    n: usize,
    prompt: usize,
    /// Completions that have rows, and the longest of them.
    kids: usize,
    longest: usize,
    /// (n, 2): completion and place of every row.
    seats: Tensor,
    /// (kids, 2): first row among all and length of every completion.
    spans: Tensor,
    /// (heads, n, prompt): scores, then probabilities.
    prompt_p: Buffer,
    /// (heads, kids, longest, longest)
    own_p: Buffer,
    /// Padded rows (heads, kids, longest, hd), and of keys and values (kv heads, ..).
    q: Buffer,
    k: Buffer,
    v: Buffer,
    /// What completions mix of their own, then padded slopes of it.
    out: Buffer,
}

/// All trees of a plan.
pub struct Trees(Vec<Tree>);

/// Memory for the slopes of a tree's probabilities and padded rows, in the shapes of [`Tree`].
pub struct Slopes {
    prompt_p: Buffer,
    own_p: Buffer,
    q: Buffer,
    k: Buffer,
    v: Buffer,
}

impl Trees {
    pub fn new(layers: &Layers, plan: &Arc<Plan>) -> Result<Trees> {
        (0..plan.groups.len()).map(|group| Tree::new(layers, plan, group)).collect::<Result<_>>().map(Trees)
    }

    /// From `rows`' q, k and v to what they mix.
    pub fn forward(&self, layers: &Layers, heads: Heads, rows: &Rows) -> Result<()> {
        self.0.iter().try_for_each(|tree| tree.forward(layers, heads, rows))
    }

    /// Slopes of q, k and v (rows) from those of what they mix. [`Trees::forward`] was the last to run: its probabilities are read.
    pub fn backward(
        &self,
        layers: &Layers,
        heads: Heads,
        slope: u64,
        to: [u64; 3],
        rows: &Rows,
        slopes: &[Slopes],
    ) -> Result<()> {
        self.0.iter().zip(slopes).try_for_each(|(tree, ds)| tree.backward(layers, heads, slope, to, rows, ds))
    }

    /// Memory for [`Trees::backward`], one for each tree.
    pub fn slopes(&self) -> Result<Vec<Slopes>> {
        let like = |b: &Buffer| Buffer::new(b.tensor().elem_count(), DType::F32, b.tensor().device());
        self.0
            .iter()
            .map(|t| {
                Ok(Slopes {
                    prompt_p: like(&t.prompt_p)?,
                    own_p: like(&t.own_p)?,
                    q: like(&t.q)?,
                    k: like(&t.k)?,
                    v: like(&t.v)?,
                })
            })
            .collect()
    }
}

/// How heads lie in rows and in padded rows.
#[derive(Clone, Copy)]
struct Lie {
    heads: Heads,
    group: usize,
    /// Values of a row of queries, and of keys.
    q_width: usize,
    kv_width: usize,
}

impl Lie {
    fn of(heads: Heads) -> Lie {
        let Heads { n_heads, n_kv_heads, head_dim, .. } = heads;
        Lie { heads, group: n_heads / n_kv_heads, q_width: n_heads * head_dim, kv_width: n_kv_heads * head_dim }
    }

    /// Rows of the g-th query head of every key head, from row `start`.
    fn queries(&self, at: u64, start: usize, g: usize) -> View {
        let hd = self.heads.head_dim;
        View::rows(at, self.q_width).skip(start * self.q_width + g * hd).step(self.group * hd)
    }

    /// Rows of every key head, from row `start`.
    fn keys(&self, at: u64, start: usize) -> View {
        View::rows(at, self.kv_width).skip(start * self.kv_width).step(self.heads.head_dim)
    }
}

fn turned(view: View) -> View {
    View { row: view.col, col: view.row, ..view }
}

impl Tree {
    fn new(layers: &Layers, plan: &Plan, group: usize) -> Result<Tree> {
        let (spec, device) = (layers.spec(), layers.machine.device());
        let ((from, to), (start, n)) = (plan.groups[group], plan.group_rows(group));
        let (root, kids) = (plan.segments[from], &plan.segments[from + 1..to]);
        let longest = kids.iter().map(|s| s.len).max().unwrap_or(0);
        let mut seats: Vec<u32> = (0..root.len).flat_map(|t| [NONE, t as u32]).collect();
        for (kid, segment) in kids.iter().enumerate() {
            seats.extend((0..segment.len).flat_map(|t| [kid as u32, t as u32]));
        }
        // A kernel's argument is never an empty tensor's address.
        let mut spans: Vec<u32> = kids.iter().flat_map(|s| [s.start as u32, s.len as u32]).collect();
        spans.resize(spans.len().max(2), 0);
        let (heads, kv, hd) = (spec.n_heads, spec.n_kv_heads, spec.head_dim);
        let zeros = |n: usize| Buffer::new(n.max(1), DType::F32, device);
        let (own, padded) = (kids.len() * longest * longest, kids.len() * longest * hd);
        Ok(Tree {
            start,
            n,
            prompt: root.len,
            kids: kids.len(),
            longest,
            seats: Tensor::new(seats, device)?,
            spans: Tensor::new(spans, device)?,
            prompt_p: zeros(heads * n * root.len)?,
            own_p: zeros(heads * own)?,
            q: zeros(heads * padded)?,
            k: zeros(kv * padded)?,
            v: zeros(kv * padded)?,
            out: zeros(heads * padded)?,
        })
    }

    /// `shape` (heads, ..) probabilities of the g-th query head of every key head.
    fn of_prompt(&self, at: &Buffer, lie: Lie, g: usize) -> View {
        let head = self.n * self.prompt;
        View::rows(at.at(), self.prompt).skip(g * lie.heads.n_kv_heads * head).step(head)
    }

    fn of_own(&self, at: &Buffer, lie: Lie, g: usize) -> View {
        let square = self.longest * self.longest;
        View::rows(at.at(), self.longest).skip(g * lie.heads.n_kv_heads * self.kids * square).step(square)
    }

    fn padded(&self, at: &Buffer, lie: Lie, g: usize) -> View {
        let hd = lie.heads.head_dim;
        View::rows(at.at(), hd).skip(g * lie.heads.n_kv_heads * self.kids * self.longest * hd).step(self.longest * hd)
    }

    /// Completions' rows as padded heads; `group` is 1 for keys and values.
    fn pad(&self, layers: &Layers, lie: Lie, group: usize, from: u64, to: &Buffer) -> Result<()> {
        let (n, numbers) = self.padding(lie, group)?;
        let grid = (n.div_ceil(THREADS), 1);
        layers.machine.launch("pad", grid, &[&[At(from), At(address(&self.spans)?), At(to.at())], &numbers[..]].concat())
    }

    fn unpad(&self, layers: &Layers, lie: Lie, group: usize, from: &Buffer, to: u64, fresh: bool) -> Result<()> {
        let (n, numbers) = self.padding(lie, group)?;
        let fresh = Argument::Count(u32::from(fresh));
        let arguments = [&[At(from.at()), At(address(&self.spans)?), At(to)], &numbers[..], &[fresh]].concat();
        layers.machine.launch("unpad", (n.div_ceil(THREADS), 1), &arguments)
    }

    fn padding(&self, lie: Lie, group: usize) -> Result<(usize, [Argument; 6])> {
        let (kv, hd) = (lie.heads.n_kv_heads, lie.heads.head_dim);
        let n = kv * group * self.kids * self.longest * hd;
        Ok((n, [count(n)?, count(self.kids)?, count(self.longest)?, count(kv)?, count(group)?, count(hd)?]))
    }

    fn forward(&self, layers: &Layers, heads: Heads, rows: &Rows) -> Result<()> {
        let (lie, machine) = (Lie::of(heads), &layers.machine);
        let (kv, hd, own) = (heads.n_kv_heads, heads.head_dim, heads.n_kv_heads * self.kids);
        self.pad(layers, lie, lie.group, rows.q.at(), &self.q)?;
        self.pad(layers, lie, 1, rows.k.at(), &self.k)?;
        self.pad(layers, lie, 1, rows.v.at(), &self.v)?;
        let (keys, values) = (lie.keys(rows.k.at(), self.start), lie.keys(rows.v.at(), self.start));
        let (own_keys, own_values) = (self.padded(&self.k, lie, 0), self.padded(&self.v, lie, 0));
        for g in 0..lie.group {
            let q = lie.queries(rows.q.at(), self.start, g);
            let scores = self.of_prompt(&self.prompt_p, lie, g);
            machine.product(&Product::of((self.n, self.prompt, hd), q, turned(keys), scores).batch(kv))?;
            let (q, scores) = (self.padded(&self.q, lie, g), self.of_own(&self.own_p, lie, g));
            machine.product(&Product::of((self.longest, self.longest, hd), q, turned(own_keys), scores).batch(own))?;
        }
        let [n, prompt, kids, longest] = self.sizes()?;
        let arguments = [
            At(address(&self.seats)?),
            At(self.prompt_p.at()),
            At(self.own_p.at()),
            n,
            prompt,
            kids,
            longest,
            count(heads.window.unwrap_or(0))?,
            Argument::Real(heads.scale),
        ];
        machine.launch("tree_softmax", (self.n, heads.n_heads), &arguments)?;
        for g in 0..lie.group {
            let mixed = lie.queries(rows.mixed.at(), self.start, g);
            let p = self.of_prompt(&self.prompt_p, lie, g);
            machine.product(&Product::of((self.n, hd, self.prompt), p, values, mixed).batch(kv))?;
            let (p, out) = (self.of_own(&self.own_p, lie, g), self.padded(&self.out, lie, g));
            machine.product(&Product::of((self.longest, hd, self.longest), p, own_values, out).batch(own))?;
        }
        self.unpad(layers, lie, lie.group, &self.out, rows.mixed.at(), false)
    }

    fn sizes(&self) -> Result<[Argument; 4]> {
        Ok([count(self.n)?, count(self.prompt)?, count(self.kids)?, count(self.longest)?])
    }

    fn backward(
        &self,
        layers: &Layers,
        heads: Heads,
        slope: u64,
        [dq, dk, dv]: [u64; 3],
        rows: &Rows,
        ds: &Slopes,
    ) -> Result<()> {
        let (lie, machine) = (Lie::of(heads), &layers.machine);
        let (kv, hd, own) = (heads.n_kv_heads, heads.head_dim, heads.n_kv_heads * self.kids);
        let (n, prompt, longest) = (self.n, self.prompt, self.longest);
        self.pad(layers, lie, lie.group, slope, &self.out)?;
        let (keys, values) = (lie.keys(rows.k.at(), self.start), lie.keys(rows.v.at(), self.start));
        let (own_keys, own_values) = (self.padded(&self.k, lie, 0), self.padded(&self.v, lie, 0));
        // dp = g Vᵀ; dV = pᵀ g
        for g in 0..lie.group {
            let (by, own_by) = (lie.queries(slope, self.start, g), self.padded(&self.out, lie, g));
            let (dp, own_dp) = (self.of_prompt(&ds.prompt_p, lie, g), self.of_own(&ds.own_p, lie, g));
            machine.product(&Product::of((n, prompt, hd), by, turned(values), dp).batch(kv))?;
            machine.product(&Product::of((longest, longest, hd), own_by, turned(own_values), own_dp).batch(own))?;
            let (p, own_p) = (self.of_prompt(&self.prompt_p, lie, g), self.of_own(&self.own_p, lie, g));
            let (to, own_to) = (lie.keys(dv, self.start), self.padded(&ds.v, lie, 0));
            machine.product(&Product::of((prompt, hd, n), turned(p), by, to).added(g > 0).batch(kv))?;
            machine.product(&Product::of((longest, hd, longest), turned(own_p), own_by, own_to).added(g > 0).batch(own))?;
        }
        let at = [address(&self.seats)?, self.prompt_p.at(), self.own_p.at(), ds.prompt_p.at(), ds.own_p.at()].map(At);
        let arguments = [&at[..], &self.sizes()?, &[Argument::Real(heads.scale)]].concat();
        machine.launch("tree_softmax_slope", (n, heads.n_heads), &arguments)?;
        // dQ = ds K; dK = dsᵀ Q
        for g in 0..lie.group {
            let (dp, own_dp) = (self.of_prompt(&ds.prompt_p, lie, g), self.of_own(&ds.own_p, lie, g));
            let (to, own_to) = (lie.queries(dq, self.start, g), self.padded(&ds.q, lie, g));
            machine.product(&Product::of((n, hd, prompt), dp, keys, to).batch(kv))?;
            machine.product(&Product::of((longest, hd, longest), own_dp, own_keys, own_to).batch(own))?;
            let (q, own_q) = (lie.queries(rows.q.at(), self.start, g), self.padded(&self.q, lie, g));
            let (to, own_to) = (lie.keys(dk, self.start), self.padded(&ds.k, lie, 0));
            machine.product(&Product::of((prompt, hd, n), turned(dp), q, to).added(g > 0).batch(kv))?;
            machine.product(&Product::of((longest, hd, longest), turned(own_dp), own_q, own_to).added(g > 0).batch(own))?;
        }
        self.unpad(layers, lie, lie.group, &ds.q, dq, false)?;
        self.unpad(layers, lie, 1, &ds.k, dk, true)?;
        self.unpad(layers, lie, 1, &ds.v, dv, true)
    }
}
