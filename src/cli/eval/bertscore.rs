//! `medserl eval score --bertscore`: the model's part of the official metrics.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::{
    eval::{BertScores, Counters, ScoredPair},
    model::bertscore::{self, BASELINE, BertScore, LAYER, MODEL, Scorer},
};

#[derive(clap::Args)]
pub struct BertArgs {
    /// Compute BERTScore with this DeBERTa: microsoft/deberta-xlarge-mnli, or a folder with its files
    #[arg(long, value_name = "FOLDER-OR-ID")]
    bertscore: Option<String>,
    /// The layer whose vectors are matched; the package reads 40 of deberta-xlarge-mnli
    #[arg(long, default_value_t = LAYER, requires = "bertscore")]
    bertscore_layer: usize,
    /// A baseline file of the package (LAYER,P,R,F a line) to rescale by; needed for other layers and models
    #[arg(long, value_name = "TSV", requires = "bertscore")]
    bertscore_baseline: Option<PathBuf>,
    /// Leave the scores as they are; the official script rescales them
    #[arg(long, requires = "bertscore", conflicts_with = "bertscore_baseline")]
    no_rescale: bool,
}

impl BertArgs {
    /// `None` where it is not asked for.
    pub fn score(&self, counters: &Counters, pairs: &[ScoredPair]) -> Result<Option<BertScores>> {
        let Some(model) = &self.bertscore else { return Ok(None) };
        let layer = self.bertscore_layer;
        let baseline = self.baseline()?;
        let scorer = Scorer::load(&bertscore::find(model, &mut |line| eprintln!("{line}"))?, layer)?;
        let proposed = pairs.iter().map(|p| (p.hypothesis.clone(), p.reference.clone()));
        let unchanged = pairs.iter().filter_map(|p| Some((p.unchanged.clone()?, p.reference.clone())));
        // Apart, since the longest sentence of a batch has a say in the others' scores.
        let of_proposed = values(&scorer, proposed.collect(), baseline)?;
        let of_unchanged = values(&scorer, unchanged.collect(), baseline)?;
        let f = counters.score(&of_proposed, &of_unchanged);
        Ok(Some(BertScores { f, model: model.clone(), layer, rescaled: baseline.is_some() }))
    }

    fn baseline(&self) -> Result<Option<[f32; 3]>> {
        if self.no_rescale {
            return Ok(None);
        }
        if let Some(path) = &self.bertscore_baseline {
            return Ok(Some(bertscore::read_baseline(path, self.bertscore_layer)?));
        }
        ensure!(
            self.bertscore_layer == LAYER,
            "the built-in baseline is that of layer {LAYER} of {MODEL}; give --bertscore-baseline TSV for layer {}, or --no-rescale",
            self.bertscore_layer
        );
        Ok(Some(BASELINE))
    }
}

/// F of every pair, bounded to 0..1.
fn values(scorer: &Scorer, pairs: Vec<(String, String)>, baseline: Option<[f32; 3]>) -> Result<Vec<f64>> {
    let mut told = 0;
    let mut progress = |done: usize, total: usize| {
        if done >= told + 50 {
            told = done;
            eprintln!("BERTScore: {done}/{total} sentences");
        }
        true
    };
    let bounded = |score: &BertScore| f64::from(score.f.clamp(0.0, 1.0));
    Ok(scorer.score(&pairs, baseline, &mut progress)?.iter().map(bounded).collect())
}
