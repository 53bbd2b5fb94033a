//! Looking through every committed rollout: light rows for lists, whole groups for reading. The filter becomes SQL here,
//! and everything a person typed goes in as a bound parameter.

use rusqlite::{Row, params_from_iter, types::Value};

use super::{
    Cell, Store, StoreError,
    filter::{Bounds, Number, Place, RolloutFilter, Term, Test},
    rows,
};
use crate::task::{Quadrant, Rollout, StopReason};

/// One line of a list of rollouts: about 100 bytes, so that a hundred thousand are no burden.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutRow {
    pub sample_id: Box<str>,
    pub sibling: u32,
    pub step: u32,
    pub quadrant: Quadrant,
    pub cell: Cell,
    /// NaN where the store holds NaN.
    pub reward: f64,
    pub advantage: Option<f64>,
    pub n_tokens: u32,
}

/// Names one rollout.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RolloutKey {
    pub sample_id: String,
    pub sibling: u32,
}

impl RolloutRow {
    pub fn key(&self) -> RolloutKey {
        RolloutKey { sample_id: self.sample_id.to_string(), sibling: self.sibling }
    }
}

/// What a list is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortKey {
    #[default]
    Step,
    Reward,
    Advantage,
    Length,
}

impl SortKey {
    pub const ALL: [SortKey; 4] = [SortKey::Step, SortKey::Reward, SortKey::Advantage, SortKey::Length];

    pub fn name(self) -> &'static str {
        match self {
            SortKey::Step => "step",
            SortKey::Reward => "reward",
            SortKey::Advantage => "advantage",
            SortKey::Length => "length",
        }
    }
}

/// An order; ties keep the order of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    pub key: SortKey,
    pub descending: bool,
}

impl Default for Sort {
    /// The newest step first.
    fn default() -> Sort {
        Sort { key: SortKey::Step, descending: true }
    }
}

const ADVANTAGE: &str = "CASE WHEN r.has_advantage THEN r.advantage END";
const N_TOKENS: &str = "length(r.tokens) / 4";

impl Store {
    /// The rollouts that pass `filter`, in order.
    pub fn browse(&self, filter: &RolloutFilter, sort: Sort) -> Result<Vec<RolloutRow>, StoreError> {
        let (condition, bound) = condition(filter);
        // The note and its label live with the sample; the join is made only for those who ask.
        let asked = |term: &Term| matches!(term.test, Test::Kinds(_) | Test::Contains(Place::Note, _));
        let join = if filter.terms.iter().any(asked) { "JOIN sample s ON s.id = r.sample_id" } else { "" };
        let by = match sort.key {
            SortKey::Step => "r.step",
            SortKey::Reward => "r.reward",
            SortKey::Advantage => ADVANTAGE,
            SortKey::Length => N_TOKENS,
        };
        let way = if sort.descending { "DESC" } else { "ASC" };
        let sql = format!(
            "SELECT r.sample_id, r.sibling, r.step, r.quadrant, r.cell, r.reward, r.has_advantage, r.advantage, {N_TOKENS}
             FROM rollout r {join} WHERE {condition} ORDER BY {by} {way} NULLS LAST, r.rowid"
        );
        self.at(rows::collect(&self.conn, &sql, params_from_iter(bound), light_row))
    }

    /// How many rollouts are committed in all.
    pub fn n_rollouts(&self) -> Result<u64, StoreError> {
        self.at(self.conn.query_row("SELECT count(*) FROM rollout", (), |row| row.get::<_, i64>(0)).map(i64::unsigned_abs))
    }

    /// All rollouts of one sample, by sibling, without traces (see [`Store::add_traces`]).
    pub fn group(&self, sample_id: &str) -> Result<Vec<Rollout>, StoreError> {
        self.at(rows::rollouts(&self.conn, "r.sample_id = ?1", (sample_id,)))
    }
}

