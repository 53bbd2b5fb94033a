//! Finding a model's files: embedded, in a local folder, or fetched from the hub when asked for by id. The network is used only for
//! what the cache lacks, and never where `HF_HUB_OFFLINE` is set.

mod cache;
mod http;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use cache::Cache;
pub use cache::Settings;
use http::Client;

use super::weights::shards;

/// Where a configured model lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// The nano model inside this binary.
    Nano,
    Folder(PathBuf),
    Hub(Repo),
}

/// A model repository at a revision: a branch, a tag, or the 40 digits of a commit, which pin it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repo {
    /// owner/name
    pub id: String,
    pub revision: String,
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.revision)
    }
}

impl Repo {
    fn is_pinned(&self) -> bool {
        self.revision.len() == 40 && self.revision.chars().all(|c| c.is_ascii_hexdigit())
    }
}

/// A model's files in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub dir: PathBuf,
    pub commit: String,
}

/// `nano`, an existing folder, or a hub id `owner/name`, with `@revision` where not `main`.
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
    let (id, revision) = model.split_once('@').unwrap_or((model, "main"));
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let parts: Vec<&str> = id.split('/').collect();
    let names_repo = parts.len() == 2 && parts.iter().all(|part| plain(part) && !part.starts_with('.'));
    let names_revision = revision.split('/').all(|part| plain(part) && part != "..");
    if names_repo && names_revision {
        return Ok(Location::Hub(Repo { id: id.to_owned(), revision: revision.to_owned() }));
    }
    bail!(
        "model = {model:?} is neither \"nano\", nor a folder that exists, nor a hub id such as google/medgemma-4b-it or google/medgemma-4b-it@REVISION"
    )
}

/// Always needed.
const NEEDED: [&str; 2] = ["config.json", "tokenizer.json"];
/// Used where the repository has them.
const WELCOME: [&str; 4] = ["tokenizer_config.json", "chat_template.jinja", "chat_template.json", "generation_config.json"];
const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// Finds what the text model needs in the cache, or downloads it there; weights of the vision tower alone are left out. `tell` hears
/// what is being done, line by line.
pub fn fetch(repo: &Repo, settings: &Settings, tell: &mut dyn FnMut(&str)) -> Result<Snapshot> {
    let cache = Cache::new(settings, repo);
    if let Some(commit) = cache.commit(repo)? {
        let missing = missing(&cache, &commit, settings.offline)?;
        if missing.is_empty() {
            return Ok(Snapshot { dir: cache.snapshot(&commit), commit });
        }
        ensure!(
            !settings.offline,
            "{repo} is not complete in the cache ({} lacks {}) and HF_HUB_OFFLINE is set; fetch it once online, or set model to a local folder",
            cache.snapshot(&commit).display(),
            missing.join(", ")
        );
    }
    ensure!(
        !settings.offline,
        "{repo} is not in the cache {} and HF_HUB_OFFLINE is set; fetch it once online, or set model to a local folder",
        settings.cache.display()
    );
    let client = Client::new(settings);
    let pinned = pin(&client, repo, settings, tell)?;
    let commit = pinned.revision.clone();
    let mut get = |file: &str| download(&client, &cache, &pinned, file, tell);
    for file in NEEDED {
        ensure!(get(file)?, "{repo} has no {file}");
    }
    for file in WELCOME {
        get(file)?;
    }
    if get(INDEX)? {
        for shard in shards(&cache.snapshot(&commit).join(INDEX))? {
            ensure!(get(&shard)?, "{INDEX} of {repo} names {shard}, which the repository does not have");
        }
    } else {
        ensure!(get(SINGLE)?, "{repo} has neither {SINGLE} nor {INDEX}");
    }
    // Last: it says that the snapshot is complete.
    cache.set_ref(repo, &commit)?;
    Ok(Snapshot { dir: cache.snapshot(&commit), commit })
}

/// What BERTScore reads of a DeBERTa, by alternatives: old repositories have a pickle of tensors and the two files of a byte-level BPE.
const DEBERTA: &[&[&[&str]]] =
    &[&[&["config.json"]], &[&[SINGLE], &["pytorch_model.bin"]], &[&["tokenizer.json"], &["vocab.json", "merges.txt"]]];

