//! `medserl pretrain RECIPE.toml`: makes the nano model; running it again continues.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};

use crate::{
    clinic, config,
    model::{
        files::nano_template,
        tokenizer::{Tokenizer, train_nano},
    },
    train::pretrain::{CurvePoint, Pretraining, Recipe, TokenDocument},
};

/// Far beyond the documents that any recipe reaches.
const FRESH_DOCUMENTS: std::ops::Range<u64> = (1 << 50)..(1 << 50) + 200;

#[derive(clap::Args)]
pub struct Args {
    /// The recipe, such as experiments/nano/pretrain.toml
    recipe: PathBuf,
    /// Where the state, the loss curve and the finished model go
    #[arg(long, default_value = "nano-pretraining")]
    out: PathBuf,
    /// Stop after this many optimizer steps of this call
    #[arg(long)]
    max_steps: Option<u64>,
}

pub fn run(args: &Args) -> Result<()> {
    let text = std::fs::read_to_string(&args.recipe).with_context(|| format!("cannot read {}", args.recipe.display()))?;
    let recipe: Recipe = config::text::read(&text).map_err(|e| anyhow!("in {}: {e}", args.recipe.display()))?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot create {}", args.out.display()))?;
    let tokenizer = tokenizer(&recipe, &args.out)?;
    let mut run = Pretraining::open(recipe.clone(), &args.out)?;
    println!("nano: {} parameters, step {} of {}", recipe.spec().n_parameters(), run.step, recipe.steps);
    let last = args.max_steps.map_or(recipe.steps, |n| (run.step + n).min(recipe.steps));
    while run.step < last {
        let point = run.step(&|index| token_document(&tokenizer, recipe.seed, index))?;
        show(&point, recipe.steps);
    }
    let dir = args.out.join("model");
    run.export(&dir)?;
    std::fs::copy(args.out.join("tokenizer.json"), dir.join("tokenizer.json"))?;
    println!("step {}: wrote {}", run.step, dir.display());
    by_kind(&run, &tokenizer, recipe.seed)
}

/// Loss on fresh documents of each kind: what the model can and cannot do yet.
fn by_kind(run: &Pretraining, tokenizer: &Tokenizer, seed: u64) -> Result<()> {
    let mut kinds: BTreeMap<String, Vec<TokenDocument>> = BTreeMap::new();
    for index in FRESH_DOCUMENTS {
        let kind = format!("{:?}", clinic::document(seed, index).kind);
        kinds.entry(kind).or_default().push(token_document(tokenizer, seed, index)?);
    }
    for (kind, documents) in &kinds {
        println!("{kind:10} completion loss {:.4} nats a token on {} fresh documents", run.score(documents)?, documents.len());
    }
    Ok(())
}

/// Trains the tokenizer on the first documents of the corpus, once.
fn tokenizer(recipe: &Recipe, out: &Path) -> Result<Tokenizer> {
    let path = out.join("tokenizer.json");
    if !path.exists() {
        println!("training the tokenizer on {} documents", recipe.tokenizer_documents);
        let seed = recipe.seed;
        let texts = (0..recipe.tokenizer_documents).map(move |index| {
            let d = clinic::document(seed, index);
            let prompt =
                d.chat.map(|c| c.turns.into_iter().map(|t| t.content).collect::<Vec<_>>().join("\n")).unwrap_or_default();
            format!("{prompt}\n{}", d.text)
        });
        std::fs::write(&path, train_nano(texts, recipe.vocab_size)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let template = nano_template()?;
    std::fs::write(out.join("chat_template.jinja"), template.text()).context("cannot write the chat template")?;
    Ok(Tokenizer::load(&path)?.with_template(Some(template)))
}

fn token_document(tokenizer: &Tokenizer, seed: u64, index: u64) -> Result<TokenDocument> {
    let d = clinic::document(seed, index);
    Ok(match &d.chat {
        Some(chat) => TokenDocument { prompt: tokenizer.encode_chat(chat)?, completion: tokenizer.encode_completion(&d.text)? },
        None => {
            let mut ids = tokenizer.encode_document(&d.text)?;
            let completion = ids.split_off(1);
            TokenDocument { prompt: ids, completion }
        }
    })
}

fn show(point: &CurvePoint, steps: u64) {
    if std::io::stdout().is_terminal() {
        let filled = (point.step * 30 / steps) as usize;
        print!("\r[{}{}] ", "█".repeat(filled), "░".repeat(30 - filled));
    } else if !point.step.is_multiple_of(10) && point.step != steps {
        return;
    }
    let minutes = (steps - point.step) as f64 * point.tokens as f64 / point.step as f64 / point.tokens_per_second / 60.0;
    let line = format!(
        "step {}/{steps}  completion loss {:.4}  prompt loss {:.4}  {:.0} tokens/s  {minutes:.0} min left",
        point.step, point.completion_loss, point.prompt_loss, point.tokens_per_second
    );
    if std::io::stdout().is_terminal() { print!("{line}  ") } else { println!("{line}") }
}
