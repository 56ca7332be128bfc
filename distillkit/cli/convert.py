"""`distillkit convert`: a network of another make, as a result folder."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from difflib import get_close_matches
from pathlib import Path

from distillkit.api.errors import UsageError
from distillkit.registry import Catalog


def add(parser: ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="IN",
        help="such as edm-cifar10-32x32-cond-vp.pkl, or a folder of diffusers; no code is run")  # fmt: skip
    parser.add_argument("out", type=Path, metavar="OUT", help="a new folder, for student.safetensors and student.json")


def main(args: Namespace) -> int:
    """Write the folder and say what is in it -> exit code."""
    source, out = args.source, args.out
    catalog = Catalog.installed()
    from distillkit.networks.imported import convert, is_foreign

    if not (source.is_file() or is_foreign(source, catalog)):
        raise UsageError(_no_file(source, catalog))
    if out.exists() or out.is_symlink():
        raise UsageError(f"{out} exists already; OUT is a folder that is made: choose another name")
    card = convert(source, out, catalog)
    size, labels = card["resolution"], card["label_dim"]
    print(f"{out}: {card['network']['use']}, {card['channels']} x {size} x {size}, {labels} labels")
    return 0


def _no_file(path: Path, catalog: Catalog) -> str:
    """What is there instead of a file to convert, and the way out."""
    from distillkit.networks import importers

    if (path / "result").is_dir() or (path / "student.json").is_file():
        return f"{path} is a network of ours already: distillkit sample {path}"
    if (path / "run.json").is_file():
        return f"{path} is a run that has no student yet: distillkit run --resume {path} goes on with it"
    suffixes = importers.suffixes(catalog)
    read = ", ".join(suffixes) or "nothing that is read here: pip install distillkit-edm"
    files = path.rglob("*") if path.is_dir() else path.parent.glob("*")
    found = sorted(str(one) for one in files if one.suffix.lower() in suffixes and one.is_file())
    if path.is_dir():
        told = f"name one of its files, such as {found[0]}" if found else f"no file in it ends with {read}"
        return f"{path} is a folder; {told}"
    if path.is_symlink() or path.exists():
        return f"{path}: a link to nothing, or no file that holds bytes; IN is a file or a folder"
    near = get_close_matches(str(path), found, n=1)
    return f"{path}: no such file; " + (f"did you mean {near[0]}?" if near else f"IN ends with {read}")