/// [`fetch`] for a DeBERTa; its folder.
pub fn fetch_deberta(repo: &Repo, settings: &Settings, tell: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let cache = Cache::new(settings, repo);
    if let Some(commit) = cache.commit(repo)? {
        let has_all = |files: &&[&str]| files.iter().all(|file| cache.has(&commit, file));
        if DEBERTA.iter().all(|choices| choices.iter().any(&has_all)) {
            return Ok(cache.snapshot(&commit));
        }
    }
    ensure!(
        !settings.offline,
        "{repo} is not complete in the cache {} and HF_HUB_OFFLINE is set; fetch it once online, or name a local folder",
        settings.cache.display()
    );
    let client = Client::new(settings);
    let pinned = pin(&client, repo, settings, tell)?;
    for choices in DEBERTA {
        let mut found = false;
        for files in *choices {
            let mut has_all = !found;
            for file in *files {
                has_all = has_all && download(&client, &cache, &pinned, file, tell)?;
            }
            found = found || has_all;
        }
        ensure!(found, "{repo} has none of {choices:?}");
    }
    cache.set_ref(repo, &pinned.revision)?;
    Ok(cache.snapshot(&pinned.revision))
}

/// The repository at the commit that its revision stands for now: everything comes from that one, whatever becomes of the branch.
fn pin(client: &Client, repo: &Repo, settings: &Settings, tell: &mut dyn FnMut(&str)) -> Result<Repo> {
    let head = client.head(repo, NEEDED[0])?.with_context(|| format!("{repo} has no {}", NEEDED[0]))?;
    tell(&format!("fetching {} at commit {} from {}", repo.id, head.commit, settings.endpoint));
    Ok(Repo { id: repo.id.clone(), revision: head.commit })
}

/// A file of a repository, where the cache has it.
pub fn cached(repo: &Repo, settings: &Settings, file: &str) -> Result<Option<PathBuf>> {
    let cache = Cache::new(settings, repo);
    let commit = cache.commit(repo)?;
    Ok(commit.map(|commit| cache.snapshot(&commit).join(file)).filter(|path| path.exists()))
}

/// Files of a snapshot that are still to be had. What may not exist is only asked for where it can be fetched.
fn missing(cache: &Cache, commit: &str, offline: bool) -> Result<Vec<String>> {
    let lacks = |file: &&str| !cache.has(commit, file);
    let mut missing: Vec<String> = NEEDED.iter().filter(|f| lacks(f)).map(|f| (*f).to_owned()).collect();
    if !offline {
        missing.extend(WELCOME.iter().filter(|f| lacks(f) && !cache.is_known_absent(commit, f)).map(|f| (*f).to_owned()));
    }
    if cache.has(commit, INDEX) {
        missing.extend(shards(&cache.snapshot(commit).join(INDEX))?.into_iter().filter(|shard| !cache.has(commit, shard)));
    } else if !cache.has(commit, SINGLE) {
        missing.push(SINGLE.to_owned());
    }
    Ok(missing)
}

/// Brings one file into the snapshot; false where the repository does not have it.
fn download(client: &Client, cache: &Cache, repo: &Repo, file: &str, tell: &mut dyn FnMut(&str)) -> Result<bool> {
    if cache.has(&repo.revision, file) {
        return Ok(true);
    }
    if cache.is_known_absent(&repo.revision, file) {
        return Ok(false);
    }
    let Some(head) = client.head(repo, file)? else {
        cache.note_absent(&repo.revision, file)?;
        return Ok(false);
    };
    let _lock = cache.lock(&head.etag, || tell(&format!("{file}: waiting for another process that downloads it")))?;
    // The other process may have finished it meanwhile.
    if !cache.blob(&head.etag).exists() {
        client.get(repo, file, &head, &cache.partial(&head.etag), tell)?;
        cache.keep(&head.etag)?;
    }
    cache.link(&repo.revision, file, &head.etag)?;
    Ok(true)
}
