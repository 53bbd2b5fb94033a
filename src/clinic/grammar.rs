//! How content becomes sentences: at least six phrasings for each line, none of which starts with a fact's value,
//! so that right and wrong answers stand in the same places in the same case. Must not know what is right.

use super::{
    story::{Line, Story},
    tables::{Answer, Setting, Sex},
};
use crate::task::ErrorKind;

const OPENING: [&str; 8] = [
    "{A} {who} is seen {place} because of {c} for {d}.",
    "{A} {who} is evaluated {place} because of {c} for the past {d}.",
    "{A} {who} presents with {c} for {d} and is seen {place}.",
    "The patient, {a} {who}, is seen {place} because of {c} for the past {d}.",
    "For {d}, {a} {who} has had {c} and is now seen {place}.",
    "{Place}, {a} {who} is assessed because of {c} for {d}.",
    "{Place}, {a} {who} presents with {c} for the past {d}.",
    "Over the past {d}, {a} {who} now seen {place} has had {c}.",
];
const COMPLAINT: [&str; 8] = [
    "{He} also reports {x}.",
    "The patient also describes {x}.",
    "{He} also mentions {x}.",
    "The patient further reports {x}.",
    "In addition, {he} reports {x}.",
    "{He} has also had {x}.",
    "In addition, the patient has {x}.",
    "When asked, {he} also reports {x}.",
];
/// For patients who do not tell their story themselves.
const COMPLAINT_CHILD: [&str; 7] = [
    "The parents also report {x}.",
    "The parents have also noticed {x}.",
    "According to the parents, {he} also has {x}.",
    "{He} has also had {x}.",
    "In addition, the patient has {x}.",
    "The family also mentions {x}.",
    "In addition, the parents describe {x}.",
];
const HISTORY: [&str; 7] = [
    "{X}.",
    "Of note, {x}.",
    "From the history, {x}.",
    "The history shows that {x}.",
    "It is noted that {x}.",
    "According to the record, {x}.",
    "Background: {X}.",
];
const VITALS: [&str; 8] = [
    "Temperature is {t} C and pulse is {p}/min.",
    "Vital signs show a temperature of {t} C and a pulse of {p}/min.",
    "{His} temperature is {t} C and {his} pulse is {p}/min.",
    "Vital signs: temperature {t} C, pulse {p}/min.",
    "{He} has a temperature of {t} C and a pulse of {p}/min.",
    "The pulse is {p}/min and the temperature is {t} C.",
    "On arrival, temperature is {t} C with a pulse of {p}/min.",
    "The recorded temperature is {t} C, with a pulse of {p}/min.",
];
const EXAM: [&str; 8] = [
    "Examination shows {x}.",
    "Physical examination reveals {x}.",
    "On examination, {he} has {x}.",
    "The examination is notable for {x}.",
    "Findings on examination include {x}.",
    "Physical findings are {x}.",
    "The physician finds {x}.",
    "Physical examination is remarkable for {x}.",
];
const LAB: [&str; 6] =
    ["{X}.", "Test results: {X}.", "Workup: {X}.", "Studies are back: {X}.", "Results: {X}.", "Further testing: {X}."];
/// Stand-ins for the verb of a result, where it has just this one.
const LAB_VERBS: [&str; 3] = [" shows ", " reveals ", " demonstrates "];
const DIAGNOSIS: [&str; 8] = [
    "The patient is diagnosed with {x}.",
    "A diagnosis of {x} is made.",
    "The findings are consistent with {x}.",
    "The picture is most consistent with {x}.",
    "The working diagnosis is {x}.",
    "Together, the findings indicate {x}.",
    "{He} is found to have {x}.",
    "The assessment is {x}.",
];
const ORGANISM: [&str; 7] = [
    "The causal organism is {x}.",
    "The infection is attributed to {x}.",
    "Microbiology identifies {x}.",
    "The responsible pathogen is {x}.",
    "The most likely organism is {x}.",
    "The infection is caused by {x}.",
    "The suspected pathogen is {x}.",
];
const DRUG: [&str; 8] = [
    "The patient is started on {x}.",
    "{He} is prescribed {x}.",
    "Drug therapy with {x} is begun.",
    "The chosen medication is {x}.",
    "The prescription is for {x}.",
    "Pharmacotherapy consists of {x}.",
    "{He} is given {x}.",
    "The physician prescribes {x}.",
];
const TREATMENT: [&str; 7] = [
    "The patient undergoes {x}.",
    "Treatment is {x}.",
    "{He} is treated with {x}.",
    "Definitive treatment consists of {x}.",
    "The treatment plan is {x}.",
    "The treatment performed is {x}.",
    "The team treats {him} with {x}.",
];
const MANAGEMENT: [&str; 7] = [
    "The next step is {x}.",
    "The team arranges {x}.",
    "The next step in management is {x}.",
    "Further management consists of {x}.",
    "The plan includes {x}.",
    "As the next step, the team arranges {x}.",
    "Management includes {x}.",
];

