"""Commands that keep nothing end with 128 + n on a signal; it or a full disk leaves no half of what is written."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distillkit.cli import main as cli
from distillkit.cli.main import main
from distillkit.disk.rundir import RunDir

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU]


@pytest.fixture(autouse=True)
def as_at_a_terminal() -> Iterator[None]:
    """A process started in the background may have been told to ignore SIGINT."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on images of 2x2."""
    from distillkit.testing import tiny_recipe

    place = tmp_path_factory.mktemp("signals")
    np.savez(place / "data.npz", images=np.zeros((32, 2, 2, 1), np.uint8))
    data = {"use": "npz", "path": str(place / "data.npz"), "labels": False}
    recipe = place / "x.toml"
    recipe.write_text(tiny_recipe("edm", dataset=data, sample={"use": "heun", "steps": 2}, evaluate=None))
    assert main(["run", str(recipe), "--runs", str(place / "runs")]) == 0
    return RunDir.open(place / "runs" / "0001-x").path


def stopped_before_the_rename(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """All is written, and would now be put in place."""
    monkeypatch.setattr(os, "replace", lambda *names: signal.raise_signal(number))


COMMANDS: dict[str, Callable[[Path], list[str]]] = {
    **{f"sample {name}": lambda run, name=name: ["sample", str(run), "-n", "4", "--out", name]
       for name in ("a.png", "a.npz", "a.zip", "folder")},
    "export": lambda run: ["export", str(run), "--to", "safetensors", "exported"],
    "pack": lambda run: ["data", "pack", "images", "packed.zip"],
    "new": lambda run: ["new", "mine", "--kind", "kernel"],
    "copy": lambda run: ["recipes", "copy", "digits_teacher", "--to", "."],
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_a_signal_leaves_no_half_file(
    name: str, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    Image.fromarray(np.zeros((2, 2), np.uint8)).save("images/0.png")
    stopped_before_the_rename(monkeypatch, signal.SIGTERM)
    assert main(COMMANDS[name](student)) == 128 + signal.SIGTERM
    assert capsys.readouterr().err.endswith("stopped by SIGTERM\n")
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == [tmp_path / "images" / "0.png"]


TARGETS = {"export": "exported", "pack": "packed.zip", "new": "distillkit-mine", "copy": ".toml"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_or_quota_is_told_with_the_file_that_was_to_be_written(
    name: str, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    Image.fromarray(np.zeros((2, 2), np.uint8)).save("images/0.png")

    def full(*names: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))  # as a write has it: without a name

    monkeypatch.setattr(os, "replace", full)
    assert main(COMMANDS[name](student)) == 5
    told = capsys.readouterr().err
    assert "Disk quota exceeded" in told and TARGETS.get(name, name.removeprefix("sample ")) in told
    assert ".tmp-" not in told
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "images" / "0.png"]


@pytest.mark.parametrize("number", SIGNALS)
def test_each_signal_has_its_exit_code(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(cli, "import_module", lambda name: Command(number))
    assert main(["recipes"]) == 128 + number
    assert ("interrupted" if number == signal.SIGINT else f"stopped by {number.name}") in capsys.readouterr().err
    assert signal.getsignal(number) == signal.SIG_DFL


class Command:
    """Stands in for a command's module."""

    def __init__(self, number: int) -> None:
        self.number = number

    def add(self, parser: object) -> None:
        pass

    def main(self, args: object) -> int:
        signal.raise_signal(self.number)
        return 0


def test_an_ignored_signal_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr(cli, "import_module", lambda name: Command(signal.SIGHUP))
    assert main(["recipes"]) == 0


STUBBORN = """
import sys, time
from distillkit.cli import main as cli
class Command:
    add = staticmethod(lambda parser: None)
    @staticmethod
    def main(args):
        try:
            print("in", flush=True)
            time.sleep(60)
        finally:
            print("cleaning", flush=True)
            time.sleep(60)
cli.import_module = lambda name: Command
sys.exit(cli.main(["recipes"]))
"""


def test_a_second_signal_leaves_at_once() -> None:
    process = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        process.terminate()
        assert process.stdout.readline() == "cleaning\n"
        time.sleep(0.1)
        process.terminate()
        assert process.wait(timeout=30) == -signal.SIGTERM
    finally:
        process.kill()
