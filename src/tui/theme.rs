//! What every kind of text looks like. Colour is never alone: each token that means something also has a glyph or a word.

use std::collections::BTreeMap;

use ratatui::style::{Color, Modifier, Style};
use serde::Deserialize;

const THEMES: &str = include_str!("../../assets/theme.toml");

macro_rules! tokens {
    ($($token:ident = $name:literal),* $(,)?) => {
        /// Everything that is drawn has one of these meanings.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Token { $($token),* }

        impl Token {
            pub const ALL: &[Token] = &[$(Token::$token),*];

            /// The key in `theme.toml`.
            pub fn name(self) -> &'static str {
                match self { $(Token::$token => $name),* }
            }
        }
    };
}

tokens! {
    Text = "text", Dim = "dim", Title = "title", Border = "border", Focus = "focus", Key = "key", Bar = "bar", Spark = "spark",
    Correct = "correct", FalsePositive = "false_positive", FalseNegative = "false_negative", Malformed = "malformed",
    Insertion = "insertion", Deletion = "deletion", ErrorMark = "error_mark", Thinking = "thinking", Verdict = "verdict",
    Warn = "warn", Fail = "fail", Run = "run", Chosen = "chosen",
    SeriesB = "series_b", SeriesC = "series_c", SeriesD = "series_d",
}

/// Why a theme cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ThemeError {
    #[error("theme file: {0}; expected tables of tokens such as `correct = {{ fg = \"#56B4E9\", bold = true }}`")]
    Toml(#[from] toml::de::Error),
    #[error("there is no theme '{wanted}'; choose one of {known}")]
    Unknown { wanted: String, known: String },
    #[error("theme '{theme}' lacks the token '{token}'; add it (an empty table means plain text)")]
    Missing { theme: String, token: &'static str },
    #[error("theme '{theme}', token '{token}': '{value}' is no colour; write it as #RRGGBB")]
    Colour { theme: String, token: &'static str, value: String },
}

/// How many colours the terminal takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    True,
    /// The 256-colour palette.
    Indexed,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Look {
    fg: Option<String>,
    bold: bool,
    dim: bool,
    reversed: bool,
    underlined: bool,
    crossed_out: bool,
}

/// A style for every [`Token`].
#[derive(Clone, Debug)]
pub struct Theme {
    pub name: String,
    pub depth: Depth,
    styles: Vec<Style>,
}

impl Theme {
    /// Reads the built-in theme `name`: dark, light or mono.
    pub fn built_in(name: &str, depth: Depth) -> Result<Theme, ThemeError> {
        Theme::parse(THEMES, name, depth)
    }

    /// Reads theme `name` from TOML text.
    pub fn parse(text: &str, name: &str, depth: Depth) -> Result<Theme, ThemeError> {
        let themes: BTreeMap<String, BTreeMap<String, Look>> = toml::from_str(text)?;
        let looks = themes.get(name).ok_or_else(|| {
            let known: Vec<&str> = themes.keys().map(String::as_str).collect();
            ThemeError::Unknown { wanted: name.to_owned(), known: known.join(", ") }
        })?;
        let style = |token: &Token| {
            let missing = || ThemeError::Missing { theme: name.to_owned(), token: token.name() };
            let look = looks.get(token.name()).ok_or_else(missing)?;
            look.style(depth).map_err(|value| ThemeError::Colour { theme: name.to_owned(), token: token.name(), value })
        };
        Ok(Theme { name: name.to_owned(), depth, styles: Token::ALL.iter().map(style).collect::<Result<_, _>>()? })
    }

    /// The named theme, or what the environment asks for: mono under `NO_COLOR` or a dumb terminal, light where `COLORFGBG` names a
    /// light background, else dark.
    pub fn choose(wanted: Option<&str>, env: impl Fn(&str) -> Option<String>) -> Result<Theme, ThemeError> {
        let no_color = env("NO_COLOR").is_some_and(|v| !v.is_empty()) || env("TERM").as_deref() == Some("dumb");
        let depth = match env("COLORTERM").as_deref() {
            Some("truecolor" | "24bit") => Depth::True,
            _ => Depth::Indexed,
        };
        // Foreground and background as numbers of the 16 colours; 7 and 9 to 15 are light.
        let background = env("COLORFGBG").and_then(|v| v.rsplit(';').next()?.parse::<u8>().ok());
        let is_light = background.is_some_and(|b| b == 7 || (9..16).contains(&b));
        let own = if no_color {
            "mono"
        } else if is_light {
            "light"
        } else {
            "dark"
        };
        Theme::built_in(wanted.unwrap_or(own), depth)
    }

    pub fn style(&self, token: Token) -> Style {
        self.styles[token as usize]
    }
}

impl Look {
    fn style(&self, depth: Depth) -> Result<Style, String> {
        let mut style = Style::default();
        if let Some(value) = &self.fg {
            style = style.fg(colour(value, depth).ok_or_else(|| value.clone())?);
        }
        let modifiers = [
            (self.bold, Modifier::BOLD),
            (self.dim, Modifier::DIM),
            (self.reversed, Modifier::REVERSED),
            (self.underlined, Modifier::UNDERLINED),
            (self.crossed_out, Modifier::CROSSED_OUT),
        ];
        Ok(modifiers.into_iter().filter(|(on, _)| *on).fold(style, |style, (_, modifier)| style.add_modifier(modifier)))
    }
}

fn colour(value: &str, depth: Depth) -> Option<Color> {
    let digits = value.strip_prefix('#').filter(|d| d.len() == 6)?;
    let rgb = u32::from_str_radix(digits, 16).ok()?.to_be_bytes();
    let (r, g, b) = (rgb[1], rgb[2], rgb[3]);
    Some(match depth {
        Depth::True => Color::Rgb(r, g, b),
        Depth::Indexed => Color::Indexed(palette_index(r, g, b)),
    })
}

/// Nearest entry of the 6×6×6 cube, or of the grey ramp for greys.
fn palette_index(r: u8, g: u8, b: u8) -> u8 {
    if r == g && g == b {
        return 232 + (u16::from(r).saturating_sub(3) / 10).min(23) as u8;
    }
    let step = |v: u8| match v {
        0..48 => 0,
        48..115 => 1,
        _ => (v - 35) / 40,
    };
    16 + 36 * step(r) + 6 * step(g) + step(b)
}
