//! The knowledge behind the demo notes: `assets/clinic/*.toml`, parsed once and checked as a whole.
//! Must not know how a note is drawn or worded.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use serde::Deserialize;

use crate::task::ErrorKind;

const FILES: [(&str, &str); 2] = [
    ("conditions_infectious.toml", include_str!("../../assets/clinic/conditions_infectious.toml")),
    ("conditions_general.toml", include_str!("../../assets/clinic/conditions_general.toml")),
];
const DRUGS: (&str, &str) = ("drugs.toml", include_str!("../../assets/clinic/drugs.toml"));

/// The marks that a history clause may hold.
const PRONOUN_MARKS: [&str; 6] = ["{He}", "{he}", "{His}", "{his}", "{Him}", "{him}"];

/// Why a knowledge table cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    #[error("{file}: not readable as a table: {what}")]
    Syntax { file: String, what: String },
    #[error("{file}: '{entry}': {what}")]
    Entry { file: String, entry: String, what: String },
    #[error("{file}: no entries; at least one is needed")]
    Empty { file: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sex {
    Female,
    Male,
}

impl Sex {
    pub fn word(self) -> &'static str {
        match self {
            Sex::Female => "female",
            Sex::Male => "male",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Setting {
    Clinic,
    #[serde(rename = "emergency department")]
    EmergencyDepartment,
    Ward,
}

/// One answer to "what is the drug, the organism, ..."; only drugs have a dose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    pub dose: Option<String>,
}

/// What is right and what is plausibly wrong about one fact of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub kind: ErrorKind,
    pub right: Answer,
    pub wrong: Vec<Answer>,
}

/// One disease as a textbook would tell it.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub name: String,
    pub setting: Setting,
    /// Years, inclusive.
    pub age: [u32; 2],
    pub complaints: Vec<String>,
    pub durations: Vec<String>,
    pub history: Vec<String>,
    pub exam: Vec<String>,
    pub labs: Vec<String>,
    pub temperature_c: [f64; 2],
    pub pulse: [u32; 2],
    sexes: Vec<Sex>,
    /// The diagnosis first.
    facts: Vec<Fact>,
}

impl Condition {
    pub fn sexes(&self) -> &[Sex] {
        &self.sexes
    }

    /// All facts, the diagnosis first.
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    pub fn diagnosis(&self) -> &Fact {
        &self.facts[0]
    }

    pub fn fact(&self, kind: ErrorKind) -> Option<&Fact> {
        self.facts.iter().find(|fact| fact.kind == kind)
    }

    /// Whether every drug answer, right or wrong, has a dose: a dose shown only with right answers would betray them.
    pub fn doses_known(&self) -> bool {
        self.fact(ErrorKind::Pharmacotherapy)
            .is_some_and(|fact| fact.wrong.iter().chain([&fact.right]).all(|answer| answer.dose.is_some()))
    }
}

/// All conditions, checked.
#[derive(Clone, Debug)]
pub struct Tables {
    conditions: Vec<Condition>,
}

impl Tables {
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Parses and checks (file name, contents) pairs; the error names file, entry and what is wrong.
    pub fn parse(files: &[(&str, &str)], drugs: (&str, &str)) -> Result<Tables, TableError> {
        let doses = parse_doses(drugs)?;
        let mut conditions = Vec::new();
        let mut names = BTreeSet::new();
        for (file, contents) in files {
            let rows: ConditionFile = read(file, contents)?;
            if rows.condition.is_empty() {
                return Err(TableError::Empty { file: (*file).to_owned() });
            }
            for row in rows.condition {
                let fail = |what: String| TableError::Entry { file: (*file).to_owned(), entry: row.name.clone(), what };
                row.check().map_err(fail)?;
                if !names.insert(row.name.to_lowercase()) {
                    return Err(fail("this name occurs twice; rename or merge one".to_owned()));
                }
                conditions.push(row.build(&doses));
            }
        }
        Ok(Tables { conditions })
    }
}