fn templates(story: &Story, line: Line) -> &'static [&'static str] {
    match line {
        Line::Opening => &OPENING,
        Line::Complaint if story.age < 5 => &COMPLAINT_CHILD,
        Line::Complaint => &COMPLAINT,
        Line::History => &HISTORY,
        Line::Vitals => &VITALS,
        Line::Exam => &EXAM,
        Line::Lab => &LAB,
        Line::Fact(ErrorKind::Diagnosis) => &DIAGNOSIS,
        Line::Fact(ErrorKind::CausalOrganism) => &ORGANISM,
        Line::Fact(ErrorKind::Pharmacotherapy) => &DRUG,
        Line::Fact(ErrorKind::Treatment) => &TREATMENT,
        Line::Fact(ErrorKind::Management) => &MANAGEMENT,
    }
}

/// How many phrasings a line has.
pub(super) fn phrasings(story: &Story, line: Line) -> usize {
    let verbs = if line == Line::Lab && story.lab.contains(LAB_VERBS[0]) { LAB_VERBS.len() } else { 1 };
    templates(story, line).len() * verbs
}

/// One sentence: phrasing number `phrasing` of a line. `said` is the answer a fact line states; other lines ignore it.
pub(super) fn sentence(story: &Story, line: Line, said: Option<&Answer>, phrasing: usize) -> String {
    let templates = templates(story, line);
    let template = templates[phrasing % templates.len()];
    let value = value(story, line, said, phrasing / templates.len());
    let text = match line {
        Line::Opening => fill_opening(story, template),
        Line::Vitals => fill_vitals(story, template),
        Line::History => template.replace("{X}", &value).replace("{x}", &lower_first(&value)),
        _ => template.replace("{X}", &value).replace("{x}", &value),
    };
    fill_pronouns(&text, story.sex)
}

/// What goes into the `{x}` of a line.
fn value(story: &Story, line: Line, said: Option<&Answer>, verb: usize) -> String {
    match (line, said) {
        (Line::Complaint, _) => story.complaints.get(1..).unwrap_or_default().join(" and "),
        (Line::History, _) => story.history.unwrap_or_default().to_owned(),
        (Line::Exam, _) => story.exam.join(" and "),
        (Line::Lab, _) => story.lab.replacen(LAB_VERBS[0], LAB_VERBS[verb % LAB_VERBS.len()], 1),
        (Line::Fact(_), Some(answer)) => match &answer.dose {
            Some(dose) if story.with_dose => format!("{} {dose}", answer.text),
            _ => answer.text.clone(),
        },
        _ => String::new(),
    }
}

/// Lowers the first letter of a history clause; a clause may open with a proper name, so only the words below are lowered.
fn lower_first(value: &str) -> String {
    const LOWERED: [&str; 22] = [
        "The",
        "A",
        "An",
        "There",
        "Several",
        "Symptoms",
        "No",
        "Past",
        "Prior",
        "Family",
        "Both",
        "Two",
        "Vaccinations",
        "Immunizations",
        "Pain",
        "Similar",
        "Her",
        "His",
        "Other",
        "Multiple",
        "Recent",
        "Birth",
    ];
    let first = value.split(' ').next().unwrap_or_default();
    if let Some(rest) = value.strip_prefix("{H") {
        return format!("{{h{rest}");
    }
    match LOWERED.contains(&first) {
        true => format!("{}{}", value[..1].to_ascii_lowercase(), &value[1..]),
        false => value.to_owned(),
    }
}

fn fill_opening(story: &Story, template: &str) -> String {
    let who = who(story.age, story.sex);
    // "8-", "11-", "18-" and "80-year-old" and "infant" start with a vowel sound.
    let vowel = story.age == 0 || matches!(story.age, 8 | 11 | 18 | 80..=89);
    let (lower, upper) = if vowel { ("an", "An") } else { ("a", "A") };
    let (place, upper_place) = match story.condition.setting {
        Setting::Clinic => ("in the clinic", "In the clinic"),
        Setting::EmergencyDepartment => ("in the emergency department", "In the emergency department"),
        Setting::Ward => ("on the ward", "On the ward"),
    };
    let complaint = story.complaints.first().copied().unwrap_or_default();
    template
        .replace("{A}", upper)
        .replace("{a}", lower)
        .replace("{who}", &who)
        .replace("{place}", place)
        .replace("{Place}", upper_place)
        .replace("{c}", complaint)
        .replace("{d}", story.duration)
}

fn who(age: u32, sex: Sex) -> String {
    let noun = match (sex, age < 18) {
        (Sex::Female, true) => "girl",
        (Sex::Female, false) => "woman",
        (Sex::Male, true) => "boy",
        (Sex::Male, false) => "man",
    };
    match age {
        0 => format!("infant {noun}"),
        _ => format!("{age}-year-old {noun}"),
    }
}

fn fill_vitals(story: &Story, template: &str) -> String {
    let celsius = format!("{}.{}", story.temperature / 10, story.temperature % 10);
    template.replace("{t}", &celsius).replace("{p}", &story.pulse.to_string())
}

fn fill_pronouns(text: &str, sex: Sex) -> String {
    let [subject, upper_subject, possessive, upper_possessive, object, upper_object] = match sex {
        Sex::Female => ["she", "She", "her", "Her", "her", "Her"],
        Sex::Male => ["he", "He", "his", "His", "him", "Him"],
    };
    text.replace("{he}", subject)
        .replace("{He}", upper_subject)
        .replace("{his}", possessive)
        .replace("{His}", upper_possessive)
        .replace("{him}", object)
        .replace("{Him}", upper_object)
}
