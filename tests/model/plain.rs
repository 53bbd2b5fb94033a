//! Every own operation written plainly in f64, forward and backward: slow, obvious, and sharing no line with the kernels.

use medserl::model::{ops::attention::Heads, plan::Plan};

/// x in blocks of w.len() features: x / sqrt(mean(x²) + eps) · (1 + w)
pub fn norm(x: &[f64], w: &[f64], eps: f64) -> Vec<f64> {
    let block = |x: &[f64]| {
        let r = inverse_rms(x, eps);
        x.iter().zip(w).map(|(x, w)| x * r * (1.0 + w)).collect::<Vec<f64>>()
    };
    x.chunks(w.len()).flat_map(block).collect()
}

fn inverse_rms(x: &[f64], eps: f64) -> f64 {
    1.0 / (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + eps).sqrt()
}

/// (dx, dw)
pub fn norm_back(x: &[f64], w: &[f64], eps: f64, g: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let d = w.len();
    let (mut dx, mut dw) = (Vec::new(), vec![0.0; d]);
    for (x, g) in x.chunks(d).zip(g.chunks(d)) {
        let r = inverse_rms(x, eps);
        let mean: f64 = (0..d).map(|i| x[i] * g[i] * (1.0 + w[i])).sum::<f64>() / d as f64;
        dx.extend((0..d).map(|i| r * g[i] * (1.0 + w[i]) - x[i] * r.powi(3) * mean));
        (0..d).for_each(|i| dw[i] += g[i] * x[i] * r);
    }
    (dx, dw)
}

/// Rotates rows of heads of `hd` features by their positions; `sign` -1 rotates back.
pub fn rope(x: &[f64], positions: &[u32], hd: usize, theta: f64, scale: f64, sign: f64) -> Vec<f64> {
    let (width, half) = (x.len() / positions.len(), hd / 2);
    let mut y = x.to_vec();
    for (row, position) in positions.iter().enumerate() {
        for head in 0..width / hd {
            for i in 0..half {
                let angle = sign * f64::from(*position) / scale * theta.powf(-2.0 * i as f64 / hd as f64);
                let (a, b) = (row * width + head * hd + i, row * width + head * hd + half + i);
                y[a] = x[a] * angle.cos() - x[b] * angle.sin();
                y[b] = x[b] * angle.cos() + x[a] * angle.sin();
            }
        }
    }
    y
}

const ROOT: f64 = 0.797_884_560_802_865_4;

pub fn geglu(gate: &[f64], up: &[f64]) -> Vec<f64> {
    gate.iter().zip(up).map(|(x, u)| 0.5 * x * (1.0 + (ROOT * (x + 0.044_715 * x.powi(3))).tanh()) * u).collect()
}

/// (d gate, d up)
pub fn geglu_back(gate: &[f64], up: &[f64], g: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let slope = |x: f64| {
        let t = (ROOT * (x + 0.044_715 * x.powi(3))).tanh();
        0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * ROOT * (1.0 + 3.0 * 0.044_715 * x * x)
    };
    let d_gate = (0..g.len()).map(|i| g[i] * up[i] * slope(gate[i])).collect();
    (d_gate, geglu(gate, g))
}

/// Rows that a row of a plan sees, itself last.
fn seen(plan: &Plan, row: usize, window: Option<usize>) -> Vec<usize> {
    let segment = plan.segments.iter().find(|s| (s.start..s.start + s.len).contains(&row)).unwrap();
    let prompt = segment.parent.map_or(0..0, |p| plan.segments[p].start..plan.segments[p].start + plan.segments[p].len);
    let all: Vec<usize> = prompt.chain(segment.start..=row).collect();
    all[window.map_or(0, |w| all.len().saturating_sub(w))..].to_vec()
}

/// For one query row and head: the rows seen and their probabilities.
fn probabilities(q: &[f64], k: &[f64], heads: Heads, plan: &Plan, row: usize, head: usize) -> (Vec<usize>, Vec<f64>) {
    let (hd, kv) = (heads.head_dim, head / (heads.n_heads / heads.n_kv_heads));
    let rows = seen(plan, row, heads.window);
    let dot = |other: usize| -> f64 {
        (0..hd).map(|d| q[(row * heads.n_heads + head) * hd + d] * k[(other * heads.n_kv_heads + kv) * hd + d]).sum()
    };
    let scores: Vec<f64> = rows.iter().map(|other| dot(*other) * f64::from(heads.scale)).collect();
    let p = softmax(&scores);
    (rows, p)
}

pub fn softmax(x: &[f64]) -> Vec<f64> {
    let top = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = x.iter().map(|x| (x - top).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|e| e / sum).collect()
}

