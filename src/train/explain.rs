//! Where the presets differ, and what this experiment makes of them. Every value of the learning rule and of the selection is
//! compared, so that a difference cannot be forgotten here.

use serde::Serialize;
use serde_json::{Map, Value};

use super::algo::Algo;
use crate::config::{Preset, RunConfig, Selection};

/// One knob, its value in each preset, and here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Knob {
    pub name: String,
    /// In the order of [`PRESETS`].
    pub presets: [Value; 3],
    pub here: Value,
    /// The experiment sets it to something else than its preset does.
    pub is_override: bool,
    pub meaning: &'static str,
}

pub const PRESETS: [(Preset, &str); 3] = [(Preset::Openrlhf, "openrlhf"), (Preset::PaperV9, "paper-v9"), (Preset::Serl, "serl")];

/// What a knob does, for those in which presets differ.
const MEANINGS: &[(&str, &str)] = &[
    ("algo.kl_coef", "weight of the k1 penalty in the token reward"),
    ("algo.kl_clamp", "bound of the per-token KL estimate; null is none"),
    ("algo.log_ratio_clamp", "bound of the log ratio before it is exponentiated; null is none"),
    ("algo.reduction", "how token losses become one number"),
    ("select.filter", "whether groups outside the window leave"),
    ("select.window", "pass rates of a group that trains"),
    ("select.bounds", "whether a rate on the edge is inside"),
    ("select.when", "whether groups leave before or after advantages are normalised"),
    ("select.refill", "how often in a step what left is made up for"),
];

/// What the sources do and no preset here does.
pub const ELSEWHERE: &[&str] = &[
    "OpenRLHF, SeRL: the rate climbs again past the schedule's horizon; here it stays at its floor",
    "OpenRLHF, SeRL: the first optimizer step has rate 0, here too; a last smaller batch is dropped, here it is used",
    "OpenRLHF, SeRL: old log-probs are recomputed by the trainer; here the sampler's are the trainer's (metric rollout_policy_kl)",
    "paper v9 with a baseline: a k2 loss term beside the policy loss; here the penalty is k1 in the reward for every estimator",
    "SeRL: rloo is normalised over all tokens too; here, as in OpenRLHF, it is not",
    "SeRL, OpenRLHF: new prompts until the batch is full; here select.refill bounds it, and what is missing is counted",
    "SeRL: normalises each generation of 16 prompts apart; here select.when = \"after\" normalises over all groups of the step",
    "SeRL: its written batch of 16 ran as 128, by a defect; here 128",
    "SeRL: rounds exist in its paper only, its code runs until it is killed; here [rounds] gives them a length and a stop rule",
];

/// Every knob of the learning rule and the selection, by its key in an experiment.
pub fn knobs(config: &RunConfig) -> Result<Vec<Knob>, serde_json::Error> {
    let flat = |algo: &Algo, selection: Selection| -> Result<Map<String, Value>, serde_json::Error> {
        let sections = [("algo", serde_json::to_value(algo)?), ("select", serde_json::to_value(selection)?)];
        let keys = sections.into_iter().filter_map(|(section, value)| match value {
            Value::Object(map) => Some(map.into_iter().map(move |(key, value)| (format!("{section}.{key}"), value))),
            _ => None,
        });
        Ok(keys.flatten().collect())
    };
    let preset = |preset: Preset| flat(&Algo::preset(preset), Selection::preset(preset));
    let columns = [preset(PRESETS[0].0)?, preset(PRESETS[1].0)?, preset(PRESETS[2].0)?];
    let here = flat(&Algo::resolve(&config.algo), config.select.resolve(config.algo.preset))?;
    let own = PRESETS.iter().position(|(preset, _)| *preset == config.algo.preset).unwrap_or(0);
    let value = |column: &Map<String, Value>, name: &str| rounded(column.get(name).cloned().unwrap_or_default());
    let knob = |name: &String| {
        let presets = [0, 1, 2].map(|i| value(&columns[i], name));
        let here = value(&here, name);
        let meaning = MEANINGS.iter().find(|(key, _)| key == name).map_or("", |(_, meaning)| meaning);
        Knob { is_override: here != presets[own], name: name.clone(), presets, here, meaning }
    };
    Ok(here.keys().map(knob).collect())
}

/// An f32 widened to f64 shows digits that nobody wrote.
#[expect(clippy::cast_possible_truncation)]
fn rounded(value: Value) -> Value {
    match value.as_f64() {
        Some(number) if value.is_f64() => {
            (number as f32).to_string().parse::<f64>().ok().and_then(serde_json::Number::from_f64).map_or(value, Value::Number)
        }
        _ => value,
    }
}

impl Knob {
    /// Whether the presets disagree.
    pub fn differs(&self) -> bool {
        self.presets.iter().any(|value| *value != self.presets[0])
    }
}

/// For people: where presets differ, what the experiment overrides, and what no preset does.
pub fn lines(config: &RunConfig) -> Result<Vec<String>, serde_json::Error> {
    let knobs = knobs(config)?;
    let own = PRESETS.iter().find(|(preset, _)| *preset == config.algo.preset).map_or("", |(_, name)| name);
    let cell = |value: &Value| value.to_string().replace('"', "");
    let row = |name: &str, presets: [String; 3], here: &str, more: &str| {
        let line = format!("  {name:24} {:22} {:22} {:22} {here:22} {more}", presets[0], presets[1], presets[2]);
        line.trim_end().to_owned()
    };
    let table = |wanted: &dyn Fn(&Knob) -> bool| -> Vec<String> {
        let line = |k: &Knob| {
            let mark = if k.is_override { "* " } else { "" };
            row(&k.name, k.presets.clone().map(|v| cell(&v)), &format!("{mark}{}", cell(&k.here)), k.meaning)
        };
        knobs.iter().filter(|k| wanted(k)).map(line).collect()
    };
    let head = row("", PRESETS.map(|(_, name)| name.to_owned()), "this experiment", "");
    let mut lines = vec![format!("preset {own}; * is set by the experiment"), "where presets differ".to_owned(), head];
    lines.extend(table(&|k| k.differs()));
    lines.push("the same in every preset, set by the experiment".to_owned());
    let set = table(&|k| !k.differs() && k.is_override);
    lines.extend(if set.is_empty() { vec!["  nothing".to_owned()] } else { set });
    lines.push("the same in every preset and here".to_owned());
    let same = |k: &&Knob| !k.differs() && !k.is_override;
    lines.extend(knobs.iter().filter(same).map(|k| format!("  {:24} {}", k.name, cell(&k.here))));
    lines.push("what the sources do and no preset does".to_owned());
    lines.extend(ELSEWHERE.iter().map(|line| format!("  {line}")));
    Ok(lines)
}
