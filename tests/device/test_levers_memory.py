"""What a lever takes off the device lies with the host, comes back for its work, and makes nobody wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from distillkit.cli.main import main
from distillkit.dry.meta import Live, blank
from distillkit.evaluate.draw import Drawer
from distillkit.plan import dry
from distillkit.testing import tiny_recipe, toy_state, toys
from distillkit.testing.training import Snapshot, copied, differences, run
from distillkit.testing.watch import waits
from distillkit.train import snapshot
from distillkit.train.state import State

UNET = {"use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4]}
LEVERS: dict[str, dict[str, Any]] = {"ema_device": {"ema_device": "cpu"}, "offload": {"offload": True}}


def made(**keys: Any) -> State:
    return toy_state(
        run={"device": "cuda", **keys}, teacher_score={"network": UNET}, generator_loss={"use": "sid"},
        generator={"dropout": 0.1},
    )  # fmt: skip


def by_the_host(state: State) -> Snapshot:
    tensors, meta = copied(state)
    return {name: tensor.cpu() for name, tensor in tensors.items()}, meta


def average(state: State) -> list[Tensor]:
    network = cast(nn.Module, state.average)
    return [*network.parameters(), *network.buffers()]


def moments(state: State) -> list[Tensor]:
    values = [value for updater in state.updaters.values() for one in updater.optimizer.state.values()
              for value in one.values()]  # fmt: skip
    return [value for value in values if value.ndim]


@pytest.mark.parametrize("lever", LEVERS)
def test_bits_and_pictures_are_those_without_it(lever: str) -> None:
    plain, ours = run(made(), 3), run(made(**LEVERS[lever]), 3)
    assert differences(by_the_host(plain), by_the_host(ours)) == []
    one, other = (Drawer.student(state)(4).x for state in (plain, ours))
    assert torch.equal(one, other)
    assert {t.device.type for t in average(plain)} == {"cuda"}


@pytest.mark.parametrize("lever", LEVERS)
def test_what_it_takes_lies_pinned_with_the_host_and_no_step_waits(lever: str) -> None:
    from pretended import notes

    state = run(made(**LEVERS[lever]), 2)
    with notes.noted() as noted, waits() as found:
        run(state, 2)
    assert not found and not [one for one in noted if one.kind in ("wait", "copy")]
    away = [*average(state), *(moments(state) if lever == "offload" else [])]
    assert len(away) > 10 and all(t.device.type == "cpu" and t.is_pinned() for t in away)
    assert {t.device.type for t in moments(state)} == {"cpu" if lever == "offload" else "cuda"}


@pytest.mark.parametrize("lever", [{"teacher_dtype": "bf16"}, {"checkpoint_activations": True}])
def test_other_levers_of_memory_make_no_step_wait(lever: dict[str, Any]) -> None:
    from pretended import notes

    state = run(made(**lever), 2)
    with notes.noted() as noted, waits() as found:
        run(state, 2)
    assert not state.skipped and not found and not [one for one in noted if one.kind in ("wait", "copy")]


@pytest.mark.parametrize("lever", LEVERS)
def test_a_run_that_was_interrupted_goes_on_to_the_same_bits_and_places(lever: str) -> None:
    through = run(made(**LEVERS[lever]), 3)
    resumed = made(**LEVERS[lever])
    snapshot.restore(resumed, *copied(run(made(**LEVERS[lever]), 1)))
    assert differences(by_the_host(run(resumed, 2)), by_the_host(through)) == []
    assert all(t.device.type == "cpu" for t in average(resumed))
    assert {t.device.type for t in moments(resumed)} == {t.device.type for t in moments(through)}


@pytest.mark.parametrize("lever", LEVERS)
def test_the_memory_that_is_kept_is_less_by_what_it_takes(lever: str) -> None:
    def kept(**keys: Any) -> tuple[int, State]:
        with Live(torch.device("cuda", 0)) as live:
            state = run(made(**keys), 2)
            state.made.clear()
            return live.bytes, state

    (with_all, state), (without, _) = kept(), kept(**LEVERS[lever])
    away = [*average(state), *(moments(state) if lever == "offload" else [])]
    assert with_all - without == pytest.approx(sum(t.nbytes for t in away), rel=0.02)


@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter:UserWarning")
@pytest.mark.parametrize("lever", LEVERS)
def test_the_plan_says_how_much_less_the_largest_turn_takes(lever: str) -> None:
    """The difference alone: a view of the pretended device is a tensor of its own, and counted as one."""

    def peaks(**keys: Any) -> tuple[float, float]:
        with Live(torch.device("cuda", 0)) as live:
            state = run(made(**keys), 1)
            live.restart()
            run(state, 1)
        with blank() as counted:
            built = dry.build(state.recipe, {}, toys.catalog(), counted)
            found = dry.small(built, counted, state.recipe.run.batch, state.recipe.run.batch)
        return live.peak, found.largest.peak

    (without, expected), (with_it, told) = peaks(), peaks(**LEVERS[lever])
    assert 0 < without - with_it == pytest.approx(expected - told, rel=0.02)


@pytest.mark.parametrize("lever", ["run.ema_device='cpu'", "run.offload=true"])
def test_a_whole_run_keeps_the_best_and_gives_the_same_result(
    lever: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tiny_recipe(
        "sid", teacher_score={"use": "gaussian-mixture"}, run={"keep_best": "mixture/sw2"},
        evaluate=[{"use": "mixture", "images": 64, "every_kimg": 0.016}],
    )  # fmt: skip
    (tmp_path / "one.toml").write_text(recipe)
    results = []
    for name, sets in (("plain", []), ("ours", ["--set", lever])):
        assert main(["run", "one.toml", "--runs", name, "--set", "run.device=cuda", *sets]) == 0
        (result,) = (tmp_path / name).glob("0001-*/result/student.safetensors")
        results.append(result.read_bytes())
    assert results[0] == results[1]
