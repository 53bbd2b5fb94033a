//! What a vignette says, before any wording: a patient, chosen findings, the stated facts and the planned wrong answer.
//! Must not know how a sentence is phrased.

use super::{
    draw::Draw,
    tables::{Answer, Condition, Fact, Sex, Tables},
};
use crate::task::ErrorKind;

/// How often each error kind is aimed at. Organisms exist only for infections, so their share is smaller.
const KIND_WEIGHTS: [(ErrorKind, u32); 5] = [
    (ErrorKind::Diagnosis, 23),
    (ErrorKind::Management, 20),
    (ErrorKind::Treatment, 19),
    (ErrorKind::Pharmacotherapy, 22),
    (ErrorKind::CausalOrganism, 16),
];

/// One sentence's worth of content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Opening,
    Complaint,
    History,
    Vitals,
    Exam,
    Lab,
    Fact(ErrorKind),
}

/// The content of a vignette; both siblings phrase it, and so does every rewording.
#[derive(Clone, Debug)]
pub(super) struct Story {
    pub condition: &'static Condition,
    pub sex: Sex,
    pub age: u32,
    /// The first opens the note, the others make the second sentence.
    pub complaints: Vec<&'static str>,
    pub duration: &'static str,
    pub history: Option<&'static str>,
    pub exam: Vec<&'static str>,
    pub lab: &'static str,
    /// Tenths of a degree Celsius.
    pub temperature: u32,
    pub pulse: u32,
    /// Whether the drug sentence shows a dose.
    pub with_dose: bool,
    pub lines: Vec<Line>,
    /// The fact that the error note gets wrong, and its wrong answer.
    pub wrong: (ErrorKind, &'static Answer),
}

impl Story {
    pub(super) fn draw(tables: &'static Tables, draw: &mut Draw) -> Story {
        let kind = draw.weighted(&KIND_WEIGHTS);
        let able: Vec<&'static Condition> = tables.conditions().iter().filter(|c| c.fact(kind).is_some()).collect();
        // A table without any condition for this kind still has diagnoses.
        let (kind, condition) = match able.is_empty() {
            false => (kind, *draw.pick(&able)),
            true => (ErrorKind::Diagnosis, draw.pick(tables.conditions())),
        };
        let stated = draw_stated(condition, kind, draw);
        let history = match condition.history.is_empty() {
            false if draw.percent(70) => Some(draw.pick(&condition.history).as_str()),
            _ => None,
        };
        let complaints = draw_complaints(condition, history.is_some(), draw);
        let exam: Vec<&'static str> = condition.exam.iter().map(String::as_str).collect();
        let exam_count = if draw.percent(90) { 2 } else { 1 };
        let fact = condition.fact(kind).unwrap_or(condition.diagnosis());
        Story {
            condition,
            sex: *draw.pick(condition.sexes()),
            age: draw.between(condition.age[0], condition.age[1]),
            duration: draw.pick(&condition.durations).as_str(),
            exam: draw.subset(&exam, exam_count),
            lab: draw_lab(condition, draw),
            temperature: draw.between(tenths(condition.temperature_c[0]), tenths(condition.temperature_c[1])),
            pulse: draw.between(condition.pulse[0], condition.pulse[1]),
            with_dose: condition.doses_known() && draw.percent(33),
            lines: draw_lines(complaints.len() > 1, history.is_some(), &stated, draw),
            wrong: (kind, draw.pick(&fact.wrong)),
            complaints,
            history,
        }
    }

    /// The stated facts, in note order.
    pub(super) fn facts(&self) -> impl Iterator<Item = &'static Fact> {
        let condition = self.condition;
        self.lines.iter().filter_map(move |line| match line {
            Line::Fact(kind) => condition.fact(*kind),
            _ => None,
        })
    }

    /// The sentence id of a stated fact.
    pub(super) fn sentence_of(&self, kind: ErrorKind) -> Option<u32> {
        let place = self.lines.iter().position(|line| *line == Line::Fact(kind))?;
        u32::try_from(place).ok()
    }

    /// What the error note (`wrong`) or the clean note says of a stated fact.
    pub(super) fn said(&self, fact: &'static Fact, wrong: bool) -> &'static Answer {
        if wrong && fact.kind == self.wrong.0 { self.wrong.1 } else { &fact.right }
    }

    /// What makes two vignettes the same patient story; the split is a hash of it.
    pub(super) fn key(&self) -> String {
        let mut complaints = self.complaints.clone();
        complaints.sort_unstable();
        format!(
            "{}|{}|{}|{}|{}|{}|{}",
            self.condition.name,
            complaints.join(","),
            self.exam.join(","),
            self.lab,
            self.history.unwrap_or("-"),
            self.age / 10,
            self.sex.word(),
        )
    }
}

fn tenths(celsius: f64) -> u32 {
    // Validated to lie in 30..=43.
    (celsius * 10.0).round() as u32
}

/// Diagnosis and one or two other facts, among them `kind`.
fn draw_stated(condition: &'static Condition, kind: ErrorKind, draw: &mut Draw) -> Vec<ErrorKind> {
    let others: Vec<ErrorKind> = condition.facts().iter().map(|f| f.kind).filter(|k| *k != ErrorKind::Diagnosis).collect();
    let count = if draw.percent(70) { 2 } else { 1 };
    let mut stated = others.clone();
    draw.shuffle(&mut stated);
    // The aimed-at kind goes first, so that truncation keeps it.
    stated.sort_by_key(|k| *k != kind);
    stated.truncate(count);
    stated
}

fn draw_complaints(condition: &'static Condition, has_history: bool, draw: &mut Draw) -> Vec<&'static str> {
    let mut all: Vec<&'static str> = condition.complaints.iter().map(String::as_str).collect();
    draw.shuffle(&mut all);
    let count = match has_history {
        true if draw.percent(35) => 1,
        true => 2,
        false => 2 + usize::from(draw.percent(40)),
    };
    all.truncate(count);
    all
}

/// Mostly the first test listed, the telling one, so that a note's diagnosis follows from its findings.
fn draw_lab(condition: &'static Condition, draw: &mut Draw) -> &'static str {
    if draw.percent(50) { condition.labs[0].as_str() } else { draw.pick(&condition.labs).as_str() }
}

/// The order of the sentences: usual at the top, loose among findings and facts, so that position tells little.
fn draw_lines(more_complaints: bool, history: bool, stated: &[ErrorKind], draw: &mut Draw) -> Vec<Line> {
    let mut lines = vec![Line::Opening];
    let mut early = Vec::new();
    if more_complaints {
        early.push(Line::Complaint);
    }
    if history {
        early.push(Line::History);
    }
    draw.shuffle(&mut early);
    lines.extend(early);
    let mut findings = vec![Line::Vitals, Line::Exam, Line::Lab];
    if draw.percent(15) {
        findings.swap(0, 1);
    }
    let mut facts: Vec<Line> = stated.iter().map(|kind| Line::Fact(*kind)).collect();
    draw.shuffle(&mut facts);
    facts.insert(0, Line::Fact(ErrorKind::Diagnosis));
    match draw.between(0, 99) {
        0..=14 => draw.shuffle(&mut facts),
        // The diagnosis is made before the last finding comes back.
        15..=34 => findings.insert(2, facts.remove(0)),
        _ => {}
    }
    lines.extend(findings);
    lines.extend(facts);
    lines
}
