//! Rust source as text: literals and comments blanked out, words with their places, brackets matched. Knows no rule.

/// One file: as written, and with comments and literals blanked out (same length, same lines).
pub struct Source {
    pub path: String,
    pub text: String,
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned(), code: blank(text) }
    }

    pub fn inside(&self) -> &str {
        self.path.strip_prefix("src/").unwrap_or(&self.path)
    }

    /// `src/store/runs.rs` → `store`, `src/config.rs` → `config`.
    pub fn module(&self) -> &str {
        let first = self.inside().split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// How many `super::` lead from this file to the crate root: 1 in `src/x.rs` and `src/x/mod.rs`, 2 in `src/x/y.rs`.
    pub fn depth(&self) -> usize {
        self.inside().split('/').count() - usize::from(self.inside().ends_with("/mod.rs"))
    }

    /// A message about the byte at `offset`.
    pub fn at(&self, offset: usize, message: &str) -> String {
        format!("{}:{}: {message}", self.path, self.text.as_bytes()[..offset].split(|b| *b == b'\n').count())
    }
}

/// Replaces comments and literals by spaces, byte for byte; line breaks stay.
pub fn blank(text: &str) -> String {
    let mut out = text.as_bytes().to_vec();
    let mut at = 0;
    while at < out.len() {
        let length = blank_length(text, at);
        out[at..at + length].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
        at += length.max(1);
    }
    out.iter_mut().filter(|b| !b.is_ascii()).for_each(|b| *b = b'?');
    String::from_utf8(out).expect("only ASCII is left")
}

/// Length of the comment or literal that starts at `at`; 0 for plain code.
fn blank_length(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let rest = &bytes[at..];
    let whole = |length: Option<usize>| length.unwrap_or(rest.len());
    if rest.starts_with(b"//") {
        return whole(rest.iter().position(|b| *b == b'\n'));
    }
    if rest.starts_with(b"/*") {
        return block_comment(rest);
    }
    if rest[0] == b'r' && (at == 0 || !is_word(bytes[at - 1]) || rest_is_byte_prefix(bytes, at)) {
        let hashes = rest[1..].iter().take_while(|b| **b == b'#').count();
        if rest.get(1 + hashes) == Some(&b'"') {
            let end = format!("\"{}", "#".repeat(hashes));
            return whole(text[at + 2 + hashes..].find(&end).map(|found| 2 + hashes + found + end.len()));
        }
    }
    match rest[0] {
        b'"' => quoted(rest, b'"'),
        b'\'' if rest.get(1) == Some(&b'\\') => quoted(rest, b'\''),
        b'\'' => {
            // A character literal closes after one character; a lifetime does not.
            let length = text[at + 1..].chars().next().map_or(0, char::len_utf8);
            if rest.get(1 + length) == Some(&b'\'') { length + 2 } else { 0 }
        }
        _ => 0,
    }
}

/// `br"…"`: the r stands after a lone b.
fn rest_is_byte_prefix(bytes: &[u8], at: usize) -> bool {
    bytes[at - 1] == b'b' && (at == 1 || !is_word(bytes[at - 2]))
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

pub fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

/// The identifiers, keywords and numbers of blanked code with their byte offsets.
pub fn words(code: &str) -> Vec<(usize, &str)> {
    let starts = |at: &usize| is_word(code.as_bytes()[*at]) && (*at == 0 || !is_word(code.as_bytes()[*at - 1]));
    (0..code.len()).filter(starts).map(|at| (at, first_word(&code[at..]))).collect()
}

pub fn first_word(code: &str) -> &str {
    &code[..code.bytes().position(|b| !is_word(b)).unwrap_or(code.len())]
}

/// Offset just behind the bracket that closes the one at `open`.
pub fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (at, b) in code.bytes().enumerate().skip(open) {
        match b {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// Blanked code without its `#[cfg(test)]` items.
pub fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(at) = out.find("#[cfg(test)]") {
        let body = out[at..].find(['{', ';']).map_or(out.len(), |found| at + found);
        let end = if out[body..].starts_with('{') { closing(&out, body) } else { (body + 1).min(out.len()) };
        let blanked: String = out[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(at..end, &blanked);
    }
    out
}
