"""TensorBoard: event files that its own program reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from distillkit.api import Logger, RunInfo, frozen
from distillkit_loggers.once import kind_of, package


class TensorBoard(Logger):
    """Curves and pictures as event files of TensorBoard; steps are images seen."""

    @frozen(kw_only=True)
    class Config:
        folder: str = ""
        """where runs lie side by side, each in a folder of its name; "": loggers/tensorboard of the run"""

    writer: Any = None

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        package("tensorboard", "tensorboard")

    def run_started(self, info: RunInfo) -> str:
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(self.config.folder) / info.path.name if self.config.folder else info.folder
        # Steps of a killed session from here on are told again: TensorBoard drops the old ones where it reads this.
        self.writer = SummaryWriter(str(folder), purge_step=info.nimg + 1 if info.nimg else None)
        if not info.nimg:
            self.writer.add_text("recipe", f"```json\n{json.dumps(info.recipe, indent=1, default=str)}\n```", 0)
        return f"tensorboard --logdir {self.config.folder or info.path.parent}"

    def tick(self, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            if name != "nimg":
                self.writer.add_scalar(name, value, int(numbers["nimg"]))

    def evaluated(self, numbers: Mapping[str, float], facts: Mapping[str, Mapping[str, str]]) -> None:
        self.tick({name: value for name, value in numbers.items() if name not in ("kimg", "seconds")})
        self.writer.flush()

    def pictures(self, path: Path, caption: str, nimg: int) -> None:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        self.writer.add_image(kind_of(path), pixels, nimg, dataformats="HWC")
        self.writer.flush()

    def checkpoint_saved(self, path: Path) -> None:
        self.writer.flush()

    def run_ended(self, outcome: Mapping[str, Any]) -> None:
        self.writer.close()
