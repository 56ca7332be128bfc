"""What is refused on several ranks, by all of them at once."""

from __future__ import annotations

import threading

import pytest

from distillkit.api import InputError, UsageError
from distillkit.run import stage
from distillkit.testing import toys
from distillkit.testing.ranks import simulated
from distillkit.testing.training import run
from distillkit.train.ranks.group import Group
from distillkit.train.ranks.shares import check_statistics

GDD = {"use": "gdd", "projection": 4, "width": 16, "embedding": 4, "cmap": 4, "end_size": 4}


def built(ranks: Group, **tables: object) -> None:
    stage.built(toys.toy_recipe(**tables), {}, toys.catalog(), ranks)


def refusals(size: int, **of_rank_1: object) -> list[str]:
    """What each rank says where the second one has another recipe."""
    said = [""] * size

    def work(ranks: Group) -> None:
        try:
            built(ranks, **(of_rank_1 if ranks.rank == 1 else {}))
        except InputError as error:
            said[ranks.rank] = str(error)

    simulated(size, work)
    return said


def test_a_network_that_normalises_over_a_pass_needs_a_micro_batch() -> None:
    with pytest.raises(UsageError) as refusal:
        simulated(2, lambda ranks: built(ranks, generator_loss=GDD))
    told = "discriminator normalises over a pass: name run.micro_batch (4 = what 2 processes hold)"
    assert told in str(refusal.value)
    simulated(2, lambda ranks: built(ranks, generator_loss=GDD, run={"micro_batch": 4}))


def test_the_micro_batch_that_is_named_divides_the_batch() -> None:
    networks = {"discriminator": toys.toy_state(generator_loss=GDD).networks["discriminator"]}
    with pytest.raises(UsageError, match=r"name run.micro_batch \(2 would do for 3 processes\)"):
        check_statistics(networks, 8, None, 3)
    check_statistics(networks, 8, None, 1)


def test_another_number_of_images_is_refused_with_both_numbers() -> None:
    said = refusals(3, dataset={"size": 40})
    assert len(set(said)) == 1
    assert said[0].startswith("the data set: rank 1 has images 40")
    assert "rank 0 images 48" in said[0]


def test_other_images_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = toys.ToyImages._draw
    other = lambda self, stream: draw(self, stream) * (0.5 if threading.current_thread().name == "rank 1" else 1)  # noqa: E731
    monkeypatch.setattr(toys.ToyImages, "_draw", other)
    said = refusals(2)
    assert said[0] == said[1] and said[0].startswith("the data set: rank 1 has digest ")


def test_another_version_of_a_plugin_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = lambda recipe, catalog: {"distillkit-el": f"0.{3 - int(threading.current_thread().name[-1])}"}  # noqa: E731
    monkeypatch.setattr(stage, "used_distributions", other)
    with pytest.raises(UsageError, match=r"what is installed: rank 1 has distillkit-el 0.2, rank 0 distillkit-el 0.3"):
        simulated(2, built)


def test_ranks_with_other_parameters_that_train_are_refused_before_they_wait_for_each_other() -> None:
    def work(ranks: Group) -> None:
        run(toys.toy_state(ranks, generator={"freeze": ["*bias"] if ranks.rank else []}), 1)

    with pytest.raises(UsageError, match="gradients of turn 'generator': rank 1 has "):
        simulated(2, work)
