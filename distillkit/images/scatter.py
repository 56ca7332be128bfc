"""Two-dimensional "images" [n,2,1,1] as scatter plots: one panel per set, the same axes in all."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from distillkit.disk import files

PANEL_PX, MARGIN_PX, TEXT_PX, ZOOM = 320, 28, 13, 2  # drawn ZOOM times larger, then shrunk: smooth dots
PAPER, FRAME, INK = (255, 255, 255), (205, 209, 216), (40, 44, 52)
GREY, BLUE = (186, 190, 198), (37, 99, 196)


def is_points(x: Tensor) -> bool:
    """Whether x [n,C,H,W] holds points of the plane."""
    return tuple(x.shape[1:]) == (2, 1, 1)


def plot(sets: dict[str, Tensor], path: Path, *, real: Tensor | None = None) -> Path:
    """Write a PNG with one panel per set of points [n,2,1,1], each over the points `real` [m,2,1,1] in grey."""
    clouds = {name: x.detach().float().cpu().flatten(1) for name, x in sets.items()}
    behind = None if real is None else real.detach().float().cpu().flatten(1)
    limit = _limit(behind if behind is not None else next(iter(clouds.values())))
    sheet = Image.new("RGB", (PANEL_PX * len(clouds), PANEL_PX), PAPER)
    for i, (name, points) in enumerate(clouds.items()):
        sheet.paste(_panel(name, points, behind, limit), (i * PANEL_PX, 0))
    return save(sheet, path)


def save(sheet: Image.Image, path: Path) -> Path:
    """Write a PNG, with its folder; a full disk leaves the one before, or none, and is told with its name."""
    data = io.BytesIO()
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(data, format="PNG", compress_level=3)  # smooth tiles: a tenth of the time of "optimize", 16 % larger
    files.write_atomic(path, data.getvalue())
    return path


def _limit(points: Tensor) -> float:
    finite = points[points.isfinite().all(1)]
    return 1.15 * float(finite.abs().max()) if len(finite) else 1.0


def _panel(name: str, points: Tensor, behind: Tensor | None, limit: float) -> Image.Image:
    big = Image.new("RGB", (PANEL_PX * ZOOM, PANEL_PX * ZOOM), PAPER)
    draw = ImageDraw.Draw(big)
    low, high = MARGIN_PX * ZOOM, (PANEL_PX - MARGIN_PX) * ZOOM
    middle = (low + high) // 2
    draw.line((low, middle, high, middle), FRAME)
    draw.line((middle, low, middle, high), FRAME)
    if behind is not None:
        _dots(draw, behind, limit, GREY)
    if name != "real":
        _dots(draw, points, limit, BLUE)
    outside = int((~(points.abs() <= limit).all(1)).sum())  # NaN counts as outside
    draw.rectangle((low, low, high, high), outline=FRAME, width=ZOOM)
    panel = big.reduce(ZOOM)  # means of ZOOM x ZOOM pixels: a tenth of the time of a smoother filter
    _captions(ImageDraw.Draw(panel), name, limit, outside)
    return panel


def _dots(draw: ImageDraw.ImageDraw, points: Tensor, limit: float, colour: tuple[int, int, int]) -> None:
    radius = ZOOM * (1.5 if len(points) > 500 else 2.5)
    half = (PANEL_PX / 2 - MARGIN_PX) * ZOOM
    for px, py in points[(points.abs() <= limit).all(1)].tolist():
        x, y = PANEL_PX * ZOOM / 2 + px / limit * half, PANEL_PX * ZOOM / 2 - py / limit * half
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _captions(draw: ImageDraw.ImageDraw, name: str, limit: float, outside: int) -> None:
    font = ImageFont.load_default(TEXT_PX)
    note = f"{name}   {outside} outside" if outside else name
    draw.text((PANEL_PX // 2, MARGIN_PX - 5), note.strip(), INK, font, anchor="md")
    bottom = PANEL_PX - MARGIN_PX + 4
    draw.text((MARGIN_PX, bottom), f"{-limit:.3g}", INK, font, anchor="mt")
    draw.text((PANEL_PX - MARGIN_PX, bottom), f"{limit:.3g}", INK, font, anchor="mt")
