"""Results reach ranks that do not see the first one's disk."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from distillkit.disk import manifest
from distillkit.disk.results import Outcome, Scores
from distillkit.run.deliver import delivered
from distillkit.testing.ranks import simulated
from distillkit.train.ranks.alone import Ranks


@pytest.fixture
def outcome(tmp_path: Path) -> Outcome:
    result = tmp_path / "run" / "result"
    result.mkdir(parents=True)
    (result / "student.safetensors").write_bytes(bytes(range(256)) * 100)
    (result / "student.json").write_text("{}")
    (result / "eval-20261129.json").write_text("a later measurement")
    manifest.seal(result)
    return Outcome(recipe_name="teacher", run_dir=tmp_path / "run", reused=True, scores=Scores(student={}))


def test_a_rank_without_the_folder_gets_the_files_and_the_others_read_their_own(outcome: Outcome) -> None:
    def work(ranks: Ranks) -> tuple[Path, dict[str, bytes]]:
        mine = outcome if ranks.rank != 1 else attrs.evolve(outcome, run_dir=Path("/nowhere/run"))
        with delivered({"teacher_score": mine}, ranks) as found:
            run = found["teacher_score"].run_dir
            return run, {path.name: path.read_bytes() for path in (run / "result").iterdir()}

    (first, whole), (copy, sent), (last, same) = simulated(3, work)
    assert first == last == outcome.run_dir != copy
    assert not copy.exists()
    assert sent == {name: data for name, data in whole.items() if not name.startswith("eval-")}
    assert same == whole


def test_another_result_at_the_same_place_is_not_taken_for_it(outcome: Outcome, tmp_path: Path) -> None:
    other = tmp_path / "other" / "result"
    other.mkdir(parents=True)
    (other / "student.json").write_text("another")
    manifest.seal(other)

    def work(ranks: Ranks) -> str:
        mine = outcome if ranks.first else attrs.evolve(outcome, run_dir=other.parent)
        with delivered({"generator": mine}, ranks) as found:
            return (found["generator"].run_dir / "result" / "student.json").read_text()

    assert simulated(2, work) == ["{}", "{}"]


def test_one_process_alone_looks_at_nothing(outcome: Outcome) -> None:
    gone = attrs.evolve(outcome, run_dir=Path("/nowhere"))
    with delivered({"generator": gone}, Ranks()) as found:
        assert found == {"generator": gone}
