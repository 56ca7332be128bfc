"""A heat map as an SVG: one row per layer, one column per noise level, dark where the layer is most active."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from torch import Tensor

CELL, ROW, LEFT, TOP = 28, 16, 190, 34


def heatmap(rows: dict[str, Tensor], sigmas: Sequence[float]) -> str:
    """SVG of values [levels] in [0,1] by row name; hover titles give the numbers."""
    width, height = LEFT + CELL * len(sigmas) + 10, TOP + ROW * len(rows) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="10">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="12">mean |output| of each block\'s last convolution, scaled to 0 ... 1 over sigma</text>',
    ]
    for column, sigma in enumerate(sigmas):
        parts.append(f'<text x="{LEFT + CELL * (column + 0.5)}" y="28" text-anchor="middle">{sigma:.2g}</text>')
    for line, (name, values) in enumerate(rows.items()):
        y = TOP + ROW * line
        parts.append(f'<text x="{LEFT - 6}" y="{y + 11}" text-anchor="end">{escape(name)}</text>')
        for column, value in enumerate(values.tolist()):
            told = f"{escape(name)}, sigma {sigmas[column]:.3g}: {value:.3f}"
            shade = round(245 - 215 * value)
            parts.append(
                f'<rect x="{LEFT + CELL * column}" y="{y}" width="{CELL - 1}" height="{ROW - 1}" '
                f'fill="rgb({shade},{shade},{min(shade + 30, 255)})"><title>{told}</title></rect>'
            )
    return "\n".join([*parts, "</svg>\n"])
