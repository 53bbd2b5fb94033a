//! Where the hub's files lie on this machine: the layout and the environment variables of Python's `huggingface_hub`, so that both
//! share one copy. Knows no network.

use std::{
    env, fs,
    fs::File,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use hf_hub::{CacheRepo, RepoType};
use rustix::fs::{FlockOperation, flock};

use super::Repo;

/// What the environment says about the hub.
#[derive(Clone, Debug)]
pub struct Settings {
    pub cache: PathBuf,
    /// Without a slash at its end.
    pub endpoint: String,
    pub token: Option<Token>,
    /// Where a token was looked for, for messages.
    pub token_places: String,
    pub offline: bool,
}

/// A secret and where it came from; only the place may ever be shown.
#[derive(Clone)]
pub struct Token {
    pub secret: String,
    pub place: String,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Token from {}", self.place)
    }
}

impl Settings {
    /// Reads `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_DISABLE_IMPLICIT_TOKEN`,
    /// `HF_HUB_OFFLINE` and `XDG_CACHE_HOME` as `huggingface_hub` does.
    pub fn from_env() -> Result<Settings> {
        Settings::read(&|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// The same from any source of variables.
    pub fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Settings> {
        let path = |name: &str| get(name).map(PathBuf::from);
        let home = path("HF_HOME")
            .or_else(|| path("XDG_CACHE_HOME").map(|p| p.join("huggingface")))
            .or_else(|| path("HOME").map(|p| p.join(".cache/huggingface")))
            .context("neither HF_HOME nor HOME is set: there is no place for the hub's cache")?;
        let truthy = |name: &str| get(name).is_some_and(|v| matches!(v.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE"));
        let endpoint = get("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        ensure!(endpoint.starts_with("http"), "HF_ENDPOINT = {endpoint:?} is not an address; it begins with https://");
        let token_path = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let clean = |secret: String| Some(secret.trim().to_owned()).filter(|s| !s.is_empty());
        let from_file = || {
            let secret = clean(fs::read_to_string(&token_path).ok()?)?;
            Some(Token { secret, place: token_path.display().to_string() })
        };
        let from_env = get("HF_TOKEN").and_then(clean).map(|secret| Token { secret, place: "HF_TOKEN".into() });
        let wanted = !truthy("HF_HUB_DISABLE_IMPLICIT_TOKEN");
        Ok(Settings {
            cache: path("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub")),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: if wanted { from_env.or_else(from_file) } else { None },
            token_places: format!("HF_TOKEN, {}", token_path.display()),
            offline: truthy("HF_HUB_OFFLINE"),
        })
    }
}

/// The folders of one repository, laid out by `hf_hub`; what it leaves out (absent files, locks, partial blobs) is as in Python.
pub struct Cache {
    hub: CacheRepo,
    root: PathBuf,
    locks: PathBuf,
}

impl Cache {
    pub fn new(settings: &Settings, repo: &Repo) -> Cache {
        let hub = hf_hub::Repo::with_revision(repo.id.clone(), RepoType::Model, repo.revision.clone());
        let name = hub.folder_name();
        let (root, locks) = (settings.cache.join(&name), settings.cache.join(".locks").join(&name));
        Cache { hub: hf_hub::Cache::new(settings.cache.clone()).repo(hub), root, locks }
    }

    /// The commit a revision stood for when it was fetched; `None` where it never was.
    pub fn commit(&self, repo: &Repo) -> Result<Option<String>> {
        if repo.is_pinned() {
            return Ok(self.snapshot(&repo.revision).is_dir().then(|| repo.revision.clone()));
        }
        let path = self.root.join("refs").join(&repo.revision);
        match fs::read_to_string(&path) {
            Ok(commit) => Ok(Some(commit.trim().to_owned())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    pub fn set_ref(&self, repo: &Repo, commit: &str) -> Result<()> {
        if repo.is_pinned() {
            return Ok(());
        }
        let cannot = || format!("cannot write the reference {} into {}", repo.revision, self.root.display());
        self.hub.create_ref(commit).with_context(cannot)
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.hub.pointer_path(commit)
    }

    pub fn has(&self, commit: &str, file: &str) -> bool {
        self.snapshot(commit).join(file).exists()
    }

    pub fn is_known_absent(&self, commit: &str, file: &str) -> bool {
        self.root.join(".no_exist").join(commit).join(file).exists()
    }

    pub fn note_absent(&self, commit: &str, file: &str) -> Result<()> {
        write(&self.root.join(".no_exist").join(commit).join(file), "")
    }

    pub fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    /// Where a blob grows until it is whole; a later start goes on from its end.
    pub fn partial(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// Held while a blob is written; released when dropped. `wait` is told where another process holds it.
    pub fn lock(&self, etag: &str, wait: impl FnOnce()) -> Result<File> {
        let path = self.locks.join(format!("{etag}.lock"));
        fs::create_dir_all(&self.locks).with_context(|| format!("cannot create {}", self.locks.display()))?;
        let file = File::options().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("cannot create {}", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            wait();
            flock(&file, FlockOperation::LockExclusive).with_context(|| format!("cannot lock {}", path.display()))?;
        }
        fs::create_dir_all(self.root.join("blobs")).with_context(|| format!("cannot create {}", self.root.display()))?;
        Ok(file)
    }

    /// A whole partial becomes the blob.
    pub fn keep(&self, etag: &str) -> Result<()> {
        let (from, to) = (self.partial(etag), self.blob(etag));
        fs::rename(&from, &to).with_context(|| format!("cannot rename {}", from.display()))
    }

    pub fn link(&self, commit: &str, file: &str, etag: &str) -> Result<()> {
        let path = self.snapshot(commit).join(file);
        let parent = path.parent().context("a file of a snapshot has a folder")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        let target = Path::new("../../blobs").join(etag);
        match std::os::unix::fs::symlink(target, &path) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e).with_context(|| format!("cannot link {}", path.display())),
            _ => Ok(()),
        }
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    let parent = path.parent().context("a file of the cache has a folder")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
