"""Sample sheets that can be judged at a glance: enlarged tiles, labelled rows and columns, one title line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from distillkit.images import scatter

COLUMNS = 10
PAD_PX = 2
GAP_PX = 8  # between the blocks of a comparison
TILE_PX = 64  # small images are enlarged by a whole factor to at most this
MAX_PX = 128  # large ones are shrunk to this
TEXT_PX, LINE_PX = 13, 19
PAPER, INK = (255, 255, 255), (40, 44, 52)
NOT_FINITE = (255, 0, 255)  # a colour no data set has: NaN must be seen


def to_bytes(x: Tensor) -> np.ndarray:
    """Images x [n,C,H,W] in [-1,1] -> uint8 [n,H,W,3]; C = 1 is grey, other C show their first 1 or 3 channels."""
    x = x.detach().float().cpu()
    x = x[:, :3] if x.shape[1] >= 3 else x[:, :1].expand(-1, 3, -1, -1)
    array = (x * 127.5 + 128).nan_to_num(0).clip(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    bad = ~x.isfinite().all(1).numpy()
    if bad.any():
        array = array.copy()
        array[bad] = NOT_FINITE
    return array


def told_apart(names: Sequence[str]) -> list[str]:
    """The names without the words that all of them begin with, which would be all that narrow columns show."""
    split = [name.split() for name in names]
    same = 0
    while all(len(words) > same + 1 for words in split) and len({words[same] for words in split}) == 1:
        same += 1
    return [" ".join(words[same:]) for words in split]


def grid(
    x: Tensor,
    path: Path,
    *,
    columns: int | None = None,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    scale: int | None = None,
    real: Tensor | None = None,
) -> Path:
    """Write x [n,C,H,W] in [-1,1] as a PNG of `columns` tiles per row under column `labels`.

    2-D points [n,2,1,1] become a scatter plot over `real` [m,2,1,1] in grey. `scale` is the factor of enlargement.
    """
    if scatter.is_points(x):
        return scatter.plot({title or "": x}, path, real=real)
    rows = _wrapped(_tiles(x, scale), columns or min(len(x), COLUMNS))
    return _sheet({"": rows}, path, title=_noted(title, x), labels=labels)


def side_by_side(
    rows: dict[str, Tensor],
    path: Path,
    labels: Sequence[str] | None = None,
    *,
    title: str | None = None,
    scale: int | None = None,
) -> Path:
    """Write a PNG with one labelled block per entry of `rows` (each [n,C,H,W] in [-1,1]) under column `labels`."""
    first = next(iter(rows.values()))
    if scatter.is_points(first):
        return scatter.plot(rows, path, real=rows.get("real"))
    columns = len(labels) if labels else min(len(first), COLUMNS)
    blocks = {name: _wrapped(_tiles(x, scale), columns) for name, x in rows.items()}
    return _sheet(blocks, path, title=_noted(title, first), labels=labels)


def _noted(title: str | None, x: Tensor) -> str | None:
    channels = x.shape[1]
    if channels in (1, 3):
        return title
    note = f"(channels 1-3 of {channels})" if channels > 3 else f"(channel 1 of {channels})"
    return f"{title} {note}" if title else note


def _tiles(x: Tensor, scale: int | None) -> list[Image.Image]:
    height, width = x.shape[2:]
    factor = min(scale or max(1, TILE_PX // max(height, width)), MAX_PX / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return [Image.fromarray(tile).resize(size, Image.Resampling.BICUBIC) for tile in to_bytes(x)]


def _wrapped(tiles: list[Image.Image], columns: int) -> list[list[Image.Image]]:
    return [tiles[i : i + columns] for i in range(0, len(tiles), columns)]


def _sheet(
    blocks: dict[str, list[list[Image.Image]]], path: Path, *, title: str | None, labels: Sequence[str] | None
) -> Path:
    """Blocks of rows of equal tiles below each other, each with its name at the left."""
    font = ImageFont.load_default(TEXT_PX)
    rows = [row for block in blocks.values() for row in block]
    step_x, step_y = (side + PAD_PX for side in rows[0][0].size)
    left = PAD_PX + max(round(font.getlength(name)) + 6 * PAD_PX if name else 0 for name in blocks)
    top = PAD_PX + LINE_PX * ((title is not None) + (labels is not None))
    width = max(left + max(map(len, rows)) * step_x, round(font.getlength(title or "")) + 4 * PAD_PX)
    sheet = Image.new("RGB", (width, top + len(rows) * step_y + GAP_PX * (len(blocks) - 1)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((2 * PAD_PX, PAD_PX), title or "", INK, font)
    for i, text in enumerate(labels or ()):
        middle = left + i * step_x + (step_x - PAD_PX) // 2
        draw.text((middle, top - PAD_PX), _cut(text, font, step_x - PAD_PX), INK, font, anchor="md")
    y = top
    for name, block in blocks.items():
        draw.text((left - 3 * PAD_PX, y + len(block) * step_y // 2), name, INK, font, anchor="rm")
        for j, row in enumerate(block):
            for i, tile in enumerate(row):
                sheet.paste(tile, (left + i * step_x, y + j * step_y))
        y += len(block) * step_y + GAP_PX
    return scatter.save(sheet, path)


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-2].rstrip(".") + "." if len(text) > 2 else text[:1]
    return text
