"""What a student of words, or of guidance scales, is asked for where there is no run: its card and a file beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import safetensors
import safetensors.torch
import torch
from attrs import field, frozen
from torch import Tensor

from distillkit.api import Dataset, Guidance, InputError, Layout, Prompts, UsageError
from distillkit.disk.files import write_atomic
from distillkit.text.encoder import TextEncoder, as_prompts

FILE = "prompts.safetensors"  # rows of labels of the prompts that the card names
TEXT = "--text-encoder FOLDER"


@frozen(kw_only=True, eq=False)
class Asking:
    """How labels of a student are made up, beside classes that take turns."""

    layout: Layout = field(factory=Layout)  # of its network's labels
    prompts: Prompts | None = None
    scales: dict[str, float] = field(factory=dict)  # "low", "high", "usual": of the guidance; {}: it takes none

    @classmethod
    def of(cls, dataset: Dataset, layout: Layout, guidance: Guidance | None) -> Asking:
        """As a run knows it."""
        scales = {}
        if guidance is not None and guidance.scales is not None:
            low, high = guidance.scales
            scales = {"low": low, "high": high, "usual": guidance.usual_scale}
        return cls(layout=layout, prompts=dataset.prompts, scales=scales)

    @classmethod
    def read(cls, card: dict[str, Any], weights: Path) -> Asking:
        """Of a card, which was checked, and the file beside the weights. Raises InputError for rows that do not fit."""
        if "layout" not in card:
            return cls(layout=Layout(classes=card["label_dim"]))
        layout, known = Layout(**card["layout"]), card.get("prompts")
        if layout.size != card["label_dim"]:
            raise InputError(f"{weights}: its card has label_dim {card['label_dim']}, and a layout of {layout.size}")
        if layout.guidance and "guidance" not in card:
            raise InputError(f"{weights}: its card has no guidance scales, which its layout tells of")
        asking = cls(layout=layout, scales=card.get("guidance") or {})
        if known is None or not (path := weights.with_name(FILE)).is_file():
            return asking
        rows = _rows(path)
        if tuple(rows.shape) != (len(known["words"]), asking.size):
            raise InputError(f"{path}: {list(rows.shape)} is not {len(known['words'])} rows of {asking.size}")
        prompts = Prompts(words=tuple(known["words"]), rows=rows, encoder=known.get("encoder") or {})
        return attrs.evolve(asking, prompts=prompts)

    def facts(self) -> dict[str, Any]:
        """For the card; {} where labels are classes and nothing else."""
        found: dict[str, Any] = {}
        if self.layout.has_words or self.scales:
            found["layout"] = attrs.asdict(self.layout)
        if self.scales:
            found["guidance"] = dict(self.scales)
        if self.prompts is not None:
            found["prompts"] = {"words": list(self.prompts.words), "encoder": dict(self.prompts.encoder)}
        return found

    def write(self, folder: Path) -> None:
        """The rows of the prompts, beside the weights."""
        if self.prompts is not None:
            rows = {"rows": self.prompts.rows.detach().cpu().contiguous()}
            write_atomic(folder / FILE, safetensors.torch.save(rows))

    @property
    def size(self) -> int:
        """L of rows without the guidance scale, as data sets have them."""
        return self.layout.size - int(self.layout.guidance)

    def scaled(self, labels: Tensor | None, scale: float | None = None) -> Tensor | None:
        """Labels [N,L] with a guidance scale, where the network takes one. Raises UsageError where it does not."""
        if not self.scales:
            if scale is not None:
                raise UsageError("guidance: this student takes no scale; its teacher's was fixed when it was trained")
            return labels
        if labels is None or labels.shape[1] == self.layout.size:
            return labels
        low, high = self.scales["low"], self.scales["high"]
        if scale is not None and not low <= scale <= high:
            raise UsageError(f"guidance: {scale:g} is not within {low:g} ... {high:g}, on which the student trained")
        value = self.scales["usual"] if scale is None else scale
        return torch.cat([labels, labels.new_full((labels.shape[0], 1), value)], dim=1)

    def rows(self, words: Sequence[str], text_encoder: str | Path | None = None) -> Tensor:
        """Labels [K,L] of prompts: those that are known here, the others by the text encoder.

        Raises UsageError where labels hold no words, or nobody says where the encoder is.
        """
        if not self.layout.has_words:
            raise UsageError("prompts: this student takes no words; its labels are classes")
        asked = as_prompts(words, "prompts")
        known = {} if self.prompts is None else dict(zip(self.prompts.words, self.prompts.rows, strict=True))
        if text_encoder is not None or any(word not in known for word in asked):
            new = list(dict.fromkeys(word for word in asked if text_encoder is not None or word not in known))
            known |= dict(zip(new, self._embedded(new, text_encoder), strict=True))
        return torch.stack([known[word] for word in asked])

    def _embedded(self, words: list[str], folder: str | Path | None) -> Tensor:
        found = self.encoder(folder, f"{words[0]!r} is none of the known prompts, and")(words, self.layout.tokens)
        want = attrs.evolve(self.layout, guidance=False)
        if found.layout != want:
            raise UsageError(f"the text encoder makes {found.layout}, and the labels are {want}")
        return found.rows()

    def encoder(self, folder: str | Path | None, what: str) -> TextEncoder:
        """The text encoder of the data, in `folder` or where it was then.

        Raises UsageError where it is not there, for `what` needs it, or where it is another one.
        """
        noted = {} if self.prompts is None else self.prompts.encoder
        path = Path(folder or noted.get("path") or "")
        if not path.name or not path.is_dir():
            where = f"; {path} is not here" if path.name else ""
            raise UsageError(f"{what} needs the text encoder: {TEXT}{where}")
        encoder = TextEncoder(path)
        if noted.get("sha256", encoder.sha256) != encoder.sha256:
            raise UsageError(f"{path} is another text encoder than that of the data, whose sha256 is {noted['sha256']}")
        return encoder


def embed_words(dataset: Dataset, words: Sequence[str], device: torch.device) -> Tensor:
    """Labels [K,L] of a data set for words: of prompts, or of names of classes. Raises UsageError."""
    if device.type == "meta":  # a text encoder is no part of a plan
        return torch.empty(len(words), dataset.label_dim, device=device)
    if dataset.layout.has_words:
        return Asking.of(dataset, dataset.layout, None).rows(words)
    names = list(dataset.class_names) or [str(i) for i in range(dataset.label_dim)]
    unknown = [word for word in words if word not in names]
    if unknown or len(names) != dataset.label_dim:
        known = ", ".join(names[:10]) + (" ..." if len(names) > 10 else "")
        raise UsageError(f"{unknown[0] if unknown else words[0]!r} is no class of the data set; those here: {known}")
    return torch.eye(dataset.label_dim)[[names.index(word) for word in words]]


def _rows(path: Path) -> Tensor:
    try:
        rows = safetensors.torch.load_file(path)["rows"]
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: no rows of prompts ({error})") from error
    if rows.ndim != 2 or not rows.is_floating_point() or not bool(rows.isfinite().all()):
        raise InputError(f"{path}: rows of prompts have to be finite numbers [K,L]")
    return rows.float()