pub fn attention(q: &[f64], k: &[f64], v: &[f64], heads: Heads, plan: &Plan) -> Vec<f64> {
    let (hd, per_kv) = (heads.head_dim, heads.n_heads / heads.n_kv_heads);
    let mut y = vec![0.0; q.len()];
    for row in 0..plan.n_rows {
        for head in 0..heads.n_heads {
            let (rows, p) = probabilities(q, k, heads, plan, row, head);
            for (other, p) in rows.iter().zip(p) {
                for d in 0..hd {
                    y[(row * heads.n_heads + head) * hd + d] += p * v[(other * heads.n_kv_heads + head / per_kv) * hd + d];
                }
            }
        }
    }
    y
}

/// (dq, dk, dv)
pub fn attention_back(q: &[f64], k: &[f64], v: &[f64], heads: Heads, plan: &Plan, g: &[f64]) -> [Vec<f64>; 3] {
    let (hd, per_kv) = (heads.head_dim, heads.n_heads / heads.n_kv_heads);
    let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
    for row in 0..plan.n_rows {
        for head in 0..heads.n_heads {
            let (rows, p) = probabilities(q, k, heads, plan, row, head);
            let mine = (row * heads.n_heads + head) * hd;
            let theirs = |other: usize| (other * heads.n_kv_heads + head / per_kv) * hd;
            let dp: Vec<f64> = rows.iter().map(|o| (0..hd).map(|d| g[mine + d] * v[theirs(*o) + d]).sum()).collect();
            let mean: f64 = dp.iter().zip(&p).map(|(dp, p)| dp * p).sum();
            for (i, other) in rows.iter().enumerate() {
                let ds = p[i] * (dp[i] - mean) * f64::from(heads.scale);
                for d in 0..hd {
                    dq[mine + d] += ds * k[theirs(*other) + d];
                    dk[theirs(*other) + d] += ds * q[mine + d];
                    dv[theirs(*other) + d] += p[i] * g[mine + d];
                }
            }
        }
    }
    [dq, dk, dv]
}

/// x (n, k) · Wᵀ with W (m, k)
pub fn product(x: &[f64], w: &[f64], k: usize) -> Vec<f64> {
    let dot = |x: &[f64], w: &[f64]| -> f64 { x.iter().zip(w).map(|(x, w)| x * w).sum() };
    x.chunks(k).flat_map(|x| w.chunks(k).map(move |w| dot(x, w)).collect::<Vec<f64>>()).collect()
}

/// g (n, m) · W with W (m, k)
pub fn product_back(g: &[f64], w: &[f64], k: usize) -> Vec<f64> {
    let m = w.len() / k;
    let column = |g: &[f64], j: usize| -> f64 { (0..m).map(|i| g[i] * w[i * k + j]).sum() };
    g.chunks(m).flat_map(|g| (0..k).map(move |j| column(g, j)).collect::<Vec<f64>>()).collect()
}

/// gᵀ · x: the gradient of W
pub fn outer(g: &[f64], x: &[f64], m: usize, k: usize) -> Vec<f64> {
    let mut dw = vec![0.0; m * k];
    for (g, x) in g.chunks(m).zip(x.chunks(k)) {
        for i in 0..m {
            (0..k).for_each(|j| dw[i * k + j] += g[i] * x[j]);
        }
    }
    dw
}

/// Log-probs of the targets, entropies and log-sum-exps of softmax(h Wᵀ / temperature), one after the other.
pub fn logprobs(h: &[f64], w: &[f64], k: usize, targets: &[u32], temperature: f64) -> Vec<f64> {
    let logits: Vec<f64> = product(h, w, k).iter().map(|x| x / temperature).collect();
    let (mut lp, mut entropy, mut sums) = (Vec::new(), Vec::new(), Vec::new());
    for (row, target) in logits.chunks(w.len() / k).zip(targets) {
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum = top + row.iter().map(|x| (x - top).exp()).sum::<f64>().ln();
        lp.push(row[*target as usize] - sum);
        entropy.push(-row.iter().map(|x| (x - sum).exp() * (x - sum)).sum::<f64>());
        sums.push(sum);
    }
    [lp, entropy, sums].concat()
}

/// (dh, dw) for gradients `g` of the log-probs.
pub fn logprobs_back(h: &[f64], w: &[f64], k: usize, targets: &[u32], temperature: f64, g: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let m = w.len() / k;
    let mut slopes = Vec::new();
    for ((row, target), g) in product(h, w, k).chunks(m).zip(targets).zip(g) {
        let p = softmax(&row.iter().map(|x| x / temperature).collect::<Vec<f64>>());
        slopes.extend((0..m).map(|i| g * (f64::from(u8::from(i == *target as usize)) - p[i]) / temperature));
    }
    (product_back(&slopes, w, k), outer(&slopes, h, m, k))
}
