//! Both ends of the control socket, against frames that neither of them would send.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    time::Duration,
};

use medserl::attach::{Client, Control, Live, Notice, RunState, Server, protocol::Level};

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
