//! The few requests the hub needs: what a file is, its bytes from where an earlier try ended, and why it is refused.

use std::{
    cell::Cell,
    fs::{self, File},
    io::{Read, Write},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use sha2::{Digest, Sha256};
use ureq::{
    Agent, Body,
    http::{Response, StatusCode},
};

use super::{Repo, Settings, cache::Token};

/// Silence longer than this is a broken connection.
const SILENCE: Duration = Duration::from_secs(30);
/// Tries that may fail one after the other without a new byte.
const TRIES: u32 = 5;
/// A progress line is due this often, in parts of the file.
const PARTS: u64 = 20;
/// Files below this are fetched without progress lines.
const QUIET_BELOW: u64 = 16 << 20;

/// What the hub says about one file.
pub struct Head {
    pub commit: String,
    /// Names the content: the SHA-256 of large files, a git hash of small ones.
    pub etag: String,
    pub size: u64,
}

pub struct Client<'a> {
    agent: Agent,
    settings: &'a Settings,
    /// Set once the hub has asked for it: a public repository never sees the token.
    sends_token: Cell<bool>,
}

impl<'a> Client<'a> {
    pub fn new(settings: &'a Settings) -> Client<'a> {
        let local = ["//127.0.0.1", "//localhost", "//[::1]"].iter().any(|host| settings.endpoint.contains(host));
        let config = Agent::config_builder()
            .user_agent(concat!("medserl/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE));
        let config = if local { config.proxy(None) } else { config };
        Client { agent: config.build().new_agent(), settings, sends_token: Cell::new(false) }
    }

    fn url(&self, repo: &Repo, file: &str) -> String {
        format!("{}/{}/resolve/{}/{file}", self.settings.endpoint, repo.id, repo.revision)
    }

    /// `None` where the repository has no such file.
    pub fn head(&self, repo: &Repo, file: &str) -> Result<Option<Head>> {
        let mut url = self.url(repo, file);
        // A renamed repository answers with a path; another host would be the store of large files, which is not asked here.
        for _ in 0..3 {
            let response = self.asked(|token| {
                let mut request = self.agent.head(&url).header("accept-encoding", "identity");
                if let Some(token) = token {
                    request = request.header("authorization", format!("Bearer {}", token.secret));
                }
                request.config().max_redirects(0).build().call()
            })?;
            let status = response.status();
            match header(&response, "location") {
                Some(path) if status.is_redirection() && path.starts_with('/') => {
                    url = format!("{}{path}", self.settings.endpoint);
                    continue;
                }
                _ if status.is_success() || status.is_redirection() => return read_head(&response, repo, file).map(Some),
                _ if is_absent_file(&response) => return Ok(None),
                _ => return Err(self.explain(&response, repo, file)),
            }
        }
        bail!("{repo} is redirected again and again")
    }

    /// Calls without the token, and with it where the hub asks for one.
    fn asked(&self, call: impl Fn(Option<&Token>) -> Result<Response<Body>, ureq::Error>) -> Result<Response<Body>> {
        let unreachable = || {
            format!(
                "cannot reach {}; HF_HUB_OFFLINE=1 uses what is in the cache, and model can be a local folder",
                self.settings.endpoint
            )
        };
        let token = self.settings.token.as_ref();
        if !self.sends_token.get() {
            let response = call(None).with_context(unreachable)?;
            if !matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) || token.is_none() {
                return Ok(response);
            }
            self.sends_token.set(true);
        }
        call(token).with_context(unreachable)
    }

    /// Appends to `partial` what it lacks of the file, checks the whole and syncs it.
    pub fn get(&self, repo: &Repo, file: &str, head: &Head, partial: &Path, tell: &mut dyn FnMut(&str)) -> Result<()> {
        let mut failures = 0;
        // An empty file needs no request, but it must be there.
        File::options().create(true).append(true).open(partial).with_context(|| format!("cannot write {}", partial.display()))?;
        loop {
            let before = length(partial)?;
            if before == head.size {
                break;
            }
            if before > head.size {
                fs::remove_file(partial).with_context(|| format!("cannot remove {}", partial.display()))?;
                continue;
            }
            if before > 0 {
                tell(&format!("{file}: going on at {}", of(before, head.size)));
            }
            let Err(error) = self.append(repo, file, head, partial, tell) else { continue };
            failures = if length(partial)? > before { 1 } else { failures + 1 };
            // A refusal will not go away by asking again.
            if error.is::<Refused>() || failures >= TRIES {
                return Err(error);
            }
            tell(&format!("{file}: {error:#}; trying again"));
            if failures > 1 {
                std::thread::sleep(Duration::from_secs(1 << failures));
            }
        }
        check(partial, head).inspect_err(|_| _ = fs::remove_file(partial)).with_context(|| format!("{file} of {repo}"))
    }

    fn append(&self, repo: &Repo, file: &str, head: &Head, partial: &Path, tell: &mut dyn FnMut(&str)) -> Result<()> {
        let url = self.url(repo, file);
        let have = length(partial)?;
        let response = self.asked(|token| {
            // The store of large files is another host, and ureq does not carry the token there.
            let mut request = self.agent.get(&url).header("accept-encoding", "identity");
            if have > 0 {
                request = request.header("range", format!("bytes={have}-"));
            }
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {}", token.secret));
            }
            request.call()
        })?;
        let status = response.status();
        if !status.is_success() {
            let explained = self.explain(&response, repo, file);
            return Err(if status.is_server_error() { explained } else { Refused(explained).into() });
        }
        let goes_on = status == StatusCode::PARTIAL_CONTENT;
        let mut out = File::options()
            .create(true)
            .append(goes_on)
            .write(true)
            .truncate(!goes_on)
            .open(partial)
            .with_context(|| format!("cannot write {}", partial.display()))?;
        let mut done = if goes_on { have } else { 0 };
        let mut due = done + head.size / PARTS;
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0u8; 256 << 10];
        loop {
            let n = body.read(&mut buffer).context("the connection broke")?;
            if n == 0 {
                break;
            }
            out.write_all(&buffer[..n]).with_context(|| format!("cannot write {}", partial.display()))?;
            done += n as u64;
            // A server that never ends must not fill the disk.
            if done > head.size {
                return Err(
                    Refused(anyhow!("{file} of {repo}: more bytes came than the {} that the hub named", head.size)).into()
                );
            }
            if done >= due && head.size >= QUIET_BELOW {
                tell(&format!("{file}: {}", of(done, head.size)));
                due = done + head.size / PARTS;
            }
        }
        out.sync_all()?;
        ensure!(done >= head.size, "the connection ended at {}", of(done, head.size));
        Ok(())
    }

