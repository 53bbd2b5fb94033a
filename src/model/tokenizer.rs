//! Text ↔ token ids, and the Gemma chat template. The crate `tokenizers` does the work.

use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use tokenizers::{
    AddedToken, TokenizerImpl,
    decoders::byte_level::ByteLevel as ByteLevelDecoder,
    models::bpe::{BPE, BpeTrainer},
    pre_tokenizers::byte_level::ByteLevel,
};

use crate::task::{Chat, Role};

/// Tags that are one token each in the nano vocabulary; ordinary text to MedGemma.
const NANO_TAGS: [&str; 4] = ["<thinking>", "</thinking>", "<verdict>", "</verdict>"];
/// `<start_of_turn>` and `<end_of_turn>` have these ids in Gemma 3, and so in nano.
const START_OF_TURN: u32 = 105;
const END_OF_TURN: u32 = 106;

/// A tokenizer with the ids a chat needs.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    bos: u32,
    start_of_turn: u32,
    end_of_turn: u32,
    /// A completion ends at any of these: `<eos>` and `<end_of_turn>`.
    pub stops: [u32; 2],
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
        let (start_of_turn, end_of_turn) = (id("<start_of_turn>")?, id("<end_of_turn>")?);
        Ok(Tokenizer { inner, bos, start_of_turn, end_of_turn, stops: [eos, end_of_turn] })
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

    /// Gemma's template: `<bos>`, then `<start_of_turn>ROLE\nCONTENT<end_of_turn>\n` a turn, then the opening of the model's turn.
    /// Contents are trimmed, as the published template does.
    pub fn encode_chat(&self, chat: &Chat) -> Result<Vec<u32>> {
        ensure!(!chat.turns.is_empty(), "a chat needs at least one turn");
        let mut ids = vec![self.bos];
        for turn in &chat.turns {
            let role = match turn.role {
                Role::User => "user",
                Role::Model => "model",
            };
            ids.push(self.start_of_turn);
            ids.extend(self.encode(&format!("{role}\n{}", turn.content.trim()))?);
            ids.push(self.end_of_turn);
            ids.extend(self.encode("\n")?);
        }
        ids.push(self.start_of_turn);
        ids.extend(self.encode("model\n")?);
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
