"""docs/needs.md: what people ask for, and a command for each; all of them run, on two runs of few images."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distillkit.cli.main import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/needs.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in PAGE.splitlines() if line.startswith("| ")]
NEEDS = {int(row[0]): row for row in ROWS if row[0].isdigit()}
COMMANDS = {number: row[3].strip("`") for number, row in NEEDS.items() if len(row) == 4}
LATER = {13: "settings tuned once for everyone"}
NETWORK = ROOT / "plugins/distillkit-edm/tests/data/edm_adm_tiny.pkl"
# What each must show to be an answer.
SHOWN = {
    1: "protocol: covariance", 2: "report.html", 3: "fits", 4: "my-net", 5: "goes on from", 6: "largest difference",
    7: "bad.png", 8: "--node-rank", 9: "0 broken", 10: "saturated", 11: "see one file system", 12: "smoke run done",
    13: "half the rate", 14: "halflife", 15: "NFE 1", 16: "arXiv", 17: "my-loss", 18: "edm-adm", 19: "CC BY-NC-SA",
    20: "velocity", 21: "cost", 22: "ratio", 23: "smoke run done", 24: "gaussians_dmd2", 25: "smoke run done",
}  # fmt: skip


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the page wants it: the two runs, photos of which one is broken, a released network, the study."""
    folder = tmp_path_factory.mktemp("needs")
    (folder / "photos").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "photos/good.png")
    (folder / "photos/bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    shutil.copy(NETWORK, folder / "net.pkl")
    study = re.search(r"```toml\n(.*?)```", PAGE, re.S)
    assert study
    (folder / "rates.toml").write_text(short(study[1]))
    first = re.search(r"```sh\n(.*?)```", PAGE, re.S)
    assert first
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in first[1].splitlines():
            assert main([*words(line), "--set", "run.kimg=0.512"]) == 0
    return folder


def words(line: str) -> list[str]:
    program, *rest = shlex.split(short(line))
    assert program == "distillkit"
    return rest


def short(text: str) -> str:
    """The same with few images."""
    return text.replace("run.kimg=600", "run.kimg=0.768").replace("run.kimg=64", "run.kimg=0.512")


def test_all_twenty_five_are_there_and_what_is_later_says_which_change_brings_it() -> None:
    assert list(NEEDS) == list(range(1, 26))
    assert len(COMMANDS) >= 21 and set(NEEDS) - set(COMMANDS) <= set(LATER)
    assert {number for number, row in NEEDS.items() if "not yet" in " ".join(row)} == set(LATER)
    assert all(topic in " ".join(NEEDS[number]) for number, topic in LATER.items())


@pytest.mark.parametrize("number", COMMANDS)
def test_a_need_is_answered(
    number: int, here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(here)
    monkeypatch.setenv("COLUMNS", "120")
    code = main(words(COMMANDS[number]))
    told = capfd.readouterr()
    assert SHOWN[number] in told.out + told.err
    assert code == (3 if number == 7 else 0), told.err  # a bad picture is refused, by its name


def test_the_study_of_the_page_on_recipes_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = re.search(r"## Studies.*?```toml\n(.*?)```", (ROOT / "docs/recipes.md").read_text(encoding="utf-8"), re.S)
    assert study
    (tmp_path / "two.toml").write_text(study[1])
    assert main(["check", str(tmp_path / "two.toml")]) == 0
    assert "6 runs" in capsys.readouterr().out
