"""A text encoder in a folder of transformers' layout: words become tokens, their mask and, where it has one, a vector.

CLIP, T5, BERT and whatever else `AutoModel` and a tokenizer make of the folder. It is read as data: safetensors alone,
no code of its own, nothing from the network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from distillkit.api import Condition, InputError, Layout, UsageError
from distillkit.disk.files import sha256

NEEDS = "transformers"
BATCH = 64  # captions in a pass
MOST_TOKENS = 512
LONGEST = 2000  # characters of a caption
MADE_BY = {"clip": "CLIPTextModel", "t5": "T5EncoderModel", "umt5": "UMT5EncoderModel"}  # halves of larger models
PARTS = "config.json", "*.safetensors", "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "spiece.model"


@frozen(kw_only=True, eq=False)
class Embedded:
    """What N captions became, float32 on the CPU."""

    tokens: Tensor  # [N,T,W]
    mask: Tensor  # [N,T]
    pooled: Tensor | None  # [N,P]
    cut: list[str]  # captions that hold more tokens than T

    @property
    def layout(self) -> Layout:
        """Of rows that hold them and nothing else."""
        pooled = 0 if self.pooled is None else self.pooled.shape[1]
        return Layout(tokens=self.tokens.shape[1], width=self.tokens.shape[2], pooled=pooled)

    def rows(self) -> Tensor:
        """Labels [N,L]; what padding became is left out, so that equal words are equal rows at every T."""
        tokens = self.tokens * self.mask[:, :, None]
        return self.layout.pack(Condition(tokens=tokens, mask=self.mask, pooled=self.pooled))


class TextEncoder:
    """`encoder(words, tokens=T)` -> `Embedded`; the folder's content is known by `sha256`."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        """Raises UsageError where transformers is missing, InputError for a folder that holds no such model."""
        try:
            import transformers
        except ImportError as error:
            raise UsageError(f"a text encoder needs {NEEDS}: pip install 'distillkit[text]' ({error})") from error
        if not (folder / "config.json").is_file():
            raise InputError(f"{folder}: no text encoder: a folder with config.json, weights and a tokenizer is one")
        self.sha256 = digest(folder)
        told: Any = transformers.logging
        told.set_verbosity_error()
        told.disable_progress_bar()
        given: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            kind = json.loads((folder / "config.json").read_bytes()).get("model_type", "")
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(str(folder), **given)
            made = getattr(transformers, MADE_BY.get(kind, "AutoModel"))
            model: Any = made.from_pretrained(str(folder), use_safetensors=True, dtype=torch.float32, **given)
        except Exception as error:  # transformers raises nearly anything for what it cannot read
            reason = " ".join(str(error).split())[:160]
            raise InputError(f"{folder}: makes no text encoder ({type(error).__name__}: {reason})") from error
        if self._tokenizer.pad_token is None:
            raise InputError(f"{folder}: its tokenizer has no padding token")
        self._model = model.to(device).eval().requires_grad_(False)
        self._device = device
        limits = (MOST_TOKENS, self._tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None))
        self.most = min(int(limit) for limit in limits if limit)

    def longest(self, words: Sequence[str]) -> int:
        """Tokens of the longest of these captions, as many as the encoder takes at most."""
        return min(max(len(ids) for ids in self._tokenizer(list(words))["input_ids"]), self.most)

    @torch.no_grad()
    def __call__(self, words: Sequence[str], tokens: int) -> Embedded:
        """Captions in rows of T = `tokens`. Raises UsageError for more than the encoder takes."""
        if not 1 <= tokens <= self.most:
            raise UsageError(f"{tokens} tokens were asked for; this text encoder takes 1 to {self.most}")
        lengths = [len(ids) for ids in self._tokenizer(list(words))["input_ids"]]
        parts = [self._pass(words[at : at + BATCH], tokens) for at in range(0, len(words), BATCH)]
        states, masks, pooled = zip(*parts, strict=True)
        return Embedded(
            tokens=torch.cat(states), mask=torch.cat(masks), pooled=None if pooled[0] is None else torch.cat(pooled),
            cut=[word for word, length in zip(words, lengths, strict=True) if length > tokens],
        )  # fmt: skip

    def _pass(self, words: Sequence[str], tokens: int) -> tuple[Tensor, Tensor, Tensor | None]:
        asked = self._tokenizer(
            list(words), padding="max_length", truncation=True, max_length=tokens, return_tensors="pt"
        )
        ids, mask = asked["input_ids"].to(self._device), asked["attention_mask"].to(self._device)
        found = self._model(input_ids=ids, attention_mask=mask)
        pooled = getattr(found, "text_embeds", None)
        pooled = getattr(found, "pooler_output", None) if pooled is None else pooled
        states = found.last_hidden_state.float().cpu()
        return states, mask.float().cpu(), None if pooled is None else pooled.float().cpu()

    def save(self, folder: Path) -> dict[str, list[str]]:
        """Model and tokenizer in folders of their own, as diffusers has them -> library and class of each."""
        fast = any(kind.__name__ == "TokenizersBackend" for kind in type(self._tokenizer).__mro__)  # transformers 5's
        parts = {"text_encoder": self._model, "tokenizer": self._tokenizer}
        for name, part in parts.items():
            part.save_pretrained(folder / name)
        kinds = {name: [NEEDS, type(part).__name__] for name, part in parts.items()}
        return kinds | ({"tokenizer": [NEEDS, "PreTrainedTokenizerFast"]} if fast else {})


def digest(folder: Path) -> str:
    """SHA-256 over the files that decide what an encoder computes, by their names."""
    found = {path.name: path for pattern in PARTS for path in folder.glob(pattern) if path.is_file()}
    whole = hashlib.sha256()
    for name in sorted(found):
        whole.update(f"{name} {sha256(found[name])}\n".encode())
    return whole.hexdigest()


def as_prompts(words: Sequence[str], where: str) -> list[str]:
    """The captions without spaces around them. Raises InputError for one that is too long or cannot be shown."""
    found = [word.strip() for word in words]
    for i, word in enumerate(found, 1):
        if len(word) > LONGEST or not word.isprintable():
            raise InputError(f"{where}: caption {i} has to be one line of at most {LONGEST} characters: {word[:60]!r}")
    return found
