//! Checkpoint tensors of the text tower by their bare names (`layers.0.mlp.up_proj.weight`), whatever prefix a file uses.
//! Files are mapped, and what has been read is given back tensor by tensor, so a 9 GB checkpoint never lies in memory twice.

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor, Var};
use memmap2::{Mmap, UncheckedAdvice};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde_json::Value;

use super::{
    ops::matrix::{Kept, Matrix},
    random,
    spec::Spec,
};
use crate::config::Precision;

/// Prefixes seen in published and saved checkpoints; towers under other names are skipped.
const PREFIXES: [&str; 3] = ["language_model.model.", "model.language_model.", "model."];
const SKIPPED: [&str; 5] =
    ["vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector.", "lm_head."];

/// A safetensors header longer than this is refused, as the format's own library does.
const MAX_HEADER: u64 = 100_000_000;

/// Whether a checkpoint's tensor is no part of the text model.
pub fn is_skipped(key: &str) -> bool {
    SKIPPED.iter().any(|s| key.starts_with(s))
}

/// Named tensors. Matrices are kept as the wanted precision says, everything else in f32.
pub struct Weights {
    tensors: HashMap<String, Stored>,
    precision: Precision,
    source: String,
}

struct Stored {
    shape: Vec<usize>,
    /// A vector is a matrix of one row.
    values: Matrix,
}

impl Weights {
    /// Reads `model.safetensors`, or the shards named by `model.safetensors.index.json`, from a model folder.
    pub fn load_dir(dir: &Path, precision: Precision) -> Result<Weights> {
        let mut weights = Weights { tensors: HashMap::new(), precision, source: dir.display().to_string() };
        for path in shard_paths(dir)? {
            let map = map(&path)?;
            weights.read(&map, &|first, len| give_back(&map, first, len)).with_context(|| format!("in {}", path.display()))?;
        }
        ensure!(!weights.tensors.is_empty(), "{} holds no Gemma 3 text weights", dir.display());
        Ok(weights)
    }

    /// Reads one safetensors buffer.
    pub fn from_bytes(bytes: &[u8], source: &str, precision: Precision) -> Result<Weights> {
        let mut weights = Weights { tensors: HashMap::new(), precision, source: source.to_owned() };
        weights.read(bytes, &|_, _| ()).with_context(|| format!("in {source}"))?;
        Ok(weights)
    }

    /// Takes what is wanted from a file's bytes; `done(first, length)` hears which are no longer needed.
    fn read(&mut self, file: &[u8], done: &dyn Fn(usize, usize)) -> Result<()> {
        let (metadata, start) = header(file)?;
        let mut entries: Vec<(String, &TensorInfo)> = metadata.tensors().into_iter().collect();
        entries.sort_by_key(|(_, info)| info.data_offsets.0);
        for (key, info) in entries {
            if is_skipped(&key) {
                continue;
            }
            let bare = PREFIXES.iter().find_map(|p| key.strip_prefix(p)).with_context(|| format!("unknown tensor {key}"))?;
            let (first, last) = info.data_offsets;
            let bytes = file.get(start + first..start + last).with_context(|| format!("the file ends inside {key}"))?;
            let values = self.keep(bare, info, bytes).with_context(|| format!("in {key}"))?;
            self.tensors.insert(bare.to_owned(), Stored { shape: info.shape.clone(), values });
            done(start + first, last - first);
        }
        Ok(())
    }

    /// Turns file bytes into what is kept.
    fn keep(&self, name: &str, info: &TensorInfo, bytes: &[u8]) -> Result<Matrix> {
        let (rows, cols, is_matrix) = match info.shape.as_slice() {
            [rows, cols] => (*rows, *cols, true),
            [cols] => (1, *cols, false),
            other => anyhow::bail!("shape {other:?}: only vectors and matrices are known"),
        };
        let (size, value): (usize, fn(&[u8]) -> f32) = match info.dtype {
            Dtype::BF16 => (2, |b| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16)),
            Dtype::F16 => (2, |b| half_to_f32(u16::from_le_bytes([b[0], b[1]]))),
            Dtype::F32 => (4, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            other => anyhow::bail!("{other:?} weights cannot be read; F32, BF16 and F16 can"),
        };
        let values =
            |range: Range<usize>| bytes[range.start * cols * size..range.end * cols * size].chunks_exact(size).map(value);
        if !is_matrix {
            return Ok(Matrix::Plain(Tensor::from_vec(values(0..1).collect(), (1, cols), &Device::Cpu)?));
        }
        let kept = kept(self.precision, name, info.dtype == Dtype::BF16);
        Ok(Matrix::pack(rows, cols, kept, |rows, out| out.iter_mut().zip(values(rows)).for_each(|(to, v)| *to = v))?)
    }

