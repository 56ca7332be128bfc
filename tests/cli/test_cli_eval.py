"""`distillkit eval`: the numbers of the run again, or those that were asked for; the run stays as it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from distillkit.cli.main import main
from distillkit.disk import manifest
from distillkit.run import measure
from distillkit.testing import tiny_recipe

SAME: dict = {"run": {"seed": 3}, "sample": {"use": "few-step", "sigmas": [80.0, 1.0]}}
TEACHER = tiny_recipe("edm", **SAME)
STUDENT = tiny_recipe("sid", **SAME, teacher_score={"use": "network", "from": "teacher.toml"}, generator=None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/ with a teacher and its student, both finished."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "teacher.toml").write_text(TEACHER)
    (folder / "student.toml").write_text(STUDENT)
    assert main(["run", str(folder / "student.toml"), "--runs", str(folder / "runs")]) == 0
    return folder


@pytest.fixture
def runs(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Path("runs")


def written(run: Path) -> dict:
    (file,) = (run / "result").glob("eval-*.json")
    return json.loads(file.read_text())


def digests(run: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["0001-teacher", "0002-student"])
def test_the_same_metrics_give_the_same_numbers_and_only_a_file_more(
    runs: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = digests(runs / name)
    assert main(["eval", str(runs / name)]) == 0
    found = written(runs / name)
    assert found["metrics"] == json.loads((runs / name / "result" / "metrics.json").read_text())["metrics"]
    assert (found["nfe"], found["set"], found["recipe"]) == (2, [], None)
    after = digests(runs / name)
    assert {path: after[path] for path in before} == before and len(after) == len(before) + 1
    out = capsys.readouterr().out
    assert "mixture/sw2" in out and out.splitlines()[-1].endswith(".json")


def test_a_run_of_another_version_is_measured_too(runs: Path) -> None:
    for path in (*runs.glob("*/run.json"), *runs.glob("*/result/*.json")):  # changed rules change fingerprints
        path.write_text(path.read_text().replace('"fingerprint": "', '"fingerprint": "old'))
    for path in runs.glob("*/result"):
        manifest.seal(path)
    assert main(["eval", str(runs / "0002-student")]) == 0


def test_its_teacher_is_found_without_a_look_at_all_other_runs(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(runs / "0002-student", runs / "0003-student")
    looked, is_ = [], measure._is
    monkeypatch.setattr(measure, "_is", lambda wanted, path, catalog: looked.append(path) or is_(wanted, path, catalog))
    assert main(["eval", str(runs / "0002-student")]) == 0
    assert [path.parent.name for path in looked] == ["0001-teacher"]
    (runs / "0001-teacher").rename(runs / "0001-moved")
    assert main(["eval", str(runs / "0002-student")]) == 0
    assert len(looked) == 4


def test_keys_of_a_metric_can_be_set(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(runs / "0002-student"), "--set", "evaluate.0.radius=0.1"]) == 0
    found, told = written(runs / "0002-student"), capsys.readouterr().out
    assert found["set"] == ["evaluate.0.radius=0.1"]
    assert found["metrics"] != json.loads((runs / "0002-student/result/metrics.json").read_text())["metrics"]
    assert "teacher" not in told  # whose numbers were measured with another radius


def test_metrics_can_be_those_of_another_recipe(runs: Path) -> None:
    Path("other.toml").write_text(TEACHER + '\n[[evaluate]]\nuse = "mixture"\nimages = 64\nradius = 0.1\n')
    arguments = ["eval", str(runs / "0002-student"), "--recipe", "other.toml", "--set", "evaluate.0.std=0.1"]
    assert main(arguments) == 0
    found = written(runs / "0002-student")
    assert {name.split("/")[0] for name in found["metrics"]} == {"mixture", "mixture.1"}
    assert found["recipe"] == "other.toml"


@pytest.mark.parametrize(("arguments", "message"), [
    (["0002-student", "--set", "generator_loss.alpha=1.0"], "only keys of evaluate"), (["0003-x"], "not a run folder"),
    (["0002-student", "--recipe", "none.toml"], "no [[evaluate]]"),
])  # fmt: skip
def test_what_cannot_be_measured_is_refused(
    runs: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("none.toml").write_text(tiny_recipe("edm", evaluate=None))
    assert main(["eval", str(runs / arguments[0]), *arguments[1:]]) == 2
    assert message in capsys.readouterr().err
    assert not list(runs.rglob("eval-*"))


def test_a_run_without_a_result_or_without_its_teacher_is_refused(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(runs / "0001-teacher")
    assert main(["eval", str(runs / "0002-student")]) == 2
    assert "has no finished run beside it" in capsys.readouterr().err
    (runs / "0002-student" / "exit.json").unlink()
    assert main(["eval", str(runs / "0002-student")]) == 2
    assert "is unfinished: there is no result" in capsys.readouterr().err
