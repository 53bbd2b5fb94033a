//! Vignettes: one patient story, phrased twice, once with one fact wrong. Splits part by content, not by index.
//! Must not know prompts or completions.

use super::{
    draw::Draw,
    grammar,
    story::Story,
    tables::{Tables, tables},
};
use crate::task::{ErrorKind, Label, LabelledNote, Note, Sentence};

/// Chance in percent that the clean sibling phrases a sentence anew.
const REPHRASED: u32 = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    Train,
    Validation,
    Test,
}

impl Split {
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        }
    }

    /// The split a content key belongs to: 80, 10 and 10 percent, whatever the seed.
    pub fn of_key(key: &str) -> Split {
        let hash = blake3::hash(key.as_bytes());
        // Two bytes are plenty to cut in ten.
        let [first, second, ..] = *hash.as_bytes();
        match u16::from_le_bytes([first, second]) % 10 {
            0..=7 => Split::Train,
            8 => Split::Validation,
            _ => Split::Test,
        }
    }
}

/// A contrastive pair: the same patient with one fact wrong, and with every fact right.
#[derive(Clone, Debug)]
pub struct Vignette {
    pub group: String,
    pub condition: String,
    pub error: LabelledNote,
    pub clean: LabelledNote,
    story: Story,
    error_phrasing: Vec<usize>,
    clean_phrasing: Vec<usize>,
}

impl Vignette {
    /// Condition, chosen findings, age decade and sex: what no two splits share.
    pub fn content_key(&self) -> String {
        self.story.key()
    }

    pub(super) fn story(&self) -> &Story {
        &self.story
    }

    /// The error or the clean note with every sentence phrased otherwise.
    pub(super) fn reworded(&self, wrong: bool, draw: &mut Draw) -> Vec<Sentence> {
        let now = if wrong { &self.error_phrasing } else { &self.clean_phrasing };
        let other: Vec<usize> = now
            .iter()
            .zip(&self.story.lines)
            .map(|(phrasing, line)| {
                let count = grammar::phrasings(&self.story, *line);
                // A step of 1..count never lands on the same phrasing; a single phrasing has to stay.
                if count < 2 { *phrasing } else { (phrasing + 1 + draw.below(count - 1)) % count }
            })
            .collect();
        sentences(&self.story, wrong, &other)
    }

    /// A stated fact's sentence in the error (`wrong`) or clean note, with the right answer in it.
    pub(super) fn right_sentence(&self, wrong: bool, kind: ErrorKind) -> Option<String> {
        let phrasing = if wrong { &self.error_phrasing } else { &self.clean_phrasing };
        let place = self.story.sentence_of(kind)? as usize;
        sentences(&self.story, false, phrasing).into_iter().nth(place).map(|sentence| sentence.text)
    }
}

/// Vignette `index` of a split, the same for the same arguments.
pub fn vignette(split: Split, seed: u64, index: u64) -> Vignette {
    let tables = embedded();
    let mut draw = Draw::new(&format!("clinic vignette {}", split.name()), seed, index);
    let story = loop {
        let story = Story::draw(tables, &mut draw);
        if Split::of_key(&story.key()) == split {
            break story;
        }
    };
    build(story, format!("clinic-{}-{index}", split.name()), &mut draw)
}

/// The first `n` vignettes of a split.
pub fn pairs(split: Split, seed: u64, n: u64) -> Vec<Vignette> {
    (0..n).map(|index| vignette(split, seed, index)).collect()
}

/// The tables are compiled in, and a test parses them: they cannot be invalid in a tested build.
pub(super) fn embedded() -> &'static Tables {
    tables().expect("the embedded clinic tables are valid")
}

fn build(story: Story, group: String, draw: &mut Draw) -> Vignette {
    let mut draw_one = |line| draw.below(grammar::phrasings(&story, line));
    let error_phrasing: Vec<usize> = story.lines.iter().map(|line| draw_one(*line)).collect();
    let fresh: Vec<usize> = story.lines.iter().map(|line| draw_one(*line)).collect();
    let pick = |(old, new): (&usize, usize)| if draw.percent(REPHRASED) { new } else { *old };
    let clean_phrasing: Vec<usize> = error_phrasing.iter().zip(fresh).map(pick).collect();
    let note = |suffix: &str, wrong: bool, phrasing: &[usize]| Note {
        id: format!("{group}-{suffix}"),
        group: group.clone(),
        sentences: sentences(&story, wrong, phrasing),
    };
    let error = note("e", true, &error_phrasing);
    let clean = note("c", false, &clean_phrasing);
    let label = error_label(&story, &error_phrasing);
    Vignette {
        condition: story.condition.name.clone(),
        error: LabelledNote { note: error, label },
        clean: LabelledNote { note: clean, label: Label::Clean },
        group,
        story,
        error_phrasing,
        clean_phrasing,
    }
}

fn error_label(story: &Story, phrasing: &[usize]) -> Label {
    let kind = story.wrong.0;
    let sentence = story.sentence_of(kind).unwrap_or_default();
    let correction = sentences(story, false, phrasing).into_iter().nth(sentence as usize);
    Label::Error { kind, sentence, correction: correction.map(|s| s.text).unwrap_or_default() }
}

fn sentences(story: &Story, wrong: bool, phrasing: &[usize]) -> Vec<Sentence> {
    let facts: Vec<_> = story.facts().collect();
    let said = |line| facts.iter().find(|f| super::story::Line::Fact(f.kind) == line).map(|f| story.said(f, wrong));
    (0..)
        .zip(story.lines.iter().zip(phrasing))
        .map(|(id, (line, phrasing))| Sentence { id, text: grammar::sentence(story, *line, said(*line), *phrasing) })
        .collect()
}
