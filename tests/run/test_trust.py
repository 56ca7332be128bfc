"""A stranger's run folder names a program: it runs only where the user says so, or has run it by a recipe before."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from distillkit.cli.main import main
from distillkit.testing import tiny_recipe

FEATURES = """
[[evaluate]]
use = "fid"
images = 16
[evaluate.features]
use = "torchscript"
network = "net.pt"
size = 8
"""


class Writes(nn.Module):
    """Features that overwrite the beginning of a file by its path when they are called."""

    def forward(self, x: Tensor) -> Tensor:
        victim = torch.from_file("victim.txt", True, 8, dtype=torch.uint8)
        victim.fill_(65)
        return x.flatten(1)[:, :8].float() + victim.sum() * 0


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run of a user who has run no program, with a stranger's metric in its recipe; beside it a file to lose."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))
    digits = {"dataset": {"use": "digits"}, "sample": {"use": "heun", "steps": 2}, "evaluate": None}
    text = tiny_recipe("edm", **digits).replace("size = 64\n", "")
    Path("plain.toml").write_text(text)
    assert main(["run", "plain.toml"]) == 0
    torch.jit.script(Writes()).save("net.pt")
    Path("victim.txt").write_text("precious file")
    Path("own.toml").write_text(text + FEATURES)
    run = Path("runs/0001-plain")
    (run / "resolved.toml").write_text((run / "resolved.toml").read_text().replace("evaluate = []\n", "") + FEATURES)
    return run


def lost() -> bool:
    return Path("victim.txt").read_text().startswith("AAAA")


def test_eval_asks_before_it_runs_a_strangers_program(stranger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = hashlib.sha256(Path("net.pt").read_bytes()).hexdigest()
    assert main(["eval", str(stranger)]) == 2
    told = capsys.readouterr().err
    assert "net.pt" in told and f"--trust-sha256 {digest}" in told and not lost()
    assert main(["eval", str(stranger), "--trust-sha256", "0" * 64]) == 2
    assert not lost()
    assert main(["eval", str(stranger), "--trust-sha256", digest]) == 0
    assert lost()


def test_once_trusted_it_is_known(stranger: Path) -> None:
    assert main(["eval", str(stranger), "--trust"]) == 0
    assert main(["eval", str(stranger)]) == 0


def test_going_on_with_a_strangers_run_asks_too(stranger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "own.toml", "--runs", "theirs"]) == 0
    theirs = Path("theirs/0001-own")
    (theirs / "exit.json").unlink()
    shutil.rmtree(theirs / "result")
    Path("home/programs").unlink()
    Path("victim.txt").write_text("precious file")
    capsys.readouterr()
    assert main(["run", "--resume", str(theirs)]) == 2
    assert "--trust-sha256" in capsys.readouterr().err and not lost()
    assert main(["run", "--resume", str(theirs), "--trust"]) == 0


def test_what_a_recipe_of_the_user_ran_runs_again_in_its_run(stranger: Path) -> None:
    assert main(["run", "own.toml"]) == 0
    assert main(["eval", "runs/0002-own"]) == 0
    assert main(["eval", str(stranger), "--recipe", "own.toml"]) == 0


@pytest.mark.parametrize("command", [["check"], ["plan"]])
def test_to_look_at_a_strangers_recipe_runs_nothing(stranger: Path, command: list[str]) -> None:
    assert main([*command, str(stranger / "resolved.toml")]) == 0
    assert not lost()
