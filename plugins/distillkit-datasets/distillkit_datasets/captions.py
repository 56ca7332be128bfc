"""Captions of images: dataset.json has the words, words/*.safetensors what a text encoder made of each, once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from distillkit.api import Condition, InputError, Layout, Prompts, frozen
from distillkit_datasets.zipsafe import one_line

FOLDER = "words/"
LONGEST = 2000  # characters of a caption
SHOWN = 10  # prompts of pictures
FORM = 'captions of dataset.json must be [["name.png", "words"], ...], one for each image, or {"name.png": "words"}'
KEYS = {"path", "sha256"}


@frozen(eq=False)
class Captions:
    """The caption of each image, and their rows of labels where they were embedded."""

    words: list[str]  # each once, in the order in which images have them
    of: Tensor  # int64 [N]: which of them each image has
    embedded: dict[str, Tensor]  # "tokens" [U,T,W], "mask" [U,T], "pooled" [U,P] of `words`; {}: nobody embedded them
    encoder: dict[str, str]

    @property
    def layout(self) -> Layout:
        """Of rows that hold them."""
        tokens, pooled = self.embedded["tokens"], self.embedded.get("pooled")
        width = 0 if pooled is None else pooled.shape[1]
        return Layout(tokens=tokens.shape[1], width=tokens.shape[2], pooled=width)

    def __call__(self, images: Tensor) -> Tensor:
        """Labels [n,L] float32 of images int64 [n]."""
        return self.rows(self.of[images])

    def rows(self, which: Tensor) -> Tensor:
        """Labels [n,L] float32 of captions int64 [n]."""
        parts = {name: part[which].float() for name, part in self.embedded.items()}
        return self.layout.pack(Condition(**parts))

    def prompts(self, images: Tensor) -> Prompts:
        """A few of the captions of images int64 [n], at equal distances."""
        there = self.of[images].unique()
        few = there[torch.linspace(0, len(there) - 1, min(len(there), SHOWN)).long()]
        return Prompts(words=tuple(self.words[i] for i in few.tolist()), rows=self.rows(few), encoder=self.encoder)


def read(data: bytes, images: Sequence[str], entries: Sequence[str], entry: Callable[[str], bytes]) -> Captions | None:
    """The captions that dataset.json tells, with what `entries` hold of them; None: it tells none.

    Raises InputError.
    """
    table = json.loads(data)  # labels were read of it already
    if not isinstance(table, dict) or table.get("captions") is None:
        return None
    by_name = _by_name(table["captions"])
    missing = [name for name in images if name not in by_name]
    if missing:
        raise InputError(f"{missing[0]}: dataset.json has no caption for it, nor for {len(missing) - 1} more")
    words = list(dict.fromkeys(by_name.values()))  # of all, also of images that are not read: so they were embedded
    place = {word: i for i, word in enumerate(words)}
    of = torch.tensor([place[by_name[name]] for name in images])
    noted = table.get("text_encoder") or {}
    if not isinstance(noted, dict) or not all(type(key) is type(value) is str for key, value in noted.items()):
        raise InputError("text_encoder of dataset.json must hold texts: path, sha256")
    shards = sorted(name for name in entries if name.startswith(FOLDER) and name.endswith(".safetensors"))
    embedded = _joined([_shard(name, entry(name)) for name in shards], len(words)) if shards else {}
    return Captions(words, of, embedded, {key: noted[key] for key in KEYS & noted.keys()})


def _by_name(given: Any) -> dict[str, str]:
    """Raises InputError for what is no caption."""
    rows = list(given.items()) if isinstance(given, dict) else given
    if not isinstance(rows, list) or not all(isinstance(row, list | tuple) and len(row) == 2 for row in rows):
        raise InputError(FORM)
    found: dict[str, str] = {}
    for name, word in rows:
        if type(name) is not str or type(word) is not str or not (len(word) <= LONGEST and word.isprintable()):
            told = f"a caption is one line of at most {LONGEST} characters, got {one_line(json.dumps(word))[:60]}"
            raise InputError(f"{one_line(str(name))[:80]}: {told}")
        found[name.replace("\\", "/")] = word
    return found


def _shard(name: str, data: bytes) -> dict[str, Tensor]:
    try:
        found = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError) as error:
        raise InputError(f"{name}: damaged ({one_line(error)})") from error
    tokens, mask, pooled = found.get("tokens"), found.get("mask"), found.get("pooled")
    fits = tokens is not None and mask is not None and tokens.ndim == 3 and mask.shape == tokens.shape[:2]
    if not fits or not (pooled is None or (pooled.ndim == 2 and len(pooled) == len(found["tokens"]))):
        sizes = {key: list(part.shape) for key, part in found.items()}
        raise InputError(f"{name}: must hold tokens [U,T,W], mask [U,T] and perhaps pooled [U,P]; it holds {sizes}")
    if not all(bool(part.isfinite().all()) for part in found.values()):
        raise InputError(f"{name}: holds numbers that are not finite")
    return {key: found[key] for key in ("tokens", "mask", "pooled") if key in found}


def _joined(shards: list[dict[str, Tensor]], words: int) -> dict[str, Tensor]:
    shapes = {tuple((key, part.shape[1:]) for key, part in shard.items()) for shard in shards}
    count = sum(len(shard["tokens"]) for shard in shards)
    if len(shapes) > 1 or count != words:
        raise InputError(f"{FOLDER} holds rows of {count} captions, and dataset.json {words}: pack the set again")
    return {key: torch.cat([shard[key] for shard in shards]) for key in shards[0]}
