//! Samples small enough to see through, and labels of them.

use medserl::task::{Decision, Entry, ErrorKind, HandLabel, Injection, Label, Note, Provenance, Quadrant, Sample, Sentence};

pub const SOURCE: [&str; 4] = ["A 54-year-old man.", "He has diabetes.", "He takes metformin.", "Return in 3 months."];

pub fn note(texts: [&str; 4]) -> Note {
    let sentences = texts.iter().zip(0..).map(|(text, id)| Sentence { id, text: (*text).to_owned() }).collect();
    Note { id: "ms-1".into(), group: "g1".into(), sentences }
}

fn made(quadrant: Quadrant, step: u32, index: u32, texts: [&str; 4], label: Label) -> Sample {
    Sample {
        id: Sample::make_id(quadrant, step, index),
        step,
        index,
        quadrant,
        note: note(texts),
        label,
        source: note(SOURCE),
        provenance: Provenance { attempts: 1, ..Provenance::default() },
        gates: Vec::new(),
    }
}

/// "metformin" became "warfarin", and the last sentence was reworded.
pub fn error_sample(quadrant: Quadrant, step: u32, index: u32) -> Sample {
    let label = Label::Error { kind: ErrorKind::Pharmacotherapy, sentence: 2, correction: SOURCE[2].to_owned() };
    let texts = [SOURCE[0], SOURCE[1], "He takes warfarin.", "Come back in 3 months."];
    let mut sample = made(quadrant, step, index, texts, label);
    let (old, new, why) = ("metformin".to_owned(), "warfarin".to_owned(), "it thins the blood".to_owned());
    sample.provenance.injection = Some(Injection { sentence: 2, old, new, kind: ErrorKind::Pharmacotherapy, why });
    sample
}

pub fn clean_sample(quadrant: Quadrant, step: u32, index: u32) -> Sample {
    made(quadrant, step, index, [SOURCE[0], "He is a diabetic.", SOURCE[2], SOURCE[3]], Label::Clean)
}

/// An error where the quadrant holds one. Its text tells it from all others.
pub fn told_apart(quadrant: Quadrant, step: u32, index: u32) -> Sample {
    let mut sample =
        if quadrant.holds_error() { error_sample(quadrant, step, index) } else { clean_sample(quadrant, step, index) };
    sample.note = sample.note.with_sentence(0, &format!("Patient {index} of step {step}.")).unwrap();
    sample
}

pub fn sample(quadrant: Quadrant, step: u32, index: u32) -> Sample {
    told_apart(quadrant, step, index)
}

pub fn label_by(annotator: &str, id: &str, sample: &Sample, decision: Decision) -> Entry {
    let (id, annotator, run) = (id.to_owned(), annotator.to_owned(), "run".to_owned());
    Entry::Label(Box::new(HandLabel { id, annotator, run, at: 1, seconds: 2.0, ..HandLabel::of(sample, decision) }))
}

pub fn label(id: &str, sample: &Sample, decision: Decision) -> Entry {
    label_by("ann", id, sample, decision)
}
