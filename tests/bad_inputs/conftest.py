"""A small recipe that runs, a folder with its finished run, and what every refusal must look like."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from attrs import frozen

from distillkit.cli.main import main

GOOD = """\
schema = 1

[run]
kimg = 0.128
batch = 32
threads = 1
device = "cpu"
checkpoint_kimg = 0.064
grid = 4

[dataset]
use = "gaussian-mixture"
size = 256

[teacher_score]
use = "gaussian-mixture"

[generator]
init = "scratch"
ema = "none"

[generator.network]
use = "mlp"
width = 128

[sample]
use = "one-step"

[generator_loss]
use = "sid"
alpha = 1.0

[[evaluate]]
use = "mixture"
images = 64
"""


@frozen
class Lab:
    """The folder a command is given in: x.toml, which is good, and runs/0001-x, which is finished."""

    folder: Path
    capture: pytest.CaptureFixture[str]

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def edit(self, *edits: tuple[str, str], name: str = "x.toml") -> None:
        """Write GOOD with each old text, which occurs once, replaced."""
        text = GOOD
        for old, new in edits:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (self.folder / name).write_text(text)

    def refused(
        self,
        argv: Sequence[str],
        code: int,
        *words: str,
        warnings: int = 0,
        new_runs: Sequence[str] = (),
        touched: bool = False,
    ) -> str:
        """Give the command; one clear message, that exit code, nothing lost -> what was told on stderr."""
        before = contents(self.folder / "runs")
        got, out, err = self.give(argv)
        told = f"{got}\n{out}\n{err}"
        assert got == code, told
        assert "Traceback" not in out + err, told
        assert "bug:" not in err, told
        missing = [word for word in words if word not in err]
        assert not missing, f"{missing} not in:\n{err}"
        lines = err.splitlines()
        if "; nothing was run." in err:
            assert len(lines) <= 12, told
        elif "usage: " not in err:
            assert len([line for line in lines if line.startswith("warning: ")]) == warnings, told
            assert len(lines) == warnings + 1 and lines[-1].startswith("error: "), told
        assert all(len(line) <= 300 for line in lines), told
        after = contents(self.folder / "runs")
        assert sorted(set(after) - set(before)) == list(new_runs), told
        assert touched or {name: after[name] for name in before} == before, told
        return err

    def give(self, argv: Sequence[str]) -> tuple[int, str, str]:
        self.capture.readouterr()
        code = main(list(argv))
        return code, *self.capture.readouterr()


def contents(runs: Path) -> dict[str, dict[str, str]]:
    """Digest of every file of every run; the lock, and the fact that somebody looked, do not count."""
    if not runs.is_dir():
        return {}
    return {
        run.name: {
            str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(run.rglob("*"))
            if path.is_file() and path.name not in ("lock", "owner.json")
        }
        for run in sorted(runs.glob("[!.]*"))
    }


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder of one finished run of GOOD."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "x.toml").write_text(GOOD)
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["run", str(folder / "x.toml"), "--runs", str(folder / "runs")]) == 0
    return folder / "runs"


@pytest.fixture
def lab(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Lab:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISTILLKIT_TRACEBACK", raising=False)
    shutil.copytree(finished, tmp_path / "runs")
    (tmp_path / "x.toml").write_text(GOOD)
    return Lab(tmp_path, capsys)
