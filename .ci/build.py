"""`build.py FOLDER`: every distribution as an archive and, from that, as a wheel; what a user must find is in both."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LICENCE = (ROOT / "LICENSE").read_bytes()


def main(out: Path) -> int:
    projects = [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]
    for project in projects:
        build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(project)]
        done = subprocess.run(build, capture_output=True, text=True, check=False)
        print(done.stdout.splitlines()[-1] if done.returncode == 0 else done.stdout + done.stderr)
        if done.returncode:
            return done.returncode
    faults = [f"{path.name}: {fault}" for path in sorted(out.iterdir()) for fault in faults_of(contents(path))]
    if len(list(out.iterdir())) != 2 * len(projects):
        faults.append(f"{out} must hold one archive and one wheel of {len(projects)} distributions, and nothing else")
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


def contents(path: Path) -> dict[str, bytes]:
    """Name -> bytes of the files in an archive or a wheel."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(path) as archive:
        files = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        return {name: stream.read() for name, stream in files.items() if stream}


def faults_of(files: dict[str, bytes]) -> list[str]:
    """What a user would miss in an archive or a wheel."""
    licences = [data for name, data in files.items() if name.rpartition("/")[2] == "LICENSE"]
    faults = [] if licences == [LICENCE] else ["it must hold LICENSE once, with the text of the repository's"]
    if not any(name.endswith("/py.typed") for name in files):
        faults.append("py.typed is missing: type checkers would take the package for untyped")
    return faults


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
