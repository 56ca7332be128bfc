"""What an image is asked for: a class, words, the scale of the teacher's guidance; one row of labels holds all of it.

Labels stay one float tensor [N,L] wherever they go, so that they are gathered, indexed, sent to a device and to other
ranks, and left out (zeros), like any label; what they are made of is told by a `Layout`. Only who reads them unpacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from attrs.validators import ge

from distillkit.api.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

NAMES = "classes", "tokens", "mask", "pooled", "guidance"  # in the order of a row


@define(kw_only=True, eq=False)  # not frozen: torch.compile cannot follow how attrs fills that
class Condition:
    """N rows of labels, unpacked; what the layout does not have is None. Zeros everywhere: nothing was asked for."""

    classes: Tensor | None = None  # [N,K]: one-hot, or whatever numbers the data set gives
    tokens: Tensor | None = None  # [N,T,W]: embedded words
    mask: Tensor | None = None  # [N,T]: 1 for a word, 0 for none
    pooled: Tensor | None = None  # [N,P]: one vector for all words
    guidance: Tensor | None = None  # [N]: scale of the teacher's guidance, an input of students


@frozen(kw_only=True, eq=False)
class Prompts:
    """A few rows of labels with the words that they are of: what pictures are drawn for, each in its turn."""

    words: tuple[str, ...]  # K of them
    rows: Tensor  # [K,L]
    encoder: Mapping[str, str] = field(factory=dict)  # "path" and "sha256" of the text encoder, where it is known


@frozen(kw_only=True)
class Layout:
    """What the entries of a row of labels are, in this order: classes, tokens, their mask, pooled, guidance."""

    classes: int = field(default=0, validator=ge(0))  # K
    tokens: int = field(default=0, validator=ge(0))  # T, the most words that a row holds
    width: int = field(default=0, validator=ge(0))  # W of a token
    pooled: int = field(default=0, validator=ge(0))  # P
    guidance: bool = False  # whether the last entry is the guidance scale

    @property
    def size(self) -> int:
        """L, the width of a row: the `label_dim` of who takes it."""
        return sum(self.sizes)

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """Entries of each part."""
        return self.classes, self.tokens * self.width, self.tokens, self.pooled, int(self.guidance)

    @property
    def has_words(self) -> bool:
        """Whether a row holds embedded words, which no class stands for."""
        return self.tokens * self.width + self.pooled > 0

    def class_of(self, labels: Tensor) -> Tensor | None:
        """Class of each row, int64 [N], by its largest entry; None where rows hold no classes."""
        return labels[:, : self.classes].argmax(1) if self.classes else None

    def unpack(self, labels: Tensor) -> Condition:
        """labels [N,L] -> its parts, views of it. Raises UsageError for rows of another width."""
        if labels.ndim != 2 or labels.shape[1] != self.size:
            raise UsageError(f"labels of shape {list(labels.shape)} are not rows of {self.size}: {self}")
        classes, tokens, mask, pooled, guidance = labels.split(list(self.sizes), dim=1)
        return Condition(
            classes=classes if self.classes else None,
            tokens=tokens.unflatten(1, (self.tokens, self.width)) if self.tokens and self.width else None,
            mask=mask if self.tokens else None,
            pooled=pooled if self.pooled else None,
            guidance=guidance[:, 0] if self.guidance else None,
        )

    def pack(self, condition: Condition) -> Tensor:
        """Rows [N,L] of the parts that this layout has. Raises UsageError where one is missing or of another size."""
        parts = (condition.classes, condition.tokens, condition.mask, condition.pooled, condition.guidance)
        rows = []
        for name, part, size in zip(NAMES, parts, self.sizes, strict=True):
            if (part is not None) != (size > 0) or (part is not None and part.numel() != len(part) * size):
                got = "there are none" if part is None else f"got a tensor {list(part.shape)}"
                raise UsageError(f"{name}: {size} numbers for each image are wanted by {self}; {got}")
            if part is not None:
                rows.append(part.reshape(len(part), size))
        if not rows:
            raise UsageError("this layout has no parts: there are no labels to pack")
        import torch

        return torch.cat(rows, dim=1)

    def without_words(self, labels: Tensor) -> Tensor:
        """The same rows [N,L] with nothing asked for, guidance scales kept: what guidance compares with."""
        empty = labels.new_zeros(labels.shape)
        if self.guidance:
            empty[:, -1] = labels[:, -1]
        return empty