    fn stored(&self, name: &str, shape: &[usize]) -> Result<&Matrix> {
        let stored = self.tensors.get(name).with_context(|| format!("{} has no tensor {name}", self.source))?;
        ensure!(stored.shape == shape, "{}: {name} is {:?}, its configuration says {shape:?}", self.source, stored.shape);
        Ok(&stored.values)
    }

    /// Whether every matrix holds bf16 values only, so that keeping them in bf16 changes nothing.
    pub fn are_bf16(&self) -> Result<bool> {
        let mut scratch = Vec::new();
        for stored in self.tensors.values().filter(|stored| stored.shape.len() == 2) {
            let is_bf16 = |values: &[f32]| values.iter().all(|v| v.to_bits() & 0xffff == 0);
            if !stored.values.with_rows(0..stored.shape[0], &mut scratch, is_bf16)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The same values, every matrix kept in f32.
    pub fn widened(&self) -> Result<Weights> {
        let mut tensors = HashMap::new();
        for (name, Stored { shape, values }) in &self.tensors {
            let values = match values {
                Matrix::Packed(panels) => {
                    let (rows, cols) = panels.dims();
                    Matrix::pack(rows, cols, Kept::F32, |range, out| panels.unpack(range, out))?
                }
                other => other.clone(),
            };
            tensors.insert(name.clone(), Stored { shape: shape.clone(), values });
        }
        Ok(Weights { tensors, precision: Precision::F32, source: self.source.clone() })
    }

    /// Where the weights lie.
    pub fn device(&self) -> &Device {
        &Device::Cpu
    }

    /// A weight matrix (out, in).
    pub fn matrix(&self, name: &str, shape: (usize, usize)) -> Result<Matrix> {
        Ok(self.stored(name, &[shape.0, shape.1])?.clone())
    }

    /// A vector in f32, such as a norm's weight.
    pub fn vector(&self, name: &str, len: usize) -> Result<Tensor> {
        match self.stored(name, &[len])? {
            Matrix::Plain(tensor) if tensor.rank() == 1 => Ok(tensor.clone()),
            Matrix::Plain(tensor) => Ok(tensor.reshape(len)?),
            Matrix::Packed(_) | Matrix::Placed(_) => anyhow::bail!("{}: {name} is a matrix, not a vector", self.source),
        }
    }

    /// Frozen random weights of a shape, for measuring: projections and embedding uniform in ±0.035, norms zero.
    pub fn random(spec: &Spec, precision: Precision, seed: u64) -> Result<Weights> {
        let mut tensors = HashMap::new();
        for (index, (name, shape)) in names(spec).into_iter().enumerate() {
            let values = match shape.as_slice() {
                [rows, cols] => {
                    let stream = seed.wrapping_add((index as u64) << 40);
                    Matrix::pack(*rows, *cols, kept(precision, &name, false), |rows, out| {
                        let first = stream + (rows.start * cols) as u64 / 4;
                        for (i, four) in out.chunks_mut(4).enumerate() {
                            four.iter_mut().zip(four_draws(first + i as u64)).for_each(|(value, draw)| *value = small(draw));
                        }
                    })?
                }
                _ => Matrix::Plain(Tensor::zeros((1, shape[0]), candle_core::DType::F32, &Device::Cpu)?),
            };
            tensors.insert(name, Stored { shape, values });
        }
        Ok(Weights { tensors, precision, source: "random weights".into() })
    }

    /// Fresh trainable weights for pretraining: normal with standard deviation 0.02 (projections into the residual stream
    /// smaller by sqrt(2 layers)), norms zero (that is, factor one). Returns the variables by bare name too.
    pub fn fresh(spec: &Spec, seed: u64, device: &Device) -> Result<(Weights, Vec<(String, Var)>)> {
        let mut vars = Vec::new();
        for (index, (name, shape)) in names(spec).into_iter().enumerate() {
            let n = shape.iter().product();
            let values = match weight_std(spec, &name) {
                Some(std) => random::normal(seed, index as u64, n, std),
                None => vec![0f32; n],
            };
            vars.push((name, Var::from_tensor(&Tensor::from_vec(values, shape, device)?)?));
        }
        let stored = |var: &Var| Stored { shape: var.dims().to_vec(), values: Matrix::Plain(var.as_tensor().clone()) };
        let tensors = vars.iter().map(|(name, var)| (name.clone(), stored(var))).collect();
        Ok((Weights { tensors, precision: Precision::F32, source: "fresh weights".into() }, vars))
    }
}

/// How a matrix is kept. Of the block forms the embedding is left out: it is the head too, and a rounded head moves every log-prob.
fn kept(precision: Precision, name: &str, file_is_bf16: bool) -> Kept {
    match precision {
        Precision::F32 => Kept::F32,
        Precision::Stored => {
            if file_is_bf16 {
                Kept::Bf16
            } else {
                Kept::F32
            }
        }
        Precision::Int8 if name.contains("_proj") => Kept::Int8,
        Precision::Int4 if name.contains("_proj") => Kept::Int4,
        Precision::Bf16 | Precision::Int8 | Precision::Int4 => Kept::Bf16,
    }
}

/// Four 16-bit draws from a counter (SplitMix64; Steele et al. 2014): measuring needs fast numbers, not good ones.
fn four_draws(counter: u64) -> [u16; 4] {
    let mut z = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    [z as u16, (z >> 16) as u16, (z >> 32) as u16, (z >> 48) as u16]
}

fn small(draw: u16) -> f32 {
    (f32::from(draw) / 65_536.0 - 0.5) * 0.07
}

fn weight_std(spec: &Spec, name: &str) -> Option<f32> {
    if name.contains("norm") {
        return None;
    }
    let residual = name.contains("o_proj") || name.contains("down_proj");
    Some(if residual { 0.02 / (2.0 * spec.n_layers() as f32).sqrt() } else { 0.02 })
}

/// Every tensor of the text tower with its shape, in a fixed order.
pub fn names(spec: &Spec) -> Vec<(String, Vec<usize>)> {
    let h = spec.hidden_size;
    let mut names = vec![("embed_tokens.weight".to_owned(), vec![spec.vocab_size, h]), ("norm.weight".to_owned(), vec![h])];
    for i in 0..spec.n_layers() {
        for projection in super::lora::Projection::ALL {
            let (out, input) = projection.shape(spec);
            names.push((format!("layers.{i}.{}.weight", projection.path()), vec![out, input]));
        }
        for norm in ["input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"] {
            names.push((format!("layers.{i}.{norm}.weight"), vec![h]));
        }
        for norm in ["self_attn.q_norm", "self_attn.k_norm"] {
            names.push((format!("layers.{i}.{norm}.weight"), vec![spec.head_dim]));
        }
    }
    names
}

#[allow(unsafe_code)]
fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    // SAFETY: the bytes are only ever read, into memory of our own, before this function's caller returns. A file that another process
    // shortens meanwhile ends this one with SIGBUS; it is a file that would have been half of another model anyway.
    unsafe { Mmap::map(&file) }.with_context(|| format!("cannot map {}", path.display()))
}

/// Pages that have been read need not stay: a later read would bring them back from the file.
#[allow(unsafe_code)]
fn give_back(map: &Mmap, first: usize, len: usize) {
    // SAFETY: of a read-only map of a file this drops clean pages only; no reference into them is held by the caller. Where the system
    // refuses, memory stays higher for a while, and nothing else changes.
    let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, first, len) };
}

