//! Finding a model's files: embedded, in a local folder, or downloaded from the hub when asked for by id.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Where a configured model lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// The nano model inside this binary.
    Nano,
    Folder(PathBuf),
    Hub(String),
}

/// `nano`, an existing folder, or a hub id `owner/name`.
pub fn locate(model: &str) -> Result<Location> {
    if model == "nano" {
        return Ok(Location::Nano);
    }
    let path = Path::new(model);
    if path.is_dir() {
        return Ok(Location::Folder(path.to_owned()));
    }
    ensure!(
        !path.exists(),
        "model = {model:?} is a file; give the folder with config.json, model*.safetensors and tokenizer.json"
    );
    let looks_like_id = model.split('/').count() == 2
        && model.chars().all(|c| c.is_ascii_alphanumeric() || "/-_.".contains(c))
        && !model.starts_with(['.', '/']);
    if looks_like_id {
        return Ok(Location::Hub(model.to_owned()));
    }
    bail!("model = {model:?} is neither \"nano\", nor a folder that exists, nor a hub id such as google/medgemma-4b-it")
}

/// Downloads what the text model needs into the hub cache (or finds it there) and returns its folder.
/// Honours `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE`.
pub fn fetch(id: &str) -> Result<PathBuf> {
    let config = get(id, "config.json")?;
    let folder = config.parent().context("a cached file has no folder")?.to_owned();
    get(id, "tokenizer.json")?;
    match get(id, "model.safetensors.index.json") {
        Ok(index) => {
            let json: Value = serde_json::from_str(&std::fs::read_to_string(&index)?)
                .with_context(|| format!("{} is not JSON", index.display()))?;
            let map = json
                .get("weight_map")
                .and_then(Value::as_object)
                .with_context(|| format!("{} has no weight_map", index.display()))?;
            let mut shards: Vec<&str> = map.values().filter_map(Value::as_str).collect();
            shards.sort_unstable();
            shards.dedup();
            for shard in shards {
                get(id, shard)?;
            }
        }
        Err(_) => {
            get(id, "model.safetensors")?;
        }
    }
    Ok(folder)
}

fn get(id: &str, file: &str) -> Result<PathBuf> {
    let cached = hf_hub::Cache::from_env().repo(hf_hub::Repo::model(id.to_owned())).get(file);
    if let Some(path) = cached {
        return Ok(path);
    }
    let offline = std::env::var("HF_HUB_OFFLINE").is_ok_and(|v| !matches!(v.as_str(), "" | "0" | "false"));
    ensure!(
        !offline,
        "{file} of {id} is not in the cache and HF_HUB_OFFLINE is set; fetch it once online, or set model to a local folder"
    );
    let mut builder = hf_hub::api::sync::ApiBuilder::from_env().with_progress(false);
    if let Ok(token) = std::env::var("HF_TOKEN") {
        builder = builder.with_token(Some(token));
    }
    let api = builder.build().context("cannot reach the hub")?;
    api.model(id.to_owned()).get(file).map_err(|error| explain(id, file, &error.to_string()))
}

/// The commonest refusal deserves the commonest remedy.
fn explain(id: &str, file: &str, error: &str) -> anyhow::Error {
    if error.contains("401") || error.contains("403") {
        return anyhow::anyhow!(
            "the hub refused {file} of {id}: the model is gated. Accept its terms on its page with your account, then set HF_TOKEN, or set model to a local folder"
        );
    }
    anyhow::anyhow!("cannot download {file} of {id}: {error}")
}
