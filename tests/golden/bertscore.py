"""Makes tests/golden/bertscore: a tiny DeBERTa with random weights, its byte-level BPE, and what the Python package bert_score 0.3.13
says about pairs of sentences with it. Run with torch, transformers and bert-score installed:

    python tests/golden/bertscore.py tests/golden/bertscore

The folder is what tests/model/bertscore.rs reads; it needs no Python."""

import json
import os
import sys

import torch
from bert_score import score
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import DebertaConfig, DebertaForSequenceClassification, DebertaTokenizer

OUT = sys.argv[1]
LAYER = 2
BASELINE = [0.5169066, 0.5170288, 0.5150192]
PAIRS = [
    ("The patient is given metformin.", "The patient is given metformin."),
    ("The patient is given insulin.", "The patient is given metformin."),
    ("Give 5 mg of warfarin at once", "The biopsy showed adenocarcinoma of the colon with µm-wide glands."),
    ("  leading and trailing blanks  ", "leading and trailing blanks"),
    ("", "An empty candidate."),
    ("An empty reference.", "   "),
    ("β-hemolytic streptococci – naïve “quotes”", "beta hemolytic streptococci"),
    ("A [SEP] inside the text", "A [MASK] inside the text"),
    ("one", "two"),
    ("Qzjvk " * 20, "The first is longer than the model reads."),
    ("No. 1, 2; (3) 4%", "No. 1, 2; (3) 40%"),
]


# transformers 5 took this away from its tokenizers; bert_score asks it for empty sentences.
if not hasattr(DebertaTokenizer, "build_inputs_with_special_tokens"):
    DebertaTokenizer.build_inputs_with_special_tokens = lambda self, ids: [self.cls_token_id, *ids, self.sep_token_id]


def main():
    torch.manual_seed(7)
    os.makedirs(OUT, exist_ok=True)
    text = [line for pair in PAIRS for line in pair if len(line) < 100] + ["The patient is given the biopsy of the colon."] * 3
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    specials = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    bpe.train_from_iterator(text, trainer)
    bpe.model.save(OUT)
    vocab = json.load(open(f"{OUT}/vocab.json"))
    vocab["[MASK]"] = len(vocab)
    json.dump(vocab, open(f"{OUT}/vocab.json", "w"), ensure_ascii=True)
    json.dump({"do_lower_case": False, "model_max_length": 64, "tokenizer_class": "DebertaTokenizer"}, open(f"{OUT}/tokenizer_config.json", "w"))

    config = DebertaConfig(
        vocab_size=len(vocab), hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24,
        hidden_act="gelu", max_position_embeddings=64, type_vocab_size=0, relative_attention=True, max_relative_positions=-1,
        pad_token_id=0, position_biased_input=False, pos_att_type="c2p|p2c", layer_norm_eps=1e-7,
    )
    model = DebertaForSequenceClassification(config)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            # Large enough for every term of the attention to show, small enough for words to stay different.
            is_norm, is_table = "LayerNorm" in name, "embeddings.weight" in name
            scale = 1.0 if is_table else 0.1 if is_norm or name.endswith("bias") else 0.25
            tensor.copy_(torch.randn_like(tensor) * scale + (1.0 if is_norm and name.endswith("weight") else 0.0))
    model.half()
    # transformers no longer writes pickles; the published model is one, in half precision.
    torch.save(model.state_dict(), f"{OUT}/pytorch_model.bin")
    written = config.to_dict()
    keys = ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
            "max_position_embeddings", "type_vocab_size", "relative_attention", "max_relative_positions", "pad_token_id",
            "position_biased_input", "layer_norm_eps", "model_type"]
    json.dump({**{k: written[k] for k in keys}, "pos_att_type": "c2p|p2c"}, open(f"{OUT}/config.json", "w"), indent=1)

    with open(f"{OUT}/baseline.tsv", "w") as file:
        file.write("LAYER,P,R,F\n0,0,0,0\n1,0.1,0.1,0.1\n")
        file.write(f"{LAYER},{BASELINE[0]},{BASELINE[1]},{BASELINE[2]}\n")

    # In f32 arithmetic, as the package runs on the hub's model.
    folder = "/tmp/bertscore-golden-f32"
    os.makedirs(folder, exist_ok=True)
    DebertaForSequenceClassification.from_pretrained(OUT, dtype=torch.float32).save_pretrained(folder)
    DebertaTokenizer.from_pretrained(OUT).save_pretrained(folder)
    hyps, refs = [p[0] for p in PAIRS], [p[1] for p in PAIRS]
    tokenizer = DebertaTokenizer.from_pretrained(OUT)
    raw = score(hyps, refs, model_type=folder, num_layers=LAYER, device="cpu")
    rescaled = score(
        hyps, refs, model_type=folder, num_layers=LAYER, device="cpu", lang="en", rescale_with_baseline=True,
        baseline_path=f"{OUT}/baseline.tsv",
    )
    rows = [
        {
            "candidate": hyps[i],
            "reference": refs[i],
            "ids": tokenizer.encode(hyps[i].strip(), truncation=True, max_length=64),
            "raw": [t[i].item() for t in raw],
            "rescaled": [t[i].item() for t in rescaled],
        }
        for i in range(len(PAIRS))
    ]
    json.dump({"layer": LAYER, "pairs": rows}, open(f"{OUT}/scores.json", "w"), indent=1)
    for row in rows:
        print(row["raw"], row["candidate"][:40], len(row["ids"]))


main()
