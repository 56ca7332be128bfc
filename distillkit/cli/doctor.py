"""`distillkit doctor`: is everything here that a run needs? One line each, and an exit code."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path

from attrs import frozen
from packaging.version import Version
from rich.text import Text

from distillkit import __version__
from distillkit.api import DistillkitError, UsageError
from distillkit.assets.folder import folder, locked, writable
from distillkit.cli import arguments, ranks, several
from distillkit.cli.console import console
from distillkit.cli.systems import lacks
from distillkit.registry import Catalog, apart

STYLES = {"ok": "green", "warn": "yellow", "broken": "red"}
TORCH = "2.10"  # torch.load(weights_only=True) of older ones has known holes
ROOM_GB = 5
EXPORTERS = ("onnx", "onnxscript", "onnxruntime")


@frozen
class Line:
    """One finding."""

    state: str  # ok, warn, broken
    name: str
    text: str


def add(parser: ArgumentParser) -> None:
    arguments.runs(parser)
    several.add(parser)


def main(args: Namespace) -> int:
    """Look at everything and tell -> exit code; 2 where something is broken."""
    out, counts = console(), Counter[str]()
    if several.wanted(args) and ranks.elsewhere(args):
        return ranks.follow(args)
    tried = (Line(*finding) for finding in ranks.look(args)) if several.wanted(args) else ()
    for line in chain(versions(), systems(), plugins(Catalog.installed()), machine(), disks(args.runs), cache(), tried):
        counts[line.state] += 1
        shown = Text.assemble((f"{line.state:8}", STYLES[line.state]), f"{line.name:9}", line.text)
        out.print(shown, soft_wrap=True)
    print(f"{counts['ok']} ok, {counts['warn']} warnings, {counts['broken']} broken")
    return UsageError.exit_code if counts["broken"] else 0


def versions() -> Iterator[Line]:
    """Look at versions: python, distillkit, torch and what `export --to onnx` needs."""
    yield Line("ok", "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    try:
        torch = version("torch")
        old = Version(torch) < Version(TORCH)
        yield Line("warn" if old else "ok", "torch", f"{torch}, older than {TORCH}" if old else torch)
    except PackageNotFoundError:
        yield Line("broken", "torch", f"is not installed: pip install 'torch>={TORCH}'")
    missing = [name for name in EXPORTERS if importlib.util.find_spec(name) is None]
    hint = f"for --to onnx: pip install {' '.join(missing)}" if missing else "can be exported to"
    yield Line("ok", "onnx", hint)
    here = importlib.util.find_spec("huggingface_hub") is not None
    yield Line(
        "ok", "hub", "can be pushed to and pulled from" if here else "for push and pull: pip install 'distillkit[hub]'"
    )


def systems() -> Iterator[Line]:
    """Look at what the operating system lacks, and what follows."""
    found = list(lacks())
    yield from (Line("warn", "system", text) for text in found)
    if not found:
        yield Line("ok", "system", "signals, links, owners and memory as runs need them")


def plugins(catalog: Catalog) -> Iterator[Line]:
    """Look at the distributions, and name every component that cannot be used; imports all, elsewhere."""
    numbers = {offer.dist: offer.version for offer in catalog.offers}
    others = [f"{dist} {number}" for dist, number in numbers.items() if number != __version__]
    text = f"{len(numbers)} distributions, {len(catalog.offers)} components, distillkit {__version__}"
    yield Line("ok", "plugins", f"{text}; {', '.join(others)}" if others else text)
    for name in sorted(catalog.disabled):
        yield Line("warn", "plugins", f"{name} is switched off by DISTILLKIT_DISABLE")
    for issue in catalog.issues:
        yield Line("broken", "plugins", f"{issue.dist}: {issue.message}")
    for _, why in apart.broken(catalog.offers):
        yield Line("broken", "plugins", why)


def machine() -> Iterator[Line]:
    """Look for GPUs, and for the number of threads that is fastest."""
    try:
        import torch

        from distillkit.train import threads
    except (ImportError, OSError) as error:  # a library of it that is missing is an OSError
        yield Line("broken", "torch", f"cannot be imported: {' '.join(str(error).split())[:200]}")
        return
    for i in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(i)
        yield Line("ok", "device", f"cuda:{i}, {facts.name}, {facts.total_memory / 2**30:.0f} GiB")
    if not torch.cuda.is_available():
        yield Line("ok", "device", "cpu; torch sees no GPU")
    limit = os.environ.get("OMP_NUM_THREADS")
    limited = f", at most {limit} by OMP_NUM_THREADS" if limit else ""
    yield Line("ok", "threads", f"fastest now: {threads.choose()}, of {os.cpu_count()} cores{limited}")


def disks(runs: Path) -> Iterator[Line]:
    """Look for room where runs and the cache are, or will be."""
    for name, path in (("runs", runs), ("cache", folder().parent)):
        there = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
        free = shutil.disk_usage(there).free / 1e9
        if name == "cache" and not writable(path):
            yield Line("warn", name, f"{path} cannot be made or written: nothing is kept; set DISTILLKIT_HOME")
        elif not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            yield Line("broken", name, f"{path}: nothing can be written in {there}")
        elif free < ROOM_GB:
            yield Line("warn", name, f"{path}: {free:.1f} GB free, less than {ROOM_GB}")
        else:
            yield Line("ok", name, f"{path}: {free:.0f} GB free")


def cache() -> Iterator[Line]:
    """Look at what lies in the cache, by folder, and whether its list of sums can be read."""
    home = folder().parent
    for part in sorted(path for path in home.glob("*") if path.is_dir()):
        sizes = [path.stat().st_size for path in part.rglob("*") if path.is_file()]
        yield Line("ok", "cache", f"{part.name}: {sum(sizes) / 1e6:.1f} MB, files: {len(sizes)}")
    try:
        locked(folder())
    except DistillkitError as error:
        yield Line("broken", "cache", str(error))
