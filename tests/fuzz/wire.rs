//! What comes over sockets: frames that neither end of the control socket would send, and answers of a hub that is none.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use medserl::{
    attach::{Client, Control, Live, Notice, RunState, Server, protocol::Level},
    model::hub::{Repo, Settings, fetch},
};

use super::target::fuzz;

fn lines<T: serde::Serialize>(all: &[T]) -> Vec<u8> {
    all.iter().flat_map(|one| [serde_json::to_vec(one).unwrap(), b"\n".to_vec()].concat()).collect()
}

const WORDS: [&str; 15] =
    ["{", "}", "\"", ":", ",", "\n", "null", "[", "]", "\\u0000", "\"now\":", "control", "notice", "step_once", "1e999"];

#[test]
fn frames_to_the_trainer() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let server = Server::start(socket.clone(), Live::default()).unwrap();
    let corpus = [lines(&[Control::Pause, Control::StepOnce]), lines(&[Control::Stop { now: true }])];
    fuzz("control frames to the trainer", &corpus, &WORDS, 400, &mut |bytes| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        // A trainer that hangs up early is free to.
        let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
        let _ = stream.read_to_end(&mut Vec::new());
        let first = server.wait_control(Duration::ZERO).is_some();
        while server.try_control().is_some() {}
        first
    });
    assert_eq!(server.live().state, RunState::Starting, "what came in changed nothing by itself");
    server.shutdown();
}

#[test]
fn frames_to_a_client() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let log = |text: &str| Notice::Log { level: Level::Warn, message: text.into() };
    let snapshot = Notice::Snapshot { live: Box::new(Live { run_id: "r".into(), ..Live::default() }) };
    let corpus = [
        lines(&[snapshot, log("a"), Notice::Skipped { n_notices: 3 }]),
        lines(&[log("b"), Notice::State { state: RunState::Paused }]),
    ];
    fuzz("notice frames to a client", &corpus, &WORDS, 400, &mut |bytes| {
        let client = Client::connect(&socket).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(bytes);
        drop(stream);
        let (mut live, mut understood) = (Live::default(), false);
        while let Ok(Some(notice)) = client.next_timeout(Duration::from_secs(60)) {
            understood |= !matches!(&notice, Notice::Log { message, .. } if message.as_str().contains("could not be read"));
            live.apply(notice);
        }
        understood
    });
}

/// Where an answer about a file ends and the one about the account begins.
const NEXT: &[u8] = b"\n=====\n";

/// Sends one of the two answers as it stands; to a request for a file's bytes, a refusal.
fn play_hub(mut stream: TcpStream, answers: &Mutex<Vec<u8>>) {
    let mut first = String::new();
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let _ = lines.read_line(&mut first);
    let _ = lines.lines().map_while(Result::ok).take_while(|line| !line.is_empty()).count();
    let all = answers.lock().unwrap().clone();
    let cut = all.windows(NEXT.len()).position(|w| w == NEXT);
    let (about_file, about_account) = cut.map_or((&all[..], &[][..]), |at| (&all[..at], &all[at + NEXT.len()..]));
    let refusal = b"HTTP/1.1 403 Forbidden\r\nX-Error-Code: GatedRepo\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let answer = match first.split(' ').next() {
        Some("HEAD") => about_file,
        _ if first.contains("/whoami-v2 ") => about_account,
        _ => refusal,
    };
    let _ = stream.write_all(answer);
}

#[test]
fn answers_of_a_hub() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let answers = Arc::new(Mutex::new(Vec::new()));
    let played = answers.clone();
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| play_hub(stream, &played)));
    let home = tempfile::tempdir_in(super::files::memory()).unwrap();
    let cache = home.path().join("outer/cache");
    let settings = Settings::read(&|name| match name {
        "HF_ENDPOINT" => Some(endpoint.clone()),
        "HF_HOME" => Some(cache.display().to_string()),
        "HF_TOKEN" => Some("hf_CANARYcanaryCANARYcanary".to_owned()),
        _ => None,
    })
    .unwrap();
    let file = "HTTP/1.1 200 OK\r\nX-Repo-Commit: 0123456789abcdef0123456789abcdef01234567\r\nETag: \"ab12\"\r\n\
                X-Linked-Size: 9\r\nContent-Length: 9\r\nConnection: close\r\n\r\n";
    let account = "HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\n{\"name\": \"ada\"}";
    let moved = file.replace("200 OK", "307 Temporary Redirect\r\nLocation: https://elsewhere.invalid/x");
    let corpus = [file, &moved].map(|about_file| [about_file.as_bytes(), NEXT, account.as_bytes()].concat());
    let words = [
        "\r\n",
        ": ",
        "HTTP/1.1 ",
        "404 Not Found",
        "302 Found",
        "Location: /a/b",
        "ETag: ",
        "../../..",
        "/",
        "X-Linked-Etag: \"",
        "X-Linked-Size: 99999999999999999999",
        "Transfer-Encoding: chunked",
        "Content-Encoding: gzip",
        "X-Error-Code: EntryNotFound",
        "\u{0}",
        "{",
        "}",
        "\"name\"",
    ];
    let repo = Repo { id: "a/b".into(), revision: "main".into() };
    fuzz("answers of a hub", &corpus, &words, 150, &mut |bytes| {
        *answers.lock().unwrap() = bytes.to_vec();
        let error = fetch(&repo, &settings, &mut |_| {}).expect_err("no file's bytes are ever sent");
        let error = format!("{error:#}");
        assert!(!error.contains("CANARY"), "{error}");
        // Nothing lies outside the cache, and nothing in it grows with the number of answers.
        assert!(home.path().read_dir().unwrap().count() <= 1, "something lies beside the cache");
        let _ = std::fs::remove_dir_all(&cache);
        error.contains("is gated")
    });
}
