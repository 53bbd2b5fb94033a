//! BERTScore, as the Python package `bert_score` 0.3.13 computes it without idf: greedy matching of token vectors by cosine. Its
//! arithmetic is kept, quirks included; parity: `tests/model/bertscore.rs`.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, ensure};
use candle_core::Tensor;
use tokenizers::{
    AddedToken, Tokenizer, models::bpe::BPE, pre_tokenizers::byte_level::ByteLevel, processors::template::TemplateProcessing,
};

use super::{
    deberta::Deberta,
    hub::{self, Location, Settings},
};

/// The official script's model, and the layer the package reads of it.
pub const MODEL: &str = "microsoft/deberta-xlarge-mnli";
pub const LAYER: usize = 40;
/// What unrelated English sentences get at that layer: precision, recall, F (the package's
/// `rescale_baseline/en/microsoft/deberta-xlarge-mnli.tsv`, row 40).
pub const BASELINE: [f32; 3] = [0.516_906_6, 0.517_028_8, 0.515_019_2];

/// Pairs the package scores together: within such a batch shorter sentences are padded, and see [`matched`].
const BATCH: usize = 64;
const CLS: &str = "[CLS]";
const SEP: &str = "[SEP]";

/// Precision, recall and F of a candidate against its reference.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BertScore {
    pub precision: f32,
    pub recall: f32,
    pub f: f32,
}

/// Token vectors of one sentence, each of length 1, the special first and last included.
struct Sentence {
    vectors: Tensor,
    n: usize,
    /// Whether a token counts in the mean: `[CLS]` and `[SEP]` do not, wherever they stand.
    counts: Vec<bool>,
}

/// A loaded model.
pub struct Scorer {
    model: Deberta,
    tokenizer: Tokenizer,
}

/// The folder of a model: a local one, or the hub's cache, filled where it lacks something.
/// `tell` hears what is being fetched.
pub fn find(model: &str, tell: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    match hub::locate(model)? {
        Location::Folder(dir) => Ok(dir),
        Location::Hub(repo) => hub::fetch_deberta(&repo, &Settings::from_env()?, tell),
        Location::Nano => Err(anyhow!("nano computes no BERTScore; name {MODEL} or its folder")),
    }
}

/// One row of the package's baseline files: `LAYER,P,R,F`.
pub fn read_baseline(path: &Path, layer: usize) -> Result<[f32; 3]> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let row = |line: &str| -> Option<[f32; 3]> {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let number = |i: usize| fields.get(i)?.parse().ok();
        (fields.len() == 4 && fields[0] == layer.to_string()).then_some([number(1)?, number(2)?, number(3)?])
    };
    text.lines().find_map(row).with_context(|| format!("{} has no row \"{layer},P,R,F\"", path.display()))
}

impl Scorer {
    /// Loads the layers up to `layer` and the tokenizer of a folder.
    pub fn load(dir: &Path, layer: usize) -> Result<Scorer> {
        Ok(Scorer { model: Deberta::load(dir, layer)?, tokenizer: tokenizer(dir)? })
    }

