"""Names of assets in recipes -> paths in the folder of assets, or all that is missing there."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import attrs

from distillkit.api import InputError
from distillkit.assets.folder import LOCK, check, lock, locked, require_ours, sha256
from distillkit.assets.table import Asset, table

V = TypeVar("V")


def located(value: V, where: Path) -> V:
    """The recipe or config with every name of an asset replaced by its path, unless there is a file of that name."""
    replaced: V = mapped(value, lambda asset: str(where / asset.name))
    return replaced


def wanted(value: Any) -> list[Asset]:
    """The assets that a recipe or config names, each once."""
    found: dict[str, Asset] = {}
    mapped(value, lambda asset: found.setdefault(asset.name, asset).name)
    return list(found.values())


def require(recipe: str, values: Iterable[Any], where: Path) -> None:
    """Raises InputError that lists every asset which the values name and nobody has put there yet."""
    named = {asset.name: asset for value in values for asset in wanted(value)}
    missing = [asset for asset in named.values() if not (where / asset.name).exists()]
    for asset in named.values():
        if asset not in missing:
            require_ours(where / asset.name)
    if missing:
        raise InputError("\n".join(_told(recipe, missing, where)))


def pin(values: Iterable[Any], where: Path) -> None:
    """Note the sum of each published file that the values name when it is used first; warns where nobody else knows it.

    Raises InputError for another file than the table, or the first use, says. Data sets are not published files.
    """
    for asset in {asset.name: asset for value in values for asset in wanted(value)}.values():
        path = where / asset.name
        if asset.url is None or not path.is_file():
            continue
        digest = sha256(path)
        check(asset, where, digest)
        if asset.name in locked(where):
            continue
        try:
            lock(where, asset.name, digest)
            told = f"noted in {where / LOCK}, and compared from now on"
        except OSError as error:
            told = f"{where / LOCK} cannot be written: {error.strerror}"
        if len(asset.sha256) < len(digest):
            warnings.warn(f"{asset.name}: no published sha256 is known; this file's is {digest}, {told}", stacklevel=2)


def _told(recipe: str, missing: list[Asset], where: Path) -> Iterator[str]:
    count = "1 file is" if len(missing) == 1 else f"{len(missing)} files are"
    yield f"{count} missing for {recipe}; nothing was run.\n"
    for asset in missing:
        yield f"  {asset.name}   {asset.kind}, {asset.size}, licence: {asset.licence}"
        yield f"      {asset.source}"
    names = [asset.name for asset in missing if asset.url]
    yield f"\nPut them into {where}, or name your own paths in the recipe."
    if names:
        yield f"To download: distillkit assets get {' '.join(names)}"
    yield f"To try the wiring without them, in seconds: distillkit run {recipe} --smoke"


def mapped(value: Any, path_of: Any) -> Any:
    """The value with `path_of(asset)` for each string in it that is an asset's name and no file here."""
    if isinstance(value, str):
        asset = table().get(value)
        return value if asset is None or Path(value).exists() else path_of(asset)
    if isinstance(value, list | tuple):
        parts = [mapped(part, path_of) for part in value]
        same = all(new is old for new, old in zip(parts, value, strict=True))
        return value if same else type(value)(parts)
    if isinstance(value, dict):
        return {key: mapped(part, path_of) for key, part in value.items()}
    if not attrs.has(type(value)):
        return value
    old = {one.name: getattr(value, one.name) for one in attrs.fields(type(value)) if one.init}
    new = {name: mapped(part, path_of) for name, part in old.items()}
    changed = {name: part for name, part in new.items() if part is not old[name] and part != old[name]}
    return attrs.evolve(value, **changed) if changed else value
