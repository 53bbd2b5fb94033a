//! The Label screen over a desk in memory.

use std::collections::{BTreeMap, HashMap};

use medserl::{
    store::SampleHead,
    task::{Entry, HandLabel, Quadrant, Sample, Sentence, Standing, hand_label::Picked},
    tui::{
        Theme,
        label::{
            LabelApp, Setup, Task,
            queue::Votes,
            run::{Desk, feed, press},
        },
        screen,
        theme::Depth,
    },
};
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};

use crate::labels::fixture;

pub const SIZES: [(u16, u16); 12] =
    [(1, 1), (2, 9), (9, 2), (20, 5), (44, 10), (60, 15), (61, 16), (80, 24), (100, 30), (120, 40), (200, 60), (300, 100)];

pub fn setup(task: Task, order: Picked) -> Setup {
    Setup { run: "night-s1".to_owned(), annotator: "ann".to_owned(), seed: 5, repeats: 0.0, task, order }
}

#[derive(Default)]
pub struct Memory {
    pub samples: BTreeMap<String, Sample>,
    pub entries: Vec<Entry>,
    pub is_full: bool,
}

impl Memory {
    pub fn add_step(&mut self, step: u32, n: u32) {
        let samples = (0..n).map(|i| match Quadrant::ALL[i as usize % 4] {
            quadrant if quadrant.holds_error() => fixture::error_sample(quadrant, step, i),
            quadrant => fixture::clean_sample(quadrant, step, i),
        });
        self.samples.extend(samples.map(|sample| (sample.id.clone(), sample)));
    }

    pub fn heads(&self) -> Vec<SampleHead> {
        self.samples.values().map(SampleHead::from).collect()
    }

    pub fn sample(&self, id: &str) -> &Sample {
        &self.samples[id]
    }

    fn votes_on(sample: &Sample) -> Votes {
        let wrong = if sample.index.is_multiple_of(2) { 2 } else { 3 };
        Votes { right: 3 - wrong + u32::from(wrong == 3), wrong, malformed: u32::from(wrong == 2) }
    }
}

impl Desk for Memory {
    fn sample(&mut self, id: &str) -> anyhow::Result<(Sample, Votes)> {
        let sample = self.samples.get(id).ok_or_else(|| anyhow::anyhow!("gone"))?;
        Ok((sample.clone(), Memory::votes_on(sample)))
    }

    fn votes(&mut self) -> anyhow::Result<HashMap<String, Votes>> {
        Ok(self.samples.values().map(|s| (s.id.clone(), Memory::votes_on(s))).collect())
    }

    fn keep(&mut self, entry: Entry) -> anyhow::Result<Entry> {
        anyhow::ensure!(!self.is_full, "the disk is full");
        let entry = entry.with_id(format!("e{}", self.entries.len()));
        self.entries.push(entry.clone());
        Ok(entry)
    }

    fn look(&mut self) -> anyhow::Result<(Vec<SampleHead>, Vec<Entry>)> {
        Ok((self.heads(), self.entries.clone()))
    }
}

pub struct Bench {
    pub app: LabelApp,
    pub desk: Memory,
    /// Milliseconds.
    pub now: i64,
}

impl Bench {
    /// One step of eight samples.
    pub fn new(size: (u16, u16), setup: Setup) -> Bench {
        let mut desk = Memory::default();
        desk.add_step(2, 8);
        Bench::over(size, setup, desk)
    }

    /// `n_steps` steps of `n` samples.
    pub fn of(setup: Setup, n_steps: u32, n: u32) -> Bench {
        let mut desk = Memory::default();
        (1..=n_steps).for_each(|step| desk.add_step(step, n));
        Bench::over((80, 24), setup, desk)
    }

    /// Over these samples.
    pub fn over(size: (u16, u16), setup: Setup, mut desk: Memory) -> Bench {
        let now = 1_700_000_000_000;
        let theme = Theme::built_in("dark", Depth::True).unwrap();
        let (heads, entries) = desk.look().unwrap();
        let mut app = LabelApp::new(theme, size, setup, heads, entries.into_iter().collect::<Standing>(), now);
        feed(&mut app, &mut desk);
        Bench { app, desk, now }
    }

    /// The same annotator comes back another day.
    pub fn restarted(self) -> Bench {
        let setup = self.app.setup.clone();
        self.continued_by(setup)
    }

