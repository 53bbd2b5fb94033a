//! The hub, played by a server on the loopback: what is fetched, what is sent, what is refused and why.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use medserl::model::hub::{Repo, Settings, Snapshot, fetch};
use serde_json::json;
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server has and what it was asked.
#[derive(Default)]
struct Shelf {
    files: HashMap<String, Vec<u8>>,
    /// The token it wants, if any, and whether that account has been let in.
    gate: Option<(String, bool)>,
    /// Bytes after which the next answer breaks off.
    breaks: Option<usize>,
    /// Bytes sent in place of a file's own.
    forged: Option<Vec<u8>>,
    requests: Vec<String>,
}

struct Hub {
    shelf: Arc<Mutex<Shelf>>,
    address: String,
    home: TempDir,
}

impl Hub {
    /// A repository `a/b` with these files.
    fn with(files: &[(&str, Vec<u8>)]) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect();
        let shelf = Arc::new(Mutex::new(Shelf { files, ..Shelf::default() }));
        let served = shelf.clone();
        thread::spawn(move || listener.incoming().flatten().for_each(|stream| _ = serve(stream, &served)));
        Hub { shelf, address, home: tempfile::tempdir().unwrap() }
    }

    fn settings(&self, more: &[(&str, &str)]) -> Settings {
        let mut all = HashMap::from([("HF_HOME", self.home.path().to_str().unwrap()), ("HF_ENDPOINT", self.address.as_str())]);
        all.extend(more.iter().copied());
        Settings::read(&|name| all.get(name).map(|value| (*value).to_owned())).unwrap()
    }

    fn fetch(&self, revision: &str, more: &[(&str, &str)]) -> Result<(Snapshot, Vec<String>), String> {
        let mut lines = Vec::new();
        let repo = Repo { id: "a/b".into(), revision: revision.into() };
        let found = fetch(&repo, &self.settings(more), &mut |line| lines.push(line.to_owned()));
        found.map(|found| (found, lines)).map_err(|e| format!("{e:#}"))
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shelf.lock().unwrap().requests)
    }

    fn set(&self, change: impl FnOnce(&mut Shelf)) {
        change(&mut self.shelf.lock().unwrap());
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Answers one request and closes.
fn serve(mut stream: TcpStream, shelf: &Mutex<Shelf>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let head: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let header = |name: &str| head.iter().find_map(|l| l.to_lowercase().strip_prefix(name).map(|v| v.trim().to_owned()));
    let (token, range) = (header("authorization: bearer"), header("range: bytes="));
    let mut shelf = shelf.lock().unwrap();
    shelf.requests.push(format!("{first}{}", if token.is_some() { " with token" } else { "" }));
    let mut parts = first.split(' ');
    let (method, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let mut refuse = |status: &str, code: &str| {
        write!(stream, "HTTP/1.1 {status}\r\nX-Error-Code: {code}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    };
    if path == "/api/whoami-v2" {
        let body = r#"{"name": "ada"}"#;
        return write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    }
    if let Some((wanted, let_in)) = &shelf.gate {
        match token {
            None => return refuse("401 Unauthorized", "GatedRepo"),
            Some(token) if token != *wanted => return refuse("401 Unauthorized", ""),
            Some(_) if !let_in => return refuse("403 Forbidden", "GatedRepo"),
            Some(_) => {}
        }
    }
    let Some(rest) = path.strip_prefix("/a/b/resolve/") else { return refuse("404 Not Found", "RepoNotFound") };
    let (revision, file) = rest.split_once('/').unwrap_or_default();
    if !["main", "v1", COMMIT].contains(&revision) {
        return refuse("404 Not Found", "RevisionNotFound");
    }
    let Some(bytes) = shelf.files.get(file).cloned() else { return refuse("404 Not Found", "EntryNotFound") };
    let from: usize = range.and_then(|r| r.trim_end_matches('-').parse().ok()).unwrap_or(0);
    let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
    let size = bytes.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nX-Repo-Commit: {COMMIT}\r\nETag: \"{}\"\r\nX-Linked-Size: {size}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        sha256(&bytes),
        size - from
    )?;
    if method == "HEAD" {
        return Ok(());
    }
    let sent = shelf.forged.clone().unwrap_or(bytes);
    let sent = &sent[from..];
    let until = shelf.breaks.take().unwrap_or(sent.len()).min(sent.len());
    stream.write_all(&sent[..until])
}

fn small() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("config.json", b"{}".to_vec()),
        ("tokenizer.json", b"{\"a\": 1}".to_vec()),
        ("chat_template.jinja", b"hello".to_vec()),
        ("model.safetensors", (0..5000u32).flat_map(|i| i.to_le_bytes()).collect()),
    ]
}

fn read(dir: &Path, name: &str) -> Vec<u8> {
    std::fs::read(dir.join(name)).unwrap()
}

#[test]
fn a_model_is_fetched_once_into_the_cache_that_python_shares() {
    let hub = Hub::with(&small());
    let (found, lines) = hub.fetch("main", &[]).unwrap();
    assert_eq!(found.commit, COMMIT);
    assert!(lines[0].contains(&format!("a/b at commit {COMMIT}")), "{lines:?}");
    let root = hub.home.path().join("hub/models--a--b");
    assert_eq!(found.dir, root.join("snapshots").join(COMMIT));
    for (name, bytes) in small() {
        assert_eq!(read(&found.dir, name), bytes);
        let link = std::fs::read_link(found.dir.join(name)).unwrap();
        assert_eq!(link, Path::new("../../blobs").join(sha256(&bytes)));
    }
    assert_eq!(read(&root, "refs/main"), COMMIT.as_bytes());
    assert!(root.join(".no_exist").join(COMMIT).join("generation_config.json").exists());
    assert!(hub.requests().iter().all(|r| !r.contains("README") && !r.contains("with token")));

    // Again, by branch, by commit and offline: nothing is asked.
    for (revision, more) in [("main", None), (COMMIT, None), ("main", Some(("HF_HUB_OFFLINE", "1")))] {
        assert_eq!(hub.fetch(revision, &more.into_iter().collect::<Vec<_>>()).unwrap().0, found);
    }
    assert_eq!(hub.requests(), [""; 0]);

    // A tag of the same commit asks which commit it is, and has all files already.
    assert_eq!(hub.fetch("v1", &[]).unwrap().0, found);
    assert_eq!(hub.requests(), ["HEAD /a/b/resolve/v1/config.json HTTP/1.1"]);
}

#[test]
fn offline_names_what_is_missing() {
    let hub = Hub::with(&small());
    let offline = [("HF_HUB_OFFLINE", "ON")];
    let error = hub.fetch("main", &offline).unwrap_err();
    assert!(error.contains("a/b@main is not in the cache") && error.contains("HF_HUB_OFFLINE"), "{error}");
    let (found, _) = hub.fetch("main", &[]).unwrap();
    std::fs::remove_file(found.dir.join("model.safetensors")).unwrap();
    hub.requests();
    let error = hub.fetch("main", &offline).unwrap_err();
    assert!(error.contains("lacks model.safetensors"), "{error}");
    assert_eq!(hub.requests(), [""; 0]);
    // Online, what is missing is linked again without its bytes.
    hub.fetch("main", &[]).unwrap();
    assert!(hub.requests().iter().all(|r| r.starts_with("HEAD")));
}

#[test]
fn a_broken_download_goes_on_where_it_ended() {
    let hub = Hub::with(&small());
    let weights = small()[3].1.clone();
    let blobs = hub.home.path().join("hub/models--a--b/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join(format!("{}.incomplete", sha256(&weights))), &weights[..7000]).unwrap();
    let (found, lines) = hub.fetch("main", &[]).unwrap();
    assert_eq!(read(&found.dir, "model.safetensors"), weights);
    assert!(lines.iter().any(|l| l.contains("model.safetensors: going on at")), "{lines:?}");

    // The first bytes asked for break off after one.
    let hub = Hub::with(&small());
    hub.set(|shelf| shelf.breaks = Some(1));
    let (found, lines) = hub.fetch("main", &[]).unwrap();
    assert_eq!(read(&found.dir, "config.json"), b"{}");
    assert!(lines.iter().any(|l| l.contains("config.json") && l.contains("trying again")), "{lines:?}");
    assert!(lines.iter().any(|l| l.contains("config.json: going on at")), "{lines:?}");
}

#[test]
fn bytes_that_are_not_the_named_ones_are_thrown_away() {
    let hub = Hub::with(&small());
    hub.set(|shelf| shelf.forged = Some(vec![b'x'; 40_000]));
    let error = hub.fetch("main", &[]).unwrap_err();
    assert!(error.contains("config.json of a/b@") && error.contains("SHA-256"), "{error}");
    let blobs = hub.home.path().join("hub/models--a--b/blobs");
    assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0);
    hub.set(|shelf| shelf.forged = None);
    hub.fetch("main", &[]).unwrap();
}

#[test]
fn only_shards_with_text_weights_are_fetched() {
    let index = json!({ "weight_map": {
        "language_model.model.norm.weight": "one.safetensors", "multi_modal_projector.x": "one.safetensors",
        "vision_tower.vision_model.x": "two.safetensors", "language_model.model.embed_tokens.weight": "three.safetensors",
    }});
    let mut files = small();
    files.truncate(2);
    files.push(("model.safetensors.index.json", index.to_string().into_bytes()));
    files.extend(["one.safetensors", "two.safetensors", "three.safetensors"].map(|name| (name, name.into())));
    let hub = Hub::with(&files);
    let (found, _) = hub.fetch("main", &[]).unwrap();
    assert_eq!(read(&found.dir, "three.safetensors"), b"three.safetensors");
    assert!(found.dir.join("one.safetensors").exists() && !found.dir.join("two.safetensors").exists());
    assert!(hub.requests().iter().all(|r| !r.contains("two.safetensors") && !r.contains("/model.safetensors ")));

    hub.set(|shelf| _ = shelf.files.remove("three.safetensors"));
    std::fs::remove_dir_all(hub.home.path().join("hub")).unwrap();
    let error = hub.fetch("main", &[]).unwrap_err();
    assert!(error.contains("names three.safetensors"), "{error}");
}

#[test]
fn a_gated_model_says_what_to_do_and_tokens_stay_hidden() {
    let hub = Hub::with(&small());
    hub.set(|shelf| shelf.gate = Some(("hf_right".into(), false)));
    let none = hub.fetch("main", &[]).unwrap_err();
    for part in ["/a/b is gated", "no token was found", "HF_TOKEN", "hub/../token".trim_start_matches("hub/../"), "local folder"]
    {
        assert!(none.contains(part), "{part} is not in: {none}");
    }
    let wrong = hub.fetch("main", &[("HF_TOKEN", "hf_wrong")]).unwrap_err();
    assert!(wrong.contains("does not accept the token from HF_TOKEN") && !wrong.contains("hf_wrong"), "{wrong}");
    let closed = hub.fetch("main", &[("HF_TOKEN", " hf_right\n")]).unwrap_err();
    assert!(closed.contains("account ada has no access yet") && closed.contains("Accept the model's terms"), "{closed}");
    assert!(!closed.contains("hf_right"), "{closed}");

    // Let in, and the token in a file.
    hub.set(|shelf| shelf.gate = Some(("hf_right".into(), true)));
    let path = hub.home.path().join("secret");
    std::fs::write(&path, "hf_right\n").unwrap();
    hub.requests();
    hub.fetch("main", &[("HF_TOKEN_PATH", path.to_str().unwrap())]).unwrap();
    let requests = hub.requests();
    assert!(!requests[0].contains("with token"), "asked without it first: {requests:?}");
    assert!(requests[1..].iter().all(|r| r.contains("with token")), "{requests:?}");

    // A token is not sent where it is not asked for, or not to be sent at all.
    let public = Hub::with(&small());
    public.fetch("main", &[("HF_TOKEN", "hf_right")]).unwrap();
    assert!(public.requests().iter().all(|r| !r.contains("with token")));
    std::fs::remove_dir_all(hub.home.path().join("hub")).unwrap();
    let silent = [("HF_TOKEN", "hf_right"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")];
    assert!(hub.fetch("main", &silent).unwrap_err().contains("no token was found"));
}

#[test]
fn an_unknown_repository_revision_or_host_is_told_apart() {
    let hub = Hub::with(&small());
    let error = hub.fetch("v7", &[]).unwrap_err();
    assert!(error.contains("/a/b has no revision v7"), "{error}");
    let other = Repo { id: "a/c".into(), revision: "main".into() };
    let error = fetch(&other, &hub.settings(&[]), &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("/a/c does not exist"), "{error}");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = hub.fetch("main", &[("HF_ENDPOINT", &format!("http://{nobody}"))]).unwrap_err();
    assert!(error.contains("cannot reach http://127.0.0.1") && error.contains("HF_HUB_OFFLINE=1"), "{error}");
}

#[test]
fn the_environment_is_read_as_python_reads_it() {
    let read = |pairs: &[(&str, &str)]| {
        let all: HashMap<&str, &str> = pairs.iter().copied().collect();
        Settings::read(&|name| all.get(name).map(|v| (*v).to_owned())).unwrap()
    };
    let plain = read(&[("HOME", "/h")]);
    assert_eq!((plain.cache.to_str().unwrap(), plain.endpoint.as_str()), ("/h/.cache/huggingface/hub", "https://huggingface.co"));
    assert!(!plain.offline && plain.token.is_none());
    assert_eq!(read(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]).cache, Path::new("/x/huggingface/hub"));
    assert_eq!(read(&[("HF_HOME", "/y"), ("XDG_CACHE_HOME", "/x")]).cache, Path::new("/y/hub"));
    assert_eq!(read(&[("HF_HOME", "/y"), ("HF_HUB_CACHE", "/z")]).cache, Path::new("/z"));
    assert_eq!(read(&[("HF_HOME", "/y"), ("HF_ENDPOINT", "https://m.example/")]).endpoint, "https://m.example");
    for (value, offline) in [("1", true), ("true", true), ("Yes", true), ("0", false), ("no", false)] {
        assert_eq!(read(&[("HF_HOME", "/y"), ("HF_HUB_OFFLINE", value)]).offline, offline, "{value}");
    }
    let debug = format!("{:?}", read(&[("HF_HOME", "/y"), ("HF_TOKEN", "hf_secret")]));
    assert!(debug.contains("HF_TOKEN") && !debug.contains("hf_secret"), "{debug}");
    assert!(Settings::read(&|_| None).is_err());
}