/// The embedded tables, parsed on first use.
pub fn tables() -> Result<&'static Tables, &'static TableError> {
    static TABLES: LazyLock<Result<Tables, TableError>> = LazyLock::new(|| Tables::parse(&FILES, DRUGS));
    TABLES.as_ref()
}

fn read<T: for<'a> Deserialize<'a>>(file: &str, contents: &str) -> Result<T, TableError> {
    toml::from_str(contents).map_err(|e| TableError::Syntax { file: file.to_owned(), what: e.to_string().trim().to_owned() })
}

fn parse_doses((file, contents): (&str, &str)) -> Result<BTreeMap<String, String>, TableError> {
    let rows: DrugFile = read(file, contents)?;
    let mut doses = BTreeMap::new();
    for row in rows.drug {
        let fail = |what: String| TableError::Entry { file: file.to_owned(), entry: row.name.clone(), what };
        row.check().map_err(fail)?;
        if doses.insert(row.name.clone(), row.dose_phrase()).is_some() {
            return Err(fail("this drug occurs twice".to_owned()));
        }
    }
    Ok(doses)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DrugFile {
    drug: Vec<DrugRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DrugRow {
    name: String,
    class: String,
    route: Route,
    /// The usual range of one dose; the note shows its lower end.
    dose: [f64; 2],
    unit: String,
    frequency: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Route {
    Oral,
    Intravenous,
    Intramuscular,
    Subcutaneous,
    Topical,
    Inhaled,
}

impl Route {
    fn adverb(self) -> &'static str {
        match self {
            Route::Oral => "orally",
            Route::Intravenous => "intravenously",
            Route::Intramuscular => "intramuscularly",
            Route::Subcutaneous => "subcutaneously",
            Route::Topical => "topically",
            Route::Inhaled => "by inhalation",
        }
    }
}

impl DrugRow {
    fn check(&self) -> Result<(), String> {
        let [low, high] = self.dose;
        let ordered = 0.0 < low && low <= high && high.is_finite();
        if !ordered {
            return Err(format!("dose = {:?}: expected [low, high], both positive", self.dose));
        }
        [("name", &self.name), ("class", &self.class), ("unit", &self.unit), ("frequency", &self.frequency)]
            .into_iter()
            .try_for_each(|(field, text)| check_phrase(field, text))
    }

    fn dose_phrase(&self) -> String {
        format!("{} {} {} {}", self.dose[0], self.unit, self.route.adverb(), self.frequency)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionFile {
    condition: Vec<ConditionRow>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SexRule {
    Male,
    Female,
    Any,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct FactRow {
    right: String,
    wrong: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionRow {
    name: String,
    mimics: Vec<String>,
    sex: SexRule,
    age: [u32; 2],
    setting: Setting,
    complaints: Vec<String>,
    durations: Vec<String>,
    #[serde(default)]
    history: Vec<String>,
    exam: Vec<String>,
    labs: Vec<String>,
    temperature_c: [f64; 2],
    pulse: [u32; 2],
    organism: Option<FactRow>,
    drug: Option<FactRow>,
    treatment: Option<FactRow>,
    management: Option<FactRow>,
}

impl ConditionRow {
    /// The facts in a fixed order, the diagnosis first.
    fn fact_rows(&self) -> Vec<(ErrorKind, FactRow)> {
        let diagnosis = FactRow { right: self.name.clone(), wrong: self.mimics.clone() };
        [
            (ErrorKind::Diagnosis, Some(diagnosis)),
            (ErrorKind::CausalOrganism, self.organism.clone()),
            (ErrorKind::Pharmacotherapy, self.drug.clone()),
            (ErrorKind::Treatment, self.treatment.clone()),
            (ErrorKind::Management, self.management.clone()),
        ]
        .into_iter()
        .filter_map(|(kind, row)| row.map(|row| (kind, row)))
        .collect()
    }

    fn check(&self) -> Result<(), String> {
        let facts = self.fact_rows();
        if facts.len() < 3 {
            return Err("fewer than two of organism, drug, treatment, management; add one".to_owned());
        }
        facts.iter().try_for_each(|(kind, fact)| check_fact(*kind, fact))?;
        check_list("complaints", &self.complaints, 2)?;
        check_list("durations", &self.durations, 1)?;
        check_list("exam", &self.exam, 2)?;
        check_list("labs", &self.labs, 1)?;
        self.history.iter().try_for_each(|clause| check_history(clause))?;
        if self.age[0] > self.age[1] || self.age[1] > 110 {
            return Err(format!("age = {:?}: expected [low, high] in years, at most 110", self.age));
        }
        let [cool, hot] = self.temperature_c;
        let plausible = 30.0 <= cool && cool <= hot && hot <= 43.0;
        if !plausible {
            return Err(format!("temperature_c = {:?}: expected [low, high] within 30 to 43", self.temperature_c));
        }
        if self.pulse[0] > self.pulse[1] || self.pulse[0] < 20 || self.pulse[1] > 260 {
            return Err(format!("pulse = {:?}: expected [low, high] within 20 to 260", self.pulse));
        }
        Ok(())
    }

    fn build(self, doses: &BTreeMap<String, String>) -> Condition {
        let facts = self.fact_rows().into_iter().map(|(kind, row)| build_fact(kind, row, doses)).collect();
        Condition {
            name: self.name,
            setting: self.setting,
            age: self.age,
            complaints: self.complaints,
            durations: self.durations,
            history: self.history,
            exam: self.exam,
            labs: self.labs,
            temperature_c: self.temperature_c,
            pulse: self.pulse,
            sexes: match self.sex {
                SexRule::Male => vec![Sex::Male],
                SexRule::Female => vec![Sex::Female],
                SexRule::Any => vec![Sex::Female, Sex::Male],
            },
            facts,
        }
    }
}

fn build_fact(kind: ErrorKind, row: FactRow, doses: &BTreeMap<String, String>) -> Fact {
    let answer = |text: String| {
        let dose = doses.get(&text).filter(|_| kind == ErrorKind::Pharmacotherapy).cloned();
        Answer { text, dose }
    };
    Fact { kind, right: answer(row.right), wrong: row.wrong.into_iter().map(answer).collect() }
}

fn check_fact(kind: ErrorKind, fact: &FactRow) -> Result<(), String> {
    let field = kind.medec_name();
    check_phrase(field, &fact.right)?;
    check_list(field, &fact.wrong, 2)?;
    let right = fact.right.to_lowercase();
    let mut seen = BTreeSet::from([right.clone()]);
    match fact.wrong.iter().find(|wrong| !seen.insert(wrong.to_lowercase())) {
        Some(twice) => Err(format!("{field}: wrong answer '{twice}' repeats the right one or another wrong one")),
        None => Ok(()),
    }
}

fn check_list(field: &str, items: &[String], least: usize) -> Result<(), String> {
    if items.len() < least {
        return Err(format!("{field}: {} entries, expected at least {least}", items.len()));
    }
    items.iter().try_for_each(|item| check_phrase(field, item))
}

/// A phrase goes into sentences and `|`- and `;`-separated fields as it stands.
fn check_phrase(field: &str, phrase: &str) -> Result<(), String> {
    let marked = phrase.contains(['|', ';', '{', '}', '<', '>']) || phrase.chars().any(|c| !c.is_ascii() || c.is_ascii_control());
    if phrase.is_empty() || phrase.trim() != phrase || phrase.ends_with('.') || marked {
        return Err(format!("{field}: '{phrase}': expected plain ASCII without |;<>{{}}, outer space or final period"));
    }
    Ok(())
}

fn check_history(clause: &str) -> Result<(), String> {
    let bare = PRONOUN_MARKS.iter().fold(clause.to_owned(), |text, mark| text.replace(mark, "x"));
    check_phrase("history", &bare)
}
