"""Several averages in one run: kept bit for bit, resumed exactly, and enough to rebuild one of another width."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from distillkit_edm.edm2.averages import PowerEma
from distillkit_edm.edm2.posthoc import file_name, gamma_of, rebuild

from distillkit.api import InputError
from distillkit.evaluate.draw import Drawer
from distillkit.testing import toy_state
from distillkit.train.iterate import iterate
from distillkit.train.state import State


def part(state: State) -> PowerEma:
    return state.components["evaluate.0"]


def started(**keys: object) -> State:
    return toy_state(evaluate=[{"use": "power-ema", "sigma_rel": [0.05, 0.10, 0.15], **keys}])


def measured(state: State) -> dict[str, float]:
    (found,) = state.evaluators[0].call(state=state, draw=Drawer.student(state))
    return found


def test_each_average_weighs_the_weights_of_image_s_by_s_to_the_gamma() -> None:
    state, seen = started(), []
    for _ in range(6):
        iterate(state)
        seen.append([p.detach().clone() for p in state.networks["generator"].parameters()])
    for sigma_rel, average in part(state).averages.items():
        power = float(gamma_of(sigma_rel)) + 1
        shares = torch.tensor([((i + 1) / 6) ** power - (i / 6) ** power for i in range(6)])
        for i, p in enumerate(average):
            torch.testing.assert_close(p, sum(w * weights[i] for w, weights in zip(shares, seen, strict=True)))


def test_the_run_goes_on_with_the_same_averages() -> None:
    state = started()
    iterate(state)
    other = started()
    part(other).load_state_dict(part(state).state_dict())
    pairs = zip(part(state).averages.values(), part(other).averages.values(), strict=True)
    assert all(torch.equal(a, b) for one, two in pairs for a, b in zip(one, two, strict=True))
    assert len(part(state).state_dict()) == 3 * len(list(state.networks["generator"].parameters()))


def test_a_wider_average_lags_further_behind_and_nothing_is_written_where_no_figures_are_asked_for() -> None:
    state = started()
    for _ in range(6):
        iterate(state)
    found = measured(state)
    assert list(found) == ["drift_0.05", "drift_0.1", "drift_0.15"]
    assert 0 < found["drift_0.05"] < found["drift_0.1"] < found["drift_0.15"] < 1


def test_what_was_kept_rebuilds_an_average_of_a_width_that_was_not(tmp_path: Path) -> None:
    state = started(sigma_rel=[0.05, 0.10])
    state.figures = tmp_path
    reference = started(sigma_rel=[0.075])
    for i in range(60):
        for one in (state, reference):
            iterate(one)
        if i % 12 == 11:
            measured(state)
    folder = tmp_path / "averages"
    names = {file_name(96 * i, s) for i in range(1, 6) for s in (0.05, 0.10)}
    assert {path.name for path in folder.iterdir()} == names
    weights = rebuild(folder, 0.075)
    want = dict(zip((n for n, _ in state.networks["generator"].named_parameters()),
                    part(reference).averages[0.075], strict=True))  # fmt: skip
    last = safetensors.torch.load_file(folder / file_name(480, 0.10))
    assert set(weights) == set(last) == set(state.networks["generator"].state_dict())

    def gap(found: dict[str, torch.Tensor]) -> float:
        return sum(float((found[name] - p).square().sum()) for name, p in want.items())

    assert gap(weights) < 0.01 * gap(last)
    torch.testing.assert_close(rebuild(folder, 0.10, 480), last)


def test_where_no_average_was_kept_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match="holds no averages of `power-ema`"):
        rebuild(tmp_path, 0.05)
