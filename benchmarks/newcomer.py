"""A newcomer's way, timed: an empty folder, an environment, the README's lines; how long until there is a picture?

    python benchmarks/newcomer.py [--folder DIR] [--torch-index URL] [--no-run]

The README's two commands are taken from it as they stand; they install the same, which is done once. The repository is
cloned, so what is not committed is left out. `--torch-index` installs torch from there first, such as torch's own index
of CPU builds. Aims, on an idle machine: a picture within 60 s after installation, a page within 5 minutes.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE, PAGE = 60, 300  # seconds that are aimed at


def lines() -> tuple[str, str, str]:
    """What the README says: how to install, to draw, and to train."""
    found = re.findall(
        r"^(python3 -m venv .venv && .*) && (\.venv/bin/distillkit .*)$", (ROOT / "README.md").read_text(), re.M
    )
    (install, draw), (again, train) = found
    if install != again:
        raise SystemExit("the README installs in two ways; this script knows one")
    return install, draw, train


class Watch:
    """Steps and their seconds, told as they end."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rows = folder, list[tuple[str, float, str]]()

    def step(self, what: str, command: Sequence[str], goal: str = "") -> float:
        """Run a command in the folder; its output is kept in a file beside it. Raises SystemExit where it fails."""
        log = self.folder.parent / "newcomer.log"
        start = time.monotonic()
        with log.open("ab") as out:
            done = subprocess.run(command, cwd=self.folder, stdout=out, stderr=out, env=environment(), check=False)
        seconds = time.monotonic() - start
        if done.returncode:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            raise SystemExit(f"{what}: exit code {done.returncode}; {log} ends with\n{tail}")
        self.rows.append((what, seconds, goal))
        print(f"{what:50} {seconds:7.1f} s   {goal}".rstrip(), flush=True)
        return seconds


def environment() -> dict[str, str]:
    """Ours, without an environment of Python that is active."""
    return {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")}


def main() -> None:
    """Go the way and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="an empty one (a temporary one, removed at the end)")
    parser.add_argument("--torch-index", help="install torch from there first")
    parser.add_argument("--no-run", action="store_true", help="install and draw, train nothing")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="newcomer-") as made:
        folder = args.folder or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise SystemExit(f"{folder} is not empty")
        watch = go(folder / "distillkit", args)
    print(f"\n{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}, "
          f"load {os.getloadavg()[0]:.1f} at the end\n" if hasattr(os, "getloadavg") else "")  # fmt: skip
    print("| step | seconds | aim |\n|---|---:|---|")
    for what, seconds, goal in watch.rows:
        print(f"| {what} | {seconds:.1f} | {goal} |")


def go(clone: Path, args: argparse.Namespace) -> Watch:
    """Clone, install, draw, train."""
    install, draw, train = lines()
    clone.mkdir()
    watch = Watch(clone)
    watch.step("git clone", ["git", "clone", "--quiet", "--depth", "1", ROOT.as_uri(), "."])
    if args.torch_index:
        watch.step("python3 -m venv .venv", ["python3", "-m", "venv", ".venv"])
        pip = [".venv/bin/pip", "install", "--quiet", "-c", "constraints.txt", "--index-url", args.torch_index, "torch"]
        watch.step("pip install torch", pip)
    watch.step("the README's installation", ["sh", "-c", install])
    watch.step(draw.removeprefix(".venv/bin/"), shlex.split(draw), f"a picture in {PICTURE} s")
    if not (clone / "samples.png").is_file():
        raise SystemExit("there is no picture")
    if not args.no_run:
        watch.step(train.removeprefix(".venv/bin/"), shlex.split(train), f"a page in {PAGE} s")
        pages = sorted(clone.glob("runs/*/report.html"))
        if not pages:
            raise SystemExit("there is no page")
        code = f"import distillkit; print(distillkit.Result({str(pages[-1].parent)!r}).verdict)"
        told = subprocess.run([clone / ".venv/bin/python", "-c", code], capture_output=True, text=True, check=True)
        print(f"{pages[-1].relative_to(clone)}: {told.stdout.strip()}")
    return watch


if __name__ == "__main__":
    main()