    /// Scores (candidate, reference) pairs; `baseline` rescales them. `progress(sentences read, in all)` can stop it by `false`.
    pub fn score(
        &self,
        pairs: &[(String, String)],
        baseline: Option<[f32; 3]>,
        progress: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Vec<BertScore>> {
        let mut read: HashMap<&str, Sentence> = HashMap::new();
        let texts: Vec<&str> = pairs.iter().flat_map(|(candidate, reference)| [candidate.as_str(), reference.as_str()]).collect();
        for (done, text) in texts.iter().enumerate() {
            if !read.contains_key(text) {
                ensure!(progress(done, texts.len()), "stopped");
                read.insert(text, self.sentence(text)?);
            }
        }
        let mut scores = Vec::with_capacity(pairs.len());
        for batch in pairs.chunks(BATCH) {
            let of = |text: &String| &read[text.as_str()];
            let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
            let candidate = longest(&mut batch.iter().map(|(candidate, _)| of(candidate).n));
            let reference = longest(&mut batch.iter().map(|(_, reference)| of(reference).n));
            for (c, r) in batch {
                scores.push(matched(of(c), of(r), candidate, reference)?);
            }
        }
        Ok(match baseline {
            Some(baseline) => scores.into_iter().map(|score| score.rescaled(baseline)).collect(),
            None => scores,
        })
    }

    fn sentence(&self, text: &str) -> Result<Sentence> {
        let text = text.trim();
        let encoding = self.tokenizer.encode(text, true).map_err(|e| anyhow!("cannot tokenize {text:?}: {e}"))?;
        let mut ids = encoding.get_ids().to_vec();
        if ids.len() > self.model.max_tokens {
            let end = ids.last().copied();
            ids.truncate(self.model.max_tokens - 1);
            ids.extend(end);
        }
        let states = self.model.encode(&ids)?;
        let vectors = states.broadcast_div(&states.sqr()?.sum_keepdim(1)?.sqrt()?)?;
        let silent = [CLS, SEP].map(|name| self.tokenizer.token_to_id(name));
        let counts = ids.iter().map(|id| !silent.contains(&Some(*id))).collect();
        Ok(Sentence { vectors, n: ids.len(), counts })
    }
}

/// Greedy matching. The two special tokens can be matched but have no weight of their own. A sentence shorter than the longest of its
/// batch is padded, and the padding counts as a similarity of 0 that can be the best one.
fn matched(candidate: &Sentence, reference: &Sentence, longest_candidate: usize, longest_reference: usize) -> Result<BertScore> {
    // Nothing between the special tokens.
    if candidate.n <= 2 || reference.n <= 2 {
        return Ok(BertScore::default());
    }
    let likeness: Vec<Vec<f32>> = candidate.vectors.matmul(&reference.vectors.t()?.contiguous()?)?.to_vec2()?;
    let floor = |n: usize, longest: usize| if n < longest { 0.0 } else { f32::NEG_INFINITY };
    let best = |values: &mut dyn Iterator<Item = f32>, floor: f32| values.fold(floor, f32::max);
    let counted = |sentence: &Sentence| (0..sentence.n).filter(|i| sentence.counts[*i]).collect::<Vec<usize>>();
    let mean = |bests: Vec<f32>| bests.iter().sum::<f32>() / bests.len() as f32;
    let floor_of_reference = floor(reference.n, longest_reference);
    let floor_of_candidate = floor(candidate.n, longest_candidate);
    let precision =
        mean(counted(candidate).into_iter().map(|i| best(&mut likeness[i].iter().copied(), floor_of_reference)).collect());
    let recall =
        mean(counted(reference).into_iter().map(|j| best(&mut likeness.iter().map(|row| row[j]), floor_of_candidate)).collect());
    let f = 2.0 * precision * recall / (precision + recall);
    Ok(BertScore { precision, recall, f: if f.is_nan() { 0.0 } else { f } })
}

impl BertScore {
    /// 0 is what unrelated sentences get, 1 stays 1.
    fn rescaled(self, [p, r, f]: [f32; 3]) -> BertScore {
        let rescale = |value: f32, base: f32| (value - base) / (1.0 - base);
        BertScore { precision: rescale(self.precision, p), recall: rescale(self.recall, r), f: rescale(self.f, f) }
    }
}

/// `tokenizer.json`, or `vocab.json` with `merges.txt` put together as transformers does for DeBERTa.
fn tokenizer(dir: &Path) -> Result<Tokenizer> {
    let json = dir.join("tokenizer.json");
    if json.is_file() {
        return Tokenizer::from_file(&json).map_err(|e| anyhow!("{} is not a tokenizer: {e}", json.display()));
    }
    let (vocab, merges) = (dir.join("vocab.json"), dir.join("merges.txt"));
    ensure!(vocab.is_file() && merges.is_file(), "{} has neither tokenizer.json nor vocab.json with merges.txt", dir.display());
    let bad = |e: tokenizers::Error| anyhow!("cannot read {} with {}: {e}", vocab.display(), merges.display());
    let bpe = BPE::from_file(&vocab.to_string_lossy(), &merges.to_string_lossy()).build().map_err(bad)?;
    let mut tokenizer = Tokenizer::new(bpe);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    let special = |name: &str| {
        let id = tokenizer.token_to_id(name).with_context(|| format!("{} has no {name}", vocab.display()))?;
        Ok::<_, anyhow::Error>((name.to_owned(), id))
    };
    let specials = vec![special(CLS)?, special(SEP)?];
    let template = TemplateProcessing::builder()
        .try_single(format!("{CLS} $A {SEP}"))
        .map_err(|e| anyhow!("{e}"))?
        .special_tokens(specials)
        .build()?;
    tokenizer.with_post_processor(Some(template));
    tokenizer.add_special_tokens([CLS, SEP, "[PAD]", "[UNK]", "[MASK]"].map(|name| AddedToken::from(name, true))).map_err(bad)?;
    Ok(tokenizer)
}
