"""What a run leaves is not taken for another's, nor for whole where a part is lost: each change is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from distillkit.api import InputError
from distillkit.disk import checkpoint, manifest, results, typed
from distillkit.disk.metrics import MetricsLog
from distillkit.disk.results import Scores
from distillkit.disk.rundir import RunDir


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], RunDir]:
    """`make(fingerprint)` -> a finished run with three rows of metrics and a result."""

    def run(fingerprint: str) -> RunDir:
        made = RunDir.create(tmp_path / "runs", "sid", fingerprint)
        log = MetricsLog(made.metrics)
        for nimg in (10, 20, 30):
            log.append({"what": "evaluate", "nimg": nimg, "mixture/sw2": nimg / len(fingerprint)})
        log.close()
        made.result.mkdir()
        results.write(made.path, Scores(student={"mixture/sw2": 1.0}, logged=log.logged, fingerprint=fingerprint))
        manifest.seal(made.result)
        made.write_exit(0, "finished", 30, None)
        return made

    return run


@pytest.mark.parametrize("name", ["run.json", "exit.json"])
def test_a_changed_digit_of_a_run_is_told(make: Callable[[str], RunDir], name: str) -> None:
    path = make("a1").path / name
    before = typed.json_object(path)
    assert "check" in json.loads(path.read_text()) and "check" not in before
    path.write_text(path.read_text().replace("0", "1", 1))
    with pytest.warns(UserWarning, match=f"{name} is not as the run wrote it"):
        assert typed.json_object(path) != before


def test_files_of_earlier_runs_have_no_check_and_are_read(make: Callable[[str], RunDir]) -> None:
    run = make("a1")
    for name in ("run.json", "exit.json"):
        (run.path / name).write_text(json.dumps(typed.json_object(run.path / name)))
    assert RunDir.open(run.path).status() == "finished"


def test_recipes_in_the_folder_that_were_changed_or_lost_are_told(make: Callable[[str], RunDir]) -> None:
    run = make("a1")
    texts = {"resolved.toml": "schema = 1\n", "from/teacher.toml": "schema = 1\n"}
    run.note_recipes(texts)
    (run.path / "from").mkdir()
    for name, text in texts.items():
        (run.path / name).write_text(text)
    RunDir.open(run.path).warn_of_changes()
    run.resolved.write_text("schema = 2\n")
    (run.path / "from" / "teacher.toml").unlink()
    with pytest.warns(UserWarning, match=r"resolved.toml is not as"), pytest.warns(UserWarning, match="cannot read"):
        RunDir.open(run.path).warn_of_changes()


def test_metrics_of_another_run_are_refused(make: Callable[[str], RunDir]) -> None:
    one, other = make("a1"), make("b22")
    shutil.copyfile(other.metrics, one.metrics)
    with pytest.raises(InputError, match=r"metrics.jsonl is of another run"):
        MetricsLog(one.metrics)


def test_rows_lost_at_the_end_are_told_by_the_result_and_by_a_checkpoint(make: Callable[[str], RunDir]) -> None:
    run = make("a1")
    run.metrics.write_bytes(b"".join(run.metrics.read_bytes().splitlines(keepends=True)[:-1]))
    log = MetricsLog(run.metrics)
    with pytest.warns(UserWarning, match="1 of 3 rows are lost"):
        results.read_or_last(run.path, log.read())
    with pytest.warns(UserWarning, match="1 of 3 rows are lost"):
        log.expect(3)


def test_rows_lost_before_the_run_has_ended_are_told_by_its_checkpoint(make: Callable[[str], RunDir]) -> None:
    run = make("a1")
    shutil.rmtree(run.result)
    with pytest.warns(UserWarning, match="finished, but its result is gone"):
        results.read_or_last(run.path, MetricsLog(run.metrics).read())
    run.exit.unlink()
    checkpoint.save(run.checkpoints, 30, {"w/w": torch.ones(2)}, {"logged": 3}, keep=2)
    assert results.read_or_last(run.path, MetricsLog(run.metrics).read()).student == {"mixture/sw2": 15.0}
    run.metrics.write_bytes(b"")
    with pytest.warns(UserWarning, match="3 of 3 rows or more are lost"):
        results.read_or_last(run.path, MetricsLog(run.metrics).read())


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 1, 1, 2)], ids=["swapped", "doubled"])
def test_rows_are_read_in_their_order_and_once(make: Callable[[str], RunDir], order: tuple[int, ...]) -> None:
    run = make("a1")
    whole = MetricsLog(run.metrics).read()
    lines = run.metrics.read_bytes().splitlines(keepends=True)
    run.metrics.write_bytes(b"".join(lines[i] for i in order))
    with pytest.warns(UserWarning, match="not in their order, or stand there twice"):
        assert MetricsLog(run.metrics).read() == whole


def test_a_result_of_another_run_is_refused(make: Callable[[str], RunDir]) -> None:
    one, other = make("a1"), make("b22")
    shutil.rmtree(one.result)
    shutil.copytree(other.result, one.result)
    with pytest.raises(InputError, match=r"metrics.json was made by another run"):
        results.read(one.path)


def test_a_result_is_checked_as_a_whole(make: Callable[[str], RunDir]) -> None:
    run = make("a1")
    manifest.check_result(run.result)
    (run.result / "metrics.json").write_bytes(b"{}")
    with pytest.raises(InputError, match="not what the run wrote"):
        manifest.check_result(run.result)
    (run.result / manifest.NAME).unlink()  # of 0.1.0
    manifest.check_result(run.result)


def test_a_checkpoint_of_another_run_is_set_aside(tmp_path: Path) -> None:
    for nimg, run in ((1, "a1"), (2, "b22")):
        checkpoint.save(tmp_path, nimg, {"w/w": torch.ones(2)}, {"nimg": nimg, checkpoint.RUN: run}, keep=2)
    with pytest.warns(UserWarning, match="saved by another run"):
        found = checkpoint.load_newest(tmp_path, "cpu", "a1")
    assert found is not None and found[1]["nimg"] == 1
    with pytest.raises(InputError, match="saved by another run"):
        checkpoint.load(tmp_path / checkpoint.name(1), "cpu", "c3")