/// The header, and where the data begins.
fn header(file: &[u8]) -> Result<(Metadata, usize)> {
    let size = file.first_chunk::<8>().context("the file is too short for safetensors")?;
    let (size, room) = (u64::from_le_bytes(*size), file.len() as u64 - 8);
    ensure!(size <= MAX_HEADER.min(room), "the header claims {size} bytes of a file of {}", file.len());
    let start = 8 + size as usize;
    let metadata: Metadata = serde_json::from_slice(&file[8..start]).context("the header is damaged")?;
    let data = file.len() - start;
    ensure!(metadata.data_len() == data, "the header describes {} bytes of data, the file has {data}", metadata.data_len());
    Ok((metadata, start))
}

/// IEEE half precision to single, exactly.
fn half_to_f32(bits: u16) -> f32 {
    let (sign, exponent, fraction) = (u32::from(bits >> 15) << 31, u32::from(bits >> 10) & 31, u32::from(bits) & 1023);
    match exponent {
        0 => f32::from_bits(sign | (fraction as f32 * 2f32.powi(-24)).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

fn shard_paths(dir: &Path) -> Result<Vec<PathBuf>> {
    let (single, index) = (dir.join("model.safetensors"), dir.join("model.safetensors.index.json"));
    if single.exists() {
        return Ok(vec![single]);
    }
    ensure!(index.exists(), "{} has neither model.safetensors nor model.safetensors.index.json", dir.display());
    let paths: Vec<PathBuf> = shards(&index)?.into_iter().map(|file| dir.join(file)).collect();
    let absent: Vec<String> = paths.iter().filter(|p| !p.exists()).map(|p| p.display().to_string()).collect();
    ensure!(absent.is_empty(), "{} names files that are not there: {}", index.display(), absent.join(", "));
    Ok(paths)
}

/// The files that hold text weights, by an index; those of the vision tower alone are not among them.
pub fn shards(index: &Path) -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(index).with_context(|| format!("cannot read {}", index.display()))?;
    let json: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", index.display()))?;
    let map =
        json.get("weight_map").and_then(Value::as_object).with_context(|| format!("{} has no weight_map", index.display()))?;
    let wanted = map.iter().filter(|(name, _)| !is_skipped(name));
    let files: BTreeSet<String> = wanted.filter_map(|(_, file)| file.as_str().map(str::to_owned)).collect();
    for file in &files {
        ensure!(!file.contains(['/', '\\']), "{}: shard name {file:?} leaves the model folder", index.display());
    }
    Ok(files)
}
