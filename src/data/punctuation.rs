//! Cuts running text into sentences where a file brings no `Sentences` column.
//! Never reproduces MEDEC's own ids (its breaks inside vitals follow no rule); used for pairs files only.

/// Words whose full stop does not end a sentence.
const ABBREVIATIONS: [&str; 18] = [
    "dr.", "mr.", "mrs.", "ms.", "prof.", "vs.", "e.g.", "i.e.", "no.", "st.", "fig.", "approx.", "ca.", "cf.", "inc.", "ref.",
    "resp.", "spp.",
];

/// Splits text at closing punctuation and blank lines; white space inside a sentence becomes single spaces.
pub fn split(text: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    for paragraph in paragraphs(text) {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        let mut start = 0;
        for at in 0..words.len() {
            if words.get(at + 1).is_none_or(|next| ends_sentence(words[at], next)) {
                sentences.push(words[start..=at].join(" "));
                start = at + 1;
            }
        }
    }
    sentences
}

/// Blocks between blank lines.
fn paragraphs(text: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        match blocks.last_mut() {
            Some(block) if !line.trim().is_empty() => {
                block.push_str(line);
                block.push('\n');
            }
            _ => blocks.push(String::new()),
        }
    }
    blocks
}

fn ends_sentence(word: &str, next: &str) -> bool {
    let bare = word.trim_end_matches(['"', '\'', '”', '’', ')', ']']);
    let opens =
        next.trim_start_matches(['"', '\'', '“', '‘', '(', '[']).starts_with(|c: char| c.is_uppercase() || c.is_numeric());
    opens && bare.ends_with(['.', '!', '?']) && !is_abbreviation(bare)
}

/// Listed abbreviations, and initials such as the `S.` of `S. Typhi`.
fn is_abbreviation(word: &str) -> bool {
    let word = word.trim_start_matches(['(', '[', '"', '“']).to_lowercase();
    let initial = word.chars().count() == 2 && word.starts_with(char::is_alphabetic);
    initial || ABBREVIATIONS.contains(&word.as_str())
}