    /// The commonest refusals deserve their remedies. Only the place of a token is ever named.
    fn explain(&self, response: &Response<Body>, repo: &Repo, file: &str) -> anyhow::Error {
        let (status, code) = (response.status().as_u16(), header(response, "x-error-code").unwrap_or_default());
        let Settings { endpoint, token, token_places, .. } = self.settings;
        let page = format!("{endpoint}/{}", repo.id);
        let otherwise = "Or set model to a local folder with the files.";
        match (status, code) {
            (_, "RepoNotFound") if token.is_some() => {
                anyhow!("{page} does not exist, or the token from {} may not see it", place(token))
            }
            (404, "RevisionNotFound") => anyhow!("{page} has no revision {}", repo.revision),
            (404, _) => anyhow!("{page} does not exist, or not at {} ({file}: HTTP 404)", repo.revision),
            (401, _) if token.is_none() => anyhow!(
                "{page} is gated, private or does not exist, and no token was found ({token_places}). Accept the model's terms on that page with your account, make a token that may read gated repositories at {endpoint}/settings/tokens, and set HF_TOKEN. {otherwise}"
            ),
            (401, _) => anyhow!(
                "the hub does not accept the token from {}; make a new one at {endpoint}/settings/tokens. {otherwise}",
                place(token)
            ),
            (403, _) => anyhow!(
                "{page} is gated, and {} has no access yet (token from {}). Accept the model's terms on that page with that account; a fine-grained token also needs read access to gated repositories. {otherwise}",
                self.account().map_or("the token's account".to_owned(), |name| format!("account {name}")),
                place(token)
            ),
            (429, _) => anyhow!("the hub asks to slow down (HTTP 429); the same command continues later"),
            _ => anyhow!("the hub answered HTTP {status} for {file} of {repo}"),
        }
    }

    /// Whose token it is: asked only where that account was refused.
    fn account(&self) -> Option<String> {
        let token = self.settings.token.as_ref()?;
        let request = self.agent.get(format!("{}/api/whoami-v2", self.settings.endpoint));
        let mut response = request.header("authorization", format!("Bearer {}", token.secret)).call().ok()?;
        let text = response.body_mut().read_to_string().ok()?;
        Some(serde_json::from_str::<serde_json::Value>(&text).ok()?.get("name")?.as_str()?.to_owned())
    }
}

/// An answer that asking again will not change.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct Refused(anyhow::Error);

fn place(token: &Option<Token>) -> &str {
    token.as_ref().map_or("nowhere", |t| &t.place)
}

fn header<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

fn is_absent_file(response: &Response<Body>) -> bool {
    response.status() == StatusCode::NOT_FOUND && header(response, "x-error-code") == Some("EntryNotFound")
}

fn read_head(response: &Response<Body>, repo: &Repo, file: &str) -> Result<Head> {
    let missing = |what: &str| format!("the hub's answer about {file} of {repo} has no {what}");
    let etag = header(response, "x-linked-etag").or_else(|| header(response, "etag")).with_context(|| missing("ETag"))?;
    let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
    // It becomes a file name.
    ensure!(!etag.is_empty() && etag.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)), "{etag:?} is no ETag");
    let size = header(response, "x-linked-size").or_else(|| header(response, "content-length"));
    let size = size.and_then(|s| s.parse().ok()).with_context(|| missing("size"))?;
    let commit = header(response, "x-repo-commit").with_context(|| missing("commit"))?.to_owned();
    ensure!(commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit()), "{commit:?} is no commit");
    Ok(Head { commit, etag, size })
}

fn length(path: &Path) -> Result<u64> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.len()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Large files are named by the SHA-256 of their bytes.
fn check(path: &Path, head: &Head) -> Result<()> {
    if head.etag.len() != 64 {
        return Ok(());
    }
    let mut hasher = Sha256::new();
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    let found: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(found == head.etag, "the bytes received have SHA-256 {found}, the hub says {}; they were thrown away", head.etag);
    Ok(())
}

fn of(done: u64, size: u64) -> String {
    let mb = |n: u64| n as f64 / 1e6;
    format!("{:.0} of {:.0} MB", mb(done), mb(size))
}
