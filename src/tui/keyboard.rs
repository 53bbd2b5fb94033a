//! The thread that reads keys and the thread that hears signals; both only send events.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use ratatui::crossterm::event::{self, Event as Input};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::{Handle, Signals},
};

use super::app::Event;

/// How soon the key thread notices that the screen was left. It sleeps in the kernel meanwhile.
const LEAVE_CHECK: Duration = Duration::from_millis(500);

/// Keys and signals flow into the channel while this lives.
pub struct Keyboard {
    done: Arc<AtomicBool>,
    signals: Handle,
    keys: Option<JoinHandle<()>>,
}

impl Keyboard {
    /// Starts both threads.
    pub fn listen(events: &Sender<Event>) -> std::io::Result<Keyboard> {
        let done = Arc::new(AtomicBool::new(false));
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
        let handle = signals.handle();
        let (sender, stop) = (events.clone(), Arc::clone(&done));
        let keys = Some(thread::Builder::new().name("keys".to_owned()).spawn(move || read_keys(&sender, &stop))?);
        let sender = events.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for _ in signals.forever() {
                if sender.send(Event::Hangup).is_err() {
                    break;
                }
            }
        })?;
        Ok(Keyboard { done, signals: handle, keys })
    }
}

impl Keyboard {
    /// Ends once nothing reads the terminal any more, so that another program can.
    pub fn stop(mut self) {
        self.done.store(true, Ordering::SeqCst);
        if let Some(keys) = self.keys.take() {
            // A panic over there has been reported; the terminal is free all the same.
            let _ = keys.join();
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
        self.signals.close();
    }
}

/// A key is taken from the terminal only while somebody wants it, so none is lost between two screens.
fn read_keys(events: &Sender<Event>, done: &AtomicBool) {
    while !done.load(Ordering::SeqCst) {
        let input = match event::poll(LEAVE_CHECK) {
            Ok(true) if !done.load(Ordering::SeqCst) => event::read(),
            Ok(_) => continue,
            Err(error) => Err(error),
        };
        let sent = match input {
            Ok(Input::Key(key)) => events.send(Event::Key(key)),
            Ok(Input::Mouse(event)) => events.send(Event::Mouse(event)),
            Ok(Input::Paste(text)) => events.send(Event::Paste(text)),
            Ok(Input::FocusGained) => events.send(Event::Focus(true)),
            Ok(Input::FocusLost) => events.send(Event::Focus(false)),
            Ok(Input::Resize(columns, rows)) => events.send(Event::Resize(columns, rows)),
            Err(_) => {
                // The terminal is gone: leave at once instead of spinning on it.
                let _ = events.send(Event::Hangup);
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}