    pub fn continued_by(self, setup: Setup) -> Bench {
        Bench::over(self.app.size, setup, self.desk)
    }

    pub fn press(&mut self, keys: &[&str]) {
        for key in keys {
            self.leaves(key);
        }
    }

    pub fn leaves(&mut self, key: &str) -> bool {
        let (name, modifiers) = match key.strip_prefix("ctrl-") {
            Some(rest) => (rest, KeyModifiers::CONTROL),
            None => (key, KeyModifiers::NONE),
        };
        let code = match name {
            "enter" => KeyCode::Enter,
            "esc" => KeyCode::Esc,
            "left" => KeyCode::Left,
            "right" => KeyCode::Right,
            "up" => KeyCode::Up,
            "down" => KeyCode::Down,
            "tab" => KeyCode::Tab,
            "backspace" => KeyCode::Backspace,
            "pageup" => KeyCode::PageUp,
            "pagedown" => KeyCode::PageDown,
            "space" => KeyCode::Char(' '),
            one => KeyCode::Char(one.chars().next().unwrap()),
        };
        press(&mut self.app, &mut self.desk, KeyEvent::new(code, modifiers), self.now)
    }

    /// Walks to a sample of the queue.
    #[track_caller]
    pub fn open(&mut self, id: &str) {
        for _ in 0..self.app.remaining() {
            if self.app.card.as_ref().is_some_and(|card| card.id == id) {
                return;
            }
            self.press(&["n"]);
        }
        panic!("{id} is not in the queue");
    }

    /// Labels that stand, oldest first.
    pub fn labels(&self) -> Vec<HandLabel> {
        self.desk.entries.iter().cloned().collect::<Standing>().labels().cloned().collect()
    }

    /// The screen as text, one line a row.
    pub fn screen(&self) -> String {
        let (columns, rows) = self.app.size;
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        terminal.draw(|frame| screen::label::draw(&self.app, frame.area(), frame.buffer_mut())).unwrap();
        let buffer = terminal.backend().buffer();
        assert!(buffer.content.iter().all(|cell| !cell.symbol().chars().any(char::is_control)), "a control character is shown");
        let rows = buffer.content.chunks(usize::from(columns).max(1));
        rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>() + "\n").collect()
    }

    #[track_caller]
    pub fn shows(&self, facts: &[&str]) {
        let screen = self.screen();
        for fact in facts {
            assert!(screen.contains(fact), "'{fact}' is not on the screen:\n{screen}");
        }
    }

    /// Puts sentences around the error of a sample and shows it again.
    pub fn lengthen(&mut self, id: &str, n: u32) {
        let sample = self.desk.samples.get_mut(id).unwrap();
        for note in [&mut sample.note, &mut sample.source] {
            let mut rest = note.sentences.split_off(1);
            let filler = |i: u32| Sentence { id: i, text: format!("Filler {i}.") };
            rest.iter_mut().for_each(|s| s.id += n / 2);
            note.sentences.extend((1..=n / 2).map(filler));
            note.sentences.extend(rest);
            note.sentences.extend((n / 2 + 4..=n + 3).map(|i| Sentence { id: i, text: format!("Filler {}.", i - 4) }));
        }
        if let medserl::task::Label::Error { sentence, .. } = &mut sample.label {
            *sentence += n / 2;
        }
        self.app.card = Some(medserl::tui::label::card::Card::new(id));
        feed(&mut self.app, &mut self.desk);
    }

    /// Makes one sentence far longer than any screen.
    pub fn swell(&mut self, id: &str) {
        let sample = self.desk.samples.get_mut(id).unwrap();
        sample.note.sentences[1].text = "lorem ipsum ".repeat(90_000);
        self.app.card = Some(medserl::tui::label::card::Card::new(id));
        feed(&mut self.app, &mut self.desk);
    }

    /// A note that tries to write on the terminal.
    pub fn make_hostile(&mut self, id: &str) {
        let sample = self.desk.samples.get_mut(id).unwrap();
        sample.note.sentences[1].text = "\u{1b}[2J\u{202e}宽字符 \t\u{9b}31m 👩\u{200d}⚕\u{fe0f} a\nb ".repeat(40);
        sample.source.id = "\u{1b}]0;x\u{7}".to_owned();
    }
}
