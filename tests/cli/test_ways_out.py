"""Mistakes that people make at the command line, and the way out that each is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from distillkit.cli.main import main
from distillkit.cli.overview import COMMANDS, GROUPS

STUDY = 'schema = 1\nname = "s"\nseeds = [0]\n\n[[cell]]\nrecipe = "gaussians_sid"\n'
# The command line in a folder with four runs, its exit code, and what must be told.
MISTAKES: dict[str, tuple[int, str]] = {
    "runn digits_sid": (2, "no command 'runn'; did you mean run?"),
    "smaple 1": (2, "did you mean sample?"),
    "frobnicate": (2, "distillkit alone lists them"),
    "run digits_sd": (2, "did you mean digits_sid?"),
    "check digits_sidd": (2, "did you mean digits_sid"),
    "plan cifar10_sid": (2, "did you mean cifar1"),
    "run": (2, "give a RECIPE to run, or --resume RUN"),
    "run digits_sid --set lr=1e-4": (2, "write generator.optimizer.lr or generator_loss.lr"),
    "run digits_sid --set betas=[0.0,0.9]": (2, "write generator.optimizer.betas or generator_loss.betas"),
    "run digits_sid --set batch=32": (2, "write run.batch"),
    "run digits_sid --set run.bacth=32": (2, "did you mean batch?"),
    "run digits_sid --set run.batch": (2, "run.batch"),
    "run digits_sid --set generator_loss.use=sidd": (2, 'did you mean "sid"'),
    "run digits_sid --log tensorbord": (2, "tensorboard"),
    "run study.toml": (2, "distillkit study study.toml"),
    "study gaussians_sid": (2, "distillkit run gaussians_sid"),
    "study recipe.toml": (2, "distillkit run recipe.toml"),
    "run --resume 9": (2, "no run 9 in runs"),
    "run --resume 0001-a --seed 3": (2, "--resume goes on with a run as it is"),
    "report 9": (2, "no run 9 in runs"),
    "sample 9": (2, "no run 9 in runs"),
    "eval 000": (2, "no run 000 in runs"),
    "compare b": (2, "'b' may be 2 runs of runs: 0002-b, 0003-b"),
    "plugins sidd": (2, 'did you mean "sid"'),
}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(STUDY)
    (tmp_path / "recipe.toml").write_text('schema = 1\nextends = "gaussians_sid"\n\n[run]\nkimg = 1\n')
    for name in ("0001-a", "0002-b", "0003-b", "0012-digits_sid"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    return tmp_path / "runs"


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_told_with_the_way_out(line: str, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(runs.parent.rglob("*"))
    code, told = MISTAKES[line]
    assert main(line.split()) == code
    said = " ".join(capsys.readouterr().err.split())
    assert told in said and "Traceback" not in said
    assert sorted(runs.parent.rglob("*")) == before


NAMES = {"1": "0001-a", "0012": "0012-digits_sid", "12": "0012-digits_sid", "0012-dig": "0012-digits_sid",
         "digits_sid": "0012-digits_sid"}  # fmt: skip


@pytest.mark.parametrize(("text", "name"), NAMES.items())
def test_a_run_is_found_by_its_number_or_the_beginning_of_its_name(text: str, name: str, runs: Path) -> None:
    from distillkit.cli.runs import run_path

    assert run_path(text) == Path("runs") / name


def test_what_is_there_is_meant_as_it_is_written(runs: Path) -> None:
    from distillkit.cli.runs import run_path

    Path("1").mkdir()
    assert run_path("1") == Path("1") and run_path("runs/0001-a") == Path("runs/0001-a")
    assert run_path("nobody") == Path("nobody")  # the command says what is missing


@pytest.mark.parametrize("argv", [[], ["--help"]])
def test_alone_it_shows_its_commands_in_groups_and_three_examples(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 88
    assert all(f"\n{group}\n" in shown for group in GROUPS) and all(f"  {name} " in shown for name in COMMANDS)
    assert shown.count("  distillkit ") == 3


def test_a_command_has_a_help_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "--help"]) == 0
    assert "usage: distillkit sample" in capsys.readouterr().out
