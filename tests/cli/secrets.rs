//! What must never leave: access tokens, signed addresses, and anything at all to anybody who was not asked.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use super::program::{Home, demo, tiny, words};
use crate::figure::figure;

const TOKEN: &str = "hf_CANARYcanaryCANARYcanary0123456789";
const SIGNATURE: &str = "c0ffee5160a7e";

/// A hub that sends every request on to a signed address and refuses it there; the heads of all requests, in order.
fn hub() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let (seen, here) = (heads.clone(), address.clone());
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, &here, &seen)));
    (address, heads)
}

fn answer(mut stream: TcpStream, here: &str, seen: &Mutex<Vec<String>>) {
    let mut head = String::new();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while reader.read_line(&mut head).is_ok_and(|n| n > 2) {}
    let signed = head.lines().next().is_some_and(|line| line.contains("X-Signature"));
    seen.lock().unwrap().push(head);
    let reply = if signed {
        "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned()
    } else {
        format!(
            "HTTP/1.1 302 Found\r\nlocation: {here}/cdn/file?X-Signature={SIGNATURE}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
    };
    let _ = stream.write_all(reply.as_bytes());
}

/// Every file below a folder that holds one of the secrets.
fn leaks(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(leaks(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            let holds = |secret: &str| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            found.extend([TOKEN, SIGNATURE].iter().filter(|s| holds(s)).map(|s| format!("{} holds {s}", path.display())));
        }
    }
    found
}

#[test]
fn a_token_reaches_the_hub_alone_and_nothing_else_is_asked_of_anybody() {
    let home = Home::new();
    let (address, heads) = hub();
    let cache = home.path("hub");
    let environment =
        [("HF_ENDPOINT", address.as_str()), ("HF_TOKEN", TOKEN), ("HF_HOME", cache.to_str().unwrap()), ("HF_HUB_OFFLINE", "0")];
    let mut args = demo("2");
    args.extend(["--set", "model=canary/gated"]);
    let refused = home.run_with(&args, &environment);
    assert_eq!(refused.code, Some(1), "{}{}", refused.out, refused.err);
    let said = format!("{}{}", refused.out, refused.err);
    assert!(!said.contains(TOKEN) && !said.contains(SIGNATURE), "{said}");
    assert_eq!(leaks(home.0.path()), Vec::<String>::new());
    let heads = heads.lock().unwrap();
    assert!(!heads.is_empty(), "the hub was not asked: {said}");
    for head in heads.iter() {
        let line = head.lines().next().unwrap_or_default();
        let asked = line.strip_prefix("GET ").or(line.strip_prefix("HEAD ")).unwrap_or_default();
        let fine = asked.starts_with("/canary/gated/resolve/main/config.json") || asked.contains("/cdn/file?X-Signature");
        assert!(fine, "an unexpected request: {line}");
    }
    figure(
        "R23",
        "an access token in the environment and a signed address in a refusal",
        &format!(
            "0 occurrences in output, log, store and every other file; {} requests, all for the file asked for",
            heads.len()
        ),
    );
}

#[test]
fn the_library_that_reports_transfers_is_not_part_of_the_program() {
    let lock = include_str!("../../Cargo.lock");
    let names: Vec<&str> = lock.lines().filter_map(|line| line.strip_prefix("name = ")).collect();
    assert!(names.contains(&"\"ureq\"") && names.len() > 100, "the lock file is not what this test takes it for");
    for banned in ["xet", "sentry", "opentelemetry", "posthog"] {
        assert_eq!(names.iter().find(|name| name.contains(banned)), None);
    }
}

#[test]
fn a_run_directory_is_its_owners_alone() {
    let home = Home::new();
    let mut run = home.start(&words(&tiny("100000", &[])));
    run.wait_for("step");
    let mode = |name: &str| std::fs::metadata(home.run_dir().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(""), mode("checkpoints"), mode("control.sock"), mode("run.db"), mode("trainer.log")),
        (0o700, 0o700, 0o600, 0o600, 0o600)
    );
    home.run(&["stop", "--now"]).done();
    assert_eq!(run.end(), Some(0));
    std::fs::set_permissions(home.run_dir(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let mut open = home.start(&words(&tiny("100000", &[])));
    while !open.wait_for("log")["message"].as_str().unwrap().contains("chmod go-w") {}
}
