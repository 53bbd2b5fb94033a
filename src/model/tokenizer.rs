//! Text ↔ token ids, and chats through the model's own template. The crate `tokenizers` does the work.

use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use tokenizers::{
    AddedToken, TokenizerImpl,
    decoders::byte_level::ByteLevel as ByteLevelDecoder,
    models::bpe::{BPE, BpeTrainer},
    pre_tokenizers::byte_level::ByteLevel,
};

use super::template::{ChatTemplate, Piece};
use crate::task::Chat;

/// Tags that are one token each in the nano vocabulary; ordinary text to MedGemma.
const NANO_TAGS: [&str; 4] = ["<thinking>", "</thinking>", "<verdict>", "</verdict>"];
/// `<start_of_turn>` and `<end_of_turn>` have these ids in Gemma 3, and so in nano.
const START_OF_TURN: u32 = 105;
const END_OF_TURN: u32 = 106;

/// A tokenizer with the ids a chat needs.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    source: String,
    bos: u32,
    end_of_turn: u32,
    /// A completion ends at any of these: `<eos>`, `<end_of_turn>`, and what the model's own generation settings add.
    pub stops: Vec<u32>,
    /// Tokens that are never spelt out when a template writes them.
    specials: Vec<String>,
    template: Option<ChatTemplate>,
}

impl Tokenizer {
    pub fn load(path: &Path) -> Result<Tokenizer> {
        let bytes = std::fs::read(path).map_err(|e| anyhow!("cannot read the tokenizer {}: {e}", path.display()))?;
        Tokenizer::from_bytes(&bytes, &path.display().to_string())
    }

    /// Reads a `tokenizer.json`. Fails where it lacks Gemma's turn tokens.
    pub fn from_bytes(bytes: &[u8], source: &str) -> Result<Tokenizer> {
        // The library panics on some damaged files (its issues 2094, 2151); to the user that is one more way to be damaged.
        let read = std::panic::catch_unwind(|| tokenizers::Tokenizer::from_bytes(bytes));
        let mut inner = read
            .map_err(|_| anyhow!("{source} is not a tokenizer: the library that reads it gave up"))?
            .map_err(|e| anyhow!("{source} is not a tokenizer: {e}"))?;
        // A note that contains "<end_of_turn>" must stay text: turn tokens are put in by id, never parsed.
        inner.set_encode_special_tokens(true);
        let id = |token: &str| {
            inner.token_to_id(token).ok_or_else(|| anyhow!("{source} has no {token} token; this is not a Gemma 3 tokenizer"))
        };
        let (bos, eos) = (id("<bos>")?, id("<eos>")?);
        let (_, end_of_turn) = (id("<start_of_turn>")?, id("<end_of_turn>")?);
        let added = inner.get_added_tokens_decoder();
        let specials = added.values().filter(|token| token.special).map(|token| token.content.clone()).collect();
        let (source, stops) = (source.to_owned(), vec![eos, end_of_turn]);
        Ok(Tokenizer { inner, source, bos, end_of_turn, stops, specials, template: None })
    }

    /// Chats are written by this template; without one they are refused.
    pub fn with_template(self, template: Option<ChatTemplate>) -> Tokenizer {
        Tokenizer { template, ..self }
    }

    /// These tokens end a completion too.
    pub fn with_stops(mut self, more: &[u32]) -> Tokenizer {
        let new: Vec<u32> = more.iter().copied().filter(|id| !self.stops.contains(id)).collect();
        self.stops.extend(new);
        self
    }

    pub fn end_of_turn(&self) -> u32 {
        self.end_of_turn
    }

    /// Token ids of plain text; turn tokens in the text are spelt out, not obeyed.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|e| anyhow!("cannot tokenize: {e}"))?;
        Ok(encoding.get_ids().to_vec())
    }

    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, true).map_err(|e| anyhow!("cannot decode: {e}"))
    }

    /// One token as it reads within a text; parts of a character come out as U+FFFD.
    pub fn spelling(&self, id: u32) -> Result<String> {
        self.inner.decode(&[id], false).map_err(|e| anyhow!("cannot decode: {e}"))
    }

    /// The chat in the model's own template, up to the opening of the model's turn. Special tokens in what a turn says are spelt out,
    /// not obeyed.
    pub fn encode_chat(&self, chat: &Chat) -> Result<Vec<u32>> {
        let template = self.template.as_ref().with_context(|| {
            format!(
                "{} comes without a chat template; put the model's own chat_template.jinja (or tokenizer_config.json) beside it",
                self.source
            )
        })?;
        let mut ids = Vec::new();
        for piece in template.pieces(chat, &self.specials)? {
            match piece {
                Piece::Text(text) => ids.extend(self.encode(&text)?),
                Piece::Special(token) => {
                    ids.push(self.inner.token_to_id(&token).with_context(|| format!("{} has no {token}", self.source))?)
                }
            }
        }
        Ok(ids)
    }

    /// Token ids of a completion to learn from, closed by the end-of-turn token.
    pub fn encode_completion(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.encode(text.trim())?;
        ids.push(self.end_of_turn);
        Ok(ids)
    }

    /// Token ids of a plain document between `<bos>` and `<eos>`.
    pub fn encode_document(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = vec![self.bos];
        ids.extend(self.encode(text.trim())?);
        ids.push(self.stops[0]);
        Ok(ids)
    }
}

/// Trains nano's byte-level BPE on `texts` and returns its `tokenizer.json`. The first ids are Gemma's.
pub fn train_nano(texts: impl Iterator<Item = String> + Send, vocab_size: usize) -> Result<String> {
    let mut special: Vec<String> = ["<pad>", "<eos>", "<bos>", "<unk>"].map(str::to_owned).to_vec();
    special.extend((special.len()..START_OF_TURN as usize).map(|i| format!("<unused{i}>")));
    special.extend(["<start_of_turn>".to_owned(), "<end_of_turn>".to_owned()]);
    let trainer = BpeTrainer::builder()
        .vocab_size(vocab_size - NANO_TAGS.len())
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(special.into_iter().map(|token| AddedToken::from(token, true)).collect())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let mut tokenizer: TokenizerImpl<
        BPE,
        tokenizers::normalizers::NormalizerWrapper,
        ByteLevel,
        tokenizers::processors::PostProcessorWrapper,
        ByteLevelDecoder,
    > = TokenizerImpl::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_decoder(Some(ByteLevelDecoder::default()));
    let mut trainer = trainer;
    tokenizer.train(&mut trainer, texts).map_err(|e| anyhow!("cannot train the tokenizer: {e}"))?;
    tokenizer.add_tokens(NANO_TAGS.map(|tag| AddedToken::from(tag.to_owned(), false)).to_vec()).map_err(|e| anyhow!("{e}"))?;
    ensure!(tokenizer.get_vocab_size(true) <= vocab_size, "the trained vocabulary is larger than {vocab_size}");
    ensure!(tokenizer.token_to_id("<end_of_turn>") == Some(END_OF_TURN), "turn tokens did not get Gemma's ids");
    tokenizer.to_string(false).map_err(|e| anyhow!("{e}"))
}
