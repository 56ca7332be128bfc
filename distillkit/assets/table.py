"""The table of published files: what they are, where they come from, and what is known of them."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from urllib.parse import urlsplit

from attrs import field, frozen
from attrs.validators import in_, matches_re, optional

KINDS = ("teacher", "reference", "vae", "features", "data")
UNKNOWN = "unknown"
MB = 1_000_000
LARGEST_MB = 4_000  # of a download whose size is not known


@frozen(kw_only=True)
class Asset:
    """One file. Without a `url` it is made by hand: `how`."""

    name: str = field(validator=matches_re(r"[A-Za-z0-9_][A-Za-z0-9_.-]*"))
    kind: str = field(validator=in_(KINDS))
    url: str | None = field(default=None, validator=optional(matches_re(r"https://[^?#\s]+")))
    how: str | None = None
    data: str | None = None  # the images that it is of, or was made for
    resolution: int | None = None  # of those, in pixels
    vae: str | None = None  # the asset that made the latents
    network: str | None = None  # of a teacher, as a recipe names it
    mb: int | None = None  # about
    licence: str
    sha256: str = field(validator=matches_re(r"unknown|[0-9a-f]{8,64}"))  # or its first digits

    @property
    def limit(self) -> int:
        """Bytes that a download may have: some more than the table says, which is about right."""
        return MB * (LARGEST_MB if self.mb is None else self.mb + self.mb // 4 + 1)

    @property
    def source(self) -> str:
        """Its URL, or what to make it of."""
        return self.url or f"prepare it: {self.how}"

    @property
    def size(self) -> str:
        return "size unknown" if self.mb is None else f"about {self.mb} MB"


@cache
def table() -> dict[str, Asset]:
    """All assets by name."""
    rows = tomllib.loads(files("distillkit.assets").joinpath("assets.toml").read_text(encoding="utf-8"))["asset"]
    return {row["name"]: Asset(**row) for row in rows}


def hosts() -> frozenset[str]:
    """The hosts that anything may be downloaded from."""
    return frozenset(urlsplit(asset.url).hostname or "" for asset in table().values() if asset.url)
