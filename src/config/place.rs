//! Where the model computes: `cpu`, `cuda` or `cuda:N`.
//!
//! For checks, `/composed` after it leaves out our own operations: candle's run instead, several launches each.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A device to compute on. Nothing ever falls back to another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Place {
    #[default]
    Cpu,
    /// The CPU by the operations that a GPU runs without kernels of ours.
    Composed,
    /// The GPU of this number as the driver counts them, with our kernels or without.
    Cuda { index: usize, kernels: bool },
}

/// Not a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no device; expected cpu, cuda, or cuda:N with N the number of a GPU")]
pub struct UnknownPlace(String);

impl FromStr for Place {
    type Err = UnknownPlace;

    fn from_str(text: &str) -> Result<Place, UnknownPlace> {
        let unknown = || UnknownPlace(text.to_owned());
        let (device, composed) = match text.split_once('/') {
            None => (text, false),
            Some((device, "composed")) => (device, true),
            Some(_) => return Err(unknown()),
        };
        let index = match device {
            "cpu" => return Ok(if composed { Place::Composed } else { Place::Cpu }),
            "cuda" => 0,
            _ => device.strip_prefix("cuda:").and_then(|n| n.parse().ok()).ok_or_else(unknown)?,
        };
        Ok(Place::Cuda { index, kernels: !composed })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Place::Cpu => f.write_str("cpu"),
            Place::Composed => f.write_str("cpu/composed"),
            Place::Cuda { index, kernels } => write!(f, "cuda:{index}{}", if *kernels { "" } else { "/composed" }),
        }
    }
}

impl From<Place> for String {
    fn from(place: Place) -> String {
        place.to_string()
    }
}

impl TryFrom<String> for Place {
    type Error = UnknownPlace;

    fn try_from(text: String) -> Result<Place, UnknownPlace> {
        text.parse()
    }
}
