"""A text encoder as small as can be: CLIP's text half with random weights, and a tokenizer of whole words.

    python text_encoder.py FOLDER WORD ...

Frozen random weights tell words apart, which is all that a toy needs; any encoder of transformers takes its place.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

SPECIAL = ["<pad>", "<unk>", "<start>", "<end>"]
WIDTH, TOKENS = 32, 16  # numbers of a word; words of a prompt at most


def write(folder: Path, words: list[str]) -> None:
    """Model and tokenizer in transformers' layout; the same words, the same bits."""
    known = {word: i for i, word in enumerate([*SPECIAL, *sorted(set(words))])}
    whole = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    whole.pre_tokenizer = pre_tokenizers.Whitespace()
    whole.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[(name, known[name]) for name in ("<start>", "<end>")]
    )
    config = CLIPTextConfig(
        vocab_size=len(known), hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=TOKENS, projection_dim=WIDTH,
        pad_token_id=known["<pad>"], bos_token_id=known["<start>"], eos_token_id=known["<end>"],
    )  # fmt: skip
    torch.manual_seed(0)
    model: Any = CLIPTextModel(config)
    fast: Any = PreTrainedTokenizerFast  # which has no types
    tokenizer = fast(
        tokenizer_object=whole, pad_token="<pad>", unk_token="<unk>", bos_token="<start>", eos_token="<end>",
        model_max_length=TOKENS,
    )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python text_encoder.py FOLDER WORD ...")
    write(Path(sys.argv[1]), sys.argv[2:])
