//! A model's own chat template (Jinja), rendered as transformers' `apply_chat_template` renders it, byte for byte. A template that
//! asks for what is not offered here (includes, the date, methods of strings) is an error, never another template.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use minijinja::{Environment, Error, ErrorKind, Value, syntax::SyntaxConfig, value::Serde};
use serde_json::{Map, Value as Json, json};

use crate::task::{Chat, Role};

/// Instructions a rendering may take; a chat of a few turns takes hundreds.
const FUEL: u64 = 1_000_000;
const RECURSION: usize = 32;
/// A template longer than this is refused; Gemma's has 1.5 kB.
const MAX_BYTES: usize = 256 << 10;
/// What each content is replaced by to see where it lands. Private use characters, which no template has.
const MARK: [char; 2] = ['\u{f8f0}', '\u{f8f1}'];

/// A template with the special tokens it may name.
pub struct ChatTemplate {
    environment: Environment<'static>,
    text: String,
    /// `bos_token` and the like, by name.
    tokens: Map<String, Json>,
    source: String,
}

/// A part of a rendered chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A special token that the template itself wrote.
    Special(String),
    /// Text, in which special tokens are to be spelt out.
    Text(String),
}

impl ChatTemplate {
    /// `tokens` are the special tokens by the names templates use (`bos_token`); `source` is named in messages.
    pub fn new(text: &str, tokens: Map<String, Json>, source: &str) -> Result<ChatTemplate> {
        ensure!(text.len() <= MAX_BYTES, "{source} has {} bytes; a chat template has at most {MAX_BYTES}", text.len());
        let mut environment = Environment::new();
        // As transformers sets Jinja up.
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION);
        environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_filter("trim", |text: String| strip(&text).to_owned());
        environment
            .add_template_owned("chat", text.to_owned())
            .with_context(|| format!("{source} is not a template this program can render"))?;
        Ok(ChatTemplate { environment, text: text.to_owned(), tokens, source: source.to_owned() })
    }

    /// The template of a model folder: `chat_template.jinja`, `chat_template.json` or `tokenizer_config.json`, the first that has
    /// one, as transformers looks for it. `None` where none has.
    pub fn load(dir: &Path) -> Result<Option<ChatTemplate>> {
        let settings = read_json(&dir.join("tokenizer_config.json"))?;
        let mut tokens = gemma_tokens();
        for (name, value) in settings.as_ref().and_then(Json::as_object).into_iter().flatten() {
            let text = value.as_str().or_else(|| value.get("content")?.as_str());
            if let Some(text) = text.filter(|_| name.ends_with("_token")) {
                tokens.insert(name.clone(), text.into());
            }
        }
        let path = dir.join("chat_template.jinja");
        if path.exists() {
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            return ChatTemplate::new(&text, tokens, &path.display().to_string()).map(Some);
        }
        let path = dir.join("chat_template.json");
        let (settings, path) = match read_json(&path)? {
            Some(json) => (Some(json), path),
            None => (settings, dir.join("tokenizer_config.json")),
        };
        let Some(found) = settings.as_ref().and_then(|json| json.get("chat_template")).filter(|t| !t.is_null()) else {
            return Ok(None);
        };
        let text = default_of(found).with_context(|| format!("{}: chat_template has no default", path.display()))?;
        ChatTemplate::new(text, tokens, &path.display().to_string()).map(Some)
    }

    /// The template's text, for its hash and for folders written by this program.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Renders messages as transformers spells them (`role` user, assistant or system; `content` a string or a list of parts).
    pub fn render(&self, messages: &[Json], add_generation_prompt: bool) -> Result<String> {
        let mut context = self.tokens.clone();
        context.insert("messages".into(), messages.into());
        context.insert("add_generation_prompt".into(), add_generation_prompt.into());
        context.insert("tools".into(), Json::Null);
        context.insert("documents".into(), Json::Null);
        let template = self.environment.get_template("chat").with_context(|| format!("in {}", self.source))?;
        let rendered = template.render(Value::from(Serde(&context)));
        rendered.with_context(|| format!("{} cannot render this chat", self.source))
    }

    /// A chat up to the opening of the model's turn, cut at the special tokens (out of `specials`) that the template wrote. What a
    /// content holds stays text, whatever it looks like. Joined, the pieces are exactly what [`ChatTemplate::render`] gives.
    pub fn pieces(&self, chat: &Chat, specials: &[String]) -> Result<Vec<Piece>> {
        ensure!(!chat.turns.is_empty(), "a chat needs at least one turn");
        let contents: Vec<&str> = chat.turns.iter().map(|turn| turn.content.as_str()).collect();
        let messages = |content: &dyn Fn(usize) -> String| -> Vec<Json> {
            let role = |role| if role == Role::User { "user" } else { "assistant" };
            let message = |(i, turn): (usize, &crate::task::Turn)| json!({ "role": role(turn.role), "content": content(i) });
            chat.turns.iter().enumerate().map(message).collect()
        };
        let exact = self.render(&messages(&|i| contents[i].to_owned()), true)?;
        let marked = self.render(&messages(&|i| format!("{}{i}{}", MARK[0], MARK[1])), true)?;
        for trimmed in [true, false] {
            let content = |i: usize| contents.get(i).map(|c| if trimmed { strip(c) } else { c });
            if let Some(pieces) = cut(&marked, &content, specials).filter(|pieces| joined(pieces) == exact) {
                return Ok(pieces);
            }
        }
        anyhow::bail!("{} changes what a turn says, so that notes could not be told from its own tokens", self.source)
    }
}

/// Replaces the marks in a rendered chat by contents, and cuts the rest at special tokens.
fn cut<'a>(marked: &str, content: &dyn Fn(usize) -> Option<&'a str>, specials: &[String]) -> Option<Vec<Piece>> {
    let (mut pieces, mut text) = (Vec::new(), String::new());
    let mut rest = marked;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(MARK[0]) {
            let (number, after) = after.split_once(MARK[1])?;
            text.push_str(content(number.parse().ok()?)?);
            rest = after;
        } else if let Some(special) = specials.iter().filter(|s| rest.starts_with(s.as_str())).max_by_key(|s| s.len()) {
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(Piece::Special(special.clone()));
            rest = &rest[special.len()..];
        } else {
            let end = rest.chars().next().map_or(rest.len(), char::len_utf8);
            text.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Some(pieces)
}

fn joined(pieces: &[Piece]) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Special(text) | Piece::Text(text) => text.as_str(),
        })
        .collect()
}

/// Python's `str.strip`, which also takes the four separators U+001C to U+001F for space.
fn strip(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}

/// The special tokens of Gemma 3, where a tokenizer's settings do not name them.
pub fn gemma_tokens() -> Map<String, Json> {
    let pairs = [("bos_token", "<bos>"), ("eos_token", "<eos>"), ("pad_token", "<pad>"), ("unk_token", "<unk>")];
    pairs.into_iter().map(|(name, token)| (name.to_owned(), token.into())).collect()
}

/// A template is a string, or a list of named ones.
fn default_of(found: &Json) -> Option<&str> {
    match found {
        Json::String(text) => Some(text),
        Json::Array(list) => {
            list.iter().find(|t| t.get("name").and_then(Json::as_str) == Some("default"))?.get("template")?.as_str()
        }
        _ => None,
    }
}

/// `None` where there is no such file.
fn read_json(path: &Path) -> Result<Option<Json>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display())).map(Some)
}
