//! A model's files, from inside the binary, a folder or the hub's cache: shape, weights and tokenizer.

use std::{
    borrow::Cow,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{
    hub::{self, Location, Settings},
    spec::Spec,
    template::{ChatTemplate, gemma_tokens},
    tokenizer::Tokenizer,
    weights::Weights,
};
use crate::config::Precision;

const NANO_WEIGHTS: &[u8] = include_bytes!("../../assets/nano/model.safetensors");
const NANO_CONFIG: &[u8] = include_bytes!("../../assets/nano/config.json");
const NANO_TOKENIZER: &[u8] = include_bytes!("../../assets/nano/tokenizer.json");
const NANO_TEMPLATE: &str = include_str!("../../assets/nano/chat_template.jinja");

/// What a model is made from.
pub struct Files {
    pub spec: Spec,
    pub weights: Weights,
    /// The text of `tokenizer.json`.
    pub tokenizer_json: Cow<'static, [u8]>,
    tokenizer_source: String,
    /// `None` where the folder has none: such a model can be scored but not talked to.
    pub template: Option<ChatTemplate>,
    /// Where generation ends, beside the tokenizer's own end tokens.
    stops: Vec<u32>,
    /// The commit of a model from the hub.
    pub commit: Option<String>,
}

impl Files {
    /// Opens `nano`, a folder, or a hub id (downloading it where it is not in the cache, which `tell` hears about).
    pub fn open(model: &str, precision: Precision, tell: &mut dyn FnMut(&str)) -> Result<Files> {
        match hub::locate(model)? {
            Location::Nano => Files::nano(precision),
            Location::Folder(dir) => Files::folder(&dir, precision),
            Location::Hub(repo) => {
                let found = hub::fetch(&repo, &Settings::from_env()?, tell)?;
                Ok(Files { commit: Some(found.commit), ..Files::folder(&found.dir, precision)? })
            }
        }
    }

    fn nano(precision: Precision) -> Result<Files> {
        let precision = if precision == Precision::Stored { Precision::F32 } else { precision };
        Ok(Files {
            spec: nano_spec()?,
            weights: Weights::from_bytes(NANO_WEIGHTS, "the embedded nano model", precision)?,
            tokenizer_json: Cow::Borrowed(NANO_TOKENIZER),
            tokenizer_source: "the embedded tokenizer".into(),
            template: Some(nano_template()?),
            stops: Vec::new(),
            commit: None,
        })
    }

    fn folder(dir: &Path, precision: Precision) -> Result<Files> {
        let path = dir.join("tokenizer.json");
        let spec = Spec::load(&dir.join("config.json"))?;
        let json = std::fs::read(&path).with_context(|| format!("cannot read the tokenizer {}", path.display()))?;
        let files = Files {
            spec,
            weights: Weights::load_dir(dir, precision)?,
            tokenizer_json: Cow::Owned(json),
            tokenizer_source: path.display().to_string(),
            template: ChatTemplate::load(dir)?,
            stops: read_stops(&dir.join("generation_config.json"))?,
            commit: None,
        };
        Ok(files)
    }

    /// The tokenizer with the model's chat template and stops.
    pub fn tokenizer(&mut self) -> Result<Tokenizer> {
        let tokenizer = Tokenizer::from_bytes(&self.tokenizer_json, &self.tokenizer_source)?;
        Ok(tokenizer.with_template(self.template.take()).with_stops(&self.stops))
    }
}

/// `eos_token_id` of a model's generation settings: one id, a list, or nothing.
fn read_stops(path: &Path) -> Result<Vec<u32>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let json: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    let id = |v: &Value| v.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = match json.get("eos_token_id") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(id).collect(),
        Some(one) => id(one).map(|id| vec![id]),
    };
    ids.with_context(|| format!("{}: eos_token_id is neither a token id nor a list of them", path.display()))
}

/// BLAKE3 of a model's frozen weights with their configuration, and of its tokenizer with its chat template. Reads every byte of the
/// files.
pub fn hashes(model: &str) -> Result<[String; 2]> {
    let of = |parts: &[&[u8]]| {
        let mut hasher = blake3::Hasher::new();
        parts.iter().for_each(|part| _ = hasher.update(part));
        hasher.finalize().to_hex().to_string()
    };
    let dir = match hub::locate(model)? {
        Location::Nano => return Ok([of(&[NANO_CONFIG, NANO_WEIGHTS]), of(&[NANO_TOKENIZER, NANO_TEMPLATE.as_bytes()])]),
        Location::Folder(dir) => dir,
        Location::Hub(repo) => hub::fetch(&repo, &Settings::from_env()?, &mut |_| ())?.dir,
    };
    let entries = fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    let mut weights: Vec<PathBuf> = paths.into_iter().filter(|p| p.extension().is_some_and(|e| e == "safetensors")).collect();
    weights.sort();
    let mut hasher = blake3::Hasher::new();
    for path in [dir.join("config.json")].iter().chain(&weights) {
        let read = File::open(path).and_then(|mut file| io::copy(&mut file, &mut hasher));
        read.with_context(|| format!("cannot read {}", path.display()))?;
    }
    let tokenizer = dir.join("tokenizer.json");
    let tokenizer = fs::read(&tokenizer).with_context(|| format!("cannot read {}", tokenizer.display()))?;
    let template = ChatTemplate::load(&dir)?.map_or(String::new(), |t| t.text().to_owned());
    Ok([hasher.finalize().to_hex().to_string(), of(&[&tokenizer, template.as_bytes()])])
}

/// A model's tokenizer without its weights; `None` where it would have to be downloaded.
pub fn tokenizer_of(model: &str) -> Result<Option<Tokenizer>> {
    let dir = match hub::locate(model)? {
        Location::Nano => return nano_tokenizer().map(Some),
        Location::Folder(dir) => dir,
        Location::Hub(repo) => match hub::cached(&repo, &Settings::from_env()?, "tokenizer.json")? {
            Some(path) => path.parent().context("a cached file has no folder")?.to_owned(),
            None => return Ok(None),
        },
    };
    Ok(Some(Tokenizer::load(&dir.join("tokenizer.json"))?.with_template(ChatTemplate::load(&dir)?)))
}

/// The nano model's shape.
pub fn nano_spec() -> Result<Spec> {
    Spec::from_json(&serde_json::from_slice(NANO_CONFIG).context("the embedded configuration is damaged")?)
}

/// The nano model's own tokenizer and template.
pub fn nano_tokenizer() -> Result<Tokenizer> {
    Ok(Tokenizer::from_bytes(NANO_TOKENIZER, "the embedded tokenizer")?.with_template(Some(nano_template()?)))
}

/// The nano model's chat template.
pub fn nano_template() -> Result<ChatTemplate> {
    ChatTemplate::new(NANO_TEMPLATE, gemma_tokens(), "the embedded chat template")
}
