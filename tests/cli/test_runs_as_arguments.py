"""Where a run is meant and something else is given, or the other way round."""

from __future__ import annotations

from pathlib import Path

import pytest

from distillkit.cli.main import main


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/0001-a").mkdir(parents=True)
    (tmp_path / "runs/0001-a/run.json").write_text("{}")


@pytest.mark.parametrize(("line", "told"), [
    ("run 9 --extend --set run.kimg=8", "no run 9 in runs"),
    ("run runs/0001-a", "it is a run: --resume runs/0001-a, or runs/0001-a --extend --set run.kimg=N"),
    ("data stats pictures.zip out.npz", "--network FILE is missing: the TorchScript file of --features inception"),
])  # fmt: skip
def test_the_way_out_is_told(line: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    assert told in " ".join(capsys.readouterr().err.split())


def test_a_run_is_extended_by_its_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "1", "--extend", "--set", "run.kimg=8"]) != 0  # it is no whole run, and it was found
    said = capsys.readouterr().err
    assert "0001-a" in said and "is not a run folder" not in said
