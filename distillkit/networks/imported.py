"""Networks of another make, files or folders: read once by an importer, then kept as ours under their sha256."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor

from distillkit.api import InputError
from distillkit.assets.folder import cache, foreign
from distillkit.disk import manifest
from distillkit.disk.files import remove, sha256
from distillkit.disk.tensors import write_tensors
from distillkit.networks import network_file
from distillkit.networks.importers import Reader, load, offers, reader
from distillkit.registry import Catalog


def load_network(path: Path, catalog: Catalog) -> network_file.Carded:
    """The network of a result folder, of our .safetensors, or of what an importer reads. Raises InputError."""
    return network_file.load_network(converted(path, catalog) if is_foreign(path, catalog) else path, catalog)


def is_foreign(path: Path, catalog: Catalog) -> bool:
    """Whether it is a file without a card of ours, or a folder that an importer reads."""
    if path.is_dir():
        ours = any((path / name).exists() for name in (network_file.CARD, network_file.WEIGHTS, "result", "run.json"))
        return not ours and any(not load(offer).declines(path) for offer in offers(path, catalog))
    return path.is_file() and not (path.suffix == ".safetensors" and path.with_suffix(".json").is_file())


def converted(path: Path, catalog: Catalog) -> Path:
    """The folder in the cache with the network of a foreign path, which is read if that is missing or damaged."""
    path = path.resolve()
    found = reader(path, catalog)
    digest = _digest(path, found)
    folder = cache() / "converted" / digest
    if folder.exists() and foreign(folder):  # a shared home: what others made is not ours to use or to remove
        folder = folder.with_name(f"{digest}-{os.getuid()}")
    source = _source(found, digest)
    if not _intact(folder, source):
        remove(folder)
        try:
            convert(path, folder, catalog, digest, found)
        except OSError:
            if not _intact(folder, source):  # else another process was first
                raise
    return folder


def convert(
    path: Path, out: Path, catalog: Catalog, digest: str = "", found: Reader | None = None
) -> dict[str, Any]:  # fmt: skip
    """Write a foreign network as a result folder `out`, complete or not at all -> its card.

    Raises InputError if it is refused or no importer here reads it.
    """
    path = path.resolve()
    found = found or reader(path, catalog)
    card, tensors = found.importer.read(path)
    card = {"format": 1, **card, "source": _source(found, digest or _digest(path, found))}
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".tmp-", dir=out.parent))
    try:
        _write(staging, card, tensors)
        os.replace(staging, out)
    finally:
        remove(staging)
    return card


def _write(folder: Path, card: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    weights = folder / network_file.WEIGHTS
    write_tensors(weights, tensors)
    card["weights_sha256"] = sha256(weights)
    (folder / network_file.CARD).write_text(json.dumps(card, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    manifest.seal(folder)
    folder.chmod(0o755)


def _digest(path: Path, found: Reader) -> str:
    """The sha256 of a file, or of the names and contents of a folder's files that make its network."""
    if path.is_file():
        return sha256(path)
    listed = [(file.relative_to(path).as_posix(), sha256(file)) for file in sorted(found.importer.reads(path))]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _source(found: Reader, digest: str) -> dict[str, str]:
    """What a conversion was made from, and by which version of what."""
    offer = found.offer
    return {"sha256": digest, "importer": offer.name, "by": f"{offer.dist} {offer.version}"}


def _intact(folder: Path, source: dict[str, str]) -> bool:
    try:
        if any(foreign(path) for path in (folder, folder / network_file.WEIGHTS, folder / network_file.CARD)):
            return False
        manifest.check_result(folder)
        return bool(network_file.read_card(folder)["source"] == source and (folder / manifest.NAME).exists())
    except (InputError, KeyError, OSError):
        return False
