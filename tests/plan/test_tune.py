"""`distillkit plan --tune`: levers in pairs, on a clock that says what the test wants."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from distillkit.api import UsageError
from distillkit.cli.main import main
from distillkit.plan import pairs, stages, tune
from distillkit.plan.pairs import alternating, ratio
from distillkit.plan.tune import Tried, best, tried
from distillkit.registry import Catalog
from distillkit.train import compiled
from distillkit.train.levers import LEVERS, Lever

GAUSSIANS = Path(__file__).parents[2] / "recipes" / "gaussians_sid.toml"


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


class Time:
    """A clock that goes on when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def after(self, seconds: float) -> None:
        self.now += seconds


def test_pairs_alternate_and_their_ratio_is_that_of_medians() -> None:
    clock, order = Time(), []

    def side(name: str, seconds: float) -> Any:
        return lambda: (order.append(name), clock.after(seconds))

    found = alternating(side("a", 3.0), side("b", 4.0), 4, clock=clock)
    assert found == [(3.0, 4.0)] * 4
    assert "".join(order) == "baabbaab"
    assert ratio(found) == pairs.Ratio(0.75, 0.75, 0.75, 4)
    assert ratio(found).wins and not ratio([(4.0, 4.0)]).wins


def test_time_ends_the_pairs_but_not_before_there_are_some() -> None:
    clock = Time()
    slow = lambda: clock.after(10.0)  # noqa: E731
    assert len(alternating(slow, slow, 15, seconds=1.0, least=5, clock=clock)) == 5
    assert len(alternating(slow, slow, 15, seconds=119.0, clock=clock)) == 6


def test_a_spread_that_reaches_one_is_no_win() -> None:
    assert not ratio([(1.0, 2.0), (2.0, 1.0), (1.0, 1.1), (1.2, 1.0), (0.9, 1.0)]).wins


@pytest.fixture
def stage() -> Any:
    return stages.stages(GAUSSIANS, [], Path("runs"), Catalog.installed())[-1]


@pytest.fixture
def factors(monkeypatch: pytest.MonkeyPatch) -> tuple[Time, dict[str, float]]:
    """A clock, and how long an iteration takes with each of three keys; the last one is refused."""
    clock, factors = Time(), {"run.grid": 0.9, "run.max_nonfinite": 1.2, "run.keep_checkpoints": 0.5}

    made = tuple(Lever(key=key, on=7, off=None, numbers="none") for key in factors)
    monkeypatch.setattr(tune, "LEVERS", made)

    def warm(recipe: Any, catalog: Any) -> tuple[int, Any]:
        if recipe.run.keep_checkpoints == 7:
            raise UsageError("run.keep_checkpoints: not\nhere")
        pulled = [key for key in factors if made[[*factors].index(key)].value(recipe) == 7]
        return 1, 1.0 if not pulled else factors[pulled[0]]

    monkeypatch.setattr(tune, "warm", warm)
    monkeypatch.setattr(tune, "some", lambda state, n: clock.after(state * n))
    return clock, factors


def test_the_winner_wins_and_a_refusal_is_a_line(stage: Any, factors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lever, "pulled", lambda self, recipe: self.value(recipe) == 7)
    faster, slower, refused = tried(stage, Catalog.installed(), factors[0])
    assert faster.time is not None and faster.time.median == pytest.approx(0.9)
    assert faster.memory == 1.0
    assert slower.time is not None and slower.time.median == pytest.approx(1.2)
    assert refused.time is None and refused.refused == "not here"
    assert best([faster, slower, refused]) is faster
    assert best([slower, refused]) is None


def test_the_command_prints_lines_of_a_recipe(
    factors: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    by_key = {lever.key: lever for lever in LEVERS}
    compile_, layout = by_key["run.compile"], by_key["run.channels_last"]
    won = Tried(levers=(compile_, layout), time=ratio([(1.0, 2.0)] * 5), memory=0.5)
    lost = Tried(levers=(layout,), refused="no network convolves")
    monkeypatch.setattr(tune, "tried", lambda stage, catalog: iter([lost, won]))
    assert main(["plan", str(GAUSSIANS), "--tune"]) == 0
    text = capsys.readouterr().out
    assert "refused: no network convolves" in " ".join(text.split())
    assert "time 0.50 x (0.50 to 0.50, 5 pairs), memory 0.50 x" in " ".join(text.split())
    told = text.partition("50 % less time; these lines of the recipe say so:\n")[2]
    assert tomllib.loads(told.partition("run.")[0]) == {"run": {"compile": True, "channels_last": True}}
    assert f"run.compile changes, of the numbers: {compile_.numbers}" in text


def test_every_lever_is_tried_for_real_or_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    monkeypatch.setattr(tune, "PAIRS", 1)
    monkeypatch.setattr(tune, "LONG", 0.0)
    assert main(["plan", str(GAUSSIANS), "--tune"]) == 0
    text = capsys.readouterr().out
    assert all(lever.key.removeprefix("run.") in text for lever in LEVERS)
    of_the_host = text[text.index("ema_device") : text.index("compile  ")]
    assert "offload" in of_the_host and "memory" not in of_the_host  # on a CPU they take nothing from it
    assert not Path("runs").exists()


def test_what_is_missing_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(GAUSSIANS.with_name("cifar10_uncond_sid.toml")), "--tune"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: --tune runs a few iterations of cifar10_uncond_sid, and ")
    assert said.count("\n") == 1
