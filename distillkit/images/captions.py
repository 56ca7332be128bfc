"""What a text encoder makes of captions, each once: entries of a packed data set that its reader takes for labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import safetensors.torch
import torch
from attrs import frozen

from distillkit.api import InputError, Picture, UsageError
from distillkit.text.encoder import TextEncoder, as_prompts

SHARD = 64 << 20  # bytes of an entry; readers refuse one of 128 MiB
MOST = 4 << 30  # bytes of all: readers hold them in memory
DTYPES = {"fp16": torch.float16, "fp32": torch.float32}


@frozen(kw_only=True)
class Words:
    """How captions become rows: by which encoder, in how many tokens, and how they lie in the file."""

    encoder: TextEncoder
    path: str  # of the encoder, as it was given: where students look for it first
    tokens: int | None = None  # None: as many as the longest caption has
    dtype: str = "fp16"

    def facts(self) -> dict[str, str]:
        """For dataset.json."""
        return {"path": self.path, "sha256": self.encoder.sha256}

    def entries(self, captions: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Names and bytes of the entries for captions in the order of their images. Raises UsageError for too many."""
        words = as_prompts(list(dict.fromkeys(captions)), "captions")
        tokens = self.tokens or self.encoder.longest(words)
        row = self.encoder(words[:1], tokens).layout.size * DTYPES[self.dtype].itemsize
        if row * len(words) > MOST:
            size = row * len(words) / 2**30
            raise UsageError(f"{len(words)} captions of {tokens} tokens take {size:.1f} GiB, at most 4: use --tokens N")
        each = max(SHARD // row, 1)
        for i, at in enumerate(range(0, len(words), each)):
            yield f"words/{i:05d}.safetensors", self._shard(words[at : at + each], tokens)

    def _shard(self, words: Sequence[str], tokens: int) -> bytes:
        found, dtype = self.encoder(words, tokens), DTYPES[self.dtype]
        tensors = {"tokens": (found.tokens * found.mask[:, :, None]).to(dtype), "mask": found.mask.to(torch.uint8)}
        if found.pooled is not None:
            tensors["pooled"] = found.pooled.to(dtype)
        if not all(bool(part.isfinite().all()) for part in tensors.values()):
            raise UsageError(f"the encoder makes numbers that {self.dtype} cannot hold: use --text-dtype fp32")
        return safetensors.torch.save(tensors)


def captioned(pictures: Iterable[Picture], template: str, names: Sequence[str]) -> Iterator[Picture]:
    """Pictures with the caption that a template such as "a small {class}" makes of their class."""
    for picture in pictures:
        if picture.label is not None and not isinstance(picture.label, int):
            raise InputError(f"{picture.name}: its label is no class, of which --captions could make words")
        if picture.label is None:
            raise InputError(f"{picture.name}: has no class, of which --captions could make words")
        name = names[picture.label] if picture.label < len(names) else str(picture.label)
        yield picture._replace(words=template.replace("{class}", name))


def folder_of(path: Path, tokens: int | None, dtype: str, device: str) -> Words:
    """The encoder of a folder, ready to embed. Raises UsageError, InputError."""
    return Words(encoder=TextEncoder(path, device), path=path.as_posix(), tokens=tokens, dtype=dtype)