fn light_row(row: &Row<'_>) -> rusqlite::Result<RolloutRow> {
    let word = |column: usize| row.get::<_, String>(column);
    let unknown = |column: usize, word: String| {
        let message = format!("'{word}' is unknown to this program");
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, message.into())
    };
    let (quadrant, cell) = (word(3)?, word(4)?);
    Ok(RolloutRow {
        sample_id: word(0)?.into_boxed_str(),
        sibling: row.get(1)?,
        step: row.get(2)?,
        quadrant: Quadrant::parse(&quadrant).ok_or_else(|| unknown(3, quadrant))?,
        cell: Cell::parse(&cell).ok_or_else(|| unknown(4, cell))?,
        reward: rows::real(row, 5)?,
        advantage: if row.get(6)? { Some(rows::real(row, 7)?) } else { None },
        n_tokens: row.get(8)?,
    })
}

/// A condition over `rollout r` (and `sample s`) with `?` in place of every value, and the values in order.
fn condition(filter: &RolloutFilter) -> (String, Vec<Value>) {
    let mut bound = Vec::new();
    let parts: Vec<String> = filter.terms.iter().map(|term| clause(term, &mut bound)).collect();
    (if parts.is_empty() { "1".to_owned() } else { parts.join(" AND ") }, bound)
}

fn clause(term: &Term, bound: &mut Vec<Value>) -> String {
    let test = match &term.test {
        Test::Quadrants(all) => one_of("r.quadrant", all.iter().map(|q| q.code().to_owned()), bound),
        Test::Cells(all) => one_of("r.cell", all.iter().map(|c| c.name().to_owned()), bound),
        Test::Kinds(all) => one_of("s.label", all.iter().map(|k| k.map_or("clean", |k| k.medec_name()).to_owned()), bound),
        Test::Stops(all) => one_of("r.stop", all.iter().map(|s| stop_word(*s).to_owned()), bound),
        Test::Number(what, bounds) => between(number(*what), *bounds, bound),
        Test::Contains(place, words) => {
            let column = match place {
                Place::Completion => "r.text",
                Place::Note => "s.note",
                Place::SampleId => "r.sample_id",
            };
            bound.push(Value::Text(format!("%{}%", escape_like(words))));
            format!("{column} LIKE ? ESCAPE '\\'")
        }
    };
    // NaN is NULL in the store: it passes no test, and its opposite always.
    format!("{}coalesce({test}, 0)", if term.negated { "NOT " } else { "" })
}

fn one_of(column: &str, words: impl Iterator<Item = String>, bound: &mut Vec<Value>) -> String {
    let before = bound.len();
    bound.extend(words.map(Value::Text));
    format!("{column} IN ({})", vec!["?"; bound.len() - before].join(", "))
}

fn between(column: &str, bounds: Bounds, bound: &mut Vec<Value>) -> String {
    let mut parts = Vec::new();
    for (end, sign) in [(bounds.low, ">"), (bounds.high, "<")] {
        if let Some((value, included)) = end {
            bound.push(Value::Real(value));
            parts.push(format!("({column}) {sign}{} ?", if included { "=" } else { "" }));
        }
    }
    if parts.is_empty() { "1".to_owned() } else { parts.join(" AND ") }
}

fn number(what: Number) -> &'static str {
    match what {
        Number::Step => "r.step",
        Number::Sibling => "r.sibling + 1",
        Number::Reward => "r.reward",
        Number::Advantage => ADVANTAGE,
        Number::Length => N_TOKENS,
    }
}

/// As [`rows`] writes it.
fn stop_word(stop: StopReason) -> &'static str {
    match stop {
        StopReason::EndOfTurn => "end_of_turn",
        StopReason::Length => "length",
        StopReason::Aborted => "aborted",
    }
}

fn escape_like(words: &str) -> String {
    words.chars().flat_map(|c| matches!(c, '%' | '_' | '\\').then_some('\\').into_iter().chain([c])).collect()
}
