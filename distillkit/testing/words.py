"""A text encoder as small as can be: CLIP's text half with random weights, and a tokenizer of whole words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

SPECIAL = ("<pad>", "<unk>", "<start>", "<end>")


def tiny_text_encoder(folder: Path, words: Sequence[str], width: int = 16, tokens: int = 8, seed: int = 0) -> Path:
    """Write it to `folder`, for captions that are made of `words`; needs transformers. The same seed, the same bits."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

    known = {word: i for i, word in enumerate([*SPECIAL, *sorted(set(words))])}
    made = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[(name, known[name]) for name in ("<start>", "<end>")]
    )
    fast: Any = PreTrainedTokenizerFast  # which has no types
    tokenizer = fast(
        tokenizer_object=made, pad_token="<pad>", unk_token="<unk>", bos_token="<start>", eos_token="<end>",
        model_max_length=tokens,
    )  # fmt: skip
    config = CLIPTextConfig(
        vocab_size=len(known), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=tokens, projection_dim=width,
        pad_token_id=known["<pad>"], bos_token_id=known["<start>"], eos_token_id=known["<end>"],
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        CLIPTextModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
