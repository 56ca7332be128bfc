"""The tables of recipes/README.md, from [about] of the recipes: `python tests/recipes/page.py` writes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from distillkit.recipe.collection import Listed, listed

PAGE = Path(__file__).parents[2] / "recipes" / "README.md"
MARK = "<!-- From here on written by tests/recipes/page.py. -->\n"
DATA = (
    "cifar10_cond", "cifar10_uncond", "ffhq", "afhq", "imagenet64",
    "imagenet256", "imagenet256_b", "imagenet256_l",
    *(f"imagenet512_{size}" for size in ("xs", "s", "m", "l", "xl", "xxl")),
    "digits", "digits_uncond", "digits_text", "mnist16", "cifar16", "gaussians",
)  # fmt: skip
METHODS = (
    "edm", "flow-matching", "sid", "sim", "sida", "sid2a", "di", "realuid", "dmd", "dmd2", "f-distill", "ladd", "cd",
    "ct", "ict", "ect", "tcm", "scd", "sct", "rcm", "ctm", "ctm_gan", "imm", "meanflow", "imf", "pd", "tract", "gdd",
    "gdd_i",
)  # fmt: skip


def page() -> str:
    """The page with its tables as they should be."""
    text, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    return text + MARK + "\n".join(tables(listed()))


def tables(recipes: list[Listed]) -> Iterator[str]:
    """A heading and a table for each kind of data."""
    for data in DATA:
        same = [one for one in recipes if one.about.data == data]
        yield f"\n## {same[0].about.images}\n"
        yield "| recipe | method | kimg | batch | published | runs on |\n|---|---|---|---|---|---|"
        yield from map(row, sorted(same, key=place))
    yield ""


def place(one: Listed) -> tuple[int, str]:
    return METHODS.index(str(one.about.method)), one.name


def row(one: Listed) -> str:
    cells = one.method, f"{one.kimg:,.4g}" if one.kimg < 1000 else f"{one.kimg:,.0f}", f"{one.batch:,}"
    return f"| [{one.name}]({one.name}.toml) | {' | '.join(cells)} | {one.about.published} | {one.about.runs_on} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
