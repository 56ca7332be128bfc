"""The kind of data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from distillkit.api.component import Component
from distillkit.api.condition import Layout, Prompts
from distillkit.api.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from distillkit.api.types import Picture


PROMPTS = 10  # images that pictures name the words of


class Dataset(Component):
    """Images with optional labels, read by index; `open()` may read files, the constructor may not."""

    kind = "dataset"
    resolution: int
    channels: int
    label_dim: int = 0  # L, that of `layout`; 0: unconditional
    shape: tuple[int, int, int]  # C, H, W
    known_as: ClassVar[str] = ""  # what assets call the images, where the class is for one data set alone
    latent: bool = False  # `decode` makes pixels of what networks see
    class_names: Sequence[str] = ()  # shown in place of numbers, where there are any
    cache: Path | None = None  # a folder that survives the run, given before `open`: name what is in it by its content
    looks_ahead: bool = False  # wants to be told by `ahead` what comes next

    def open(self, root: Path) -> None:
        """Read what is needed; relative paths are relative to `root`. Raises InputError."""

    def __len__(self) -> int:
        raise NotImplementedError

    def images(self, index: Tensor) -> Tensor:
        """Images x [n,C,H,W] float32 in [-1,1] of int64 index [n]."""
        raise NotImplementedError

    def sampled(self, index: Tensor, randn: Callable[..., Tensor]) -> Tensor:
        """Images [n,C,H,W] for one training step: where they are random, by `randn(*shape)` -> [n, *shape]."""
        return self.images(index)

    def ahead(self, index: Tensor) -> None:
        """Told, where it `looks_ahead`, that `sampled` will be asked for these: it may begin; no number changes."""

    def decode(self, x: Tensor) -> Tensor:
        """What to show and to measure of x [n,C,H,W]: x itself, or the pixels [n,c,h,w] in [-1,1] of latents."""
        return x

    def pixels_of(self, x: Tensor) -> Tensor:
        """As `decode`, for losses: with the gradient at x, and so neither rounded nor clamped."""
        return self.decode(x)

    def pixels(self, index: Tensor) -> Tensor:
        """Images of int64 index [n] as they are shown and measured."""
        return self.decode(self.images(index))

    @property
    def layout(self) -> Layout:
        """What the entries of a row of labels are; classes alone, unless a data set says otherwise."""
        return Layout(classes=self.label_dim)

    def labels(self, index: Tensor) -> Tensor | None:
        """Float32 labels [n,L] of int64 index [n], one-hot where they are classes; None when unconditional."""
        return None

    def words(self, index: Tensor) -> list[str] | None:
        """The caption of each image of int64 index [n], as people wrote it; None: there are none."""
        return None

    @property
    def prompts(self) -> Prompts | None:
        """What pictures are drawn for, where labels hold words; None: classes take turns."""
        if not self.layout.has_words:
            return None
        import torch

        index = torch.linspace(0, len(self) - 1, min(len(self), PROMPTS)).long()
        words, rows = self.words(index) or [f"as image {i}" for i in index.tolist()], self.labels(index)
        assert rows is not None, "a layout of words means labels"
        return Prompts(words=tuple(words), rows=rows)

    def classes(self, index: Tensor) -> Tensor | None:
        """Class of each image, int64 [n], also where it is no label; None: there are none."""
        labels = self.labels(index)
        return None if labels is None else self.layout.class_of(labels)

    def held_out(self) -> Dataset | None:
        """Images never trained on, for evaluation."""
        return None

    def faults(self, root: Path) -> Iterator[str]:
        """What is wrong with each stored image, a line each, for `distillkit data check`; before `open`."""
        return iter(())

    def pictures(self, root: Path) -> Iterator[Picture]:
        """The images as they are stored, for `distillkit data pack`; `open` need not have been called."""
        raise UsageError(f"{type(self).__name__} holds no stored images that could be packed")
