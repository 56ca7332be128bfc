"""Picture of generated images above the training images nearest to them."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

CELL, TEXT, GAP = 96, 16, 4  # pixels


def write(path: Path, generated: Tensor, training: Tensor, distance: Tensor, near: float) -> None:
    """Images [k,C,H,W] in [-1,1] in two rows, with the distance [k] of each pair; `near`: what counts as near.

    Points and other images without width, or of a number of channels that nothing shows, make no picture.
    """
    if generated.shape[2] == 1 or generated.shape[1] not in (1, 3):
        return
    sheet = Image.new("RGB", (GAP + len(generated) * (CELL + GAP), 3 * TEXT + 2 * (CELL + GAP)), "white")
    write_text = ImageDraw.Draw(sheet).text
    write_text(
        (GAP, 2), f"generated, the nearest training image below; unseen real ones: 5 % within {near:.3g}", "black"
    )
    for i, pair in enumerate(zip(generated, training, strict=True)):
        left = GAP + i * (CELL + GAP)
        write_text((left, TEXT), f"{float(distance[i]):.3g}", "black")
        for row, image in enumerate(pair):
            sheet.paste(_cell(image), (left, 2 * TEXT + row * (CELL + GAP)))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _cell(image: Tensor) -> Image.Image:
    """An image [C,H,W] as a square of CELL pixels."""
    levels = (image.float() * 127.5 + 128).clamp(0, 255).to(torch.uint8).expand(3, -1, -1).permute(1, 2, 0)
    return Image.fromarray(levels.numpy()).resize((CELL, CELL), Image.Resampling.NEAREST)
